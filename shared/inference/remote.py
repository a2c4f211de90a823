"""A network that runs elsewhere: any server of the Open Inference Protocol v2 over HTTP.

Triton, KServe, OpenVINO Model Server and MLServer speak it. The package stays here: its manifest
says what goes there and what comes back, and its test vectors are run over there before anything
is served, so that a wrong model behind the right name is found.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import httpx
import numpy as np
import structlog
from numpy.typing import NDArray

from shared.inference.batching import Prepare, Priority
from shared.inference.errors import EngineBusy, InferenceDeadline
from shared.inference.graph import GraphFacts
from shared.inference.manifest import Manifest
from shared.inference.network import Aside, Noted
from shared.inference.package import ModelPackage, check_interface, read_manifest
from shared.inference.preprocess import compile_preprocess
from shared.inference.refusal import PackageRefused, Reason
from shared.inference.runtime import NetworkFailed
from shared.inference.vectors import compare, read_vector
from shared.problems import Problem

log = structlog.get_logger(__name__)

Encoding = Literal["auto", "json", "binary"]
Outputs = Mapping[str, NDArray[np.float32]]

_HEADER_LENGTH = "Inference-Header-Content-Length"
_MAX_ANSWER_BYTES = 512 * 1024 * 1024
_MAX_ERROR_CHARACTERS = 300
_PIECE = 4096
_TYPES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1",
    "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip


class RemoteUnavailable(Problem):
    """The server that runs a network cannot be reached, or is not ready."""

    status, slug, title = 502, "inference-server-unavailable", "Inference server unavailable"


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """Where a network runs.

    Attributes:
        url: the server's address, without `/v2`.
        model: the model's name there.
        version: its version there; None lets the server choose.
        encoding: how tensors travel; `auto` asks the server whether it takes them as bytes.
        headers: sent with every request, for servers that want a credential.
        deadline_s: how long an answer may take when a request does not say.
        in_flight_limit: how many requests may be on their way; one more is `EngineBusy`.
    """

    url: str
    model: str
    version: str | None = None
    encoding: Encoding = "auto"
    headers: Mapping[str, str] | None = None
    deadline_s: float = 30.0
    in_flight_limit: int = 256

    @property
    def path(self) -> str:
        """The model's part of every address."""
        path = f"/v2/models/{quote(self.model, safe='')}"
        return path if self.version is None else f"{path}/versions/{quote(self.version, safe='')}"


@asynccontextmanager
async def connect(folder: Path, place: RemoteModel) -> AsyncIterator["RemoteNetwork"]:
    """Use the network at `place` as what the package in `folder` describes.

    Raises:
        PackageRefused: the server's model has other shapes, or fails a test vector.
        RemoteUnavailable: the server cannot be reached, or its model is not ready.
        NetworkFailed: the server refuses the test vectors.
    """
    manifest = read_manifest(folder)
    client = httpx.AsyncClient(
        base_url=place.url.rstrip("/"),
        headers={"Accept-Encoding": "identity", **(place.headers or {})},
        # The request's deadline is the only clock.
        timeout=httpx.Timeout(None),
        follow_redirects=False,
        limits=httpx.Limits(max_connections=place.in_flight_limit, max_keepalive_connections=64),
    )
    async with client:
        wire = _Wire(client, place)
        await wire.require_ready()
        facts = await wire.describe()
        if facts is not None:
            check_interface(manifest, facts)
        binary = place.encoding == "binary" or (
            place.encoding == "auto" and await wire.takes_bytes()
        )
        preprocess = compile_preprocess(manifest.input)
        worst = 0.0
        for vector in manifest.test_vectors:
            batch = read_vector(folder, vector, preprocess)
            outputs = await wire.infer(manifest, batch, place.deadline_s, binary=binary)
            worst = max(worst, compare(manifest, vector, outputs))
        package = ModelPackage(
            folder, manifest, facts or GraphFacts(0, {}, {}), preprocess, 0, worst
        )
        log.info(
            "remote_network_connected",
            model=package.name,
            server=client.base_url.host,
            encoding="binary" if binary else "json",
            worst_deviation=worst,
        )
        yield RemoteNetwork(package, wire, place, binary=binary)


