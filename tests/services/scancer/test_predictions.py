"""TorchServe's inference API as its clients use it."""

import base64
import json
import time
import uuid
from typing import Any

import httpx
import numpy as np
import pytest

from tests.services.scancer.support import (
    BRIGHT,
    DARK,
    DEVELOPER,
    STRANGER,
    as_caller,
    caller,
    npy,
    picture,
    tensor,
)

PATH = "/predictions/brightness"
CURL_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def test_curl_t_puts_a_raw_body_and_gets_one_character(served: httpx.AsyncClient) -> None:
    bright = await served.put(PATH, content=BRIGHT)
    dark = await served.put(PATH, content=DARK)

    assert (bright.status_code, bright.content) == (200, b"1")
    assert (dark.status_code, dark.content) == (200, b"0")
    assert "content-type" not in bright.headers
    assert bright.headers["vedette-model"] == "brightness@1.0"
    assert bright.headers["vedette-evidence"] == "demo"
    assert bright.headers["pragma"] == "no-cache"
    assert bright.headers["cache-control"] == "no-cache; no-store, must-revalidate, private"
    assert bright.headers["expires"] == "Thu, 01 Jan 1970 00:00:00 UTC"
    assert uuid.UUID(bright.headers["x-request-id"])


@pytest.mark.parametrize("verb", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", [PATH, f"{PATH}/", f"{PATH}/1.0", f"{PATH}/2.0/"])
async def test_q01_any_verb_predicts(served: httpx.AsyncClient, verb: str, path: str) -> None:
    answer = await served.request(verb, path, content=BRIGHT)

    assert (answer.status_code, answer.text) == (200, "1")


def _json(document: Any) -> dict[str, Any]:
    return {"content": json.dumps(document), "headers": {"Content-Type": "application/json"}}


TEXT = base64.b64encode(BRIGHT).decode()
BODIES: dict[str, dict[str, Any]] = {
    "no content type": {"content": BRIGHT},
    "octets": {"content": BRIGHT, "headers": {"Content-Type": "application/octet-stream"}},
    "curl --data-binary": {"content": BRIGHT, "headers": CURL_FORM},
    "said to be JSON": {"content": BRIGHT, "headers": {"Content-Type": "application/json"}},
    "part data": {"files": {"data": ("a.png", BRIGHT)}},
    "part body": {"files": {"body": ("a.png", BRIGHT)}},
    "any part": {"files": {"upload": ("a.png", BRIGHT)}},
    "field of base64": {"data": {"data": TEXT}},
    "field of base64 for the web": {"data": {"body": TEXT.replace("+", "-").replace("/", "_")}},
    "query": {"params": {"data": TEXT}},
    "text": {"content": TEXT, "headers": {"Content-Type": "text/plain"}},
    "curl -d of base64": {"content": TEXT, "headers": CURL_FORM},
    "JSON data": _json({"data": TEXT}),
    "JSON text": _json(TEXT),
    "JSON figures": _json(tensor(250)[0].tolist()),
    "array": {"content": npy(tensor(250)[0])},
    "array of doubles, said to be JSON": {
        **_json(""),
        "content": npy(tensor(250)[0].astype(">f8")),
    },
    "part of an array": {"files": {"data": ("a.npy", npy(tensor(250)[0]))}},
    "JSON of an array": _json({"data": base64.b64encode(npy(tensor(250)[0])).decode()}),
    "text of an array": {"content": base64.b64encode(npy(tensor(250)[0]))},
}


@pytest.mark.parametrize("name", BODIES)
async def test_q02_a_picture_is_found_wherever_it_lies(
    served: httpx.AsyncClient, name: str
) -> None:
    answer = await served.post(PATH, **BODIES[name])

    assert (answer.status_code, answer.text) == (200, "1")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (96, 96), (301, 77)])
async def test_q03_pictures_of_any_size_and_mode_are_handled(
    served: httpx.AsyncClient, mode: str, size: tuple[int, int]
) -> None:
    """The original's handler failed on all but 96 by 96 RGB."""
    kind = "TIFF" if mode == "CMYK" else "PNG"
    level = {"1": 1, "I;16": 64_000}.get(mode, 250)
    answer = await served.put(PATH, content=picture(level, kind, mode, size))

    assert answer.status_code == 200, answer.text
    assert answer.text in ("0", "1")


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "BMP", "WEBP", "TIFF"])
async def test_other_formats_are_read(served: httpx.AsyncClient, kind: str) -> None:
    answer = await served.put(PATH, content=picture(250, kind, "RGB" if kind == "WEBP" else "L"))

    assert answer.text == "1"


