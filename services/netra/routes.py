"""The modern API's analyses: `/api/v2/netra/analyses`."""

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse

from services.netra.announcing import LOOK_AGAIN_S
from services.netra.answers import etag_of, marks_of
from services.netra.dependencies import (
    MAX_WAIT_S,
    AnalysesDep,
    AnalysisIdDep,
    AuthorDep,
    GuardDep,
    RepositoryDep,
    ViewerDep,
    get_analyses,
    get_guard,
    read_submission,
    wait_of,
)
from services.netra.domain import MAX_LABEL_CHARACTERS, AnalysisId, AnalysisStatus, OwnerId
from services.netra.job import AnalysisJob, Decision
from services.netra.repositories.analyses import AnalysisRepository, Wanted
from services.netra.schemas import (
    PREFIX,
    AnalysisOut,
    AnalysisPageOut,
    DecisionIn,
    from_cursor,
    to_cursor,
)
from shared.answers import PRIVATE, Described, is_known, not_modified, problem_answers
from shared.idempotency import PARAMETER, REPLAYED
from shared.methods import complete_methods

router = APIRouter(prefix=PREFIX, tags=["netra"])

IfNoneMatch = Annotated[str | None, Header()]
_TEXT = {"type": "string"}
_UPLOAD: dict[str, Any] = {
    "parameters": [
        PARAMETER
        | {"description": "Repeating a request with its key repeats its answer and costs nothing."},
        {
            "name": "prefer",
            "in": "header",
            "required": False,
            "schema": {"type": "string", "example": "wait=30"},
            "description": f"`wait=N`: answer when it is done, after N seconds (at most "
            f"{MAX_WAIT_S}) at the latest.",
        },
    ],
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": {
                            "type": "string",
                            "format": "binary",
                            "description": "A colour fundus photograph: JPEG, PNG, TIFF, DICOM.",
                        },
                        "label": {"type": "string", "maxLength": MAX_LABEL_CHARACTERS},
                        "eye": {"type": "string", "enum": ["left", "right"]},
                        "examination": {
                            "type": "string",
                            "maxLength": 128,
                            "description": "Your name for the visit; its photographs are "
                            "judged together.",
                        },
                        "patient_id": {"type": "string", "maxLength": 64},
                        "patient_name": {"type": "string", "maxLength": 128},
                        "patient_birth_date": {"type": "string", "format": "date"},
                        "patient_sex": {"type": "string", "enum": ["M", "F", "O"]},
                        "priority": {"type": "integer", "minimum": -9, "maximum": 9},
                    },
                }
            }
        },
    },
}
_AT_ONCE: Described = {200: {"model": AnalysisOut, "description": "It is done."}}
_NO_CHANGE: Described = {304: {"description": "You have it already."}}


@router.post(
    "",
    status_code=202,
    response_model=AnalysisOut,
    openapi_extra=_UPLOAD,
    summary="Analyse one fundus photograph",
    responses=_AT_ONCE | problem_answers(402, 403, 409, 413, 415, 422, 503),
)
async def start_analysis(request: Request) -> Response:
    """Queue one photograph; it costs one credit, which comes back if the analysis fails.

    202 with a `Location` to ask at, or 200 with the result where `Prefer: wait` was long enough.
    """
    submission = await read_submission(request)
    analyses, guard = await get_analyses(request), await get_guard(request)
    guard.check_upload()
    accepted = await analyses.submit(submission)
    analysis_id, _ = accepted.analyses[0]
    wait_s = wait_of(request)
    job = await _wait(request, analysis_id, submission.owner, wait_s)
    headers = {
        "Location": f"{PREFIX}/{job.id}",
        "Vedette-Credits": str(accepted.remaining),
        **PRIVATE,
    }
    if not guard.withholds(job):
        headers |= marks_of(job.found)
    if wait_s:
        headers["Preference-Applied"] = f"wait={wait_s:g}"
    if accepted.is_repeated:
        headers |= REPLAYED
    if not job.status.is_final:
        headers["Retry-After"] = "1"
    found = AnalysisOut.of(job, withheld=guard.withholds(job))
    status = 200 if job.status.is_final else 202
    return JSONResponse(found.model_dump(mode="json"), status, headers)


