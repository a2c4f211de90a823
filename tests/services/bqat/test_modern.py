"""The modern API: scans with pages, reasons, exports and steering."""

import asyncio
import base64
import csv
import io
import zipfile
from collections.abc import Mapping
from uuid import uuid4

import httpx
import pyarrow.parquet as pq
import pytest

from tests.services.bqat.support import Bqat, as_caller, caller, face, sample

Headers = Mapping[str, str]
SCANS = "/api/v2/bqat/scans"


async def scan(bqat: Bqat, me: Headers, files: Mapping[str, bytes], wait: int = 60) -> str:
    """Scan files and wait for the end."""
    answer = await bqat.client.post(
        SCANS,
        data={"modality": "face"},
        files=[("files", (name, content)) for name, content in files.items()],
        headers={**me, "Prefer": f"wait={wait}"},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "completed"
    return str(answer.json()["id"])


async def test_a_scan_is_accepted_and_can_be_followed(bqat: Bqat, me: Headers) -> None:
    """202 with the address; 200 where the client preferred to wait."""
    answer = await bqat.client.post(
        SCANS, data={"modality": "face"}, files={"files": ("a.jpg", face(60))}, headers=me
    )
    shown = await bqat.client.get(answer.headers["location"], headers=me)

    assert answer.status_code == 202
    assert answer.headers["location"] == f"{SCANS}/{answer.json()['id']}"
    assert shown.json()["total"] == 1
    assert shown.json()["modality"] == "face"


async def test_profiles_come_in_pages_with_their_evidence(bqat: Bqat, me: Headers) -> None:
    """The cursor leads from the first to the last and no further."""
    id_ = await scan(bqat, me, {f"{n:02}.jpg": face(50 + n) for n in range(23)})
    seen, cursor = [], None
    for _ in range(4):
        params = {"limit": 6} | ({} if cursor is None else {"cursor": cursor})
        page = (await bqat.client.get(f"{SCANS}/{id_}/profiles", params=params, headers=me)).json()
        seen += [item["profile"]["ipd"] for item in page["items"]]
        assert {item["evidence"] for item in page["items"]} == {"rules"}
        cursor = page["next_cursor"]

    assert seen == list(range(50, 73))
    assert cursor is None
    bad = await bqat.client.get(f"{SCANS}/{id_}/profiles?cursor=!!", headers=me)
    assert bad.status_code == 422


async def test_outliers_say_which_column_makes_them_so(bqat: Bqat, me: Headers) -> None:
    """With the threshold and what could not be judged; another detector can be asked."""
    files = {f"{n:02}.jpg": face(60 + n % 4) for n in range(30)} | {"odd.jpg": face(500)}
    id_ = await scan(bqat, me, files)
    order = {"detector": "COPOD", "columns": ["ipd"], "contamination": 0.04}
    found = (await bqat.client.post(f"{SCANS}/{id_}/outliers", json=order, headers=me)).json()
    same = (await bqat.client.get(f"{SCANS}/{id_}/outliers", headers=me)).json()

    assert found == same
    assert (found["detector"], found["columns"], found["samples"]) == ("COPOD", ["ipd"], 31)
    assert found["items"][0]["file"] == "odd.jpg"
    assert found["items"][0]["score"] > found["threshold"]
    assert found["items"][0]["contributions"] == [{"column": "ipd", "share": 1.0}]


async def test_two_scans_are_compared_in_one_report(bqat: Bqat, me: Headers) -> None:
    """A scan of somebody else is not found."""
    one = await scan(bqat, me, {f"{n}.jpg": face(60 + n) for n in range(20)})
    two = await scan(bqat, me, {f"{n}.jpg": face(90 + n) for n in range(20)})
    page = await bqat.client.get(f"{SCANS}/{one}/report", params={"compare": two}, headers=me)
    other = as_caller(caller())
    foreign = await bqat.client.get(f"{SCANS}/{one}/report", headers=other)

    assert page.status_code == 200
    assert "Comparison" in page.text
    assert page.headers["content-security-policy"].endswith("sandbox")
    assert foreign.status_code == 404


async def test_profiles_are_exported_as_csv_and_as_parquet(bqat: Bqat, me: Headers) -> None:
    """A line for each sample, the failed one too; figures stay figures."""
    id_ = await scan(bqat, me, {"a.jpg": face(60), "b.jpg": face(61.5), "c.jpg": b"none"})
    text = await bqat.client.get(f"{SCANS}/{id_}/profiles.csv", headers=me)
    binary = await bqat.client.get(f"{SCANS}/{id_}/profiles.parquet", headers=me)
    lines = list(csv.DictReader(io.StringIO(text.text)))
    found = pq.read_table(io.BytesIO(binary.content))

    assert [line["file"] for line in lines] == ["a.jpg", "b.jpg", "c.jpg"]
    assert [line["ipd"] for line in lines] == ["60", "61.5", ""]
    assert lines[0]["glasses"] == "true"
    assert found.column("ipd").to_pylist() == [60.0, 61.5, None]
    assert found.column("glasses").to_pylist() == [True, True, None]
    assert "attachment" in binary.headers["content-disposition"]


async def test_a_scan_is_steered_listed_and_deleted(bqat: Bqat, me: Headers) -> None:
    """What does not fit its state is 409; what is deleted is gone with its profiles."""
    first = await scan(bqat, me, {"a.jpg": face(60)})
    begun = await bqat.client.post(
        SCANS,
        data={"modality": "face"},
        files=[("files", (f"{n}.jpg", sample(sleep=0.2))) for n in range(30)],
        headers=me,
    )
    second = begun.json()["id"]
    cancelled = await bqat.client.post(f"{SCANS}/{second}/cancel", headers=me)
    late = await bqat.client.post(f"{SCANS}/{first}/pause", headers=me)
    listed = (await bqat.client.get(SCANS, params={"limit": 1}, headers=me)).json()
    rest = await bqat.client.get(SCANS, params={"cursor": listed["next_cursor"]}, headers=me)
    deleted = await bqat.client.delete(f"{SCANS}/{first}", headers=me)
    gone = await bqat.client.get(f"{SCANS}/{first}/profiles", headers=me)

    assert cancelled.status_code == 200
    assert (late.status_code, late.json()["type"]) == (409, "/problems/not-possible-now")
    assert [item["id"] for item in listed["items"]] == [second]
    assert [item["id"] for item in rest.json()["items"]] == [first]
    assert deleted.status_code == 204
    assert gone.status_code == 404


async def test_a_folder_and_named_files_are_scanned(bqat: Bqat, me: Headers) -> None:
    """Exactly one source must be named."""
    folder = bqat.data / f"set-{uuid4().hex}"
    folder.mkdir(parents=True)
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(face(60))
    waiting = {**me, "Prefer": "wait=60"}

    async def ask(source: object) -> tuple[int, int | None]:
        body = {"modality": "face", "source": source}
        answer = await bqat.client.post(SCANS, json=body, headers=waiting)
        return answer.status_code, answer.json().get("done")

    assert await ask({"folder": folder.name}) == (200, 2)
    assert await ask({"files": [f"{folder.name}/b.jpg"]}) == (200, 1)
    assert await ask({}) == (422, None)
    assert await ask({"folder": folder.name, "files": []}) == (422, None)
    assert await ask({"objects": "x"}) == (422, None)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)*b", "([a-z]+)*", r"(a)\1", "("])
async def test_a_pattern_that_could_take_for_ever_is_refused(
    bqat: Bqat, me: Headers, pattern: str
) -> None:
    """As one that is none."""
    body = {"modality": "face", "source": {"folder": ""}, "options": {"pattern": pattern}}
    answer = await bqat.client.post(SCANS, json=body, headers=me)
    assert answer.status_code == 422


async def test_one_sample_is_assessed_at_once_and_not_kept(bqat: Bqat, me: Headers) -> None:
    """In the modern API, and as the stateless server's two endpoints (Q19)."""
    files = {"file": ("a.jpg", face(60))}
    modern = await bqat.client.post(
        "/api/v2/bqat/assessments", data={"modality": "face"}, files=files, headers=me
    )
    old = await bqat.client.post("/file?modality=face", files=files, headers=me)
    refused = await bqat.client.post(
        "/file?modality=face", files={"file": ("a.jpg", b"x")}, headers=me
    )

    assert modern.json()["profile"]["ipd"] == 60
    assert old.json()["results"]["ipd"] == 60
    assert old.json()["version"] == "BQAT-core 1.6.0 beta"
    assert (refused.status_code, refused.json()) == (
        400,
        {"detail": "scan failed: The bytes are no sample."},
    )


async def test_mosip_s_client_gets_its_answer(bqat: Bqat, me: Headers) -> None:
    """URL-safe text in, `results`, `engine` and `timestamp` out; bad text is 400 (Q19)."""
    body = {
        "modality": "finger",
        "id": "42",
        "type": "wsq",
        "data": base64.urlsafe_b64encode(sample(profile={"NFIQ2": 71})).decode(),
        "requestTime": "2026-11-26T00:00:00Z",
        "version": "1.0",
    }
    answer = await bqat.client.post("/base64?urlsafe=true", json=body, headers=me)
    bad = await bqat.client.post("/base64", json={**body, "data": "***"}, headers=me)

    assert answer.json()["results"]["NFIQ2"] == 71
    assert {"engine", "timestamp", "id", "modality", "version"} < set(answer.json())
    assert bad.status_code == 400
    assert bad.json()["detail"].startswith("failed to decode base64 data:")


@pytest.mark.parametrize("part", ["files", "archive"])
async def test_a_repeated_request_begins_no_second_scan(bqat: Bqat, me: Headers, part: str) -> None:
    """Told by its key and its content; another request with the key is refused."""
    content = zipped({"a.jpg": face(60)}) if part == "archive" else face(60)

    async def send(content: bytes, key: str, who: Headers = me) -> httpx.Response:
        return await bqat.client.post(
            SCANS,
            data={"modality": "face"},
            files={part: ("a.zip", content)},
            headers={**who, "Idempotency-Key": key},
        )

    first = await send(content, "k1")
    again = await send(content, "k1")
    other = await send(content + b"\0", "k1")
    foreign = await send(content, "k1", as_caller(caller()))
    bad = await send(content, "")

    assert first.status_code == again.status_code == 202
    assert first.json()["id"] == again.json()["id"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert foreign.json()["id"] != first.json()["id"]
    assert bad.json()["type"] == "/problems/idempotency-key-invalid"


async def test_of_many_equal_requests_at_once_one_begins_the_scan(bqat: Bqat, me: Headers) -> None:
    """The others wait for it, and are told of it."""
    order = {"modality": "face", "source": {"files": ["a.jpg"]}}
    (bqat.data / "a.jpg").write_bytes(face(60))
    headers = {**me, "Idempotency-Key": "at once"}
    answers = await asyncio.gather(
        *(bqat.client.post(SCANS, json=order, headers=headers) for _ in range(6))
    )

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 5


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip with these files."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return archive.getvalue()
