"""The modern API: analyses from the upload to the report."""

import asyncio
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest
from PIL import Image
from sqlalchemy.ext.asyncio import async_sessionmaker

from services.netra.announcing import Endings
from services.netra.domain import Analysis
from shared.assertions import Caller
from shared.db import create_engine
from shared.objects import LocalObjects
from tests.services.netra.support import (
    DISEASED,
    HEALTHY,
    NO_FUNDUS,
    UNCERTAIN,
    UNGRADABLE,
    Bench,
    as_caller,
    caller,
    ophthalmic_photograph,
    picture,
)

ANALYSES = "/api/v2/netra/analyses"
Headers = Mapping[str, str]
ADMIN = frozenset({"netra:read", "netra:write", "netra:admin"})


async def start(
    client: httpx.AsyncClient,
    who: Headers,
    image: bytes | None = None,
    *,
    name: str = "left.jpg",
    headers: Headers | None = None,
    **fields: Any,
) -> httpx.Response:
    """Upload one photograph."""
    return await client.post(
        ANALYSES,
        files={"image": (name, picture() if image is None else image)},
        data=fields,
        headers={**who, **(headers or {})},
    )


async def done(
    client: httpx.AsyncClient, bench: Bench, who: Headers, answer: Analysis, **fields: Any
) -> dict[str, Any]:
    """An analysis that a worker has finished."""
    started = (await start(client, who, **fields)).json()
    await bench.work(answer)
    found: dict[str, Any] = (await client.get(f"{ANALYSES}/{started['id']}", headers=who)).json()
    return found


async def test_an_upload_is_202_with_a_place_to_ask_at(
    client: httpx.AsyncClient, as_bob: Headers
) -> None:
    answer = await start(client, as_bob, label="camp 7", eye="left", name="C:\\x\\left.jpg")
    body = answer.json()
    asked = await client.get(answer.headers["location"], headers=as_bob)

    assert answer.status_code == 202
    assert answer.headers["location"] == f"{ANALYSES}/{body['id']}"
    assert answer.headers["vedette-credits"] == "99"
    assert answer.headers["retry-after"] == "1"
    assert (body["status"], body["label"], body["eye"]) == ("queued", "camp 7", "left")
    assert body["image"]["name"] == "left.jpg"
    assert body["retinopathy"] is body["lesions"] is None
    assert asked.json() == body


async def test_what_was_found_is_told_when_it_is_done(
    client: httpx.AsyncClient, bench: Bench, as_bob: Headers
) -> None:
    found = await done(client, bench, as_bob, DISEASED)

    assert found["status"] == "completed"
    assert found["fundus"] == {
        "accepted": True, "score": 0.99, "reasons": [], "explanations": [],
    }  # fmt: skip
    assert found["quality"]["gradable"] is True
    assert found["retinopathy"] == {
        "detected": True, "probability": 0.875, "operating_point": 0.5,
    }  # fmt: skip
    assert found["referable"]["detected"] is True
    assert found["lesions"][0] == {
        "type": "haemorrhage", "box_xyxy_px": [10, 20, 30, 44], "score": 0.75,
    }  # fmt: skip
    assert found["model"]["id"] == "netra-retinopathy"
    assert [model["task"] for model in found["models"]] == ["gate", "retinopathy"]
    assert (found["evidence"], found["abstained"], found["error"]) == ("research", False, None)
    assert (found["image"]["width_px"], found["image"]["height_px"]) == (64, 48)
    assert found["progress"] == 1.0
    assert None not in (found["finished_at"], found["started_at"], found["created_at"])


@pytest.mark.parametrize(
    ("answer", "status", "reasons"),
    [
        (HEALTHY, "completed", []),
        (UNGRADABLE, "completed", ["ungradable"]),
        (NO_FUNDUS, "completed", ["not-a-fundus"]),
        (UNCERTAIN, "held", ["uncertain"]),
    ],
)
async def test_every_outcome_says_whether_it_abstained_and_why(
    client: httpx.AsyncClient,
    bench: Bench,
    as_bob: Headers,
    answer: Analysis,
    status: str,
    reasons: list[str],
) -> None:
    found = await done(client, bench, as_bob, answer)

    assert found["status"] == status
    assert found["abstained"] is bool(reasons)
    assert found["abstain_reasons"] == reasons
    assert len(found["abstain_explanations"]) == len(reasons)
    assert len(found["quality"]["explanations"]) == len(answer.quality.reasons)
    if reasons:
        assert found["retinopathy"]["detected"] is found["retinopathy"]["probability"] is None


