"""Requests that somebody sends to see what happens: without rights, too large, or of no sense."""

import base64
import json
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.matching import Policy
from gateway.policy import TABLE
from services.scancer.schemas import PredictionOut, ServedModelsOut
from shared.problems import NotFound
from tests.services.scancer.support import (
    ADMIN,
    BRIGHT,
    DEVELOPER,
    STRANGER,
    Installation,
    as_caller,
    caller,
    picture,
)

PATH = "/predictions/brightness"
JSON = {"Accept": "application/json"}
#: What the platform's own processes ask, and the gateway does not forward.
INTERNAL = {"/metrics", "/livez", "/readyz", "/openapi.json"}
#: Open to everybody: health checks show no credential.
OPEN = {
    f"{path}{slash}"
    for path in ("/ping", "/v2/health/live", "/v2/health/ready", "/v2")
    for slash in ("", "/")
}


def routes(installation: Installation) -> Iterator[tuple[str, str]]:
    """Method and path of everything that the service answers, with names filled in."""
    for route in iter_route_contexts(installation.app().routes):
        assert route.path is not None
        path = route.path.replace("{model_and_verb}", "brightness:predict")
        path = path.replace("{rest:path}", "a/b/c/d").replace("{version}", "1.0")
        path = re.sub(r"\{\w+\}", "brightness", path)
        for method in sorted(route.methods or ()):
            yield method, path


@pytest.fixture
def every_route(installation: Installation) -> list[tuple[str, str]]:
    """All of them."""
    return list(routes(installation))


async def test_s53_the_services_own_port_answers_nobody_but_the_gateway(
    served: httpx.AsyncClient, every_route: list[tuple[str, str]]
) -> None:
    for method, path in every_route:
        answer = await served.request(method, path, auth=None)
        assert answer.status_code == (200 if path in ("/livez", "/readyz") else 401), path


def test_s71_every_route_has_a_row_and_no_row_leads_elsewhere(
    every_route: list[tuple[str, str]],
) -> None:
    policy = Policy(TABLE)
    for method, path in every_route:
        if path in INTERNAL:
            continue
        try:
            row = policy.find(path)
        except NotFound:
            # A second slash form that the gateway does not forward is no hole.
            assert path.endswith("/"), path
            continue
        assert row.service == "scancer", path
        assert method in row.methods
        # Whole slides alone are larger, and go to disk as they come.
        is_slide = path == "/api/v2/scancer/slides"
        assert row.max_body_bytes <= (4096 if is_slide else 64) * 1024 * 1024


async def test_s71_nobody_gets_anything_but_health_without_a_credential(
    served: httpx.AsyncClient, every_route: list[tuple[str, str]]
) -> None:
    """Also with a credential that was refused, and for paths that do not exist."""
    for method, path in every_route:
        if path in INTERNAL | OPEN:
            continue
        answer = await served.request(method, path, headers=STRANGER)
        assert answer.status_code == 401, (method, path, answer.status_code)
        assert answer.headers["www-authenticate"] == 'Basic realm="ML Ops Area"'


CHANGES = [
    ("POST", "/models?url=x.zip"),
    ("PUT", "/models/brightness?min_worker=0"),
    ("PUT", "/models/brightness/1.0?min_worker=0"),
    ("PUT", "/models/brightness/2.0/set-default"),
    ("DELETE", "/models/brightness"),
    ("DELETE", "/models/brightness/2.0"),
    ("DELETE", "/models/brightness/"),
    ("PUT", "/models/brightness/1.0/"),
    ("POST", "/models/?url=x.zip"),
]


@pytest.mark.parametrize(("method", "path"), CHANGES)
@pytest.mark.parametrize(
    "scopes",
    [
        {"scancer:predict", "scancer:read"},
        {"scancer:predict"},
        {"scancer:write"},
        {"chexray:write", "netra:admin", "users:admin"},
    ],
)
async def test_s69_only_an_administrators_scope_changes_models(
    served: httpx.AsyncClient, method: str, path: str, scopes: set[str]
) -> None:
    before = (await served.get("/models/brightness/all")).json()
    answer = await served.request(method, path, headers=as_caller(caller(frozenset(scopes))))
    after = (await served.get("/models/brightness/all")).json()

    assert answer.status_code == 403
    assert [each["modelVersion"] for each in after] == [each["modelVersion"] for each in before]
    assert [each["minWorkers"] for each in after] == [each["minWorkers"] for each in before]


async def test_s69_without_the_scope_for_it_nobody_reads_or_predicts(
    served: httpx.AsyncClient,
) -> None:
    elsewhere = as_caller(caller(frozenset({"chexray:read"})))
    reading = ["/models", "/models/brightness", "/v2/models/brightness", "/api/v2/scancer/models"]
    asking = [
        PATH,
        "/explanations/brightness",
        "/invocations",
        "/v2/models/brightness/infer",
        "/v1/models/brightness:predict",
        "/api/v2/scancer/models/brightness/predictions",
    ]
    found = [(await served.get(path, headers=elsewhere)).status_code for path in reading]
    found += [
        (await served.post(path, content=BRIGHT, headers=elsewhere)).status_code for path in asking
    ]

    assert found == [403] * 10


async def test_anonymous_use_opens_predictions_and_nothing_that_changes(
    installation: Installation,
) -> None:
    """An installation may switch the credential off, as on a laptop."""
    installation.settings = {"scancer_anonymous": True}
    async with installation.serve() as client:
        listed = await client.get("/models", headers=STRANGER)
        asked = await client.put(PATH, content=BRIGHT, headers=STRANGER)
        changed = await client.post("/models?url=x", headers=STRANGER)

    assert (listed.status_code, asked.status_code, changed.status_code) == (200, 404, 401)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IDAT"


