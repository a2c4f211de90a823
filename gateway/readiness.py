"""Whether the platform as a whole can do its work: one table over every service."""

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any

from gateway.connection import UpstreamFailed
from gateway.drain import Drain
from gateway.upstream import Upstream
from shared.key_ring import KeyRing

_DEADLINE_S = 3.0


class Readiness:
    """Asks every service that the policy names, and looks at what the gateway itself needs."""

    def __init__(
        self,
        upstreams: Iterable[Upstream],
        keys: KeyRing,
        revocations_fresh: Callable[[], bool],
        drain: Drain,
        *,
        max_key_age_s: float,
    ) -> None:
        self._upstreams = tuple(upstreams)
        self._keys = keys
        self._revocations_fresh = revocations_fresh
        self._drain = drain
        self._max_key_age_s = max_key_age_s

    async def look(self) -> tuple[bool, dict[str, Any]]:
        """Whether all is ready, and the table that says what is not."""
        services = await asyncio.gather(*(self._ask(upstream) for upstream in self._upstreams))
        table: dict[str, dict[str, Any]] = {
            upstream.name: found for upstream, found in zip(self._upstreams, services, strict=True)
        }
        age_s = self._keys.age_s
        has_keys = age_s < self._max_key_age_s
        is_fresh = self._revocations_fresh()
        table["gateway"] = {
            "ready": has_keys and is_fresh and not self._drain.has_begun,
            "keys_age_s": round(age_s) if has_keys else None,
            "revocations": "current" if is_fresh else "unknown",
            "stopping": self._drain.has_begun,
        }
        is_ready = all(row["ready"] for row in table.values())
        status = "ready" if is_ready else "not ready"
        return is_ready, {"status": status, "services": table}

    async def _ask(self, upstream: Upstream) -> dict[str, Any]:
        try:
            answer = await upstream.fetch("GET", "/readyz", [], deadline_s=_DEADLINE_S)
            told = json.loads(answer.body)
        except (UpstreamFailed, ValueError):
            return {"ready": False, "checks": {}}
        checks = told.get("checks", {}) if isinstance(told, dict) else {}
        return {"ready": answer.status == 200, "checks": checks}
