"""The Netra.AI wire, as its document and its clients have it (wire document; QUIRKS.md)."""

import base64
import io
import json
import re
import zipfile
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from services.netra.domain import Analysis
from shared.auth_client import AuthAway
from shared.body_tokens import RevocationsUnknown
from shared.imaging import ImageTooLarge
from shared.problems import TooManyRequests
from tests.services.netra.support import (
    DISEASED,
    HEALTHY,
    NO_FUNDUS,
    UNCERTAIN,
    UNGRADABLE,
    Bench,
    picture,
    stranger,
)

TOKEN = "token-of-bob"
FORM, JSON, MULTIPART = "form", "json", "multipart"
MB = 1024 * 1024


@pytest.fixture
def old_client(client: httpx.AsyncClient, bench: Bench) -> httpx.AsyncClient:
    """The service with an account called bob; tokens travel in bodies."""
    bench.auth.add("bob", "hunter2222")
    bench.auth.add("eve", "hunter3333")
    client.headers.update(stranger())
    return client


def bodies(kind: str, fields: Mapping[str, str]) -> dict[str, Any]:
    """One of the three forms of a body."""
    kinds: dict[str, dict[str, Any]] = {
        FORM: {"data": dict(fields)},
        JSON: {"json": dict(fields)},
        MULTIPART: {"files": {name: (None, value) for name, value in fields.items()}},
    }
    return kinds[kind]


async def ask(
    client: httpx.AsyncClient, name: str, kind: str = FORM, **fields: str
) -> dict[str, Any]:
    """One call; whatever comes, the transport says 200 (Q1)."""
    answer = await client.post(f"/v1/{name}", **bodies(kind, fields))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    body: dict[str, Any] = answer.json()
    if body["status"] != 200:
        # A client takes "200" anywhere in the text for success (Q11).
        assert "200" not in answer.text
        assert re.fullmatch(r"LC-ERR-\d{4} : .+\.", body["message"])
    return body


def data_uri(image: bytes, kind: str = "image/jpeg") -> str:
    """As the document's sample writes it."""
    return f"data:{kind};base64,{base64.urlsafe_b64encode(image).decode()}"


async def upload(
    client: httpx.AsyncClient, image: str | None = None, kind: str = FORM, **more: str
) -> dict[str, Any]:
    """DoAnalysis."""
    fields = {
        "token": TOKEN,
        "image": data_uri(picture()) if image is None else image,
        "imageName": "left.jpg",
        "bulkImgLabel": "camp",
        "imageLocPath": "/home/bob/left.jpg",
        **more,
    }
    return await ask(client, "doAnalysis", kind, **fields)


# getToken


@pytest.mark.parametrize("kind", [FORM, JSON, MULTIPART])
async def test_q09_a_token_is_the_second_member_of_its_answer(
    old_client: httpx.AsyncClient, kind: str
) -> None:
    """The camera software reads it by its place."""
    body = await ask(
        old_client,
        "getToken",
        kind,
        username="bob",
        password="hunter2222",
        apiRequestType="DIAB_RETINA",
    )

    assert list(body) == ["status", "token", "remaining", "validUpto"]
    assert (body["status"], body["token"], body["remaining"]) == (200, TOKEN, 100)
    # Milliseconds since 1970, which have thirteen digits until 2286.
    assert len(str(body["validUpto"])) == 13


async def test_the_clients_address_reaches_auth(
    old_client: httpx.AsyncClient, bench: Bench
) -> None:
    """Auth limits guesses by it."""
    await old_client.post(
        "/v1/getToken",
        data={"username": "bob", "password": "x"},
        headers={"Vedette-Client-Address": "203.0.113.7"},
    )

    assert bench.auth.asked[0].address == "203.0.113.7"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"username": "bob", "password": "wrong"}, "0001"),
        ({"username": "nobody", "password": "hunter2222"}, "0001"),
        ({"username": "bob"}, "0010"),
        ({"password": "x"}, "0010"),
        ({}, "0010"),
        ({"username": "bob", "password": "hunter2222", "apiRequestType": "OTHER"}, "0004"),
    ],
)
async def test_q03_a_refused_login_has_a_message(
    old_client: httpx.AsyncClient, fields: dict[str, str], code: str
) -> None:
    body = await ask(old_client, "getToken", **fields)

    assert body["status"] == 411
    assert body["message"].startswith(f"LC-ERR-{code} : ")


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (TooManyRequests("Too many.", retry_after_s=200), 411, "0008"),
        (AuthAway("Away."), 500, "0009"),
    ],
)
async def test_what_auth_cannot_do_is_told_in_the_old_form(
    old_client: httpx.AsyncClient, bench: Bench, failure: Exception, status: int, code: str
) -> None:
    bench.auth.failure = failure
    body = await ask(old_client, "getToken", username="bob", password="hunter2222")

    assert (body["status"], body["message"][7:11]) == (status, code)


