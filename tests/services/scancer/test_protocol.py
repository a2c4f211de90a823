"""The Open Inference Protocol, asked by hand and by our own client of it."""

import json
from typing import Any

import httpx
import numpy as np
import pytest

from services.scancer.protocol.tensors import HEADER_LENGTH
from tests.services.scancer.support import DEVELOPER, STRANGER, as_caller, caller, tensor

INFER = "/v2/models/brightness/infer"


def question(level: int = 250, count: int = 1, **more: Any) -> dict[str, Any]:
    """An inference request in JSON."""
    figures = tensor(level, count)
    entry = {
        "name": "image",
        "shape": [*figures.shape],
        "datatype": "FP32",
        "data": figures.reshape(-1).tolist(),
    }
    return {"inputs": [entry], **more}


async def test_health_is_open(served: httpx.AsyncClient) -> None:
    live = await served.get("/v2/health/live", headers=STRANGER)
    ready = await served.get("/v2/health/ready", headers=STRANGER)
    server = await served.get("/v2", headers=STRANGER)

    assert (live.status_code, ready.status_code) == (200, 200)
    assert server.json()["name"] == "vedette"
    assert server.json()["extensions"] == ["binary_tensor_data"]


async def test_metadata_tell_shapes_and_versions(served: httpx.AsyncClient) -> None:
    found = (await served.get("/v2/models/brightness/versions/2.0")).json()

    assert found["name"] == "brightness"
    assert found["versions"] == ["1.0", "2.0"]
    assert found["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 8, 8]}]
    assert found["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, 2]}]


async def test_readiness_is_per_model(served: httpx.AsyncClient) -> None:
    ready = await served.get("/v2/models/brightness/versions/1.0/ready")
    unknown = await served.get("/v2/models/none/ready")

    assert ready.status_code == 200
    assert unknown.status_code == 404
    assert unknown.json() == {"error": "Model not found: none"}


async def test_json_in_and_json_out(served: httpx.AsyncClient) -> None:
    answer = (await served.post(INFER, json=question(count=3, id="42"))).json()
    [output] = answer["outputs"]
    logit = 4 * (250 / 255 - 0.5)

    assert answer["model_name"] == "brightness"
    assert answer["model_version"] == "1.0"
    assert answer["id"] == "42"
    assert output["shape"] == [3, 2]
    np.testing.assert_allclose(output["data"], [-logit, logit] * 3, rtol=1e-4)


@pytest.mark.parametrize("datatype", ["FP32", "FP64", "FP16"])
@pytest.mark.parametrize(
    "wanted",
    [
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": "logits", "parameters": {"binary_data": True}}]},
    ],
)
async def test_bytes_in_and_bytes_out(
    served: httpx.AsyncClient, datatype: str, wanted: dict[str, Any]
) -> None:
    kind = {"FP32": "<f4", "FP64": "<f8", "FP16": "<f2"}[datatype]
    packed = tensor(250).astype(kind).tobytes()
    document = question() | wanted
    document["inputs"][0] |= {"datatype": datatype, "parameters": {"binary_data_size": len(packed)}}
    del document["inputs"][0]["data"]
    text = json.dumps(document).encode()
    answer = await served.post(
        "/v2/models/brightness/versions/2.0/infer",
        content=text + packed,
        headers={HEADER_LENGTH: str(len(text))},
    )
    length = int(answer.headers[HEADER_LENGTH])
    head = json.loads(answer.content[:length])
    figures = np.frombuffer(answer.content[length:], "<f4")
    logit = 8 * (250 / 255 - 0.5)

    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["vedette-model"] == "brightness@2.0"
    assert head["outputs"][0]["parameters"] == {"binary_data_size": 8}
    np.testing.assert_allclose(figures, [-logit, logit], rtol=2e-3)


def spoilt(**changes: Any) -> dict[str, Any]:
    """A request whose input is not right."""
    document = question()
    document["inputs"][0] |= changes
    return document


BAD: dict[str, Any] = {
    "no object": [1],
    "no inputs": {},
    "no list": {"inputs": 5},
    "no tensor": {"inputs": [5]},
    "no name": spoilt(name=None),
    "another name": spoilt(name="x"),
    "no shape": spoilt(shape=None),
    "a negative shape": spoilt(shape=[-1, 1, 8, 8]),
    "a huge shape": spoilt(shape=[2**40, 2**40, 8, 8]),
    "another shape": spoilt(shape=[1, 64]),
    "wrong number": spoilt(shape=[2, 1, 8, 8]),
    "text": spoilt(data=["a"] * 64),
    "no data": spoilt(data=None),
    "a datatype that is none": spoilt(datatype="FP8"),
    "no datatype": spoilt(datatype=None),
    "bytes that are not there": spoilt(parameters={"binary_data_size": 256}),
    "a size that is no number": spoilt(parameters={"binary_data_size": "256"}),
    "an output that is not there": question(outputs=[{"name": "x"}]),
    "the same input twice": {"inputs": question()["inputs"] * 2},
    "too many pictures": question(count=300),
}


@pytest.mark.parametrize("name", BAD)
async def test_s85_a_request_that_is_not_of_the_protocol_is_told_so(
    served: httpx.AsyncClient, name: str
) -> None:
    answer = await served.post(INFER, json=BAD[name])

    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]


@pytest.mark.parametrize(
    ("body", "length"), [(b"{", None), (b"{}", "99"), (b"{}", "-1"), (b"[" * 100_000, None)]
)
async def test_s85_a_body_that_is_no_json_is_told_so(
    served: httpx.AsyncClient, body: bytes, length: str | None
) -> None:
    headers = {} if length is None else {HEADER_LENGTH: length}
    answer = await served.post(INFER, content=body, headers=headers)

    assert answer.status_code == 400


async def test_figures_that_json_has_no_word_for_travel_as_bytes(
    served: httpx.AsyncClient,
) -> None:
    document = question()
    document["inputs"][0]["data"][0] = float("inf")
    text = json.dumps(document)
    as_json = await served.post(INFER, content=text)
    as_bytes = await served.post(
        INFER, content=json.dumps(document | {"parameters": {"binary_data_output": True}})
    )

    assert as_json.status_code == 400
    assert as_bytes.status_code == 200


async def test_inference_needs_its_scope(served: httpx.AsyncClient) -> None:
    stranger = await served.post(INFER, json=question(), headers=STRANGER)
    reader = await served.post(
        INFER, json=question(), headers=as_caller(caller(frozenset({"scancer:read"})))
    )
    developer = await served.post(INFER, json=question(), headers=DEVELOPER)

    assert stranger.status_code == 401
    assert stranger.headers["www-authenticate"].startswith("Basic")
    assert reader.status_code == 403
    assert developer.status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("brightness", question()),
        ("brightness/versions/1.0", question()),
        ("brightness", {"inputs": []}),
        ("nobody", question()),
    ],
)
async def test_the_direct_way_answers_as_the_frameworks_route(
    served: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    headers = {"X-Request-ID": "the-same"}
    direct = await served.post(f"/v2/models/{path}/infer", json=body, headers=headers)
    routed = await served.post(f"/v2/models/{path}/infer/", json=body, headers=headers)

    assert (direct.status_code, direct.content) == (routed.status_code, routed.content)
    assert direct.headers == routed.headers
