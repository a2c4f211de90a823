"""What scancer does while the database is away, and when many ask for the same at once."""

import asyncio
import os
from collections import Counter
from urllib.parse import urlsplit

import httpx

from tests.database import execute
from tests.services.scancer.support import BRIGHT, Installation, put_in_store, register, tensor

PATH = "/predictions/brightness"


async def test_predictions_go_on_while_the_database_is_away(
    installation: Installation, postgres_url: str
) -> None:
    """Nothing of a prediction is in the database; what changes models is a 503 meanwhile."""
    put_in_store(installation.store)
    name = urlsplit(installation.database_url).path.removeprefix("/")
    async with installation.serve() as client:
        await register(client, "brightness-1.0.zip")
        await execute(postgres_url, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        await execute(
            postgres_url,
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",  # noqa: S608  # a name of this test's own
        )
        predicted = [await client.put(PATH, content=BRIGHT) for _ in range(5)]
        described = await client.get("/models/brightness")
        unknown = await client.put("/predictions/unknown", content=BRIGHT)
        scaled = await client.put("/models/brightness?min_worker=2&synchronous=true")
        await execute(postgres_url, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        again = await client.put("/models/brightness?min_worker=2&synchronous=true")

    assert [answer.text for answer in predicted] == ["1"] * 5
    assert described.status_code == 200
    assert unknown.status_code == 503
    assert scaled.status_code == 503
    assert scaled.json()["code"] == 503
    assert again.status_code == 200


async def test_of_many_equal_registrations_exactly_one_succeeds(
    client: httpx.AsyncClient, installation: Installation
) -> None:
    put_in_store(installation.store)
    answers = await asyncio.gather(*(register(client, "brightness-1.0.zip") for _ in range(8)))
    [described] = (await client.get("/models/brightness/all")).json()

    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 7}
    assert described["minWorkers"] == 1
    assert (await client.put(PATH, content=BRIGHT)).text == "1"


async def test_many_changes_at_once_end_in_one_state(
    client: httpx.AsyncClient, installation: Installation
) -> None:
    """Whoever came last is right, and what is described is what is served."""
    for version in ("1.0", "2.0"):
        put_in_store(installation.store, version=version)
        await register(client, f"brightness-{version}.zip")
    changes = [
        client.put(f"/models/brightness/{version}{change}")
        for version in ("1.0", "2.0")
        for change in ("/set-default", "?min_worker=2&synchronous=true", "?min_worker=1")
        for _ in range(3)
    ]
    answers = await asyncio.gather(*changes)
    described = (await client.get("/models/brightness/all")).json()
    defaults = [each["modelVersion"] for each in described if each["vedette"]["isDefault"]]
    answer = await client.put(PATH, content=BRIGHT)

    assert {each.status_code for each in answers} <= {200, 202}
    assert [answer.headers["vedette-model"]] == [f"brightness@{version}" for version in defaults]


async def test_a_large_body_of_json_is_read_beside_the_event_loop(
    served: httpx.AsyncClient,
) -> None:
    """Two hundred pictures as figures; others are answered meanwhile."""
    figures = tensor(250, 200)
    entry = {
        "name": "image",
        "shape": [*figures.shape],
        "datatype": "FP32",
        "data": figures.reshape(-1).tolist(),
    }
    large = served.post("/v2/models/brightness/infer", json={"inputs": [entry]})
    answers = await asyncio.gather(large, *(served.put(PATH, content=BRIGHT) for _ in range(5)))

    assert [answer.status_code for answer in answers] == [200] * 6
    assert answers[0].json()["outputs"][0]["shape"] == [200, 2]


async def test_copies_that_nobody_needs_and_what_a_killed_process_left_are_removed(
    installation: Installation,
) -> None:
    """Neither the archives of models that are gone nor half a verification stay on the disk."""
    put_in_store(installation.store)
    copies = installation.home / "models" / ".served"
    async with installation.serve() as client:
        await register(client, "brightness-1.0.zip")
        abandoned, fresh = copies / ".scratch-old", copies / ".scratch-new"
        for folder in (abandoned, fresh):
            folder.mkdir()
        os.utime(abandoned, (0, 0))
        before = len(list(copies.iterdir()))
        await client.delete("/models/brightness")
        left = [path.name for path in copies.iterdir()]

    assert before == 3
    assert left == [".scratch-new"]
