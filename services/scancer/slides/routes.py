"""The modern API's slides: `/api/v2/scancer/slides`."""

import asyncio
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from services.scancer.dependencies import ADMIN, PREDICT, require
from services.scancer.schemas import PROBLEM
from services.scancer.slides.domain import SlideId
from services.scancer.slides.schemas import (
    PREFIX,
    HeatmapStyle,
    SlideOut,
    SlidePageOut,
    from_cursor,
    to_cursor,
    upload_schema,
)
from services.scancer.slides.service import Slides
from services.scancer.slides.uploads import received
from shared.assertions import Caller
from shared.idempotency import REPLAYED, idempotency_key_of
from shared.inference import Evidence, evidence_headers
from shared.problems import Unauthenticated

router = APIRouter(
    prefix=PREFIX,
    tags=["scancer"],
    responses={401: PROBLEM, 403: PROBLEM, 404: PROBLEM},
)
_PRIVATE = {"Cache-Control": "private, no-store"}
_IMAGE = {"Content-Disposition": 'inline; filename="heatmap.png"', **_PRIVATE}


async def get_slides(request: Request) -> Slides:
    """What takes slides in and finds them."""
    slides: Slides = request.state.slides
    return slides


async def get_caller(request: Request) -> Caller:
    """Somebody who may ask for predictions, and is somebody: slides have an owner.

    Raises:
        Unauthenticated: nobody in particular calls.
    """
    caller = require(request, PREDICT)
    if caller.kind == "anonymous":
        raise Unauthenticated("A slide belongs to whoever sent it, so a credential is needed.")
    return caller


SlidesDep = Annotated[Slides, Depends(get_slides)]
CallerDep = Annotated[Caller, Depends(get_caller)]


def _sight_of(caller: Caller) -> str | None:
    """Whose slides the caller sees; None for everybody's."""
    return None if ADMIN in caller.scopes else caller.subject


@router.post(
    "",
    status_code=202,
    response_model=SlideOut,
    openapi_extra=upload_schema(),
    summary="Look at a slide",
    responses={413: PROBLEM, 422: PROBLEM, 429: PROBLEM, 503: PROBLEM},
)
async def submit_slide(
    request: Request, response: Response, slides: SlidesDep, caller: CallerDep
) -> SlideOut:
    """Queue a whole slide, or a region of one: a raw body with parameters, or a form.

    SVS, NDPI, SCN, BIF, Philips and generic tiled TIFF; plain TIFF, PNG and JPEG with `mpp`. The
    answer comes as soon as the file is kept; `Location` says where to ask how far it is.
    """
    key = idempotency_key_of(request)
    async with received(request, slides) as (file, order):
        job, is_repeated = await slides.submit(caller.subject, file, order, key)
    if is_repeated:
        response.headers.update(REPLAYED)
    response.headers["Location"] = f"{PREFIX}/{job.id}"
    response.headers["Retry-After"] = "2"
    return SlideOut.of(job)


@router.get("", response_model=SlidePageOut, summary="List your slides")
async def list_slides(
    slides: SlidesDep,
    caller: CallerDep,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> SlidePageOut:
    """Your slides, newest first; an administrator sees everybody's."""
    after = None if cursor is None else from_cursor(cursor)
    jobs = await slides.list_of(_sight_of(caller), after=after, limit=limit + 1)
    page = jobs[:limit]
    return SlidePageOut(
        items=[SlideOut.of(job) for job in page],
        next_cursor=to_cursor(page[-1]) if len(jobs) > limit else None,
    )


@router.get("/{slide_id}", response_model=SlideOut, summary="Show one slide")
async def get_slide(slide_id: UUID, slides: SlidesDep, caller: CallerDep) -> SlideOut:
    """How far it is, and what was found once it is done."""
    return SlideOut.of(await slides.get(SlideId(slide_id), _sight_of(caller)))


@router.get(
    "/{slide_id}/heatmap",
    summary="Draw the heatmap of a slide",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, 409: PROBLEM},
)
async def get_heatmap(
    slide_id: UUID,
    slides: SlidesDep,
    caller: CallerDep,
    style: HeatmapStyle = "overlay",
) -> Response:
    """A PNG: laid over a small picture of the slide, or with one pixel per cell.

    `colours` is blue to yellow to red with transparency; `figures` is grey, 0 to 250 standing for
    the probability, 253 for not seen yet, 254 for refused by the gate, 255 for glass.
    """
    heatmap = await slides.heatmap(SlideId(slide_id), _sight_of(caller), style)
    looker = heatmap.job.looker
    marks = evidence_headers(looker.id, looker.version, Evidence(looker.evidence))
    png = await asyncio.to_thread(heatmap.to_png)
    return Response(png, media_type="image/png", headers=marks | _IMAGE)


@router.post("/{slide_id}/cancel", response_model=SlideOut, summary="Stop looking at a slide")
async def cancel_slide(slide_id: UUID, slides: SlidesDep, caller: CallerDep) -> SlideOut:
    """End the job; what has been seen stays. A job that is over stays as it is."""
    return SlideOut.of(await slides.cancel(SlideId(slide_id), _sight_of(caller)))


@router.delete("/{slide_id}", status_code=204, summary="Delete a slide")
async def delete_slide(slide_id: UUID, slides: SlidesDep, caller: CallerDep) -> Response:
    """Forget the slide and what was found on it."""
    await slides.delete(SlideId(slide_id), _sight_of(caller))
    return Response(status_code=204)
