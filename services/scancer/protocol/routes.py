"""`/v2`: health, metadata, readiness and inference for every registered model."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from numpy.typing import NDArray
from starlette.responses import Response

from services.scancer.catalogue import Version
from services.scancer.dependencies import PREDICT, READ, require
from services.scancer.errors import NoWorkers
from services.scancer.protocol.errors import BadInference
from services.scancer.protocol.tensors import HEADER_LENGTH, read_question, write_answer
from shared.direct import DirectRoute, Handler
from shared.inference import (
    Manifest,
    ModelPackage,
    enforce_evidence,
    evidence_headers,
)
from shared.multipart import read_whole
from shared.problems import Problem

EXTENSIONS = ["binary_tensor_data"]
PLATFORM = "onnx_onnxruntime"
#: Reading so much JSON would keep everybody else waiting.
_MUCH_BYTES = 128 * 1024


class ProtocolRoute(APIRoute):
    """Answers a failure as the protocol has it: `{"error": …}`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the route."""
        return _in_its_words(super().get_route_handler())


def _in_its_words(handle: Handler) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def handle_protocol(request: Request) -> Response:
        try:
            return await handle(request)
        except Problem as problem:
            return _document({"error": problem.detail}, problem.status, dict(problem.headers))

    return handle_protocol


router = APIRouter(prefix="/v2", route_class=ProtocolRoute, tags=["open inference protocol"])


def _document(
    document: object, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    return Response(
        json.dumps(document), status, {**(headers or {}), "Content-Type": "application/json"}
    )


def _add(path: str, endpoint: Any, method: str = "GET") -> None:
    """A path with and without its last slash."""
    router.add_api_route(path, endpoint, methods=[method], response_model=None)
    router.add_api_route(
        f"{path}/", endpoint, methods=[method], response_model=None, include_in_schema=False,
        name=f"{endpoint.__name__}_{len(router.routes)}",
    )  # fmt: skip


async def server_metadata(request: Request) -> Response:
    """Name, version and extensions of the server."""
    try:
        release = version("vedette")
    except PackageNotFoundError:
        release = "source"
    return _document({"name": "vedette", "version": release, "extensions": EXTENSIONS})


async def server_live(request: Request) -> Response:
    """The server runs."""
    return Response()


async def server_ready(request: Request) -> Response:
    """Every model has the workers that it should have."""
    is_ready = all(each.is_as_registered for each in request.state.catalogue.all_versions())
    return Response(status_code=200 if is_ready else 503)


async def model_metadata(request: Request) -> Response:
    """Inputs and outputs of a model."""
    require(request, READ)
    found = await _find(request)
    package = _require_package(found)
    manifest = package.manifest
    name = found.registration.name
    return _document(
        {
            "name": name,
            "versions": [
                each.registration.version for each in request.state.catalogue.versions_of(name)
            ],
            "platform": PLATFORM,
            "inputs": [
                _tensor(manifest.input.name, (-1, *package.preprocess.shape)),
            ],
            "outputs": [
                _tensor(output, tuple(-1 if side is None else side for side in shape))
                for output, shape in _outputs_of(package).items()
            ],
            "parameters": {
                "evidence": str(manifest.evidence),
                "labels": ",".join(manifest.labels),
                "sha256": manifest.sha256,
            },
        }
    )


async def model_ready(request: Request) -> Response:
    """A model, or one version of it, has workers."""
    require(request, READ)
    found = await _find(request)
    return Response(status_code=200 if found.served is not None else 400)


async def infer(request: Request) -> Response:
    """Run the network on tensors as it reads them; nothing is prepared or interpreted."""
    require(request, PREDICT)
    found = await _find(request)
    with found.require_served().use() as network:
        manifest = network.manifest
        enforce_evidence(request.state.evidence, manifest.evidence)
        network.require_time()
        body = await read_whole(request, request.state.max_upload_bytes)
        length = request.headers.get(HEADER_LENGTH)
        if len(body) > _MUCH_BYTES:
            question = await asyncio.to_thread(read_question, body, length)
        else:
            question = read_question(body, length)
        tensor = _input_of(manifest, question.inputs, network.package.preprocess.shape)
        if len(tensor) > network.lane.limit:
            raise BadInference(f"A request may bring {network.lane.limit} pictures.")
        available = _outputs_of(network.package)
        unknown = [name for name in question.outputs if name not in available]
        if unknown:
            raise BadInference(f"The model has no output {unknown[0]!r}.")
        outputs = await network.run(tensor, deadline_s=request.state.deadline_s)
    wanted = question.outputs or tuple(available)
    head: dict[str, Any] = {
        "model_name": found.registration.name,
        "model_version": found.registration.version,
    }
    if question.id is not None:
        head["id"] = question.id
    content, headers = write_answer(head, {name: outputs[name] for name in wanted}, question)
    headers |= evidence_headers(manifest.id, manifest.version, manifest.evidence)
    return Response(content, headers=headers)


async def _find(request: Request) -> Version:
    params = request.path_params
    found: Version = await request.state.catalogue.get(params["model"], params.get("version"))
    return found


def _require_package(found: Version) -> ModelPackage:
    if found.package is None:
        raise NoWorkers(found.registration.name)
    return found.package


def _outputs_of(package: ModelPackage) -> dict[str, tuple[int | None, ...]]:
    """The float outputs; a network that runs elsewhere may state none beyond its manifest's."""
    return dict(package.graph.outputs)


def _input_of(manifest: Manifest, inputs: Any, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    if set(inputs) != {manifest.input.name}:
        raise BadInference(f"The model reads one input, {manifest.input.name!r}.")
    tensor: NDArray[np.float32] = inputs[manifest.input.name]
    if tensor.ndim != 4 or tensor.shape[1:] != shape:
        raise BadInference(
            f"{manifest.input.name!r} has the shape {[*tensor.shape]}, "
            f"the model reads {[-1, *shape]}."
        )
    return np.ascontiguousarray(tensor)


def _tensor(name: str, shape: tuple[int, ...]) -> dict[str, Any]:
    return {"name": name, "datatype": "FP32", "shape": [*shape]}


_add("", server_metadata)
_add("/health/live", server_live)
_add("/health/ready", server_ready)
_MODEL_PATHS = ("/models/{model}", "/models/{model}/versions/{version}")
for _prefix in _MODEL_PATHS:
    _add(_prefix, model_metadata)
    _add(f"{_prefix}/ready", model_ready)
    _add(f"{_prefix}/infer", infer, "POST")

#: What is asked most.
DIRECT = tuple(
    DirectRoute(f"/v2{prefix}/infer", ("POST",), _in_its_words(infer)) for prefix in _MODEL_PATHS
)
