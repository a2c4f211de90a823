"""Files and conditional answers: headers that keep a browser from running or keeping a picture."""

from collections.abc import Mapping
from hashlib import sha256
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from services.netra.domain import Analysis
from services.netra.job import AnalysisJob
from shared.inference import Evidence, evidence_headers

MEDIA_TYPES: Mapping[str, str] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "tiff": "image/tiff",
    "bmp": "image/bmp",
    "gif": "image/gif",
    "webp": "image/webp",
    "jpeg2000": "image/jp2",
    "pnm": "image/x-portable-anymap",
    "dicom": "application/dicom",
}
_SUFFIXES: Mapping[str, str] = {"jpeg": "jpg", "tiff": "tif", "jpeg2000": "jp2", "dicom": "dcm"}

#: Whatever the bytes are, a browser runs nothing of them and guesses no other type.
INERT_HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
PRIVATE: Mapping[str, str] = {"Cache-Control": "private, no-store"}

_TEXT: Mapping[str, str] = {"type": "string"}
_PROBLEM: Mapping[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": _TEXT,
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "request_id": {"type": ["string", "null"]},
    },
}

Described = dict[int | str, dict[str, Any]]


def binary_answer(*media_types: str) -> Described:
    """The OpenAPI description of a file."""
    content = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"content": dict.fromkeys(media_types, content)}}


def problem_answers(*statuses: int) -> Described:
    """The OpenAPI description of refusals."""
    content = {"application/problem+json": {"schema": _PROBLEM}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in statuses
    }


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


def is_known(etag: str, if_none_match: str | None) -> bool:
    """Whether the client has what `etag` stands for already (RFC 9110, section 13.1.2)."""
    if if_none_match is None:
        return False
    known = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return "*" in known or etag in known


def original_answer(job: AnalysisJob, image: bytes) -> Response:
    """The uploaded file under the type its bytes have, for saving."""
    suffix = _SUFFIXES.get(job.image.format, job.image.format)
    return file_answer(
        image, MEDIA_TYPES[job.image.format], f"fundus-{job.id}.{suffix}", "attachment"
    )


def wants_png(job: AnalysisJob, accept: str) -> bool:
    """Whether the client names PNG and nothing that the file's own type would satisfy."""
    named = {part.split(";", 1)[0].strip().lower() for part in accept.split(",")}
    own = MEDIA_TYPES[job.image.format]
    return "image/png" in named and named.isdisjoint({own, f"{own.split('/')[0]}/*", "*/*"})


def file_answer(content: bytes, media_type: str, name: str, disposition: str) -> Response:
    """A private file under a fixed type; `name` is one of ours."""
    return Response(
        content,
        headers={
            **INERT_HEADERS,
            "Content-Type": media_type,
            "Content-Disposition": f'{disposition}; filename="{name}"',
            **PRIVATE,
        },
    )


def not_modified(etag: str) -> Response:
    """The client has it already."""
    return Response(status_code=304, headers={"ETag": etag, **PRIVATE})