class RemoteNetwork:
    """One network on another server; what services call, as they call a `Network`."""

    def __init__(
        self, package: ModelPackage, wire: "_Wire", place: RemoteModel, *, binary: bool
    ) -> None:
        self.package = package
        self.manifest = package.manifest
        self._wire = wire
        self._place = place
        self._binary = binary
        self._shape = package.preprocess.shape
        self._in_flight = 0

    @property
    def name(self) -> str:
        """`id@version`, as the package here calls it."""
        return self.package.name

    async def run(
        self,
        tensor: NDArray[np.float32],
        *,
        deadline_s: float | None = None,
        priority: Priority = Priority.INTERACTIVE,
    ) -> Outputs:
        """Let the server run the network on pictures.

        A connection that breaks before the answer begins is made once more: running a network
        twice changes nothing.

        Args:
            tensor: `(N, C, H, W)`, as `package.preprocess` makes each picture.
            deadline_s: how long the answer may take; None for the place's deadline.
            priority: for the likeness to `Network`; the protocol has no word for it, and the
                server decides.

        Returns:
            The network's outputs by name, N rows each.

        Raises:
            EngineBusy: too many requests are on their way, or the server says so.
            InferenceDeadline: no answer came in time.
            RemoteUnavailable: the server cannot be reached.
            NetworkFailed: the server refused, or answered what the package does not describe.
            ValueError: `tensor` is not what the network reads.
        """
        if tensor.dtype != np.float32 or tensor.ndim != 4 or tensor.shape[1:] != self._shape:
            raise ValueError(
                f"{self.name} reads float32 (N, {', '.join(map(str, self._shape))}), "
                f"not {tensor.dtype} {tensor.shape}"
            )
        self._require_room()
        limit_s = self._place.deadline_s if deadline_s is None else deadline_s
        self._in_flight += 1
        try:
            return await self._wire.infer(self.manifest, tensor, limit_s, binary=self._binary)
        finally:
            self._in_flight -= 1

    async def prepare_and_run(
        self,
        prepare: Prepare,
        *,
        aside: Aside | None,
        deadline_s: float | None = None,
        priority: Priority = Priority.INTERACTIVE,
    ) -> Outputs:
        """`run` on one picture that has still to be prepared; see `Network`."""
        limit_s = self._place.deadline_s if deadline_s is None else deadline_s
        began_at = time.perf_counter()
        with self.preparing(deadline_s=limit_s, priority=priority):
            tensor = prepare() if aside is None else await aside(prepare)
        left_s = max(0.0, limit_s - (time.perf_counter() - began_at))
        return await self.run(tensor, deadline_s=left_s, priority=priority)

    @contextmanager
    def preparing(
        self,
        *,
        deadline_s: float | None = None,
        priority: Priority = Priority.INTERACTIVE,
    ) -> Iterator[Noted]:
        """Refuse a picture before it is prepared, when too many requests are on their way.

        Raises:
            EngineBusy: they are.
        """
        self._require_room()
        yield _not_noted

    async def require_ready(self, timeout_s: float = 5.0) -> None:
        """Ask the server whether this model is ready: for a service's readiness.

        Raises:
            RemoteUnavailable: it is not, or does not say in time.
        """
        await self._wire.require_ready(timeout_s)

    def _require_room(self) -> None:
        if self._in_flight >= self._place.in_flight_limit:
            raise EngineBusy(
                f"{self._in_flight} requests wait for an answer already.",
                headers={"Retry-After": "1"},
            )


def _not_noted(prepare: Prepare) -> Prepare:
    return prepare


class _Wire:
    """The protocol, request by request."""

    def __init__(self, client: httpx.AsyncClient, place: RemoteModel) -> None:
        self._client = client
        self._place = place

    async def require_ready(self, timeout_s: float = 5.0) -> None:
        """See `RemoteNetwork.require_ready`."""
        try:
            async with asyncio.timeout(timeout_s):
                status, _, _ = await self._ask("GET", f"{self._place.path}/ready")
        except TimeoutError as error:
            raise RemoteUnavailable(
                f"The inference server did not say within {timeout_s:g} s that it is ready."
            ) from error
        if status != 200:
            raise RemoteUnavailable(f"The inference server's model is not ready ({status}).")

    async def describe(self) -> GraphFacts | None:
        """The model's inputs and outputs as the server states them, if it does."""
        found = await self._ask_json(self._place.path)
        inputs, outputs = (_shapes(found.get(kind)) for kind in ("inputs", "outputs"))
        return GraphFacts(0, inputs, outputs) if inputs and outputs else None

    async def takes_bytes(self) -> bool:
        """Whether the server names the binary tensor extension."""
        extensions = (await self._ask_json("/v2")).get("extensions")
        return isinstance(extensions, list) and "binary_tensor_data" in extensions

    async def infer(
        self, manifest: Manifest, tensor: NDArray[np.float32], limit_s: float, *, binary: bool
    ) -> Outputs:
        """One inference, within `limit_s`."""
        names = [manifest.output.name, *(raw.name for raw in manifest.raw_outputs)]
        if manifest.explain is not None:
            names += [name for name in (manifest.explain.features, manifest.explain.maps) if name]
        try:
            async with asyncio.timeout(limit_s):
                # As text a picture takes some 60 ms to write; the event loop goes on meanwhile.
                body, headers = await asyncio.to_thread(
                    _request, manifest.input.name, tensor, names, binary=binary
                )
                status, answered, content = await self._ask(
                    "POST", f"{self._place.path}/infer", body, headers
                )
        except TimeoutError as error:
            raise InferenceDeadline(f"The network gave no answer within {limit_s:g} s.") from error
        if status in (429, 503):
            raise EngineBusy(
                "The inference server is too busy.",
                headers={"Retry-After": answered.get("Retry-After", "1")},
            )
        if status in (502, 504):
            raise RemoteUnavailable(f"The inference server is not reached ({status}).")
        if status != 200:
            raise NetworkFailed(f"the inference server answered {status}: {_error(content)}")
        outputs = _answer(content, answered.get(_HEADER_LENGTH))
        for name in names:
            if name not in outputs or outputs[name].shape[:1] != tensor.shape[:1]:
                raise NetworkFailed(f"the inference server's answer lacks {name!r}")
        return outputs

    async def _ask_json(self, path: str) -> dict[str, Any]:
        """A document, or nothing where the server has none."""
        try:
            async with asyncio.timeout(self._place.deadline_s):
                status, _, content = await self._ask("GET", path)
        except TimeoutError as error:
            raise RemoteUnavailable("The inference server does not answer.") from error
        if status != 200:
            return {}
        found = _parsed(content)
        return found if isinstance(found, dict) else {}

    async def _ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, httpx.Headers, bytes]:
        for attempt in (1, 2):
            try:
                return await self._ask_once(method, path, body, headers)
            except httpx.TransportError as error:
                if attempt == 2:
                    raise RemoteUnavailable(
                        f"The inference server cannot be reached: {type(error).__name__}."
                    ) from error
                log.info("inference_server_asked_again", error=type(error).__name__)
        raise AssertionError("every attempt returns or raises")

    async def _ask_once(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str] | None
    ) -> tuple[int, httpx.Headers, bytes]:
        async with self._client.stream(method, path, content=body, headers=headers) as response:
            content = bytearray()
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > _MAX_ANSWER_BYTES:
                    raise NetworkFailed("the inference server's answer is too large")
            return response.status_code, response.headers, bytes(content)


