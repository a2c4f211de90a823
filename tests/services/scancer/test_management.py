"""TorchServe's management API, on the database and the engine that are behind it."""

import asyncio
import re
from typing import Any

import httpx
import pytest

from tests.services.scancer.support import (
    BRIGHT,
    DARK,
    DEVELOPER,
    STRANGER,
    Installation,
    package,
    put_in_store,
    register,
)

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def error(answer: httpx.Response) -> tuple[int, str, str]:
    """Status, type and message of a refusal, whose body must repeat the status."""
    said = answer.json()
    assert said["code"] == answer.status_code
    assert list(said) == ["code", "type", "message"]
    return answer.status_code, said["type"], said["message"]


async def test_a_package_of_the_store_is_registered_scaled_described_and_served(
    client: httpx.AsyncClient, installation: Installation
) -> None:
    """The story of the original's document, told to its end."""
    put_in_store(installation.store)
    before = await client.get("/models")
    registered = await client.post("/models?url=brightness-1.0.zip")
    without = await client.put("/predictions/brightness", content=BRIGHT)
    scaled = await client.put("/models/brightness?min_worker=2&synchronous=true")
    predicted = await client.put("/predictions/brightness", content=BRIGHT)
    [described] = (await client.get("/models/brightness")).json()
    listed = await client.get("/models/")

    assert before.text == '{\n  "models": []\n}\n'
    assert registered.status_code == 200
    assert registered.text == (
        '{\n  "status": "Model \\"brightness\\" Version: 1.0 registered with 0 initial workers. '
        'Use scale workers API to add workers for the model."\n}\n'
    )
    assert error(without) == (
        503,
        "ServiceUnavailableException",
        'Model "brightness" has no worker to serve inference request. '
        "Please use scale workers API to add workers.",
    )
    assert scaled.status_code == 200
    assert scaled.json() == {"status": "Workers scaled to 2 for model: brightness"}
    assert predicted.text == "1"
    assert listed.json() == {
        "models": [{"modelName": "brightness", "modelUrl": "brightness-1.0.zip"}]
    }
    assert described["modelName"] == "brightness"
    assert described["modelVersion"] == "1.0"
    assert described["modelUrl"] == "brightness-1.0.zip"
    assert (described["minWorkers"], described["maxWorkers"]) == (2, 2)
    assert (described["batchSize"], described["maxBatchDelay"]) == (1, 100)
    assert described["loadedAtStartup"] is False
    assert [worker["id"] for worker in described["workers"]] == ["9000", "9001"]
    assert all(INSTANT.fullmatch(worker["startTime"]) for worker in described["workers"])
    assert {worker["status"] for worker in described["workers"]} == {"READY"}
    assert described["workers"][0]["gpu"] is False
    assert described["workers"][0]["gpuUsage"] == "N/A"
    assert described["jobQueueStatus"]["pendingRequests"] == 0
    assert described["jobQueueStatus"]["remainingCapacity"] > 0


async def test_versions_conflicts_and_defaults(
    client: httpx.AsyncClient, installation: Installation
) -> None:
    """The first version is the default one until another is set."""
    put_in_store(installation.store)
    put_in_store(installation.store, version="1.1", gain=-4.0)
    first = await register(client, "brightness-1.0.zip", model_name="pcam_cnn_v1.1")
    second = await register(client, "brightness-1.1.zip", model_name="pcam_cnn_v1.1")
    conflict = await register(client, "brightness-1.1.zip", model_name="pcam_cnn_v1.1")
    path = "/predictions/pcam_cnn_v1.1"
    before = await client.put(path, content=BRIGHT)
    named = await client.put(f"{path}/1.1", content=BRIGHT)
    unknown = await client.put("/models/pcam_cnn_v1.1/7/set-default")
    changed = await client.put("/models/pcam_cnn_v1.1/1.1/set-default")
    after = await client.put(path, content=BRIGHT)
    kept = await client.delete("/models/pcam_cnn_v1.1/1.1")
    versions = (await client.get("/models/pcam_cnn_v1.1/all")).json()
    removed = await client.delete("/models/pcam_cnn_v1.1/1.0")
    whole = await client.delete("/models/pcam_cnn_v1.1")
    gone = await client.delete("/models/pcam_cnn_v1.1")

    assert first.json() == {
        "status": 'Model "pcam_cnn_v1.1" Version: 1.0 registered with 1 initial workers'
    }
    assert second.status_code == 200
    assert error(conflict) == (
        409,
        "ConflictStatusException",
        "Model version 1.1 is already registered for model pcam_cnn_v1.1",
    )
    assert (before.text, named.text, after.text) == ("1", "0", "0")
    assert error(unknown) == (
        404,
        "ModelVersionNotFoundException",
        "Model version: 7 does not exist for model: pcam_cnn_v1.1",
    )
    assert changed.json() == {
        "status": 'Default version successfully updated for model "pcam_cnn_v1.1" to "1.1"'
    }
    assert error(kept) == (
        403,
        "InvalidModelVersionException",
        "Cannot remove default version for model pcam_cnn_v1.1",
    )
    assert [each["modelVersion"] for each in versions] == ["1.0", "1.1"]
    assert removed.json() == {"status": 'Model "pcam_cnn_v1.1" unregistered'}
    assert whole.status_code == 200
    assert error(gone) == (404, "ModelNotFoundException", "Model not found: pcam_cnn_v1.1")


