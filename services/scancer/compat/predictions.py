"""TorchServe's inference API: predictions by any verb, explanations, health, and its aliases.

The answer is the label's index and nothing else: one character for up to ten labels. With
`Accept: application/json` it is today's.
"""

import json
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from services.scancer.answers import to_prediction
from services.scancer.compat.description import describe_model
from services.scancer.compat.wording import (
    CACHE_HEADERS,
    MethodRefused,
    OldRoute,
    in_old_words,
    marked,
    pretty,
    pretty_text,
    wants_json,
)
from services.scancer.dependencies import PREDICT, READ, images_of, require
from services.scancer.errors import ParameterInvalid
from services.scancer.explaining import draw_explanation
from services.scancer.prediction import Explained, Predicted, Prediction
from services.scancer.schemas import PredictionOut
from shared.direct import DirectRoute
from shared.inference import Manifest, evidence_headers
from shared.inference.explain import normalised_map

router = APIRouter(route_class=OldRoute, tags=["scancer, as TorchServe"])

VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_GATE_HEADER = "Vedette-Gate"
_PICTURE = {
    "requestBody": {
        "description": "The picture, raw or in the part `data` of a form; or the network's input "
        "as `numpy.save` writes it.",
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"data": {"type": "string", "format": "binary"}},
                }
            },
        },
    }
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The index of the label, or with `Accept: application/json` all of it.",
        "model": PredictionOut,
        "content": {"text/plain": {"schema": {"type": "string", "examples": ["1"]}}},
    }
}


async def predict(request: Request) -> Response:
    """Predict with a model's default version, or with the one that is named."""
    require(request, PREDICT)
    params = request.path_params
    return await _predict(request, params["model"], params.get("version"))


async def predict_default(request: Request) -> Response:
    """`/models/{m}/invoke`, another spelling of a prediction."""
    require(request, PREDICT)
    return await _predict(request, request.path_params["model"], None)


async def invoke(request: Request) -> Response:
    """TorchServe's alias for SageMaker; without a name the only model there is."""
    require(request, PREDICT)
    name = request.query_params.get("model_name")
    if name is None:
        names = request.state.catalogue.names()
        if len(names) != 1:
            raise ParameterInvalid("Parameter model_name is required.")
        [name] = names
    return await _predict(request, name, None)


async def predict_instances(request: Request) -> Response:
    """KServe's first protocol: `{"instances": […]}` becomes `{"predictions": […]}`."""
    require(request, PREDICT)
    name, _, verb = request.path_params["model_and_verb"].rpartition(":")
    if verb == "explain":
        return await _explain(request, name, None)
    if verb != "predict":
        raise MethodRefused
    found = await images_of(request)
    predicted = await request.state.predictor.predict(name, None, found.images)
    answers = [_old_value(predicted.manifest, each) for each in predicted.predictions]
    return pretty({"predictions": answers}, headers=_evidence(predicted.manifest))


async def explain(request: Request) -> Response:
    """Where the network looked: figures from 0 to 1, or a picture for `Accept: image/png`."""
    require(request, PREDICT)
    params = request.path_params
    return await _explain(request, params["model"], params.get("version"))


async def describe(request: Request) -> Response:
    """What one model reads and answers, as OpenAPI."""
    require(request, READ)
    params = request.path_params
    version = await request.state.catalogue.get(params["model"], params.get("version"))
    return pretty(describe_model(version))


async def _predict(request: Request, name: str, version: str | None) -> Response:
    found = await images_of(request)
    if wants_json(request):
        predicted = await request.state.predictor.predict(name, version, found.images)
        return _modern(predicted, is_list=found.is_list)
    # Of several parts the last one wins, as there (Q9).
    predicted = await request.state.predictor.predict(name, version, [found.last])
    [prediction] = predicted.predictions
    marks = (_evidence(predicted.manifest) | _gate(prediction)).items()
    value = _old_value(predicted.manifest, prediction)
    if isinstance(value, int):
        return marked(str(value), marks)
    return marked(pretty_text(value), marks, "application/json")


