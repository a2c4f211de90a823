"""Networks on another server: the protocol, its failures, and a real server of it."""

import asyncio
import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from shared.inference import EngineBusy, InferenceDeadline, PackageRefused
from shared.inference.refusal import Reason
from shared.inference.remote import Encoding, RemoteModel, RemoteUnavailable, connect
from shared.inference.runtime import NetworkFailed
from tests.holding import eventually
from tests.running import free_ports
from tests.shared.inference.packages import PackageBuilder
from tests.shared.inference.protocol_server import ProtocolServer, speaking

MLSERVER = os.environ.get("VEDETTE_MLSERVER")
KSERVE = os.environ.get("VEDETTE_KSERVE")
PICTURES = np.stack([np.full((1, 8, 8), level, np.float32) for level in (0.25, 0.5)])
EXPECTED = np.array([[0.25, -0.25], [0.5, -0.5]], np.float32)


@pytest.fixture
def server() -> Iterator[ProtocolServer]:
    """A server that does all right unless the test changes it."""
    with speaking(ProtocolServer()) as speaking_server:
        yield speaking_server


@pytest.fixture
def folder(package: PackageBuilder) -> Path:
    """The package that describes what the server runs."""
    return package.write()


@pytest.mark.parametrize("encoding", ["json", "binary"])
async def test_a_network_elsewhere_answers_as_one_here(
    server: ProtocolServer, folder: Path, encoding: Encoding
) -> None:
    place = RemoteModel(server.url, "mean", encoding=encoding)
    async with connect(folder, place) as network:
        outputs = await network.run(PICTURES)

    np.testing.assert_allclose(outputs["logits"], EXPECTED, rtol=1e-6)
    assert outputs["logits"].dtype == np.float32
    assert network.name == "mean-brightness@1.0"
    assert server.binary == [encoding == "binary"] * 2  # the test vector, then the request


@pytest.mark.parametrize("extensions", [["classification"], ["binary_tensor_data"]])
async def test_bytes_travel_where_the_server_says_it_takes_them(
    server: ProtocolServer, folder: Path, extensions: list[str]
) -> None:
    server.extensions = extensions
    async with connect(folder, RemoteModel(server.url, "mean")):
        pass

    assert server.binary == ["binary_tensor_data" in extensions]


async def test_a_version_and_odd_names_are_part_of_the_address(
    server: ProtocolServer, folder: Path
) -> None:
    async with connect(folder, RemoteModel(server.url, "a/b c", "2")):
        pass

    assert "/v2/models/a%2Fb%20c/versions/2/infer" in server.asked


async def test_a_wrong_model_behind_the_right_name_is_found(
    server: ProtocolServer, folder: Path
) -> None:
    """Nothing is served before the test vectors have run over there."""
    server.gain = 1.1
    with pytest.raises(PackageRefused) as refused:
        async with connect(folder, RemoteModel(server.url, "mean")):
            pass

    assert refused.value.reason is Reason.TEST_VECTOR_FAILED


async def test_a_model_of_other_shapes_is_refused(server: ProtocolServer, folder: Path) -> None:
    server.shape = [-1, 3, 224, 224]
    with pytest.raises(PackageRefused) as refused:
        async with connect(folder, RemoteModel(server.url, "mean")):
            pass

    assert refused.value.reason is Reason.SHAPE_MISMATCH


async def test_a_model_that_is_not_ready_is_unavailable(
    server: ProtocolServer, folder: Path
) -> None:
    async with connect(folder, RemoteModel(server.url, "mean")) as network:
        await network.require_ready()
        server.ready = False
        with pytest.raises(RemoteUnavailable, match="not ready"):
            await network.require_ready()


async def test_a_server_that_is_not_there_is_unavailable(folder: Path) -> None:
    with pytest.raises(RemoteUnavailable):
        async with connect(folder, RemoteModel(f"http://127.0.0.1:{free_ports(1)}", "mean")):
            pass


async def test_a_connection_that_breaks_is_made_once_more(
    server: ProtocolServer, folder: Path
) -> None:
    async with connect(folder, RemoteModel(server.url, "mean")) as network:
        server.breaks = 1
        outputs = await network.run(PICTURES)
        server.breaks = 2
        with pytest.raises(RemoteUnavailable):
            await network.run(PICTURES)

    np.testing.assert_allclose(outputs["logits"], EXPECTED, rtol=1e-6)
    assert server.breaks == 0


async def test_a_deadline_ends_the_wait(server: ProtocolServer, folder: Path) -> None:
    async with connect(folder, RemoteModel(server.url, "mean")) as network:
        server.holds = threading.Event()
        with pytest.raises(InferenceDeadline):
            await network.run(PICTURES, deadline_s=0.05)
        server.holds.set()
        outputs = await network.run(PICTURES)

    np.testing.assert_allclose(outputs["logits"], EXPECTED, rtol=1e-6)


