"""A server of the Open Inference Protocol v2 that runs the mean-brightness network."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LENGTH = "Inference-Header-Content-Length"


@dataclass
class ProtocolServer:
    """What the server does, and what it was asked.

    Attributes:
        extensions: what it says it can do beside the protocol.
        ready: whether its model is.
        shape: what its metadata say of the input.
        gain: what its network multiplies the right answer by.
        breaks: how many of the next inferences end without an answer.
        holds: inferences wait for this.
        refuses: a status and a body in place of the next inferences.
        says: a body in place of the right one.
    """

    extensions: list[str] = field(default_factory=list)
    ready: bool = True
    shape: list[int] = field(default_factory=lambda: [-1, 1, 8, 8])
    gain: float = 1.0
    breaks: int = 0
    holds: threading.Event | None = None
    refuses: tuple[int, bytes] | None = None
    says: bytes | None = None
    asked: list[str] = field(default_factory=list)
    binary: list[bool] = field(default_factory=list)
    """For every inference whether its tensor came as bytes."""
    url: str = ""


@contextmanager
def speaking(server: ProtocolServer) -> Iterator[ProtocolServer]:
    """Run the server at `server.url` for a while."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body are two writes; the second would wait for the first one's receipt.
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            _describe(self, server)

        def do_POST(self) -> None:
            _infer(self, server)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
            """Say nothing."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    server.url = f"http://127.0.0.1:{listening.server_address[1]}"
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


def _describe(handler: BaseHTTPRequestHandler, server: ProtocolServer) -> None:
    server.asked.append(handler.path)
    if handler.path.endswith("/ready"):
        _send(handler, 200 if server.ready else 400, b"")
    elif handler.path == "/v2":
        document = {"name": "stub", "version": "1", "extensions": server.extensions}
        _send(handler, 200, json.dumps(document).encode())
    else:
        described = {
            "name": "mean",
            "platform": "stub",
            "inputs": [{"name": "image", "datatype": "FP32", "shape": server.shape}],
            "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 2]}],
        }
        _send(handler, 200, json.dumps(described).encode())


def _infer(handler: BaseHTTPRequestHandler, server: ProtocolServer) -> None:
    server.asked.append(handler.path)
    content = handler.rfile.read(int(handler.headers["Content-Length"]))
    if server.breaks > 0:
        server.breaks -= 1
        handler.close_connection = True
        return
    if server.holds is not None:
        server.holds.wait(10)
    if server.refuses is not None:
        status, body = server.refuses
        _send(handler, status, body)
        return
    length = handler.headers.get(_LENGTH)
    server.binary.append(length is not None)
    document = json.loads(content if length is None else content[: int(length)])
    entry = document["inputs"][0]
    if length is None:
        flat = np.array(entry["data"], np.float32)
    else:
        flat = np.frombuffer(content[int(length) :], "<f4")
    _send(handler, 200, *_answer(server, flat.reshape(entry["shape"]), document, length))


def _answer(
    server: ProtocolServer,
    tensor: NDArray[np.float32],
    document: dict[str, Any],
    length: str | None,
) -> tuple[bytes, dict[str, str]]:
    if server.says is not None:
        return server.says, {}
    mean = tensor.mean(axis=(1, 2, 3)) * server.gain
    logits = np.stack([mean, -mean], axis=1).astype("<f4")
    output: dict[str, Any] = {"name": "logits", "datatype": "FP32", "shape": list(logits.shape)}
    if length is None:
        output["data"] = logits.reshape(-1).tolist()
        return json.dumps({"model_name": "mean", "outputs": [output]}).encode(), {}
    output["parameters"] = {"binary_data_size": logits.nbytes}
    text = json.dumps({"model_name": "mean", "outputs": [output]}).encode()
    return text + logits.tobytes(), {_LENGTH: str(len(text))}


def _send(
    handler: BaseHTTPRequestHandler,
    status: int,
    body: bytes,
    headers: dict[str, str] | None = None,
) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)
