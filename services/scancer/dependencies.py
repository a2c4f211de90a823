"""What routes ask for by type."""

from typing import Annotated, TypedDict

from fastapi import Depends, Request

from services.scancer.bodies import Found, read_images
from services.scancer.catalogue import Catalogue
from services.scancer.counting import Counting
from services.scancer.management import Management
from services.scancer.prediction import Predictor
from services.scancer.slides.service import Slides
from shared.assertions import Caller, get_caller
from shared.imaging import Decoder
from shared.inference import EvidencePolicy
from shared.problems import Forbidden, Unauthenticated

REALM = 'Basic realm="ML Ops Area"'
PREDICT, READ, ADMIN = "scancer:predict", "scancer:read", "scancer:admin"


class State(TypedDict):
    """What the lifespan opens."""

    catalogue: Catalogue
    management: Management
    predictor: Predictor
    decoder: Decoder
    counting: Counting
    evidence: EvidencePolicy
    deadline_s: float
    max_upload_bytes: int
    max_images: int
    slides: Slides
    is_anonymous: bool
    """Whether predicting and reading need no credential."""


def require(request: Request, scope: str) -> Caller:
    """The caller, if it may do what needs `scope`.

    Raises:
        Unauthenticated: nobody calls, or with a credential that is not good.
        Forbidden: the caller may not.
    """
    caller = get_caller(request)
    if scope in caller.scopes:
        return caller
    if request.state.is_anonymous and scope in (PREDICT, READ):
        return caller
    if caller.kind == "anonymous":
        detail = "A credential is needed."
        if caller.refusal is not None:
            detail = "The credential is not accepted."
        raise Unauthenticated(detail, headers={"WWW-Authenticate": REALM})
    raise Forbidden(f"This needs the scope {scope}.")


async def images_of(request: Request) -> Found:
    """The pictures that the request brings, within the service's limits."""
    return await read_images(
        request,
        max_bytes=request.state.max_upload_bytes,
        max_images=request.state.max_images,
    )


# All of these are coroutines, because FastAPI sends plain functions to a thread.


async def get_catalogue(request: Request) -> Catalogue:
    """The models as this process serves them."""
    catalogue: Catalogue = request.state.catalogue
    return catalogue


async def get_predictor(request: Request) -> Predictor:
    """What predicts."""
    predictor: Predictor = request.state.predictor
    return predictor


async def require_reader(request: Request) -> Caller:
    """Somebody who may see the models."""
    return require(request, READ)


async def require_predictor(request: Request) -> Caller:
    """Somebody who may ask for predictions."""
    return require(request, PREDICT)


CatalogueDep = Annotated[Catalogue, Depends(get_catalogue)]
PredictorDep = Annotated[Predictor, Depends(get_predictor)]