async def test_the_modern_answer_says_all_of_it(served: httpx.AsyncClient) -> None:
    answer = await served.put(PATH, content=BRIGHT, headers={"Accept": "application/json"})
    said = answer.json()

    assert answer.headers["content-type"] == "application/json"
    assert said["label"] == 1
    assert said["label_name"] == "bright"
    assert said["probability"] == said["probabilities"]["bright"]
    assert sum(said["probabilities"].values()) == pytest.approx(1)
    assert said["probability"] == pytest.approx(1 / (1 + np.exp(-8 * (250 / 255 - 0.5))), abs=1e-3)
    assert said["found"] == {"bright": True}
    assert said["evidence"] == "demo"
    assert said["model"]["id"] == "brightness"
    assert said["model"]["version"] == "1.0"
    assert len(said["model"]["sha256"]) == 64


async def test_several_pictures_in_one_request_are_answered_in_their_order(
    served: httpx.AsyncClient,
) -> None:
    """What users of TorchServe ask for; on the old wire the last one wins (Q9)."""
    files = [("data", ("a.png", BRIGHT)), ("data", ("b.png", DARK)), ("data", ("c.png", BRIGHT))]
    json_answer = await served.post(PATH, files=files, headers={"Accept": "application/json"})
    old_answer = await served.post(PATH, files=files[:2])
    by_name = await served.post(
        PATH, files={"x": BRIGHT, "y": DARK}, headers={"Accept": "application/json"}
    )

    assert [each["label"] for each in json_answer.json()["predictions"]] == [1, 0, 1]
    assert old_answer.text == "0"
    assert [each["label"] for each in by_name.json()["predictions"]] == [1, 0]


async def test_an_array_of_four_axes_is_a_list(served: httpx.AsyncClient) -> None:
    both = npy(np.concatenate([tensor(250), tensor(10)]))
    modern = await served.post(PATH, content=both, headers={"Accept": "application/json"})
    old = await served.post(PATH, content=both)

    assert [each["label"] for each in modern.json()["predictions"]] == [1, 0]
    assert old.text == "0"


@pytest.mark.parametrize("count", [17, 4_000_000])
async def test_a_list_that_is_too_long_is_refused_before_it_is_one(
    served: httpx.AsyncClient, count: int
) -> None:
    began_at = time.monotonic()
    answer = await served.post(
        PATH,
        content=npy(np.zeros((count, 1, 1, 1), np.uint8)),
        headers={"Accept": "application/json"},
    )

    assert answer.status_code == 422
    assert answer.json()["detail"] == "A request may bring 16 pictures."
    assert time.monotonic() - began_at < 2


@pytest.mark.parametrize("shape", [(), (8, 8), (1, 9, 8), (3, 8, 8), (2, 3, 8, 8)])
async def test_an_array_of_another_shape_is_refused(
    served: httpx.AsyncClient, shape: tuple[int, ...]
) -> None:
    answer = await served.post(
        PATH, content=npy(np.zeros(shape, np.float32)), headers={"Accept": "application/json"}
    )

    assert answer.status_code == 422
    assert "(1, 8, 8)" in answer.json()["detail"]


async def test_too_many_pictures_are_refused(served: httpx.AsyncClient) -> None:
    document = {"instances": [{"data": TEXT}] * 17}
    answer = await served.post(PATH, json=document, headers={"Accept": "application/json"})

    assert answer.status_code == 422
    assert "16 pictures" in answer.json()["detail"]


async def test_kserves_first_protocol_answers_lists(served: httpx.AsyncClient) -> None:
    document = {"instances": [{"data": TEXT}, {"b64": base64.b64encode(DARK).decode()}]}
    answer = await served.post("/v1/models/brightness:predict", json=document)

    assert answer.json() == {"predictions": [1, 0]}


@pytest.mark.parametrize(
    "path",
    ["/invocations?model_name=brightness", "/invocations", "/models/brightness/invoke",
     "/brightness/predict", "/brightness/predict/2.0"],
)  # fmt: skip
async def test_q04_the_aliases_predict(served: httpx.AsyncClient, path: str) -> None:
    answer = await served.post(path, content=BRIGHT)

    assert (answer.status_code, answer.text) == (200, "1")