async def test_more_requests_than_may_be_on_their_way_are_refused_at_once(
    server: ProtocolServer, folder: Path
) -> None:
    place = RemoteModel(server.url, "mean", in_flight_limit=1)
    async with connect(folder, place) as network:
        server.holds = threading.Event()
        first = asyncio.create_task(network.run(PICTURES))
        await asyncio.sleep(0)  # lets the first one begin
        with pytest.raises(EngineBusy):
            await network.run(PICTURES)
        server.holds.set()
        outputs = await first

    np.testing.assert_allclose(outputs["logits"], EXPECTED, rtol=1e-6)


async def test_a_picture_is_prepared_here_and_run_there(
    server: ProtocolServer, folder: Path
) -> None:
    async with connect(folder, RemoteModel(server.url, "mean", in_flight_limit=1)) as network:
        outputs = [
            await network.prepare_and_run(lambda: PICTURES[:1], aside=aside)
            for aside in (None, asyncio.to_thread)
        ]
        with network.preparing():
            pass

    for each in outputs:
        np.testing.assert_allclose(each["logits"], EXPECTED[:1], rtol=1e-6)


async def test_a_picture_is_not_prepared_for_a_server_that_has_no_room(
    server: ProtocolServer, folder: Path
) -> None:
    async with connect(folder, RemoteModel(server.url, "mean", in_flight_limit=1)) as network:
        server.holds = threading.Event()
        first = asyncio.create_task(network.run(PICTURES))
        await asyncio.sleep(0)  # lets the first one begin
        with pytest.raises(EngineBusy):
            await network.prepare_and_run(lambda: pytest.fail("prepared"), aside=None)
        server.holds.set()
        await first


async def test_a_cancelled_request_makes_room(server: ProtocolServer, folder: Path) -> None:
    place = RemoteModel(server.url, "mean", in_flight_limit=1)
    async with connect(folder, place) as network:
        server.holds = threading.Event()
        first = asyncio.create_task(network.run(PICTURES))
        await asyncio.sleep(0)
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
        server.holds.set()
        outputs = await network.run(PICTURES)

    np.testing.assert_allclose(outputs["logits"], EXPECTED, rtol=1e-6)


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (503, EngineBusy), (429, EngineBusy), (502, RemoteUnavailable), (504, RemoteUnavailable),
        (400, NetworkFailed), (500, NetworkFailed), (302, NetworkFailed),
    ],
)  # fmt: skip
async def test_a_refusal_keeps_its_kind(
    server: ProtocolServer, folder: Path, status: int, problem: type[Exception]
) -> None:
    async with connect(folder, RemoteModel(server.url, "mean")) as network:
        server.refuses = (status, b'{"error": "no such input"}')
        with pytest.raises(problem):
            await network.run(PICTURES)


RIGHT: dict[str, object] = {
    "name": "logits",
    "datatype": "FP32",
    "shape": [2, 2],
    "data": [1, 2, 3, 4],
}
WRONG: list[dict[str, object]] = [
    {"name": "other"},
    {"shape": [1, 2]},
    {"shape": [1, 4]},
    {"shape": "x"},
    {"datatype": "BYTES"},
    {"data": ["x", 1, 2, 3]},
    {"data": None},
    {"parameters": {"binary_data_size": 16}},
    {"parameters": [1]},
]


@pytest.mark.parametrize(
    "says",
    [
        b"",
        b"text",
        b"[]",
        b"{}",
        b'{"outputs": {}}',
        b'{"outputs": []}',
        b'{"outputs": [7]}',
        b'{"outputs": ' + b"[" * 100_000,
        *(json.dumps({"outputs": [RIGHT | change]}).encode() for change in WRONG),
    ],
)
async def test_an_answer_that_is_not_of_the_protocol_is_a_failure(
    server: ProtocolServer, folder: Path, says: bytes
) -> None:
    """The far side may be another version, or another program altogether."""
    async with connect(folder, RemoteModel(server.url, "mean")) as network:
        server.says = says
        with pytest.raises(NetworkFailed):
            await network.run(PICTURES)


async def test_figures_that_json_has_no_word_for_are_not_sent(
    server: ProtocolServer, folder: Path
) -> None:
    async with connect(folder, RemoteModel(server.url, "mean", encoding="json")) as network:
        with pytest.raises(ValueError, match="JSON"):
            await network.run(PICTURES * np.float32("nan"))


