"""The modern API: which models there are, and predictions with everything that is known of them."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from services.scancer.answers import to_predictions, to_served_model
from services.scancer.dependencies import (
    CatalogueDep,
    PredictorDep,
    images_of,
    require_predictor,
    require_reader,
)
from services.scancer.schemas import PROBLEM, PredictionsOut, ServedModelOut, ServedModelsOut

router = APIRouter(
    prefix="/api/v2/scancer",
    tags=["scancer"],
    responses={401: PROBLEM, 403: PROBLEM, 404: PROBLEM},
)
_PICTURES = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "data": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                }
            },
        },
    }
}


@router.get("/models", response_model=ServedModelsOut, dependencies=[Depends(require_reader)])
async def list_models(
    catalogue: CatalogueDep,
    cursor: Annotated[str | None, Query(max_length=128)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> ServedModelsOut:
    """Every registered model with its versions, what they read and what is known of them."""
    names = [name for name in catalogue.names() if cursor is None or name > cursor]
    page = names[:limit]
    return ServedModelsOut(
        items=[to_served_model(name, catalogue.versions_of(name)) for name in page],
        next_cursor=page[-1] if len(names) > limit else None,
    )


@router.get("/models/{name}", response_model=ServedModelOut, dependencies=[Depends(require_reader)])
async def show_model(name: str, catalogue: CatalogueDep) -> ServedModelOut:
    """One registered model."""
    await catalogue.get(name)
    return to_served_model(name, catalogue.versions_of(name))


@router.post(
    "/models/{name}/predictions",
    response_model=PredictionsOut,
    dependencies=[Depends(require_predictor)],
    openapi_extra=_PICTURES,
    responses={413: PROBLEM, 422: PROBLEM, 503: PROBLEM},
)
async def predict(
    name: str,
    request: Request,
    predictor: PredictorDep,
    version: Annotated[str | None, Query(max_length=32)] = None,
) -> PredictionsOut:
    """Predict for one picture or several: a raw body, or a form with a file part for each."""
    found = await images_of(request)
    return to_predictions(await predictor.predict(name, version, found.images))