async def test_a_held_analysis_is_completed_by_a_person(
    client: httpx.AsyncClient, bench: Bench, bob: Caller, as_bob: Headers
) -> None:
    held = await done(client, bench, as_bob, UNCERTAIN)
    url = f"{ANALYSES}/{held['id']}"
    decision = {"retinopathy": True, "referable": False, "note": "one microaneurysm"}
    decided = await client.post(f"{url}/decision", json=decision, headers=as_bob)
    again = await client.post(f"{url}/decision", json=decision, headers=as_bob)
    found = (await client.get(url, headers=as_bob)).json()

    assert (decided.status_code, again.status_code) == (204, 409)
    assert (found["status"], found["abstained"]) == ("completed", False)
    assert found["retinopathy"] == {
        "detected": True, "probability": None, "operating_point": None,
    }  # fmt: skip
    assert found["referable"]["detected"] is False
    assert found["decision"]["decided_by"] == bob.subject
    assert found["decision"]["note"] == "one microaneurysm"


async def test_dicom_from_a_camera_is_read(
    client: httpx.AsyncClient, bench: Bench, as_bob: Headers
) -> None:
    """Ophthalmic Photography 8 Bit Image, decoded in a process of its own."""
    started = await start(client, as_bob, ophthalmic_photograph(), name="a.dcm")
    await bench.work(DISEASED)
    found = (await client.get(started.headers["location"], headers=as_bob)).json()
    report = await client.get(found["report_url"], headers=as_bob)

    assert (found["status"], found["image"]["format"]) == ("completed", "dicom")
    assert (found["image"]["width_px"], found["image"]["height_px"]) == (64, 48)
    assert report.headers["content-type"] == "application/dicom"
    assert b"Grant^Ada" in report.content


async def test_sizes_are_those_of_the_picture_turned_upright(
    client: httpx.AsyncClient, bench: Bench, as_bob: Headers
) -> None:
    """Boxes are in these pixels."""
    file = io.BytesIO()
    turned = Image.new("RGB", (64, 48))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(file, "JPEG", exif=exif)
    started = await start(client, as_bob, file.getvalue())
    await bench.work(DISEASED)
    found = (await client.get(started.headers["location"], headers=as_bob)).json()
    annotated = await client.get(found["annotated_url"], headers=as_bob)

    assert (found["image"]["width_px"], found["image"]["height_px"]) == (48, 64)
    with Image.open(io.BytesIO(annotated.content)) as drawn:
        assert drawn.size == (48, 64)


async def test_an_unreadable_picture_fails_and_is_refunded(
    client: httpx.AsyncClient, bench: Bench, as_bob: Headers
) -> None:
    started = (await start(client, as_bob, b"\xff\xd8\xff" + bytes(300))).json()
    await bench.work()
    found = (await client.get(f"{ANALYSES}/{started['id']}", headers=as_bob)).json()
    account = (await client.get("/api/v2/netra/account", headers=as_bob)).json()

    assert found["status"] == "failed"
    assert found["error"]["code"] == "unreadable"
    assert account["credits"] == 100
    assert [each["kind"] for each in account["items"]] == ["refund", "charge", "grant"]


@pytest.mark.parametrize(
    ("fields", "image", "status"),
    [
        ({"eye": "both"}, None, 422),
        ({"priority": "10"}, None, 422),
        ({"priority": "high"}, None, 422),
        ({"label": "x" * 201}, None, 422),
        ({"label": "a\0b"}, None, 422),
        ({"examination": "x" * 129}, None, 422),
        ({"examination": "v", "patient_birth_date": "27.3.1958"}, None, 422),
        ({"examination": "v", "patient_sex": "X"}, None, 422),
        ({}, b"", 415),
        ({}, b"<svg/>", 415),
        ({}, b"\xff\xd8\xff" + bytes(9 * 1024 * 1024), 413),
    ],
)
async def test_a_bad_upload_is_a_problem_and_costs_nothing(
    client: httpx.AsyncClient,
    as_bob: Headers,
    fields: dict[str, Any],
    image: bytes | None,
    status: int,
) -> None:
    refused = await start(client, as_bob, image, **fields)
    account = (await client.get("/api/v2/netra/account", headers=as_bob)).json()

    assert refused.status_code == status
    assert refused.headers["content-type"] == "application/problem+json"
    assert account["credits"] == 100


