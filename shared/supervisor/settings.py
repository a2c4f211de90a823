"""What `vedette up` can be told from outside, beside what every process can."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from shared.settings import ServiceName, Settings

#: Services whose processes share nothing but the database and the object store.
REPLICATED: tuple[ServiceName, ...] = ("chexray", "netra", "fleet", "scancer")
_MOST_REPLICAS = 64


def _counts(text: object) -> object:
    """`chexray=2,scancer=4` as numbers by service."""
    if not isinstance(text, str):
        return text
    found: dict[str, int] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, _, count = (part.strip() for part in entry.partition("="))
        if name not in REPLICATED:
            raise ValueError(f"{name!r} cannot have replicas: {', '.join(REPLICATED)} can")
        if not count.isdecimal() or not 1 <= int(count) <= _MOST_REPLICAS:
            raise ValueError(f"{entry!r} does not say how many from 1 to {_MOST_REPLICAS}")
        found[name] = int(count)
    return found


#: How many processes of a service there are.
Replicas = Annotated[Mapping[ServiceName, int], NoDecode, BeforeValidator(_counts)]


class SupervisorSettings(Settings):
    """The supervisor's settings."""

    pg_bin: Path | None = None
    """The bin folder of a PostgreSQL to use instead of the wheel's (VEDETTE_PG_BIN)."""
    ready_timeout_s: float = Field(default=180, gt=0)
    """The platform is stopped when it has not become ready in this time."""
    replicas: Replicas = Field(default_factory=dict)
    """How many processes a service has, for example `chexray=2,scancer=4`; unset: one each."""
    database_patience_s: float = Field(default=30, gt=0)
    """How long to wait at the start for a database that is not the embedded one."""
