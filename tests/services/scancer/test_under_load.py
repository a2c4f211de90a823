"""Registering, swapping, scaling and deleting while the model is asked: no request is lost."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import httpx

from tests.services.scancer.support import BRIGHT, Installation, put_in_store, register

CALLERS = 8
PATH = "/predictions/brightness"


@contextlib.asynccontextmanager
async def asking(client: httpx.AsyncClient, path: str) -> AsyncIterator[Counter[tuple[int, str]]]:
    """Ask all the time, with several callers, and count the answers."""
    answers: Counter[tuple[int, str]] = Counter()
    over = asyncio.Event()

    async def ask() -> None:
        while not over.is_set():
            answer = await client.put(path, content=BRIGHT)
            answers[answer.status_code, answer.headers.get("vedette-model", answer.text)] += 1

    callers = [asyncio.create_task(ask()) for _ in range(CALLERS)]
    try:
        yield answers
    finally:
        over.set()
        await asyncio.gather(*callers)


async def answered(answers: Counter[tuple[int, str]], model: str, least: int = 20) -> None:
    """Wait until this version has answered some more; the test's own deadline ends it."""
    before = answers[200, model]
    async with asyncio.timeout(30):
        while answers[200, model] < before + least:
            await asyncio.sleep(0.005)


async def test_a_swap_loses_no_request_and_neither_does_the_end_of_the_old_version(
    installation: Installation,
) -> None:
    for version in ("1.0", "2.0"):
        put_in_store(installation.store, version=version)
    async with installation.serve() as client:
        await register(client, "brightness-1.0.zip")
        async with asking(client, PATH) as answers:
            await answered(answers, "brightness@1.0")
            registered = await register(client, "brightness-2.0.zip")
            swapped = await client.put("/models/brightness/2.0/set-default")
            removed = await client.delete("/models/brightness/1.0")
            await answered(answers, "brightness@2.0")
            scaled = [
                await client.put(f"/models/brightness?min_worker={count}&synchronous=true")
                for count in (2, 1, 8)
            ]
            again = await register(client, "brightness-1.0.zip")
            back = await client.put("/models/brightness/1.0/set-default")
            await answered(answers, "brightness@1.0")

    changes = [registered, swapped, removed, *scaled, again, back]
    assert [change.status_code for change in changes] == [200] * len(changes)
    assert set(answers) == {(200, "brightness@1.0"), (200, "brightness@2.0")}


async def test_other_models_come_and_go_beside_one_that_is_asked(
    installation: Installation,
) -> None:
    put_in_store(installation.store)
    put_in_store(installation.store, "other")
    async with installation.serve() as client:
        await register(client, "brightness-1.0.zip")
        async with asking(client, PATH) as answers:
            for _ in range(5):
                await register(client, "other-1.0.zip")
                assert (await client.put("/predictions/other", content=BRIGHT)).text == "1"
                await client.delete("/models/other")
            await answered(answers, "brightness@1.0")

    assert set(answers) == {(200, "brightness@1.0")}


async def test_what_is_deleted_answers_what_has_begun_and_nothing_after_that(
    installation: Installation,
) -> None:
    """An answer is a prediction or "not found", never a failure."""
    put_in_store(installation.store)
    async with installation.serve() as client:
        await register(client, "brightness-1.0.zip")
        async with asking(client, PATH) as answers:
            await answered(answers, "brightness@1.0")
            await client.delete("/models/brightness")
            after = await client.put(PATH, content=BRIGHT)

    assert after.status_code == 404
    assert {status for status, _ in answers} == {200, 404}