async def _explain(request: Request, name: str, version: str | None) -> Response:
    found = await images_of(request)
    image = found.last
    explained = await request.state.predictor.explain(name, version, image)
    headers = _evidence(explained.manifest) | _gate(explained.prediction)
    if "image/png" in request.headers.get("accept", "") and isinstance(image, bytes):
        drawn = await draw_explanation(request.state.decoder, explained, image)
        return Response(drawn, headers={**CACHE_HEADERS, **headers, "Content-Type": "image/png"})
    return pretty(_explanation(explained), headers=headers)


def _modern(predicted: Predicted, *, is_list: bool) -> Response:
    answers = [
        to_prediction(predicted.manifest, each).model_dump(mode="json")
        for each in predicted.predictions
    ]
    document = {"predictions": answers} if is_list else answers[0]
    return Response(
        json.dumps(document),
        headers={
            **CACHE_HEADERS,
            **_evidence(predicted.manifest),
            "Content-Type": "application/json",
        },
    )


def _old_value(manifest: Manifest, prediction: Prediction) -> int | dict[str, float]:
    """What a handler of TorchServe returned: the index, or figures by label (Q8)."""
    if prediction.label is None:
        return prediction.values
    return prediction.probabilities if manifest.task == "multi-label" else prediction.label


def _explanation(explained: Explained) -> dict[str, Any]:
    name = explained.prediction.label_name
    index = explained.prediction.label
    assert index is not None
    figures = normalised_map(explained.maps[index])
    return {
        "label": index,
        "label_name": name,
        "method": explained.method,
        "map": np.round(figures.astype(float), 4).tolist(),
    }


def _evidence(manifest: Manifest) -> dict[str, str]:
    return evidence_headers(manifest.id, manifest.version, manifest.evidence)


def _gate(prediction: Prediction) -> dict[str, str]:
    """What the gate says, where the body has no room for it (Q10)."""
    gate = prediction.gate
    if gate is None:
        return {}
    if gate.accepted:
        return {_GATE_HEADER: "accepted"}
    return {_GATE_HEADER: f"refused; {', '.join(gate.reasons)}"}


def add_routes() -> None:
    """Both slash forms, both with and without version; two verbs are documented, all are taken."""
    for kind, endpoint in (("predictions", predict), ("explanations", explain)):
        for path in (f"/{kind}/{{model}}", f"/{kind}/{{model}}/{{version}}"):
            with_version = "version" in path
            for verb in ("PUT", "POST"):
                router.add_api_route(
                    path,
                    endpoint,
                    methods=[verb],
                    openapi_extra=_PICTURE,
                    responses=_ANSWERS if kind == "predictions" else None,
                    response_model=None,
                    name=f"{kind}_{verb.lower()}{'_version' if with_version else ''}",
                )
            _silently(path, endpoint, ("GET", "HEAD", "PATCH", "DELETE"))
            _silently(f"{path}/", endpoint, VERBS)
            _silently(path, describe, ("OPTIONS",))
            _silently(f"{path}/", describe, ("OPTIONS",))
    for path in ("/invocations", "/invocations/"):
        _silently(path, invoke, VERBS)
    for path in ("/{model}/predict", "/{model}/predict/{version}"):
        _silently(path, predict, VERBS)
    _silently("/v1/models/{model_and_verb}", predict_instances, ("POST", "PUT"))


def _silently(path: str, endpoint: Any, verbs: tuple[str, ...]) -> None:
    router.add_api_route(
        path,
        endpoint,
        methods=[*verbs],
        response_model=None,
        include_in_schema=False,
        name=f"{endpoint.__name__}_{len(router.routes)}",
    )


add_routes()

#: What is asked most.
DIRECT = tuple(
    DirectRoute(path, VERBS, in_old_words(predict))
    for path in ("/predictions/{model}", "/predictions/{model}/{version}")
)