async def test_a_form_without_a_picture_is_a_problem(
    client: httpx.AsyncClient, as_bob: Headers
) -> None:
    as_text = await client.post(ANALYSES, data={"image": "x"}, headers=as_bob)
    no_part = await client.post(ANALYSES, files={"other": b"x"}, headers=as_bob)

    assert (as_text.status_code, no_part.status_code) == (415, 422)


async def test_without_credits_an_upload_is_402(
    client: httpx.AsyncClient, bench: Bench, as_bob: Headers
) -> None:
    bench.credits = 0
    async with bench.serve() as poor:
        refused = await start(poor, as_bob)

    assert refused.status_code == 402
    assert refused.json()["remaining"] == 0


async def test_a_repeated_key_repeats_its_analysis_and_costs_nothing(
    client: httpx.AsyncClient, as_bob: Headers
) -> None:
    keyed = {"Idempotency-Key": "a1"}
    first = await start(client, as_bob, headers=keyed)
    again = await start(client, as_bob, headers=keyed)
    other = await start(client, as_bob, picture(level=9), headers=keyed)
    odd = await start(client, as_bob, headers={"Idempotency-Key": "x" * 256})

    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["vedette-credits"] == "99"
    assert (other.status_code, odd.status_code) == (422, 422)


async def test_a_list_is_paged_and_can_be_of_one_label_or_status(
    client: httpx.AsyncClient, bench: Bench, as_bob: Headers
) -> None:
    ids = [(await start(client, as_bob, label=label)).json()["id"] for label in "abab"]
    first = (await client.get(ANALYSES, params={"limit": 3}, headers=as_bob)).json()
    second = (
        await client.get(ANALYSES, params={"cursor": first["next_cursor"]}, headers=as_bob)
    ).json()
    labelled = (await client.get(ANALYSES, params={"label": "a"}, headers=as_bob)).json()
    await bench.work(HEALTHY)
    queued = (await client.get(ANALYSES, params={"status": "queued"}, headers=as_bob)).json()
    odd = await client.get(ANALYSES, params={"cursor": "x"}, headers=as_bob)

    assert {item["id"] for item in first["items"] + second["items"]} == set(ids)
    assert (len(first["items"]), second["next_cursor"]) == (3, None)
    assert {item["label"] for item in labelled["items"]} == {"a"}
    assert queued["items"] == []
    assert odd.status_code == 422


async def test_a_validator_saves_the_second_download_until_something_changes(
    client: httpx.AsyncClient, bench: Bench, as_bob: Headers
) -> None:
    url = (await start(client, as_bob)).headers["location"]
    etag = (await client.get(url, headers=as_bob)).headers["etag"]
    same = await client.get(url, headers={**as_bob, "If-None-Match": etag})
    await bench.work(HEALTHY)
    changed = await client.get(url, headers={**as_bob, "If-None-Match": etag})

    assert (same.status_code, changed.status_code) == (304, 200)


async def test_a_cancelled_analysis_is_refunded_and_never_done(
    client: httpx.AsyncClient, bench: Bench, as_bob: Headers
) -> None:
    url = (await start(client, as_bob)).headers["location"]
    cancelled = await client.post(f"{url}/cancel", headers=as_bob)
    again = await client.post(f"{url}/cancel", headers=as_bob)
    account = (await client.get("/api/v2/netra/account", headers=as_bob)).json()

    assert cancelled.json()["status"] == "cancelled"
    assert again.status_code == 409
    assert account["credits"] == 100
    assert await bench.work() == 0


