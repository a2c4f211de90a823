"""Pictures and reports of one analysis."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from services.netra.answers import marks_of, original_answer
from services.netra.dependencies import GuardDep, IllustratorDep, JobDep, RepositoryDep
from services.netra.domain import LesionType
from services.netra.drawing import draw_mask
from services.netra.errors import NoSuchMask
from services.netra.illustrating import found_of
from services.netra.job import AnalysisJob
from services.netra.schemas import PREFIX
from shared.answers import PRIVATE, binary_answer, file_answer, problem_answers, wants_png
from shared.imaging.media_types import MEDIA_TYPES
from shared.methods import complete_methods

router = APIRouter(prefix=f"{PREFIX}/{{analysis_id}}", tags=["netra"])


async def find_told(job: JobDep, guard: GuardDep) -> AnalysisJob:
    """The caller's analysis, where this installation tells what was found."""
    guard.check(job)
    return job


ToldDep = Annotated[AnalysisJob, Depends(find_told)]


@router.get(
    "/image",
    response_class=Response,
    summary="Download the photograph",
    responses=binary_answer(*MEDIA_TYPES.values()) | problem_answers(404, 422, 503),
)
async def get_image(request: Request, job: JobDep, illustrator: IllustratorDep) -> Response:
    """The file as you uploaded it, or drawn as PNG where `Accept` names that and not its type."""
    if wants_png(MEDIA_TYPES[job.image.format], request.headers.get("accept", "*/*")):
        content, media_type = await illustrator.plain(job)
        answer = file_answer(content, media_type, f"fundus-{job.id}.png", "inline")
    else:
        answer = original_answer(job, await illustrator.original(job))
    answer.headers["Vary"] = "Accept"
    return answer


@router.get(
    "/annotated",
    response_class=Response,
    summary="Draw the lesions' boxes",
    responses=binary_answer("image/jpeg") | problem_answers(404, 409, 422, 503),
)
async def get_annotated(job: ToldDep, illustrator: IllustratorDep) -> Response:
    """The photograph with a box around each lesion, at most 2,048 pixels wide."""
    content = await illustrator.annotated(job)
    answer = file_answer(content, "image/jpeg", f"annotated-{job.id}.jpg", "inline")
    answer.headers.update(marks_of(job.found))
    return answer


@router.get(
    "/masks/{lesion_type}",
    response_class=Response,
    summary="Show where lesions of one type are",
    responses=binary_answer("image/png") | problem_answers(404, 409, 422, 503),
)
async def get_mask(lesion_type: LesionType, job: ToldDep, analyses: RepositoryDep) -> Response:
    """A mask over the whole photograph at reduced size: 255 where the lesion is, else 0."""
    found_of(job)
    mask = await analyses.find_mask(job.id, lesion_type)
    if mask is None:
        raise NoSuchMask("No lesion of this type was outlined on the photograph.")
    name = f"mask-{lesion_type}-{job.id}.png"
    answer = file_answer(draw_mask(mask), "image/png", name, "inline")
    answer.headers.update(marks_of(job.found))
    return answer


@router.get(
    "/report.dcm",
    response_class=Response,
    summary="Download the findings as a DICOM report",
    responses=binary_answer("application/dicom") | problem_answers(404, 409, 422, 503),
)
async def get_report(job: ToldDep, illustrator: IllustratorDep) -> Response:
    """The findings as a DICOM structured report (Comprehensive 3D SR, TID 1500)."""
    report = await illustrator.report(job)
    answer = file_answer(report, "application/dicom", f"report-{job.id}.dcm", "attachment")
    answer.headers.update(marks_of(job.found))
    return answer


@router.get(
    "/fhir",
    response_class=Response,
    summary="Show the findings as a FHIR bundle",
    responses=binary_answer("application/fhir+json") | problem_answers(404, 409, 422, 503),
)
async def get_fhir(job: ToldDep, illustrator: IllustratorDep) -> Response:
    """The findings as a FHIR R4 DiagnosticReport with its Observations."""
    return JSONResponse(
        illustrator.bundle(job),
        media_type="application/fhir+json",
        headers={**PRIVATE, **marks_of(job.found)},
    )


complete_methods(router)