HOSTILE: dict[str, bytes] = {
    "s56 pixel flood": png_header(60_000, 60_000),
    "s56 cut": BRIGHT[:-20],
    "s57 SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>",
    "s57 PDF": b"%PDF-1.7\n%\xe2\xe3",
    "s57 FITS": b"SIMPLE  =                    T" + b" " * 2800,
    "s58 JPEG and HTML": b"\xff\xd8\xff<html><script>alert(1)</script>",
    "s62 zip": b"PK\x03\x04" + b"\0" * 60,
    "s63 pickle": b"cposix\nsystem\n(S'true'\ntR.",
    "empty JSON": b"{}",
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_s56_s57_s58_what_is_no_picture_is_refused_and_said_so(
    served: httpx.AsyncClient, name: str
) -> None:
    old = await served.put(PATH, content=HOSTILE[name])
    modern = await served.put(PATH, content=HOSTILE[name], headers=JSON)

    assert old.status_code in (413, 503)
    assert modern.status_code in (413, 415, 422)
    assert "script" not in old.text + modern.text


@pytest.mark.parametrize(
    "text",
    ["!!!", "AAA", "QUJD", "====", "data:image/png;base64,", base64.b64encode(b"x").decode()],
)
async def test_s61_text_that_is_no_picture_is_refused(served: httpx.AsyncClient, text: str) -> None:
    by_field = await served.post(PATH, data={"data": text}, headers=JSON)
    by_json = await served.post(PATH, json={"data": text}, headers=JSON)

    assert {by_field.status_code, by_json.status_code} <= {415, 422}


@pytest.mark.parametrize(
    "name", ["../../x.png", "/etc/passwd", "a\u202egnp.exe", "x" * 4000, "C:\\x.png", "a;b.png"]
)
async def test_s60_a_file_name_is_only_a_name(served: httpx.AsyncClient, name: str) -> None:
    answer = await served.post(PATH, files={"data": (name, BRIGHT)})

    assert answer.text == "1"


@pytest.mark.parametrize(
    "document",
    [
        {"instances": []},
        {"instances": [[]]},
        {"instances": [[[[1]]]]},
        {"instances": [{"data": [[[1, 2]]]}]},
        {"instances": [None]},
        {"data": None},
        {"data": [[["a"]]]},
        [[[1e999]]],
        [[[[1]]]],
        5,
    ],
)
async def test_s85_json_of_no_sense_is_refused(served: httpx.AsyncClient, document: Any) -> None:
    headers = {**JSON, "Content-Type": "application/json"}
    answer = await served.post(PATH, content=json.dumps(document), headers=headers)

    assert answer.status_code == 422


async def test_s85_deep_nesting_is_refused(served: httpx.AsyncClient) -> None:
    headers = {**JSON, "Content-Type": "application/json"}
    answer = await served.post(PATH, content=b"[" * 200_000, headers=headers)

    assert answer.status_code == 422


TYPES = st.sampled_from(
    ["", "application/json", "multipart/form-data; boundary=x", "multipart/form-data",
     "application/x-www-form-urlencoded", "image/png", "text/plain; charset=undefined", "x"]
)  # fmt: skip
PATHS = st.sampled_from(
    [PATH, f"{PATH}/1.0", "/explanations/brightness", "/v2/models/brightness/infer",
     "/v1/models/brightness:predict", "/invocations", "/models", "/models/brightness",
     "/api/v2/scancer/models/brightness/predictions"]
)  # fmt: skip
BODIES = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda rest: BRIGHT[:60] + rest, st.binary(max_size=40)),
    st.builds(
        lambda rest: b"--x\r\nContent-Disposition: form-data; " + rest, st.binary(max_size=60)
    ),
    st.builds(
        lambda tree: json.dumps(tree).encode(),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=9),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(
                    st.sampled_from(["data", "instances", "inputs", "name", "shape", "datatype"]),
                    inner,
                )
            ),
            max_leaves=12,
        ),
    ),
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(path=PATHS, content_type=TYPES, body=BODIES, is_modern=st.booleans())
async def test_s85_no_request_is_a_bug(
    served: httpx.AsyncClient, path: str, content_type: str, body: bytes, is_modern: bool
) -> None:
    """Whatever is sent, the answer is a refusal that was meant, or TorchServe's own 503."""
    accept = "application/json" if is_modern else "*/*"
    headers = [*DEVELOPER.items(), ("Accept", accept)]
    request = served.build_request("POST", path, content=body, headers=headers)
    request.headers["Content-Type"] = content_type
    answer = await served.send(request)

    assert answer.status_code < 500 or (
        answer.status_code == 503 and answer.json()["message"] == "Prediction failed"
    )


async def test_s72_answers_hold_the_declared_fields_and_no_others(
    served: httpx.AsyncClient,
) -> None:
    predicted = (await served.put(PATH, content=picture(9), headers=JSON)).json()
    listed = (await served.get("/api/v2/scancer/models", headers=ADMIN)).json()

    assert set(predicted) == set(PredictionOut.model_fields)
    assert ServedModelsOut.model_validate(listed).model_dump(mode="json") == listed
    assert {each["version"] for each in listed["items"][0]["versions"]} == {"1.0", "2.0"}


async def test_s47_a_refusal_names_no_folder_of_this_machine(served: httpx.AsyncClient) -> None:
    answers = [
        await served.post("/models?url=absent.zip"),
        await served.post("/models?url=../x.zip"),
        await served.put(PATH, content=b"x"),
    ]

    assert not any("/tmp" in answer.text or "Traceback" in answer.text for answer in answers)  # noqa: S108
