"""Every service's metrics on one page, told apart by the label `service`."""

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import generate_latest

from gateway.connection import UpstreamFailed
from gateway.upstream import Upstream
from shared.assertions import HEADER, AssertionSigner, Caller

_GATEWAY: Final = Caller(subject="gateway", kind="service")
_sample = re.compile(
    r"(?P<name>[A-Za-z_:][A-Za-z0-9_:]*)(?:\{(?P<labels>.*)\})?(?P<rest> .+)"
).fullmatch
_has_service = re.compile(r'(?:^|,)service="').search


class Metrics:
    """Asks every service for its metrics and adds the gateway's own."""

    def __init__(
        self, upstreams: Iterable[Upstream], signers: Mapping[str, AssertionSigner]
    ) -> None:
        self._upstreams = tuple(upstreams)
        self._signers = signers

    async def page(self) -> str:
        """The merged page in Prometheus' text format."""
        pages = await asyncio.gather(*(self._fetch(upstream) for upstream in self._upstreams))
        texts = {"gateway": generate_latest().decode()}
        up = ["# HELP vedette_up Whether the service gave its metrics.", "# TYPE vedette_up gauge"]
        for upstream, text in zip(self._upstreams, pages, strict=True):
            up.append(f'vedette_up{{service="{upstream.name}"}} {int(text is not None)}')
            if text is not None:
                texts[upstream.name] = text
        return merge(texts) + "\n".join(up) + "\n"

    async def _fetch(self, upstream: Upstream) -> str | None:
        assertion = self._signers[upstream.service].sign(_GATEWAY, upstream.service)
        try:
            answer = await upstream.fetch("GET", "/metrics", [(HEADER, assertion)])
        except UpstreamFailed:
            return None
        return answer.body.decode(errors="replace") if answer.status == 200 else None


def merge(pages: Mapping[str, str]) -> str:
    """Pages merged family by family, as the format wants each family in one place.

    Args:
        pages: by service, in Prometheus' text format.
    """
    heads: dict[str, dict[str, str]] = {}
    samples: dict[str, list[str]] = {}
    for service, page in pages.items():
        family = ""
        for line in page.splitlines():
            if line.startswith(("# HELP ", "# TYPE ")):
                _, kind, family, *_ = line.split(" ", 3)
                heads.setdefault(family, {}).setdefault(kind, line)
                samples.setdefault(family, [])
            elif (found := _sample(line)) is not None:
                name = found["name"]
                owner = family if family and name.startswith(family) else name
                samples.setdefault(owner, []).append(_labelled(found, service))
    lines: list[str] = []
    for family, found_lines in samples.items():
        lines += heads.get(family, {}).values()
        lines += found_lines
    return "\n".join(lines) + "\n"


def _labelled(found: re.Match[str], service: str) -> str:
    labels = found["labels"] or ""
    if _has_service(labels) is None:
        labels = f'service="{service}"' + (f",{labels}" if labels else "")
    return f"{found['name']}{{{labels}}}{found['rest']}"