def _request(
    name: str, tensor: NDArray[np.float32], outputs: list[str], *, binary: bool
) -> tuple[bytes, dict[str, str]]:
    """The body of an inference request and its headers."""
    entry: dict[str, Any] = {"name": name, "shape": list(tensor.shape), "datatype": "FP32"}
    wanted: list[dict[str, Any]] = [{"name": output} for output in outputs]
    if not binary:
        opening = json.dumps({"outputs": wanted, "inputs": [entry]}).removesuffix("}]}")
        text = f'{opening}, "data": [{_as_json(tensor.reshape(-1))}]}}]}}'
        return text.encode(), {"Content-Type": "application/json"}
    packed = tensor.astype("<f4", copy=False).tobytes()
    entry["parameters"] = {"binary_data_size": len(packed)}
    for output in wanted:
        output["parameters"] = {"binary_data": True}
    document = json.dumps({"inputs": [entry], "outputs": wanted}).encode()
    headers = {"Content-Type": "application/octet-stream", _HEADER_LENGTH: str(len(document))}
    return document + packed, headers


def _as_json(flat: NDArray[np.float32]) -> str:
    """Figures with commas between, in pieces: one call for all would stop every other thread."""
    pieces = (flat[start : start + _PIECE] for start in range(0, len(flat), _PIECE))
    return ",".join(json.dumps(piece.tolist(), allow_nan=False)[1:-1] for piece in pieces)


def _answer(content: bytes, header_length: str | None) -> dict[str, NDArray[np.float32]]:
    """The outputs of an inference response, whichever way each of them travels."""
    document, packed = content, b""
    if header_length is not None:
        if not header_length.isdecimal() or int(header_length) > len(content):
            raise NetworkFailed("the inference server's answer states a wrong length")
        document, packed = content[: int(header_length)], content[int(header_length) :]
    found = _parsed(document)
    entries = found.get("outputs") if isinstance(found, dict) else None
    if not isinstance(entries, list):
        raise NetworkFailed("the inference server's answer holds no outputs")
    outputs = {}
    place = 0
    for entry in entries:
        try:
            size = (entry.get("parameters") or {}).get("binary_data_size")
            kind = _TYPES[entry["datatype"]]
            if size is None:
                array = np.asarray(entry["data"], kind)
            else:
                array = np.frombuffer(packed[place : place + size], kind)
                place += size
            outputs[entry["name"]] = array.reshape(entry["shape"]).astype(np.float32, copy=False)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise NetworkFailed(
                f"the inference server's answer is not of the protocol: {error!r}"
            ) from error
    return outputs


def _parsed(content: bytes) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise NetworkFailed("the inference server's answer is not JSON") from error


def _shapes(entries: object) -> dict[str, tuple[int | None, ...]]:
    """The float tensors of a model's metadata; an axis below 1 may vary."""
    if not isinstance(entries, list):
        return {}
    try:
        return {
            entry["name"]: tuple(side if side > 0 else None for side in map(int, entry["shape"]))
            for entry in entries
            if entry["datatype"] in ("FP32", "FP16", "FP64")
        }
    except (KeyError, TypeError, ValueError) as error:
        raise PackageRefused(
            Reason.SHAPE_MISMATCH, f"the server's metadata is not of the protocol: {error!r}"
        ) from error


def _error(content: bytes) -> str:
    """What a refusal says, in the protocol's form or not."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    said = found.get("error") if isinstance(found, dict) else None
    return str(said or content[:_MAX_ERROR_CHARACTERS])[:_MAX_ERROR_CHARACTERS]
