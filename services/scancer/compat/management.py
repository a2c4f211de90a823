"""TorchServe's management API: list, register, describe, scale, set-default, unregister."""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.scancer.catalogue import Version
from services.scancer.compat.predictions import predict_default
from services.scancer.compat.wording import (
    MethodRefused,
    OldRoute,
    ResourceNotFound,
    pretty,
    status,
)
from services.scancer.compat.worker_list import workers_of
from services.scancer.dependencies import ADMIN, READ, require
from services.scancer.domain import (
    MAX_BATCH_SIZE,
    MAX_TIME_S,
    Registration,
    Terms,
    by_name,
)
from services.scancer.errors import ParameterInvalid
from services.scancer.management import Wanted, check_scale

router = APIRouter(route_class=OldRoute, tags=["scancer, as TorchServe"])

_MOST_PER_PAGE = 100


def _number(request: Request, name: str, default: int) -> int:
    """A whole number of the query; TorchServe took what is none for the default (Q13)."""
    text = request.query_params.get(name, "")
    try:
        return int(text) if len(text) <= 12 else default
    except ValueError:
        return default


def _bounded(request: Request, name: str, default: int, least: int, most: int) -> int:
    number = _number(request, name, default)
    if not least <= number <= most:
        raise ParameterInvalid(f"Parameter {name} must be from {least} to {most}.")
    return number


def _flag(request: Request, name: str) -> bool:
    return request.query_params.get(name, "").strip().lower() == "true"


async def models(request: Request) -> Response:
    """List the models (GET), or register a package (POST)."""
    if request.method == "POST":
        return await _register(request)
    if request.method not in ("GET", "HEAD"):
        require(request, READ)
        raise MethodRefused
    require(request, READ)
    limit = _number(request, "limit", _MOST_PER_PAGE)
    if not 0 <= limit <= _MOST_PER_PAGE:
        limit = _MOST_PER_PAGE
    start = max(0, _number(request, "next_page_token", 0))
    registered = by_name(await request.state.management.all())
    names = list(registered)
    page: dict[str, Any] = {
        "models": [
            {"modelName": name, "modelUrl": _default_of(registered[name]).url}
            for name in names[start : start + limit]
        ]
    }
    if start + limit < len(names):
        page["nextPageToken"] = str(start + limit)
    return pretty(page)


async def _register(request: Request) -> Response:
    require(request, ADMIN)
    asked = request.query_params
    url = asked.get("url")
    if not url:
        raise ParameterInvalid("Parameter url is required.")
    workers = _number(request, "initial_workers", 0)
    terms = Terms(
        scale=check_scale(max(0, workers), max(0, workers)),
        batch_size=_bounded(request, "batch_size", 1, 1, MAX_BATCH_SIZE),
        max_batch_delay_ms=_bounded(request, "max_batch_delay", 100, 0, MAX_TIME_S * 1000),
        response_timeout_s=_bounded(request, "response_timeout", 120, 1, MAX_TIME_S),
        startup_timeout_s=_bounded(request, "startup_timeout", 120, 1, MAX_TIME_S),
    )
    wanted = Wanted(url, asked.get("model_name") or None, asked.get("sha256"), terms)
    wait = _flag(request, "synchronous")
    registration = await request.state.management.register(wanted, wait=wait)
    said = f'Model "{registration.name}" Version: {registration.version} registered with'
    if workers <= 0:
        return status(
            f"{said} 0 initial workers. Use scale workers API to add workers for the model."
        )
    if not wait:
        return status("Processing worker updates...", 202)
    return status(f"{said} {workers} initial workers")


async def model(request: Request) -> Response:
    """Describe (GET), scale (PUT) or unregister (DELETE) a model or one version of it."""
    name = request.path_params["model"]
    version = request.path_params.get("version")
    if version == "invoke":
        return await predict_default(request)
    if request.method in ("GET", "HEAD"):
        require(request, READ)
        return await _describe(request, name, version)
    if request.method == "PUT":
        require(request, ADMIN)
        return await _scale(request, name, version)
    if request.method == "DELETE":
        require(request, ADMIN)
        await request.state.management.unregister(name, version)
        return status(f'Model "{name}" unregistered')
    require(request, READ)
    raise MethodRefused


async def set_default(request: Request) -> Response:
    """Let a version answer where none is named."""
    require(request, ADMIN)
    if request.method != "PUT":
        raise MethodRefused
    name, version = request.path_params["model"], request.path_params["version"]
    await request.state.management.set_default(name, version)
    return status(f'Default version successfully updated for model "{name}" to "{version}"')