async def test_the_list_is_paged_and_sorted(
    client: httpx.AsyncClient, installation: Installation
) -> None:
    put_in_store(installation.store)
    for name in ("c", "a", "b"):
        await client.post("/models", params={"url": "brightness-1.0.zip", "model_name": name})
    first = (await client.get("/models?limit=2")).json()
    second = (await client.get(f"/models?limit=2&next_page_token={first['nextPageToken']}")).json()
    odd = (await client.get("/models?limit=x&next_page_token=-1")).json()

    assert [each["modelName"] for each in first["models"]] == ["a", "b"]
    assert [each["modelName"] for each in second["models"]] == ["c"]
    assert "nextPageToken" not in second
    assert len(odd["models"]) == 3


async def test_without_waiting_the_answer_is_202(
    client: httpx.AsyncClient, installation: Installation
) -> None:
    put_in_store(installation.store)
    registered = await client.post("/models?url=brightness-1.0.zip&initial_workers=1")
    scaled = await client.put("/models/brightness?min_worker=2&max_worker=3")
    waited = await client.put("/models/brightness/1.0?min_worker=1&synchronous=true")

    assert (registered.status_code, scaled.status_code) == (202, 202)
    assert registered.json() == {"status": "Processing worker updates..."}
    assert waited.json() == {"status": "Workers scaled to 1 for model: brightness, version: 1.0"}
    assert (await client.put("/predictions/brightness", content=DARK)).text == "0"


async def test_no_workers_mean_no_memory(
    client: httpx.AsyncClient, installation: Installation
) -> None:
    put_in_store(installation.store)
    await register(client, "brightness-1.0.zip")
    scaled = await client.put("/models/brightness?min_worker=0&synchronous=true")
    answer = await client.put("/predictions/brightness", content=BRIGHT)
    [described] = (await client.get("/models/brightness?customized=true")).json()
    ping = await client.get("/ping")

    assert scaled.json() == {"status": "Workers scaled to 0 for model: brightness"}
    assert answer.status_code == 503
    assert described["workers"] == []
    assert described["customizedMetadata"]["labels"] == ["dark", "bright"]
    assert ping.json() == {"status": "Healthy"}


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("POST", "/models", (400, "BadRequestException", "Parameter url is required.")),
        (
            "PUT",
            "/models/x?min_worker=3&max_worker=2",
            (400, "BadRequestException", "max_worker cannot be less than min_worker."),
        ),
        (
            "PUT",
            "/models/x?min_worker=65",
            (400, "BadRequestException", "A model may have 0 to 64 workers."),
        ),
        ("PUT", "/models/x", (404, "ModelNotFoundException", "Model not found: x")),
        ("GET", "/models/x", (404, "ModelNotFoundException", "Model not found: x")),
        ("GET", "/models/x/all", (404, "ModelNotFoundException", "Model not found: x")),
        ("PUT", "/models/x/1/set-default", (404, "ModelNotFoundException", "Model not found: x")),
        (
            "POST",
            "/models/x",
            (
                405,
                "MethodNotAllowedException",
                "Requested method is not allowed, please refer to API document.",
            ),
        ),
        (
            "GET",
            "/models/x/1/2/3",
            (
                404,
                "ResourceNotFoundException",
                "Requested resource is not found, please refer to API document.",
            ),
        ),
        (
            "POST",
            "/models?url=absent.zip",
            (404, "ModelNotFoundException", "Model not found in model store: absent.zip"),
        ),
        (
            "POST",
            "/models?url=x.zip&batch_size=0",
            (400, "BadRequestException", "Parameter batch_size must be from 1 to 1024."),
        ),
        (
            "POST",
            "/models?url=x.zip&model_name=../x",
            (
                400,
                "BadRequestException",
                "Parameter model_name is up to 128 letters, digits, '.', '_' and '-'.",
            ),
        ),
    ],
)
async def test_refusals_are_worded_as_there(
    served: httpx.AsyncClient, method: str, path: str, found: tuple[int, str, str]
) -> None:
    assert error(await served.request(method, path)) == found


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/models?url=x"), ("PUT", "/models/brightness"), ("DELETE", "/models/brightness"),
     ("PUT", "/models/brightness/1.0/set-default")],
)  # fmt: skip
async def test_only_administrators_change_models(
    served: httpx.AsyncClient, method: str, path: str
) -> None:
    """Developers list and describe."""
    developer = await served.request(method, path, headers=DEVELOPER)
    stranger = await served.request(method, path, headers=STRANGER)
    listed = await served.get("/models", headers=DEVELOPER)
    listed_by_stranger = await served.get("/models", headers=STRANGER)

    assert error(developer)[:2] == (403, "ForbiddenException")
    assert stranger.status_code == 401
    assert listed.status_code == 200
    assert listed_by_stranger.status_code == 401