async def test_a_deleted_analysis_is_gone_and_refunded_if_it_was_not_done(
    client: httpx.AsyncClient, bench: Bench, as_bob: Headers
) -> None:
    finished = f"{ANALYSES}/{(await done(client, bench, as_bob, DISEASED))['id']}"
    waiting = (await start(client, as_bob)).headers["location"]
    statuses = [
        (await client.delete(url, headers=as_bob)).status_code
        for url in (finished, waiting, waiting)
    ]
    account = (await client.get("/api/v2/netra/account", headers=as_bob)).json()
    shown = await client.get(finished, headers=as_bob)

    assert statuses == [204, 204, 404]
    assert shown.status_code == 404
    assert account["credits"] == 99
    assert await bench.work() == 0


async def test_a_deleted_analysis_is_written_by_no_worker(
    client: httpx.AsyncClient, bench: Bench, as_bob: Headers
) -> None:
    """It was in a worker's hands; nothing of it comes back, and its credit does, once."""
    url = (await start(client, as_bob)).headers["location"]
    claim = await bench.claim()
    assert claim is not None
    await client.delete(url, headers=as_bob)
    refused = False
    try:
        async with claim.effect() as effect:
            await effect.complete({})
    except Exception as error:
        refused = type(error).__name__ == "ClaimLost"
    account = (await client.get("/api/v2/netra/account", headers=as_bob)).json()

    assert refused
    assert account["credits"] == 100


# Both eyes


@pytest.mark.parametrize(
    ("left", "right", "together"),
    [
        (HEALTHY, HEALTHY, (False, False, True)),
        (HEALTHY, DISEASED, (True, True, True)),
        (UNGRADABLE, HEALTHY, (None, None, False)),
        (UNGRADABLE, DISEASED, (True, True, False)),
        (UNCERTAIN, HEALTHY, (None, None, False)),
    ],
)
async def test_both_eyes_of_a_visit_are_judged_together(
    client: httpx.AsyncClient,
    bench: Bench,
    as_bob: Headers,
    left: Analysis,
    right: Analysis,
    together: tuple[bool | None, bool | None, bool],
) -> None:
    """Disease in one is disease; that there is none needs a verdict on each."""
    visit = {"examination": "visit 1", "patient_id": "4711"}
    first = await done(client, bench, as_bob, left, eye="left", **visit)
    second = await done(client, bench, as_bob, right, eye="right", **visit)
    found = (await client.get("/api/v2/netra/examinations/visit 1", headers=as_bob)).json()

    assert (found["retinopathy"], found["referable"], found["complete"]) == together
    assert found["eyes"]["left"]["analyses"] == [first["id"]]
    assert found["eyes"]["right"]["analyses"] == [second["id"]]
    assert found["patient_id"] == "4711"


async def test_an_unknown_visit_is_404(client: httpx.AsyncClient, as_bob: Headers) -> None:
    answer = await client.get("/api/v2/netra/examinations/none", headers=as_bob)

    assert answer.status_code == 404


# Pictures and reports


async def test_the_photograph_comes_back_as_it_was_sent(
    client: httpx.AsyncClient, as_bob: Headers
) -> None:
    image = picture("TIFF")
    url = f"{(await start(client, as_bob, image)).headers['location']}/image"
    original = await client.get(url, headers=as_bob)
    shown = await client.get(url, headers={**as_bob, "Accept": "image/png"})

    assert original.content == image
    assert original.headers["content-disposition"].startswith("attachment")
    assert original.headers["x-content-type-options"] == "nosniff"
    with Image.open(io.BytesIO(shown.content)) as drawn:
        assert (drawn.format, drawn.size) == ("PNG", (64, 48))


async def test_lesions_are_drawn_as_boxes_and_masks(
    client: httpx.AsyncClient, bench: Bench, as_bob: Headers
) -> None:
    found = await done(client, bench, as_bob, DISEASED)
    annotated = await client.get(found["annotated_url"], headers=as_bob)
    mask = await client.get(found["mask_urls"]["haemorrhage"], headers=as_bob)
    absent = await client.get(f"{ANALYSES}/{found['id']}/masks/microaneurysm", headers=as_bob)
    odd = await client.get(f"{ANALYSES}/{found['id']}/masks/x", headers=as_bob)

    with Image.open(io.BytesIO(annotated.content)) as drawn:
        assert (drawn.format, drawn.size) == ("JPEG", (64, 48))
    with Image.open(io.BytesIO(mask.content)) as drawn:
        pixels = np.asarray(drawn)
    assert pixels.shape == (24, 32)
    assert set(np.unique(pixels)) == {0, 255}
    assert np.argwhere(pixels).min(axis=0).tolist() == [4, 5]
    assert annotated.headers["vedette-evidence"] == "research"
    assert (absent.status_code, odd.status_code) == (404, 422)