async def _wait(
    request: Request, analysis_id: AnalysisId, owner: OwnerId, wait_s: float
) -> AnalysisJob:
    """The analysis when it has ended, or as it stands after `wait_s`."""
    give_up_at = time.monotonic() + wait_s
    with request.state.endings.watching(analysis_id) as ended:
        while True:
            ended.clear()
            async with request.state.sessions.begin() as session:
                job = await AnalysisRepository(session).get(analysis_id, owner)
            left_s = give_up_at - time.monotonic()
            if job.status.is_final or left_s <= 0:
                return job
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, LOOK_AGAIN_S)):
                    await ended.wait()


@router.get(
    "",
    response_model=AnalysisPageOut,
    summary="List your analyses",
    responses=problem_answers(422, 503),
)
async def list_analyses(
    viewer: ViewerDep,
    guard: GuardDep,
    analyses: RepositoryDep,
    label: Annotated[str | None, Query(max_length=MAX_LABEL_CHARACTERS)] = None,
    status: AnalysisStatus | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """Your analyses, newest first, of one label or status where you say so."""
    after = None if cursor is None else from_cursor(cursor)
    wanted = Wanted(None if label is None else label.replace("\0", ""), status)
    found = await analyses.list_of(viewer, wanted, after=after, limit=limit + 1)
    items = found[:limit]
    page = AnalysisPageOut(
        items=[AnalysisOut.of(job, withheld=guard.withholds(job)) for job in items],
        next_cursor=to_cursor(items[-1]) if len(found) > limit else None,
    )
    return JSONResponse(page.model_dump(mode="json"), headers=PRIVATE)


@router.get(
    "/{analysis_id}",
    response_model=AnalysisOut,
    summary="Show one analysis",
    responses=_NO_CHANGE | problem_answers(404, 422, 503),
)
async def get_analysis(
    analysis_id: AnalysisIdDep,
    viewer: ViewerDep,
    guard: GuardDep,
    analyses: RepositoryDep,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """One of your analyses: where it stands, and what was found once it is done."""
    job = await analyses.get(analysis_id, viewer)
    withheld = guard.withholds(job)
    etag = etag_of(job, "analysis, withheld" if withheld else "analysis")
    if is_known(etag, if_none_match):
        return not_modified(etag)
    headers = {"ETag": etag, **PRIVATE} | ({} if withheld else marks_of(job.found))
    found = AnalysisOut.of(job, withheld=withheld)
    return JSONResponse(found.model_dump(mode="json"), headers=headers)


@router.post(
    "/{analysis_id}/cancel",
    response_model=AnalysisOut,
    summary="Cancel one analysis",
    responses=problem_answers(404, 409, 422, 503),
)
async def cancel_analysis(
    analysis_id: AnalysisIdDep, author: AuthorDep, analyses: AnalysesDep
) -> Response:
    """End an analysis that is not done; its credit comes back."""
    job = await analyses.cancel(analysis_id, author)
    return JSONResponse(AnalysisOut.of(job).model_dump(mode="json"), headers=PRIVATE)


@router.post(
    "/{analysis_id}/decision",
    status_code=204,
    summary="Decide about a held analysis",
    responses=problem_answers(404, 409, 422, 503),
)
async def decide_analysis(
    decided: DecisionIn, analysis_id: AnalysisIdDep, author: AuthorDep, analyses: AnalysesDep
) -> None:
    """Say what you see on a photograph that is held; the analysis is then completed."""
    decision = Decision(
        retinopathy=decided.retinopathy,
        referable=decided.referable,
        note=decided.note,
        decided_by=author,
        decided_at=datetime.now(UTC),
    )
    await analyses.decide(analysis_id, author, decision)


@router.delete(
    "/{analysis_id}",
    status_code=204,
    summary="Forget one analysis",
    responses=problem_answers(404, 422, 503),
)
async def delete_analysis(
    analysis_id: AnalysisIdDep, author: AuthorDep, analyses: AnalysesDep
) -> None:
    """Forget one of your analyses; its picture is swept later unless another analysis has it."""
    await analyses.forget(analysis_id, author)


complete_methods(router)