async def test_the_state_survives_a_restart(installation: Installation) -> None:
    """And needs nothing of this machine but the database and the object store."""
    put_in_store(installation.store)
    put_in_store(installation.store, version="2.0", gain=-4.0)
    async with installation.serve() as client:
        await register(client, "brightness-1.0.zip")
        await register(client, "brightness-2.0.zip")
        await client.put("/models/brightness/2.0/set-default")
    other_machine = Installation(
        installation.home / "other",
        installation.database_url,
        settings={"objects_url": f"file://{installation.home / 'objects'}"},
    )
    async with other_machine.serve() as client:
        answers = [
            (await client.put(f"/predictions/brightness{version}", content=BRIGHT)).text
            for version in ("", "/1.0", "/2.0")
        ]
        described = (await client.get("/models/brightness/all")).json()

    assert answers == ["0", "1", "0"]
    assert [each["minWorkers"] for each in described] == [1, 1]


async def until(client: httpx.AsyncClient, path: str, wanted: tuple[int, str]) -> None:
    """Ask until the answer is this one; the test's own deadline ends it."""
    async with asyncio.timeout(20):
        while True:
            answer = await client.put(path, content=BRIGHT)
            if (answer.status_code, answer.text[:1]) == wanted:
                return
            await asyncio.sleep(0.02)


async def until_ready(client: httpx.AsyncClient) -> None:
    """Ask until the service says that it is ready; the test's own deadline ends it."""
    async with asyncio.timeout(20):
        while (await client.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.02)


async def test_replicas_follow_each_other(installation: Installation) -> None:
    put_in_store(installation.store)
    put_in_store(installation.store, version="2.0", gain=-4.0)
    async with installation.serve() as one, installation.serve() as other:
        await register(one, "brightness-1.0.zip")
        at_once = await other.put("/predictions/brightness", content=BRIGHT)
        await register(other, "brightness-2.0.zip")
        await other.put("/models/brightness/2.0/set-default")
        await until(one, "/predictions/brightness", (200, "0"))
        await other.put("/models/brightness?min_worker=0&synchronous=true")
        await until(one, "/predictions/brightness", (503, "{"))
        await one.delete("/models/brightness")
        await until(other, "/predictions/brightness", (404, "{"))

    assert at_once.text == "1"


async def test_a_shipped_package_is_there_from_the_start_and_stays_away_once_removed(
    installation: Installation,
) -> None:
    installation.shipped = installation.home / "shipped"
    package(installation.shipped / "brightness")
    async with installation.serve() as client:
        await until_ready(client)
        [described] = (await client.get("/models/brightness")).json()
        answer = await client.put("/predictions/brightness", content=BRIGHT)
        await client.delete("/models/brightness")
    async with installation.serve() as client:
        listed = (await client.get("/models")).json()

    assert described["loadedAtStartup"] is True
    assert described["minWorkers"] == 2
    assert answer.text == "1"
    assert listed == {"models": []}


async def test_a_newer_shipped_version_becomes_the_default_unless_somebody_chose(
    installation: Installation,
) -> None:
    installation.shipped = installation.home / "shipped"
    package(installation.shipped / "brightness")
    async with installation.serve():
        pass
    package(installation.shipped / "newer", version="1.1", gain=-4.0)
    async with installation.serve() as client:
        answer = await client.put("/predictions/brightness", content=BRIGHT)
        versions = (await client.get("/models/brightness/all")).json()

    assert answer.text == "0"
    assert {each["modelVersion"] for each in versions} == {"1.0", "1.1"}


async def test_two_names_may_share_a_package(
    client: httpx.AsyncClient, installation: Installation
) -> None:
    """Each has its workers; the network leaves with the last of them."""
    put_in_store(installation.store)
    for name in ("one", "two"):
        await register(client, "brightness-1.0.zip", model_name=name)
    await client.delete("/models/one")
    gone = await client.put("/predictions/one", content=BRIGHT)
    stays = await client.put("/predictions/two", content=BRIGHT)

    assert gone.status_code == 404
    assert stays.text == "1"


async def test_no_more_versions_than_allowed(installation: Installation) -> None:
    put_in_store(installation.store)
    installation.settings = {"scancer_max_versions": 1}
    async with installation.serve() as client:
        await register(client, "brightness-1.0.zip", model_name="one")
        answer = await register(client, "brightness-1.0.zip", model_name="two")

    assert error(answer)[:2] == (409, "ConflictStatusException")


async def test_demo_models_answer_only_where_the_policy_lets_them(
    installation: Installation,
) -> None:
    put_in_store(installation.store)
    settings: dict[str, Any] = {"evidence": "refuse"}
    installation.settings = settings
    async with installation.serve() as client:
        registered = await register(client, "brightness-1.0.zip")
        old = await client.put("/predictions/brightness", content=BRIGHT)
        modern = await client.post("/api/v2/scancer/models/brightness/predictions", content=BRIGHT)
        protocol = await client.post("/v2/models/brightness/infer", content=b"{}")

    assert registered.status_code == 200
    assert error(old)[:2] == (409, "EvidenceRefusedException")
    assert modern.status_code == 409
    assert protocol.status_code == 409
