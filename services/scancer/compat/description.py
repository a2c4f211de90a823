"""TorchServe's API descriptions: one for the server, one for a model (OpenAPI 3.0.1)."""

from typing import Any, Final

from services.scancer.catalogue import Version

_NAME: Final = {
    "in": "path",
    "name": "model_name",
    "description": "Name of the model.",
    "required": True,
    "schema": {"type": "string"},
}
_VERSION: Final = {
    "in": "path",
    "name": "model_version",
    "description": "Version of the model.",
    "required": True,
    "schema": {"type": "string"},
}


def _query(name: str, description: str, kind: str = "string", *, required: bool = False) -> Any:
    return {
        "in": "query",
        "name": name,
        "description": description,
        "required": required,
        "schema": {"type": kind},
    }


def _operation(
    operation: str, description: str, answer: str, parameters: list[Any] | None = None
) -> dict[str, Any]:
    error = {
        "description": "Why not.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["code", "type", "message"],
                    "properties": {
                        "code": {"type": "integer"},
                        "type": {"type": "string"},
                        "message": {"type": "string"},
                    },
                }
            }
        },
    }
    return {
        "description": description,
        "operationId": operation,
        "parameters": parameters or [],
        "responses": {"200": {"description": answer}, "default": error},
    }


def _document(paths: dict[str, Any]) -> dict[str, Any]:
    return {
        "openapi": "3.0.1",
        "info": {
            "title": "TorchServe APIs",
            "description": "TorchServe's wire, answered by Vedette. Modern API: /docs.",
            "version": "1.0.0",
        },
        "paths": paths,
    }


def describe_inference() -> dict[str, Any]:
    """The inference API, as `OPTIONS /` and `GET /api-description` tell it."""
    predict = _operation(
        "predictions", "Predictions entry point, for any verb.", "The label's index.", [_NAME]
    )
    predict_version = {**predict, "operationId": "version_predictions"}
    predict_version["parameters"] = [_NAME, _VERSION]
    explain = _operation("explanations", "Where the network looked.", "A map.", [_NAME])
    return _document(
        {
            "/": {"options": _operation("apiDescription", "This description.", "OpenAPI 3.0.1")},
            "/ping": {"get": _operation("ping", "Health of the server.", "Its status.")},
            "/predictions/{model_name}": _all_verbs(predict),
            "/predictions/{model_name}/{model_version}": _all_verbs(predict_version),
            "/explanations/{model_name}": _all_verbs(explain),
            "/api-description": {
                "get": _operation("api-description", "This description.", "OpenAPI 3.0.1")
            },
        }
    )


def describe_management() -> dict[str, Any]:
    """The management API."""
    scale = [
        _query("min_worker", "The least number of workers.", "integer"),
        _query("max_worker", "The greatest number of workers.", "integer"),
        _query("synchronous", "Whether to wait for the workers.", "boolean"),
    ]
    listing = [
        _query("limit", "The most models of an answer, up to 100.", "integer"),
        _query("next_page_token", "From the answer before."),
    ]
    registering = [
        _query("url", "An archive in the model store, or an allowed address.", required=True),
        _query("sha256", "What the archive must have; needed for addresses without a pin."),
        _query("model_name", "Another name than the package's."),
        _query("batch_size", "Reported; the engine makes its own batches.", "integer"),
        _query("max_batch_delay", "Reported; the engine waits for nobody.", "integer"),
        _query("initial_workers", "Runs at a time, 0 by default.", "integer"),
        _query("synchronous", "Whether to wait for the workers.", "boolean"),
        _query("response_timeout", "Reported, in seconds.", "integer"),
    ]
    return _document(
        {
            "/models": {
                "get": _operation("listModels", "List registered models.", "A page.", listing),
                "post": _operation("registerModel", "Register a model.", "Status.", registering),
            },
            "/models/{model_name}": {
                "get": _operation("describeModel", "Describe the default version.", "It.", [_NAME]),
                "put": _operation("setAutoScale", "Scale workers.", "Status.", [_NAME, *scale]),
                "delete": _operation("unregisterModel", "Unregister.", "Status.", [_NAME]),
            },
            "/models/{model_name}/{model_version}": {
                "get": _operation("version_describeModel", "Describe.", "It.", [_NAME, _VERSION]),
                "put": _operation(
                    "version_setAutoScale", "Scale.", "Status.", [_NAME, _VERSION, *scale]
                ),
                "delete": _operation(
                    "version_unregisterModel", "Unregister.", "Status.", [_NAME, _VERSION]
                ),
            },
            "/models/{model_name}/{model_version}/set-default": {
                "put": _operation("setDefault", "Set the default.", "Status.", [_NAME, _VERSION])
            },
            "/metrics": {
                "get": _operation(
                    "metrics", "Prometheus text.", "Samples.", [_query("name[]", "Only these.")]
                )
            },
        }
    )


def describe_model(version: Version) -> dict[str, Any]:
    """One model: what it reads and what it answers."""
    name = version.registration.name
    operation = _operation(f"{name}-predict", "Predict.", "The label's index.")
    if version.package is not None:
        manifest = version.package.manifest
        height_px, width_px = manifest.input.size
        operation["description"] = (
            f"A {manifest.task} network (evidence: {manifest.evidence}). Pictures of any size are "
            f"brought to {width_px} x {height_px} pixels. Labels: {', '.join(manifest.labels)}."
        )
    operation["requestBody"] = {
        "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}
    }
    return _document({f"/predictions/{name}": _all_verbs(operation)})


def _all_verbs(operation: dict[str, Any]) -> dict[str, Any]:
    return {
        verb: {**operation, "operationId": f"{operation['operationId']}_{verb}"}
        for verb in ("get", "post", "put", "delete", "patch", "head")
    }
