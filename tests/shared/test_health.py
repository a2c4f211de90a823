"""`/livez` and `/readyz`."""

import asyncio

import httpx
import structlog
from fastapi import FastAPI

from shared import health
from shared.health import Check, health_router


async def fine() -> str:
    return "fine"


async def broken() -> str:
    raise ConnectionRefusedError("secret address")


async def ask(path: str, **checks: Check) -> httpx.Response:
    app = FastAPI()
    app.include_router(health_router(checks))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        return await client.get(path)


async def test_ready_means_every_check_passes() -> None:
    answer = await ask("/readyz", database=fine, objects=fine)
    assert answer.status_code == 200
    assert answer.json()["checks"]["database"] == {"ready": True, "detail": "fine"}


async def test_one_failing_check_makes_it_not_ready_and_is_named() -> None:
    answer = await ask("/readyz", database=broken, objects=fine)
    assert answer.status_code == 503
    assert answer.json()["checks"]["database"]["ready"] is False
    assert answer.json()["checks"]["objects"]["ready"] is True
    assert "secret" not in answer.text


async def test_only_a_change_is_logged() -> None:
    """A supervisor asks many times a second while something starts."""
    fails: list[Exception | None] = [OSError(), OSError(), None, None, OSError(), ValueError()]

    async def changing() -> str:
        failure = fails.pop(0)
        if failure is not None:
            raise failure
        return "fine"

    app = FastAPI()
    app.include_router(health_router({"disk": changing}))
    transport = httpx.ASGITransport(app=app)
    with structlog.testing.capture_logs() as lines:
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            while fails:
                await client.get("/readyz")

    assert [(line["event"], line.get("error")) for line in lines] == [
        ("check_failed", "OSError"),
        ("check_passed", None),
        ("check_failed", "OSError"),
        ("check_failed", "ValueError"),
    ]


async def test_a_check_that_hangs_is_a_failing_check() -> None:
    async def hangs() -> str:
        await asyncio.Event().wait()
        return "never"

    async with asyncio.timeout(health.CHECK_DEADLINE_S + 1):
        assert (await ask("/readyz", database=hangs)).status_code == 503


async def test_alive_asks_nobody() -> None:
    assert (await ask("/livez", database=broken)).status_code == 200
