"""Is this process alive, and is it ready: `/livez` and `/readyz`."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog
from fastapi import APIRouter
from starlette.responses import JSONResponse

log = structlog.get_logger(__name__)

#: Raises when what it looks at is not ready; what it returns is shown.
Check = Callable[[], Awaitable[str]]

CHECK_DEADLINE_S = 2.0


def health_router(checks: Mapping[str, Check]) -> APIRouter:
    """`/livez` answers without any I/O; `/readyz` runs every check at once and shows a table."""
    router = APIRouter(tags=["health"])
    failing: dict[str, str] = {}

    @router.get("/livez", include_in_schema=False)
    async def livez() -> JSONResponse:
        """This process runs."""
        return JSONResponse({"status": "alive"})

    @router.get("/readyz", include_in_schema=False)
    async def readyz() -> JSONResponse:
        """Everything this process needs is there (200), or what is missing (503)."""
        results = await asyncio.gather(*(_run(name, check) for name, check in checks.items()))
        _tell_changes(failing, results)
        ready = all(ok for _, ok, _ in results)
        table = {name: {"ready": ok, "detail": detail} for name, ok, detail in results}
        status = "ready" if ready else "not ready"
        return JSONResponse({"status": status, "checks": table}, 200 if ready else 503)

    return router


def _tell_changes(failing: dict[str, str], results: Sequence[tuple[str, bool, str]]) -> None:
    """Log a check that begins or ceases to fail: whoever waits asks many times a second."""
    for name, ok, detail in results:
        if ok:
            if failing.pop(name, None) is not None:
                log.info("check_passed", check=name)
        elif failing.get(name) != detail:
            failing[name] = detail
            log.info("check_failed", check=name, error=detail)


async def _run(name: str, check: Check) -> tuple[str, bool, str]:
    try:
        async with asyncio.timeout(CHECK_DEADLINE_S):
            return name, True, await check()
    except Exception as error:  # a check may fail in any way; each of them means "not ready"
        return name, False, type(error).__name__
