"""What answers about a study say of themselves, and its file as an answer."""

from hashlib import sha256

from starlette.responses import Response

from services.chexray.domain import Study
from shared.answers import file_answer
from shared.imaging.media_types import MEDIA_TYPES, suffix_of
from shared.inference import Evidence, evidence_headers


def marks_of(study: Study) -> dict[str, str]:
    """The headers that say which network answered and what that is worth."""
    return evidence_headers(study.model.id, study.model.version, Evidence(study.model.evidence))


def etag_of(study: Study, what: str) -> str:
    """A strong validator: a study never changes, and each network draws the same every time."""
    digest = sha256(f"{study.id} {study.model.sha256} {what}".encode()).hexdigest()
    return f'"{digest[:32]}"'


def original_answer(study: Study, image: bytes) -> Response:
    """The uploaded file under the type its bytes have, for saving."""
    kind = study.image.format
    name = f"radiograph-{study.id}.{suffix_of(kind)}"
    return file_answer(image, MEDIA_TYPES[kind], name, "attachment")
