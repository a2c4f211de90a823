"""Writes docs/reference from the code, so that it cannot say anything else: `make docs`."""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gateway.policy import TABLE
from gateway.route import Rate, Route
from gateway.settings import GatewaySettings
from services.auth.settings import Settings as AuthSettings
from services.bqat.settings import Settings as BqatSettings
from services.chexray.settings import Settings as ChexraySettings
from services.netra.settings import Settings as NetraSettings
from services.scancer.settings import Settings as ScancerSettings
from shared.inference.manifest import manifest_json_schema
from shared.settings import Settings
from shared.supervisor.settings import SupervisorSettings

REFERENCE = Path(__file__).parent / "reference"

#: Which class holds which process's own settings, in the order of the page.
PROCESSES: Mapping[str, type[Settings]] = {
    "vedette up": SupervisorSettings,
    "gateway": GatewaySettings,
    "auth": AuthSettings,
    "chexray": ChexraySettings,
    "bqat": BqatSettings,
    "netra": NetraSettings,
    "scancer": ScancerSettings,
}


def _cell(text: object) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _default(field: FieldInfo) -> str:
    if field.default_factory is dict:
        return "unset"
    if field.default_factory is not None:
        return "`/var/lib/vedette` as root, else `~/.local/share/vedette`"
    if field.default in (None, (), PydanticUndefined):
        return "unset"
    return f"`{field.default}`"


def _settings_rows(fields: Mapping[str, FieldInfo]) -> Iterable[Iterable[object]]:
    for name, field in fields.items():
        yield f"`VEDETTE_{name.upper()}`", _default(field), field.description or ""


def settings_page() -> str:
    """Every environment variable with its default and its meaning."""
    head = ("variable", "default", "meaning")
    page = "# Settings\n\nAll settings are environment variables. `make docs` writes this page.\n\n"
    page += "## Every process\n\n" + _table(head, _settings_rows(Settings.model_fields))
    for process, kind in PROCESSES.items():
        own = {
            name: field
            for name, field in kind.model_fields.items()
            if name not in Settings.model_fields
        }
        page += f"\n## {process}\n\n" + _table(head, _settings_rows(own))
    return page


def _rate(rate: Rate) -> str:
    return f"{rate.name}: {rate.quota} in {rate.window_s} s per {rate.by}"


def _policy_row(route: Route) -> Iterable[object]:
    accepts = ", ".join(sorted(route.accepts)) or "–"
    if route.accepts and not route.needs_credential:
        accepts += " (optional)"
    rates = [_rate(rate) for rate in (route.rate, route.write_rate) if rate is not None]
    yield f"`{route.path}`"
    yield route.service
    yield ", ".join(sorted(route.methods - {"OPTIONS"}))
    yield accepts
    yield ", ".join(sorted(set(route.scopes.values()))) or "–"
    yield f"{route.max_body_bytes // 1024} KB"
    yield "; ".join(rates)
    yield f"{route.deadline_s:g} s"
    yield route.refused_by


def policy_page() -> str:
    """Every route that exists, and what a caller must bring."""
    head = ("path", "answered by", "methods", "credentials", "scopes", "largest body")
    page = (
        "# Policy\n\nWhat is not in this table does not exist. `make docs` writes this page from\n"
    )
    page += "`gateway/policy.py`.\n\n"
    columns = (*head, "rate limits", "deadline", "refusals worded by")
    return page + _table(columns, (_policy_row(route) for route in TABLE))


def manifest_schema() -> str:
    """The JSON Schema of `model.yaml`."""
    return json.dumps(manifest_json_schema(), indent=2, ensure_ascii=False) + "\n"


def pages() -> Mapping[str, str]:
    """Every page of the reference by its file name."""
    return {
        "settings.md": settings_page(),
        "policy.md": policy_page(),
        "model.schema.json": manifest_schema(),
    }


def main() -> None:
    """Write the pages and name those that changed."""
    REFERENCE.mkdir(exist_ok=True)
    for name, text in pages().items():
        path = REFERENCE / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            sys.stdout.write(f"{path.relative_to(REFERENCE.parent)}\n")


if __name__ == "__main__":
    main()
