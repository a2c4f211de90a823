"""What answers about an analysis say of themselves, and its file as an answer."""

from hashlib import sha256

from starlette.responses import Response

from services.netra.domain import Analysis
from services.netra.job import AnalysisJob
from shared.answers import file_answer
from shared.imaging.media_types import MEDIA_TYPES, suffix_of
from shared.inference import Evidence, evidence_headers


def marks_of(found: Analysis | None) -> dict[str, str]:
    """The headers that say what answered and what that is worth."""
    if found is None or not found.models:
        return {}
    model = next((each for each in found.models if each.task == "retinopathy"), found.models[0])
    return evidence_headers(model.id, model.version, Evidence(found.evidence))


def etag_of(job: AnalysisJob, what: str) -> str:
    """A strong validator: it changes with everything that clients see of a job."""
    seen = f"{job.id} {job.status} {job.progress} {job.fence} {job.attempts} {what}"
    return f'"{sha256(seen.encode()).hexdigest()[:32]}"'


def original_answer(job: AnalysisJob, image: bytes) -> Response:
    """The uploaded file under the type its bytes have, for saving."""
    kind = job.image.format
    return file_answer(image, MEDIA_TYPES[kind], f"fundus-{job.id}.{suffix_of(kind)}", "attachment")
