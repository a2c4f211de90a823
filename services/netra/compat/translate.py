"""Today's analyses in the words of the old API. Pure."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from services.netra.compat import errors
from services.netra.compat.errors import OldError
from services.netra.domain import AnalysisStatus, Lesion, LesionType
from services.netra.job import AnalysisJob

#: A job that runs is QUEUED: the sample knows no other word for "not yet" (Q8).
STATUS: Final[Mapping[AnalysisStatus, str]] = {
    AnalysisStatus.QUEUED: "QUEUED",
    AnalysisStatus.RUNNING: "QUEUED",
    AnalysisStatus.COMPLETED: "COMPLETED",
    AnalysisStatus.FAILED: "ERROR",
    AnalysisStatus.CANCELLED: "ERROR",
    AnalysisStatus.HELD: "HOLD",
}
#: The first and third are the document's words; the others are formed after them (Q10).
LESION_NAMES: Final[Mapping[LesionType, str]] = {
    LesionType.HAEMORRHAGE: "Deep Hemorrhage",
    LesionType.MICROANEURYSM: "Microaneurysm",
    LesionType.HARD_EXUDATE: "Hard Exudate",
    LesionType.SOFT_EXUDATE: "Soft Exudate",
}
_UNKNOWN: Final = "NA"

Body = dict[str, Any]


def to_token(token: str, remaining: int, valid_until: datetime) -> Body:
    """What getToken answers; a client reads the token by its place (Q9)."""
    return {
        "status": errors.OK,
        "token": token,
        "remaining": remaining,
        "validUpto": round(valid_until.timestamp() * 1000),
    }


def to_queued(job_token: str, remaining: int) -> Body:
    """What doAnalysis answers."""
    return {
        "status": errors.OK,
        "jobId": job_token,
        **_job_status("QUEUED"),
        "remaining": remaining,
    }


def to_status(job: AnalysisJob, remaining: int) -> Body:
    """What getStatus answers."""
    return {
        "status": errors.OK,
        "jobId": job.token,
        **_job_status(STATUS[job.status]),
        "remaining": remaining,
        **_message(job),
    }


def to_result(job: AnalysisJob, remaining: int) -> Body:
    """What getResult answers: the verdicts in a JSON text, the boxes there and beside it (Q7)."""
    body: Body = {
        "status": errors.OK,
        "jobId": job.token,
        "usedOn": str(_microseconds(job.created_at)),
        "usedBy": job.username,
        **_job_status(STATUS[job.status]),
    }
    if job.found is not None:
        boxes = [_to_box(lesion) for lesion in job.found.lesions]
        verdicts = _verdicts(job) | {"lesionBbox": boxes}
        body["result"] = json.dumps(verdicts, separators=(",", ":"))
        body["lesionBbox"] = boxes
    return body | {"remaining": remaining} | _message(job)


def to_error(error: OldError, *, job_status: str | None, remaining: int | None) -> Body:
    """A refusal. A client looks for `200` anywhere in the body, so nowhere is it there (Q11).

    Args:
        error: why.
        job_status: what `statusJob` says; the sample fails where getStatus has none (Q2).
        remaining: the caller's credits, where the caller is known.
    """
    body: Body = {"status": error.status, "message": error.message}
    if job_status is not None:
        # A fault says nothing about the job.
        body |= _job_status(job_status if error.status != errors.API_ERROR else "QUEUED")
    if remaining is not None and "200" not in str(remaining):
        body["remaining"] = remaining
    return body


def _job_status(status: str) -> Body:
    """Both names, because the document has one and its sample the other (Q2)."""
    return {"jobStatus": status, "statusJob": status}


def _message(job: AnalysisJob) -> Body:
    match STATUS[job.status]:
        case "ERROR":
            return {"message": errors.JOB_FAILED}
        case "HOLD":
            return {"message": errors.JOB_HELD}
        case _:
            return {}


def _verdicts(job: AnalysisJob) -> Body:
    """The four verdicts in the order of the document's sample."""
    assert job.found is not None
    detected, referable = job.retinopathy.detected, job.referable.detected
    is_fundus = job.found.fundus.accepted
    is_gradable = is_fundus and job.found.quality.gradable
    return {
        "drYes": _word(detected, "Detected", "Not Detected"),
        "referrableDR": _word(referable, "YES", "NO"),
        "imageQuality": "Gradable Image" if is_gradable else "Ungradable Image",
        "eyeOrNot": "YES" if is_fundus else "NO",
    }


def _word(value: bool | None, yes: str, no: str) -> str:
    if value is None:
        return _UNKNOWN
    return yes if value else no


def _to_box(lesion: Lesion) -> dict[str, str]:
    """The box is a text, not a list (Q7)."""
    box = ",".join(str(edge) for edge in lesion.box_xyxy_px)
    return {"bbox": f"[{box}]", "lesionType": LESION_NAMES[lesion.type]}


def _microseconds(at: datetime) -> int:
    """Microseconds since 1970, without a float's rounding."""
    return int(at.timestamp()) * 1_000_000 + at.microsecond
