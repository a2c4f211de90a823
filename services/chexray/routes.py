"""The modern API: `/api/v2/chexray/studies`."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse

from services.chexray.answers import etag_of, marks_of, original_answer
from services.chexray.dependencies import (
    AuthorDep,
    IllustratedDep,
    IllustratorDep,
    ReaderDep,
    StudiesDep,
    StudyIdDep,
    ViewerDep,
    get_reader,
    keeper_of,
    read_upload,
)
from services.chexray.domain import Pathology
from services.chexray.errors import UnknownLabel
from services.chexray.schemas import PREFIX, StudyOut, StudyPageOut, from_cursor, to_cursor
from shared.answers import (
    Described,
    binary_answer,
    file_answer,
    is_known,
    not_modified,
    problem_answers,
    wants_png,
)
from shared.direct import DirectRoute
from shared.idempotency import PARAMETER, REPLAYED
from shared.imaging.media_types import MEDIA_TYPES
from shared.methods import complete_methods

router = APIRouter(prefix=PREFIX, tags=["chexray"])

IfNoneMatch = Annotated[str | None, Header()]
_PRIVATE = {"Cache-Control": "private, no-store"}
_UPLOAD: dict[str, Any] = {
    "parameters": [PARAMETER],
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
                            "description": "A frontal chest radiograph: PNG, JPEG, TIFF, DICOM.",
                        },
                        "title": {"type": "string", "maxLength": 200},
                    },
                }
            }
        },
    },
}


_NO_CHANGE: Described = {304: {"description": "You have it already."}}


@router.post(
    "",
    status_code=201,
    response_model=StudyOut,
    openapi_extra=_UPLOAD,
    summary="Read one chest radiograph",
    responses=problem_answers(403, 409, 413, 415, 422, 503),
)
async def read_study(request: Request) -> Response:
    """Read one chest radiograph and keep it with what was found.

    A picture that is no frontal chest radiograph is kept too, with reasons and without findings.
    """
    # What other routes ask for by type is called here: this is the hot path (bench/chexray).
    upload = await read_upload(request)
    reader = await get_reader(request)
    study, is_repeated = await reader.read(upload, keeper_of(request, upload))
    headers = {"Location": f"{PREFIX}/{study.id}", **marks_of(study), **_PRIVATE}
    if is_repeated:
        headers |= REPLAYED
    return Response(StudyOut.of(study).model_dump_json(), 201, headers, "application/json")


@router.get(
    "",
    response_model=StudyPageOut,
    summary="List your studies",
    responses=problem_answers(422, 503),
)
async def list_studies(
    viewer: ViewerDep,
    reader: ReaderDep,
    studies: StudiesDep,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """Your studies, newest first; `next_cursor` leads to the next page."""
    after = None if cursor is None else from_cursor(cursor)
    found = await studies.list_of(viewer, after=after, limit=limit + 1)
    items = found[:limit]
    page = StudyPageOut(
        items=[StudyOut.of(study, withheld=reader.withholds(study)) for study in items],
        next_cursor=to_cursor(items[-1]) if len(found) > limit else None,
    )
    return JSONResponse(page.model_dump(mode="json"), headers=_PRIVATE)


@router.get(
    "/{study_id}",
    response_model=StudyOut,
    summary="Show one study",
    responses=_NO_CHANGE | problem_answers(404, 422, 503),
)
async def get_study(
    study_id: StudyIdDep,
    viewer: ViewerDep,
    reader: ReaderDep,
    studies: StudiesDep,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """One of your studies."""
    study = await studies.get(study_id, viewer)
    withheld = reader.withholds(study)
    etag = etag_of(study, "study, withheld" if withheld else "study")
    if is_known(etag, if_none_match):
        return not_modified(etag)
    headers = {"ETag": etag, **marks_of(study), **_PRIVATE}
    found = StudyOut.of(study, withheld=withheld)
    return JSONResponse(found.model_dump(mode="json"), headers=headers)


@router.delete(
    "/{study_id}",
    status_code=204,
    summary="Forget one study",
    responses=problem_answers(404, 422, 503),
)
async def delete_study(study_id: StudyIdDep, author: AuthorDep, studies: StudiesDep) -> None:
    """Forget one of your studies; its picture is swept later unless another study has it."""
    await studies.remove(study_id, author)


@router.get(
    "/{study_id}/image",
    response_class=Response,
    summary="Download the radiograph",
    responses=binary_answer(*MEDIA_TYPES.values()) | problem_answers(404, 422, 503),
)
async def get_image(
    request: Request, found: IllustratedDep, illustrator: IllustratorDep
) -> Response:
    """The file as you uploaded it, or drawn as PNG where `Accept` names that and not its type."""
    if wants_png(MEDIA_TYPES[found.study.image.format], request.headers.get("accept", "*/*")):
        content, media_type = await illustrator.plain(found.study)
        answer = file_answer(content, media_type, f"radiograph-{found.study.id}.png", "inline")
    else:
        answer = original_answer(found.study, await illustrator.original(found.study))
    answer.headers["Vary"] = "Accept"
    return answer


@router.get(
    "/{study_id}/heatmap",
    response_class=Response,
    summary="Draw where the network looked",
    responses=binary_answer("image/png") | _NO_CHANGE | problem_answers(404, 409, 422, 503),
)
async def get_heatmap(
    found: IllustratedDep,
    reader: ReaderDep,
    illustrator: IllustratorDep,
    label: Annotated[
        str | None, Query(description=f"One of {', '.join(Pathology)}; the most probable if unset.")
    ] = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Where the network looked: the radiograph, coloured where it speaks for the finding."""
    reader.check_evidence(found.study.model.evidence)
    pathology = None if label is None else _pathology(label)
    etag = etag_of(found.study, f"heatmap {pathology or found.study.most_probable}")
    if is_known(etag, if_none_match):
        return not_modified(etag)
    png = await illustrator.heatmap(found.study, found.maps, pathology)
    answer = file_answer(png, "image/png", f"heatmap-{found.study.id}.png", "inline")
    answer.headers.update({"ETag": etag, **marks_of(found.study)})
    return answer


@router.get(
    "/{study_id}/report.dcm",
    response_class=Response,
    summary="Download the findings as a DICOM report",
    responses=binary_answer("application/dicom") | problem_answers(404, 409, 422, 503),
)
async def get_report(
    found: IllustratedDep, reader: ReaderDep, illustrator: IllustratorDep
) -> Response:
    """The findings as a DICOM structured report (Comprehensive 3D SR, TID 1500)."""
    reader.check_evidence(found.study.model.evidence)
    report = await illustrator.report(found.study)
    answer = file_answer(report, "application/dicom", f"report-{found.study.id}.dcm", "attachment")
    answer.headers.update(marks_of(found.study))
    return answer


def _pathology(label: str) -> Pathology:
    try:
        return Pathology(label)
    except ValueError as error:
        raise UnknownLabel(
            f"There is no such finding; ask for one of {', '.join(Pathology)}.",
            labels=list(Pathology),
        ) from error


complete_methods(router)

#: The upload, answered before FastAPI looks for its route.
DIRECT = (DirectRoute(PREFIX, ("POST",), read_study),)