# doAnalysis


@pytest.mark.parametrize("kind", [FORM, JSON, MULTIPART])
async def test_an_image_is_queued_for_one_credit(old_client: httpx.AsyncClient, kind: str) -> None:
    body = await upload(old_client, kind=kind)

    assert re.fullmatch(r"[A-Za-z0-9]{70}", body["jobId"])
    assert body == {
        "status": 200,
        "jobId": body["jobId"],
        "jobStatus": "QUEUED",
        "statusJob": "QUEUED",
        "remaining": 99,
    }


def spellings(image: bytes) -> dict[str, str]:
    """How old clients write an image."""
    standard = base64.b64encode(image).decode()
    return {
        "url-safe": base64.urlsafe_b64encode(image).decode(),
        "standard": standard,
        "no padding": standard.rstrip("="),
        "data uri": f"data:image/png;base64,{standard}",
        "unknown type": f"data:None;base64,{standard}",
        "lines": base64.encodebytes(image).decode(),
        "python": f"b'{standard}'",
    }


@pytest.mark.parametrize("spelling", spellings(b"x"))
@pytest.mark.parametrize("kind", [FORM, JSON])
async def test_q05_every_spelling_of_base64_is_the_same_image(
    old_client: httpx.AsyncClient, bench: Bench, spelling: str, kind: str
) -> None:
    image = picture("PNG", 77)
    body = await upload(old_client, spellings(image)[spelling], kind)
    kept = [sha256 async for sha256 in bench.objects.older_than(-60)]

    assert body["status"] == 200
    assert await bench.objects.get(kept[0]) == image


async def test_q05_a_plus_that_was_not_escaped_is_a_plus(
    old_client: httpx.AsyncClient, bench: Bench
) -> None:
    """Clients that build the form by hand forget it."""
    image = picture("PNG", 77) + b"\xfb\xef\xbe" * 20
    text = base64.b64encode(image).decode()
    answer = await old_client.post(
        "/v1/doAnalysis",
        content=f"token={TOKEN}&image={text}",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    [kept] = [sha256 async for sha256 in bench.objects.older_than(-60)]

    assert "+" in text
    assert answer.json()["status"] == 200
    assert await bench.objects.get(kept) == image


async def test_a_file_itself_is_taken_in_a_multipart_form(old_client: httpx.AsyncClient) -> None:
    answer = await old_client.post(
        "/v1/doAnalysis",
        data={"token": TOKEN},
        files={"image": ("left.jpg", picture(), "image/jpeg")},
    )

    assert answer.json()["jobStatus"] == "QUEUED"


@pytest.mark.parametrize("kind", ["TIFF", "JPEG", "PNG"])
async def test_q06_formats_are_told_by_their_bytes(
    old_client: httpx.AsyncClient, kind: str
) -> None:
    """Whatever the media type in front of them says."""
    body = await upload(old_client, data_uri(picture(kind), "image/png"))

    assert body["status"] == 200


@pytest.mark.parametrize("image", [b"<svg/>", b"GIF89a" + b"x" * 90, b"%PDF-1.7", b"MZ"])
async def test_q06_what_is_no_image_is_refused_in_the_documents_words(
    old_client: httpx.AsyncClient, image: bytes
) -> None:
    body = await upload(old_client, data_uri(image))

    assert body == {
        "status": 411,
        "message": "LC-ERR-0034 : Only jpeg and png type images allowed.",
        "remaining": 100,
    }


@pytest.mark.parametrize(("size", "status"), [(5 * MB, 200), (5 * MB + 1, 411), (14 * MB, 411)])
async def test_s61_five_megabytes_are_the_limit_on_decoded_bytes(
    old_client: httpx.AsyncClient, size: int, status: int
) -> None:
    """Padding behind a picture is part of the file."""
    image = picture()
    body = await upload(old_client, data_uri(image + bytes(size - len(image))))

    assert body["status"] == status
    if status == 411:
        assert body["message"] == "LC-ERR-0033 : Max Allowed Single Image Size 5 MB."


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"token": ""}, "0010"),
        ({"token": "none of ours"}, "0002"),
        ({"image": ""}, "0010"),
        ({"image": "*** no base64 ***"}, "0007"),
    ],
)
async def test_a_bad_upload_costs_nothing(
    old_client: httpx.AsyncClient, fields: dict[str, str], code: str
) -> None:
    body = await upload(old_client, **fields)
    after = await upload(old_client)

    assert body["message"].startswith(f"LC-ERR-{code} : ")
    assert after["remaining"] == 99


async def test_who_has_no_right_to_the_api_is_told_so(
    old_client: httpx.AsyncClient, bench: Bench
) -> None:
    bench.tokens.scopes = frozenset({"fleet:read"})

    assert (await upload(old_client))["message"].startswith("LC-ERR-0003")


async def test_without_credits_nothing_is_taken(
    old_client: httpx.AsyncClient, bench: Bench
) -> None:
    """And no file is kept for it."""
    bench.credits = 1
    async with bench.serve() as poor:
        poor.headers.update(stranger())
        first = await upload(poor)
        second = await upload(poor, data_uri(picture(level=7)))
        kept = [sha256 async for sha256 in bench.objects.older_than(-60)]

    assert first["remaining"] == 0
    assert second == {
        "status": 411,
        "message": "LC-ERR-0005 : No API credits remaining.",
        "remaining": 0,
    }
    assert len(kept) == 1


async def test_q11_credits_that_hold_the_digits_are_not_told_beside_an_error(
    old_client: httpx.AsyncClient, bench: Bench
) -> None:
    bench.credits = 12_001
    async with bench.serve() as rich:
        rich.headers.update(stranger())
        refused = await upload(rich, data_uri(b"%PDF-1.7"))

    assert "remaining" not in refused


async def test_s84_while_revocations_are_unknown_nobody_is_let_in(
    old_client: httpx.AsyncClient, bench: Bench
) -> None:
    bench.tokens.failure = RevocationsUnknown("Unknown.")
    body = await upload(old_client)

    assert (body["status"], body["message"][7:11]) == (500, "0009")


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"{", "application/json"),
        (b"[1]", "application/json"),
        (b'{"token": {"a": 1}}', "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"--x", "multipart/form-data"),
        (b"\xff\xfe", "multipart/form-data; boundary=x"),
        (b"&" * 5000, "application/x-www-form-urlencoded"),
        (b"token=%00", "application/x-www-form-urlencoded"),
        (b'{"token": "\\ud800"}', "application/json"),
        (b"", "text/plain"),
        (b"\x00" * 100, "image/png"),
    ],
)
async def test_broken_bodies_are_refused_in_the_old_form(
    old_client: httpx.AsyncClient, content: bytes, content_type: str
) -> None:
    for name in ("getToken", "doAnalysis", "getStatus", "getResult", "doPatientAnalysis"):
        answer = await old_client.post(
            f"/v1/{name}", content=content, headers={"Content-Type": content_type}
        )

        assert answer.status_code == 200
        assert answer.json()["status"] == 411


# getStatus and getResult


@pytest.mark.parametrize("spelling", ["jobId", "jobid", "jobID", "JOB_ID", "job-id"])
async def test_q02_a_job_is_asked_for_in_any_spelling_and_told_in_both(
    old_client: httpx.AsyncClient, spelling: str
) -> None:
    queued = await upload(old_client)
    body = await ask(old_client, "getStatus", token=TOKEN, **{spelling: queued["jobId"]})

    assert body == queued


async def test_a_completed_job_has_its_result(old_client: httpx.AsyncClient, bench: Bench) -> None:
    """As a JSON text with the boxes, and the boxes beside it (Q7)."""
    job = (await upload(old_client))["jobId"]
    await bench.work(DISEASED)
    status = await ask(old_client, "getStatus", token=TOKEN, jobid=job)
    body = await ask(old_client, "getResult", token=TOKEN, jobid=job)
    boxes = [
        {"bbox": "[10,20,30,44]", "lesionType": "Deep Hemorrhage"},
        {"bbox": "[3,5,8,13]", "lesionType": "Hard Exudate"},
    ]

    assert status["statusJob"] == status["jobStatus"] == "COMPLETED"
    assert (body["status"], body["jobId"], body["usedBy"]) == (200, job, "bob")
    assert body["statusJob"] == body["jobStatus"] == "COMPLETED"
    # Microseconds since 1970, which have sixteen digits until 2286.
    assert re.fullmatch(r"\d{16}", body["usedOn"])
    assert json.loads(body["result"]) == {
        "drYes": "Detected",
        "referrableDR": "YES",
        "imageQuality": "Gradable Image",
        "eyeOrNot": "YES",
        "lesionBbox": boxes,
    }
    assert body["lesionBbox"] == boxes
    assert body["remaining"] == 99


async def test_what_answered_is_named_in_headers(
    old_client: httpx.AsyncClient, bench: Bench
) -> None:
    job = (await upload(old_client))["jobId"]
    await bench.work(DISEASED)
    answer = await old_client.post("/v1/getResult", data={"token": TOKEN, "jobId": job})

    assert answer.headers["vedette-model"] == "netra-retinopathy@1.0"
    assert answer.headers["vedette-evidence"] == "research"


@pytest.mark.parametrize(
    ("answer", "state", "verdicts"),
    [
        (HEALTHY, "COMPLETED", ("Not Detected", "NO", "Gradable Image", "YES")),
        (UNGRADABLE, "COMPLETED", ("NA", "NA", "Ungradable Image", "YES")),
        (NO_FUNDUS, "COMPLETED", ("NA", "NA", "Ungradable Image", "NO")),
        (UNCERTAIN, "HOLD", ("NA", "NA", "Gradable Image", "YES")),
    ],
)
async def test_q10_every_outcome_has_its_words(
    old_client: httpx.AsyncClient,
    bench: Bench,
    answer: Analysis,
    state: str,
    verdicts: tuple[str, ...],
) -> None:
    job = (await upload(old_client))["jobId"]
    await bench.work(answer)
    body = await ask(old_client, "getResult", token=TOKEN, jobid=job)
    found = json.loads(body["result"])

    assert body["statusJob"] == state
    assert (
        found["drYes"], found["referrableDR"], found["imageQuality"], found["eyeOrNot"]
    ) == verdicts  # fmt: skip
    assert ("message" in body) == (state == "HOLD")


async def test_a_poison_image_ends_in_the_documents_error_and_is_refunded(
    old_client: httpx.AsyncClient, bench: Bench
) -> None:
    """It is a JPEG by its first bytes and nothing after them."""
    job = (await upload(old_client, data_uri(b"\xff\xd8\xff" + b"\0" * 500)))["jobId"]
    await bench.work()
    status = await ask(old_client, "getStatus", token=TOKEN, jobid=job)
    body = await ask(old_client, "getResult", token=TOKEN, jobid=job)

    assert status["statusJob"] == "ERROR"
    assert body["message"] == "LC-ERR-0035 : Please contact Leben Care Support Team."
    assert (body["status"], body["statusJob"], body["remaining"]) == (200, "ERROR", 100)
    assert "result" not in body


async def test_a_picture_that_is_too_large_to_decode_ends_in_an_error(
    old_client: httpx.AsyncClient, bench: Bench
) -> None:
    job = (await upload(old_client))["jobId"]
    bench.analyser.failure = ImageTooLarge("Too many pixels.")
    await bench.work()

    assert (await ask(old_client, "getStatus", token=TOKEN, jobid=job))["statusJob"] == "ERROR"


@pytest.mark.parametrize("name", ["getStatus", "getResult"])
@pytest.mark.parametrize("job", ["x", "a" * 70, "' OR 1=1 --", ""])
async def test_q02_an_unknown_job_has_a_state_too(
    old_client: httpx.AsyncClient, name: str, job: str
) -> None:
    """The sample reads `statusJob` after every answer, and would fail without one."""
    body = await ask(old_client, name, token=TOKEN, jobId=job)

    assert (body["status"], body["statusJob"], body["jobStatus"]) == (411, "ERROR", "ERROR")


async def test_s69_somebody_elses_job_is_an_unknown_job(
    old_client: httpx.AsyncClient, bench: Bench
) -> None:
    job = (await upload(old_client))["jobId"]
    await bench.work()
    for name in ("getStatus", "getResult"):
        foreign = await ask(old_client, name, token="token-of-eve", jobId=job)
        unknown = await ask(old_client, name, token="token-of-eve", jobId="a" * 70)

        assert foreign == unknown


async def test_what_the_installation_keeps_back_is_refused(
    old_client: httpx.AsyncClient, bench: Bench
) -> None:
    """Before anything is charged, and also for results of earlier days."""
    job = (await upload(old_client))["jobId"]
    await bench.work(DISEASED)
    bench.evidence = "require-validated"
    async with bench.serve() as strict:
        strict.headers.update(stranger())
        result = await ask(strict, "getResult", token=TOKEN, jobId=job)
        refused = await upload(strict)

    assert result["message"].startswith("LC-ERR-0013")
    assert refused["message"].startswith("LC-ERR-0013")
    assert refused["remaining"] == 99


# The patient calls


def patient(**images: str) -> dict[str, str]:
    """What the camera software sends."""
    return {
        "token": TOKEN,
        "firstName": "Zoë",
        "lastName": "Müller",
        "dob": "19580327",
        "gender": "Female",
        "patientID": "4711",
        "emailID": "zoe@example.com",
        "phoneCode": "+49",
        "phoneNumber": "1234567",
        **images,
    }


async def test_q12_both_eyes_cost_two_credits_and_are_one_examination(
    old_client: httpx.AsyncClient, bench: Bench
) -> None:
    answer = await old_client.post(
        "/v1/doPatientAnalysis",
        json=patient(
            imgLeftData=data_uri(picture(level=90)),
            imgLeftName="l.jpg",
            imgRightData=data_uri(picture(level=91)),
            imgRightName="r.jpg",
        ),
    )
    body = answer.json()
    await bench.work(HEALTHY)
    states = [
        (await ask(old_client, "getStatus", token=TOKEN, jobId=job["jobId"]))["statusJob"]
        for job in body["jobs"]
    ]

    # All that the software looks for.
    assert "200" in answer.text
    assert body["remaining"] == 98
    assert [(job["eye"], job["imageName"]) for job in body["jobs"]] == [
        ("LEFT", "l.jpg"),
        ("RIGHT", "r.jpg"),
    ]
    assert body["jobId"] == body["jobs"][0]["jobId"]
    assert states == ["COMPLETED", "COMPLETED"]


async def test_q12_one_eye_is_enough_and_none_is_not(old_client: httpx.AsyncClient) -> None:
    one = await ask(
        old_client, "doPatientAnalysis", JSON, **patient(imgRightData=data_uri(picture()))
    )
    none = await ask(old_client, "doPatientAnalysis", JSON, **patient())

    assert [job["eye"] for job in one["jobs"]] == ["RIGHT"]
    assert none["message"].startswith("LC-ERR-0010")


async def test_two_images_need_two_credits(old_client: httpx.AsyncClient, bench: Bench) -> None:
    bench.credits = 1
    images = {"imgLeftData": data_uri(picture()), "imgRightData": data_uri(picture())}
    async with bench.serve() as poor:
        poor.headers.update(stranger())
        refused = await ask(poor, "doPatientAnalysis", JSON, **patient(**images))
        one = await upload(poor)

    assert refused["message"].startswith("LC-ERR-0005")
    assert one["remaining"] == 0


def archive(entries: Mapping[str, bytes]) -> bytes:
    """A zip of these entries."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in entries.items():
            opened.writestr(name, content)
    return file.getvalue()


async def test_q12_an_archive_holds_photographs_of_both_eyes(
    old_client: httpx.AsyncClient, bench: Bench
) -> None:
    """And what desktops put beside them."""
    content = archive(
        {
            "visit/LEFT/a.jpg": picture(level=1),
            "visit/LEFT/b.png": picture("PNG", 2),
            "visit/RIGHT/c.jpg": picture(level=3),
            "visit/LEFT/.DS_Store": b"x",
            "visit/RIGHT/Thumbs.db": b"x",
            "__MACOSX/LEFT/a.jpg": b"x",
            "visit/notes.txt": b"x",
        }
    )
    body = await ask(
        old_client,
        "doPatientMultiImgAnalysis",
        JSON,
        **patient(imgZipData=base64.b64encode(content).decode()),
    )

    assert [(job["eye"], job["imageName"]) for job in body["jobs"]] == [
        ("LEFT", "a.jpg"),
        ("LEFT", "b.png"),
        ("RIGHT", "c.jpg"),
    ]
    assert body["remaining"] == 97
    assert await bench.work() == 3


# Around


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_only_post_is_answered(old_client: httpx.AsyncClient, method: str) -> None:
    assert (await old_client.request(method, "/v1/getToken")).status_code == 405


@pytest.mark.parametrize("name", ["getToken", "getStatus"])
async def test_a_slash_at_the_end_is_the_same_path(
    old_client: httpx.AsyncClient, name: str
) -> None:
    assert (await ask(old_client, f"{name}/"))["status"] == 411
