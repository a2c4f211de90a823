"""TorchServe's `/ping` and `/api-description`."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.scancer.compat.description import describe_inference, describe_management
from services.scancer.compat.wording import OldRoute, pretty
from services.scancer.compat.worker_list import ping_status
from services.scancer.dependencies import READ, require

router = APIRouter(route_class=OldRoute, tags=["scancer, as TorchServe"])


@router.get("/ping/", response_model=None, include_in_schema=False)
@router.get("/ping", response_model=None)
async def ping(request: Request) -> Response:
    """Whether every model has its workers; open to health checks."""
    said = ping_status(request.state.catalogue.all_versions())
    return pretty({"status": said}, 500 if said == "Unhealthy" else 200)


@router.get("/api-description/", response_model=None, include_in_schema=False)
@router.get("/api-description", response_model=None)
async def api_description(request: Request) -> Response:
    """TorchServe's inference and management APIs, as OpenAPI 3.0.1."""
    require(request, READ)
    document = describe_inference()
    document["paths"] |= describe_management()["paths"]
    return pretty(document)