async def unknown(request: Request) -> Response:
    """A path below /models that is none."""
    require(request, READ)
    raise ResourceNotFound


async def _scale(request: Request, name: str, version: str | None) -> Response:
    # As there: without a number one worker, without a maximum as many as the minimum.
    min_workers = _number(request, "min_worker", 1)
    max_workers = _number(request, "max_worker", min_workers)
    scale = check_scale(min_workers, max_workers)
    wait = _flag(request, "synchronous")
    await request.state.management.scale(name, version, scale, wait=wait)
    if not wait:
        return status("Processing worker updates...", 202)
    said = f"Workers scaled to {min_workers} for model: {name}"
    return status(said if version is None else f"{said}, version: {version}")


async def _describe(request: Request, name: str, version: str | None) -> Response:
    catalogue = request.state.catalogue
    with_card = _flag(request, "customized")
    if version == "all":
        await catalogue.get(name)
        found = catalogue.versions_of(name)
    else:
        found = [await catalogue.get(name, version)]
    is_on_gpu = catalogue.engine.device.kind != "cpu"
    return pretty([_description(each, with_card, is_on_gpu) for each in found])


def _description(version: Version, with_card: bool, is_on_gpu: bool) -> dict[str, Any]:
    registration = version.registration
    terms = registration.terms
    described: dict[str, Any] = {
        "modelName": registration.name,
        "modelVersion": registration.version,
        "modelUrl": registration.url,
        "runtime": "onnx",
        "minWorkers": terms.scale.min_workers,
        "maxWorkers": terms.scale.max_workers,
        "batchSize": terms.batch_size,
        "maxBatchDelay": terms.max_batch_delay_ms,
        "responseTimeout": terms.response_timeout_s,
        "startupTimeout": terms.startup_timeout_s,
        "maxRetryTimeoutInSec": 300,
        "clientTimeoutInMills": 0,
        "loadedAtStartup": registration.is_shipped,
        "workers": workers_of(version, is_on_gpu=is_on_gpu),
        "jobQueueStatus": _queue(version),
        "vedette": {
            "model": f"{registration.package.model_id}@{registration.package.model_version}",
            "sha256": registration.package.network_sha256,
            "evidence": registration.package.evidence,
            "task": registration.package.task,
            "isDefault": registration.is_default,
            "registeredAt": _instant(registration.registered_at),
        },
    }
    if version.failure is not None:
        described["vedette"]["failure"] = version.failure
    if with_card and version.package is not None:
        manifest = version.package.manifest
        described["customizedMetadata"] = {
            "labels": [*manifest.labels],
            **manifest.card.model_dump(mode="json", exclude_none=True),
        }
    return described


def _queue(version: Version) -> dict[str, int]:
    if version.served is None:
        return {"remainingCapacity": 0, "pendingRequests": 0}
    lane = version.served.network.lane
    waiting = lane.waiting
    return {"remainingCapacity": max(0, lane.limit - waiting), "pendingRequests": waiting}


def _default_of(versions: list[Registration]) -> Registration:
    return next(each for each in versions if each.is_default)


def _instant(at: datetime) -> str:
    """As TorchServe writes instants: UTC, with milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def _add(path: str, endpoint: Any, documented: dict[str, str]) -> None:
    """A path in both slash forms and for every verb, of which some are documented."""
    for verb, summary in documented.items():
        router.add_api_route(
            path, endpoint, methods=[verb], response_model=None, summary=summary,
            name=f"old_{verb.lower()}_{len(router.routes)}",
        )  # fmt: skip
    rest = [verb for verb in _VERBS if verb not in documented]
    for form, verbs in ((path, rest), (f"{path}/", list(_VERBS))):
        router.add_api_route(
            form, endpoint, methods=verbs, response_model=None, include_in_schema=False,
            name=f"old_{len(router.routes)}",
        )  # fmt: skip


_add("/models", models, {"GET": "List models", "POST": "Register a package"})
_add(
    "/models/{model}",
    model,
    {"GET": "Describe the default version", "PUT": "Scale workers", "DELETE": "Unregister"},
)
_add(
    "/models/{model}/{version}",
    model,
    {"GET": "Describe a version", "PUT": "Scale a version", "DELETE": "Unregister a version"},
)
_add("/models/{model}/{version}/set-default", set_default, {"PUT": "Set the default version"})
router.add_api_route(
    "/models/{rest:path}", unknown, methods=[*_VERBS], response_model=None,
    include_in_schema=False, name="old_unknown",
)  # fmt: skip