@pytest.mark.parametrize("path", ["annotated", "masks/haemorrhage", "report.dcm", "fhir"])
async def test_there_is_nothing_to_show_before_the_end(
    client: httpx.AsyncClient, as_bob: Headers, path: str
) -> None:
    url = (await start(client, as_bob)).headers["location"]

    assert (await client.get(f"{url}/{path}", headers=as_bob)).status_code == 409


async def test_answers_that_the_policy_keeps_back_are_kept_back_everywhere(
    client: httpx.AsyncClient, bench: Bench, as_bob: Headers
) -> None:
    found = await done(client, bench, as_bob, DISEASED, examination="v")
    bench.evidence = "require-validated"
    async with bench.serve() as strict:
        shown = (await strict.get(f"{ANALYSES}/{found['id']}", headers=as_bob)).json()
        listed = (await strict.get(ANALYSES, headers=as_bob)).json()["items"][0]
        refused = [
            await strict.get(url, headers=as_bob)
            for url in (
                found["annotated_url"],
                found["report_url"],
                found["fhir_url"],
                found["mask_urls"]["haemorrhage"],
                "/api/v2/netra/examinations/v",
            )
        ]
        upload = await start(strict, as_bob)

    assert shown["withheld"] is listed["withheld"] is True
    assert shown["retinopathy"] is shown["lesions"] is shown["evidence"] is None
    assert shown["mask_urls"] == {}
    assert {answer.status_code for answer in refused} == {409}
    assert upload.status_code == 409


# Credits


async def test_the_administrator_gives_credits(
    client: httpx.AsyncClient, bob: Caller, as_bob: Headers
) -> None:
    admin = as_caller(caller(scopes=ADMIN))
    url = f"/api/v2/netra/accounts/{bob.subject}"
    refused = await client.patch(url, json={"credits": 1_000_000}, headers=as_bob)
    given = await client.patch(url, json={"credits": 5}, headers=admin)
    shown = (await client.get(url, headers=admin)).json()
    account = (await client.get("/api/v2/netra/account", headers=as_bob)).json()

    assert refused.status_code == 403
    assert given.json() == {"user_id": bob.subject, "credits": 5}
    assert shown == account
    assert sum(each["amount"] for each in account["items"]) == account["credits"] == 5


@pytest.mark.parametrize("wanted", [-1, 1.5, "7", True, None, 10**10])
async def test_credits_are_a_number_that_is_not_negative(
    client: httpx.AsyncClient, wanted: object
) -> None:
    admin = as_caller(caller(scopes=ADMIN))
    url = f"/api/v2/netra/accounts/{uuid4()}"
    refused = await client.patch(url, json={"credits": wanted}, headers=admin)

    assert refused.status_code == 422


# Waiting


async def test_who_prefers_to_wait_gets_the_result_as_soon_as_it_is_there(
    scratch_database: str, tmp_path: Path, as_bob: Headers
) -> None:
    engine = create_engine(scratch_database)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    async with Endings.listen(scratch_database) as endings:
        bench = Bench(sessions, LocalObjects(tmp_path / "objects"), endings=endings)
        async with bench.serve() as client:

            async def work_when_there_is_some() -> None:
                while not await bench.work(DISEASED):
                    await asyncio.sleep(0.01)

            working = asyncio.create_task(work_when_there_is_some())
            answer = await start(client, as_bob, headers={"Prefer": "wait=30"})
            await working
    await engine.dispose()

    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=30"
    assert answer.json()["status"] == "completed"
    assert answer.headers["vedette-model"] == "netra-retinopathy@1.0"


@pytest.mark.parametrize("prefer", ["wait=0", "wait=x", "respond-async", "wait=-1", ""])
async def test_who_does_not_prefer_to_wait_does_not(
    client: httpx.AsyncClient, as_bob: Headers, prefer: str
) -> None:
    answer = await start(client, as_bob, headers={"Prefer": prefer})

    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers
