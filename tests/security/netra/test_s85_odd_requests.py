"""Attack 85 on netra: whatever is sent, no route answers with a 5xx, and the old wire with 200."""

import base64
import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.services.netra.support import Bench, as_caller, caller, picture, stranger

ROOT = "/api/v2/netra"
EVERYTHING = caller(scopes=frozenset({"netra:read", "netra:write", "netra:admin"}))
TOKEN = "token-of-bob"
UNKNOWN = "01900000-0000-7000-8000-00000000dead"
ODD = [
    "a\x00b", "\x00", "\ufeff", "x" * 20_000, "'; DROP TABLE netra.ledger; --", "%00", "\u202e",
    "a\r\nb", "🦢", " ", "-1", "9" * 40, "1e400", "null", "../../etc/passwd", "{}", "[]",
]  # fmt: skip
TEXT = st.text(max_size=40) | st.sampled_from(ODD)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OLD_CALLS = (
    "getToken", "doAnalysis", "getStatus", "getResult", "doPatientAnalysis",
    "doPatientMultiImgAnalysis",
)  # fmt: skip
OLD_FIELDS = st.sampled_from(
    ["username", "password", "apiRequestType", "image", "imageName", "bulkImgLabel", "jobId",
     "imgLeftData", "imgRightData", "imgZipData", "firstName", "dob", "gender", "patientID"]
)  # fmt: skip
EXAMPLES = settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("name", OLD_CALLS)
@given(fields=st.dictionaries(OLD_FIELDS, JSON, max_size=5))
@EXAMPLES
async def test_s85_no_old_call_is_a_bug(
    client: httpx.AsyncClient, bench: Bench, name: str, fields: dict[str, Any]
) -> None:
    if "bob" not in bench.auth.accounts:
        bench.auth.add("bob", "hunter2222")
    content = json.dumps({"token": TOKEN, **fields}).encode("utf-8", "surrogatepass")
    answer = await client.post(
        f"/v1/{name}",
        content=content,
        headers={**stranger(), "Content-Type": "application/json"},
    )

    assert answer.status_code == 200
    assert answer.json()["status"] in (200, 411)


@pytest.mark.parametrize("name", ["doPatientAnalysis", "doAnalysis"])
@given(names=st.lists(TEXT, min_size=8, max_size=8))
@EXAMPLES
async def test_s85_odd_names_beside_a_good_image_are_kept_or_refused(
    client: httpx.AsyncClient, bench: Bench, name: str, names: list[str]
) -> None:
    """Names of people and files are anything; half a character is refused."""
    if "bob" not in bench.auth.accounts:
        bench.auth.add("bob", "hunter2222")
    bench.credits = 1_000_000
    image = base64.b64encode(picture()).decode()
    keys = ("imageName", "bulkImgLabel", "imgLeftName", "firstName", "lastName", "dob", "gender",
            "patientID")  # fmt: skip
    fields = {
        "token": TOKEN,
        "image": image,
        "imgLeftData": image,
        **dict(zip(keys, names, strict=True)),
    }
    content = json.dumps(fields).encode("utf-8", "surrogatepass")
    answer = await client.post(
        f"/v1/{name}", content=content, headers={**stranger(), "Content-Type": "application/json"}
    )

    assert answer.status_code == 200


@given(values=st.lists(TEXT, min_size=7, max_size=7))
@EXAMPLES
async def test_s85_no_field_of_an_upload_is_a_bug(
    client: httpx.AsyncClient, values: list[str]
) -> None:
    keys = ("label", "eye", "examination", "patient_id", "patient_name", "patient_birth_date",
            "priority")  # fmt: skip
    answer = await client.post(
        f"{ROOT}/analyses",
        files={"image": ("a.jpg", picture())},
        data={
            key: value.encode("utf-8", "replace").decode()
            for key, value in zip(keys, values, strict=True)
        },
        headers=as_caller(EVERYTHING),
    )

    assert answer.status_code in (202, 402, 422)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", f"/accounts/{UNKNOWN}"),
        ("POST", f"/analyses/{UNKNOWN}/decision"),
        ("POST", "/webhooks"),
        ("POST", "/analyses"),
    ],
)
@given(body=st.dictionaries(
    st.sampled_from(["credits", "retinopathy", "referable", "note", "url", "events"]), JSON,
    max_size=4,
) | JSON)  # fmt: skip
@EXAMPLES
async def test_s85_no_body_is_a_bug(
    client: httpx.AsyncClient, method: str, path: str, body: Any
) -> None:
    answer = await client.request(
        method,
        ROOT + path,
        content=json.dumps(body).encode("utf-8", "surrogatepass"),
        headers={**as_caller(EVERYTHING), "Content-Type": "application/json"},
    )

    assert answer.status_code < 500


@pytest.mark.parametrize(
    "path",
    ["/analyses?label={}", "/analyses?status={}", "/analyses?cursor={}", "/analyses?limit={}",
     "/analyses/{}", "/analyses/{}/image", "/analyses/" + UNKNOWN + "/masks/{}",
     "/examinations/{}", "/account?before={}", "/accounts/{}", "/webhooks/deliveries?limit={}",
     "/webhooks/deliveries/{}/again"],
)  # fmt: skip
async def test_s85_no_address_is_a_bug(client: httpx.AsyncClient, path: str) -> None:
    answers = [
        await client.get(
            ROOT + path.format(quote(value[:2000], safe="")), headers=as_caller(EVERYTHING)
        )
        for value in ODD
    ]

    assert all(answer.status_code < 500 for answer in answers)