async def test_many_pictures_travel_in_one_request(server: ProtocolServer, folder: Path) -> None:
    """More figures than are written in one piece, in the order in which they were given."""
    levels = np.linspace(0, 1, 200, dtype=np.float32)
    pictures = np.broadcast_to(levels[:, None, None, None], (200, 1, 8, 8)).copy()
    async with connect(folder, RemoteModel(server.url, "mean", encoding="json")) as network:
        outputs = await network.run(pictures)

    np.testing.assert_allclose(outputs["logits"][:, 0], levels, rtol=1e-5)


@pytest.mark.parametrize(
    "tensor",
    [
        np.zeros((1, 3, 8, 8), np.float32),
        np.zeros((1, 8, 8), np.float32),
        np.zeros((1, 1, 8, 8), np.float64),
    ],
)
async def test_a_tensor_of_another_shape_is_not_sent(
    server: ProtocolServer, folder: Path, tensor: NDArray[np.float32]
) -> None:
    async with connect(folder, RemoteModel(server.url, "mean")) as network:
        with pytest.raises(ValueError, match="float32"):
            await network.run(tensor)


MLSERVER_MODEL = """
import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Mean(MLModel):
    async def predict(self, payload):
        mean = NumpyCodec.decode_input(payload.inputs[0]).mean(axis=(1, 2, 3))
        logits = np.stack([mean, -mean], axis=1).astype(np.float32)
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("logits", logits)]
        )
"""

KSERVE_MODEL = """
import sys

import numpy as np
from kserve import InferOutput, InferResponse, Model, ModelServer


class Mean(Model):
    def predict(self, payload, headers=None, response_headers=None):
        mean = payload.inputs[0].as_numpy().mean(axis=(1, 2, 3))
        logits = np.stack([mean, -mean], axis=1).astype(np.float32)
        output = InferOutput(name="logits", shape=list(logits.shape), datatype="FP32")
        output.set_data_from_numpy(logits, binary_data=sys.argv[2] == "binary")
        return InferResponse(response_id="1", model_name="mean", infer_outputs=[output])


if __name__ == "__main__":
    model = Mean("mean")
    model.ready = True
    ModelServer(http_port=int(sys.argv[1]), enable_grpc=False, workers=1).start([model])
"""


@contextlib.contextmanager
def started(command: list[str], home: Path, port: int) -> Iterator[str]:
    """A server in a process of its own, once its model is ready."""
    url = f"http://127.0.0.1:{port}"
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=home, stdout=log, stderr=log)
        try:
            eventually(lambda: _is_ready(url), within_s=60)
            yield url
        finally:
            process.terminate()
            process.wait(20)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v2/models/mean/ready").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.skipif(
    MLSERVER is None,
    reason="VEDETTE_MLSERVER names no `mlserver` executable (of a venv of its own)",
)
async def test_mlserver_is_served_from(tmp_path: Path, folder: Path) -> None:
    """MLServer by Seldon, written by others from the same protocol text; it takes JSON only."""
    port = free_ports(3)
    settings = {
        "host": "127.0.0.1", "http_port": port, "grpc_port": port + 1, "metrics_port": port + 2,
        "parallel_workers": 0, "debug": False,
    }  # fmt: skip
    model = {
        "name": "mean",
        "implementation": "runtime.Mean",
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 8, 8]}],
        "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 2]}],
    }
    (tmp_path / "runtime.py").write_text(MLSERVER_MODEL)
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    (tmp_path / "model-settings.json").write_text(json.dumps(model))

    with started([str(MLSERVER), "start", "."], tmp_path, port) as url:
        async with connect(folder, RemoteModel(url, "mean")) as network:
            outputs = await network.run(PICTURES)
            await network.require_ready()

    np.testing.assert_allclose(outputs["logits"], EXPECTED, rtol=1e-6)


@pytest.mark.skipif(
    KSERVE is None,
    reason="VEDETTE_KSERVE names no Python that has `kserve` (of a venv of its own)",
)
@pytest.mark.parametrize("answer", ["json", "binary"])
@pytest.mark.parametrize("encoding", ["json", "binary"])
async def test_kserve_is_served_from_in_every_encoding(
    tmp_path: Path, folder: Path, encoding: Encoding, answer: str
) -> None:
    """KServe's own server takes tensors as bytes too, and its models answer as they like."""
    port = free_ports(1)
    (tmp_path / "server.py").write_text(KSERVE_MODEL)

    with started([str(KSERVE), "server.py", str(port), answer], tmp_path, port) as url:
        place = RemoteModel(url, "mean", encoding=encoding)
        async with connect(folder, place) as network:
            outputs = await network.run(PICTURES)

    np.testing.assert_allclose(outputs["logits"], EXPECTED, rtol=1e-6)