@pytest.mark.parametrize(
    ("path", "kind", "message"),
    [
        ("/predictions/none", "ModelNotFoundException", "Model not found: none"),
        (
            "/predictions/brightness/9.9",
            "ModelVersionNotFoundException",
            "Model version: 9.9 does not exist for model: brightness",
        ),
    ],
)
async def test_q06_an_error_has_torchserves_shape(
    served: httpx.AsyncClient, path: str, kind: str, message: str
) -> None:
    answer = await served.put(path, content=BRIGHT)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/json"
    assert answer.text == (
        f'{{\n  "code": 404,\n  "type": "{kind}",\n  "message": "{message}"\n}}\n'
    )


@pytest.mark.parametrize("body", [b"no picture", BRIGHT[:40], b""])
async def test_q07_what_is_no_picture_is_prediction_failed(
    served: httpx.AsyncClient, body: bytes
) -> None:
    old = await served.put(PATH, content=body)
    modern = await served.put(PATH, content=body, headers={"Accept": "application/json"})

    assert old.status_code == 503
    assert old.json() == {
        "code": 503,
        "type": "InternalServerException",
        "message": "Prediction failed",
    }
    assert modern.status_code in (415, 422)
    assert modern.headers["content-type"] == "application/problem+json"
    assert modern.json()["message"] == modern.json()["detail"]


async def test_without_a_credential_the_page_of_the_old_proxy_asks_for_one(
    served: httpx.AsyncClient,
) -> None:
    answer = await served.put(PATH, content=BRIGHT, headers=STRANGER)
    modern = await served.put(
        PATH, content=BRIGHT, headers={**STRANGER, "Accept": "application/json"}
    )

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="ML Ops Area"'
    assert answer.headers["content-type"] == "text/html"
    assert "401 Authorization Required" in answer.text
    assert modern.status_code == 401
    assert modern.headers["content-type"] == "application/problem+json"


async def test_predicting_needs_its_scope(served: httpx.AsyncClient) -> None:
    reader = as_caller(caller(frozenset({"scancer:read"})))
    refused = await served.put(PATH, content=BRIGHT, headers=reader)
    allowed = await served.put(PATH, content=BRIGHT, headers=DEVELOPER)

    assert refused.status_code == 403
    assert refused.json()["type"] == "ForbiddenException"
    assert allowed.text == "1"


async def test_options_describes_the_model(served: httpx.AsyncClient) -> None:
    answer = await served.options(PATH)
    whole = await served.get("/api-description")

    assert answer.json()["openapi"] == "3.0.1"
    assert "dark, bright" in json.dumps(answer.json())
    assert "/predictions/{model_name}" in whole.json()["paths"]
    assert "/models" in whole.json()["paths"]


async def test_ping_is_open_and_says_healthy(served: httpx.AsyncClient) -> None:
    answer = await served.get("/ping", headers=STRANGER)

    assert answer.text == '{\n  "status": "Healthy"\n}\n'


async def test_an_explanation_is_a_map_or_a_picture(served: httpx.AsyncClient) -> None:
    figures = await served.post("/explanations/brightness", content=picture(250, size=(40, 20)))
    drawn = await served.post(
        "/explanations/brightness",
        content=picture(250, size=(40, 20)),
        headers={"Accept": "image/png"},
    )
    said = figures.json()

    assert said["label_name"] == "bright"
    assert said["method"] == "occlusion"
    assert all(0 <= figure <= 1 for row in said["map"] for figure in row)
    assert drawn.headers["content-type"] == "image/png"
    assert drawn.content.startswith(b"\x89PNG")


async def test_a_body_over_the_limit_is_an_empty_413(served: httpx.AsyncClient) -> None:
    headers = {"Content-Length": str(65 * 1024 * 1024)}
    answer = await served.put(PATH, content=BRIGHT, headers=headers)

    assert (answer.status_code, answer.content) == (413, b"")


@pytest.mark.parametrize("verb", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("accept", ["*/*", "application/json"])
@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("brightness", BRIGHT),
        ("brightness", b"no picture"),
        ("brightness", b""),
        ("brightness/2.0", BRIGHT),
        ("brightness/7.0", BRIGHT),
        ("nobody", BRIGHT),
        ("br%C3%BCcke", BRIGHT),
    ],
)
async def test_the_direct_way_answers_as_the_frameworks_route(
    served: httpx.AsyncClient, name: str, body: bytes, verb: str, accept: str
) -> None:
    """Without a slash at the end the framework is not asked; with one it is."""
    headers = {"Accept": accept, "X-Request-ID": "the-same"}
    direct = await served.request(verb, f"/predictions/{name}", content=body, headers=headers)
    routed = await served.request(verb, f"/predictions/{name}/", content=body, headers=headers)

    assert (direct.status_code, direct.content) == (routed.status_code, routed.content)
    assert direct.headers == routed.headers
