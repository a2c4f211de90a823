"""The modern way of frames: raw bytes or base64, stored and then acknowledged."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Request, Response
from pydantic import ValidationError

from services.fleet.answers import etag_of, picture_answer
from services.fleet.dependencies import ViewerDep, device_id_of
from services.fleet.domain import AlertId, NewFrame, date, is_picture
from services.fleet.errors import FrameNotFound, FrameTooLarge, UnreadableFrame
from services.fleet.hot import HotRoute
from services.fleet.ingest import FrameWriter
from services.fleet.repositories.frames import FrameRepository
from services.fleet.schemas import PREFIX, FrameIn, FrameStoredOut
from shared.answers import binary_answer, is_known, not_modified, problem_answers
from shared.base64text import Base64Refused, Base64TooLarge, decode_base64_text
from shared.db import SessionDep
from shared.idempotency import PARAMETER, idempotency_key_of
from shared.objects import ObjectNotFound, Objects
from shared.problems import InvalidRequest

router = APIRouter(prefix=PREFIX, tags=["fleet"])

_PICTURE_TYPES = ("image/jpeg", "image/png", "image/webp")
_TIME = {"type": "string", "format": "date-time"}
_WHOLE = {"type": "integer", "minimum": 0}
_UPLOAD: dict[str, Any] = {
    "parameters": [
        {"name": "taken_at", "in": "query", "required": False, "schema": _TIME},
        {"name": "sent_at", "in": "query", "required": False, "schema": _TIME},
        {"name": "index", "in": "query", "required": False, "schema": _WHOLE},
        {"name": "seq", "in": "query", "required": False, "schema": _WHOLE},
        PARAMETER | {"description": "The same frame again, by its key or its `seq`, is kept once."},
    ],
    "requestBody": {
        "required": True,
        "content": {
            **{kind: {"schema": {"type": "string", "format": "binary"}} for kind in _PICTURE_TYPES},
            "application/json": {"schema": FrameIn.model_json_schema()},
        },
    },
}


@router.post(
    "/alerts/{alert_id}/frames",
    status_code=201,
    response_model=FrameStoredOut,
    openapi_extra=_UPLOAD,
    responses=problem_answers(401, 403, 404, 413, 422, 503),
)
async def add_alert_frame(request: Request, alert_id: UUID) -> Response:
    """Keep a frame of one of the device's alerts, also when the alert is over already."""
    return await _store(request, AlertId(alert_id))


@router.post(
    "/frames",
    status_code=201,
    response_model=FrameStoredOut,
    openapi_extra=_UPLOAD,
    responses=problem_answers(401, 403, 413, 422, 503),
)
async def add_safe_frame(request: Request) -> Response:
    """Keep a frame of the device's truck on which nothing is the matter."""
    return await _store(request, None)


async def _add_alert_frame(request: Request) -> Response:
    try:
        alert_id = UUID(request.path_params["alert_id"])
    except ValueError as error:
        raise InvalidRequest("path/alert_id: an alert is named by its UUID.") from error
    return await _store(request, AlertId(alert_id))


HOT_ROUTES = [
    HotRoute(f"{PREFIX}/alerts/{{alert_id}}/frames", _add_alert_frame, methods=["POST"]),
    HotRoute(f"{PREFIX}/frames", add_safe_frame, methods=["POST"]),
]


async def _store(request: Request, alert_id: AlertId | None) -> Response:
    # What other routes ask for by type is called here: this is the hot path (bench/fleet).
    device_id = device_id_of(request)
    key = idempotency_key_of(request)
    limit: int = request.state.max_frame_bytes
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    if kind == "application/json":
        stated, content = _from_json(body, limit)
    else:
        stated, content = _from_query(request), body
    if len(content) > limit:
        raise FrameTooLarge(f"A frame has at most {limit} bytes.")
    if not is_picture(content):
        raise UnreadableFrame("A frame is a JPEG, PNG or WebP picture.")
    now = datetime.now(UTC)
    dated = date(stated.taken_at, stated.sent_at, now)
    place = str(alert_id or "safe")
    sha256 = hashlib.sha256(content).hexdigest()
    if key is not None:
        known_by = f"key {key}"
    elif stated.seq is not None:
        known_by = f"seq {stated.seq}"
    else:
        known_by = f"{place} {stated.taken_at.isoformat()} {stated.index} {sha256}"
    dedupe = hashlib.sha256(f"{device_id} frame {known_by}".encode()).digest()[:16]
    writer: FrameWriter = request.state.writer
    stored = await writer.store(
        NewFrame(
            device_id=device_id,
            content=content,
            dated=dated,
            index=stated.index,
            sha256=sha256,
            dedupe=UUID(bytes=dedupe),
            alert_id=alert_id,
            seq=stated.seq,
        )
    )
    answer = {
        "number": stored.number,
        "truck_id": str(stored.truck_id),
        "alert_id": None if stored.alert_id is None else str(stored.alert_id),
        "repeated": stored.is_repeated,
    }
    return Response(
        json.dumps(answer).encode(),
        200 if stored.is_repeated else 201,
        {"Location": f"{PREFIX}/frames/{stored.number}/image", "Cache-Control": "no-store"},
        "application/json",
    )


def _from_json(body: bytes, limit: int) -> tuple[FrameIn, bytes]:
    try:
        stated = FrameIn.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        at = "/".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"body/{at}: {first['msg']}") from error
    try:
        return stated, decode_base64_text(stated.image, max_bytes=limit)
    except Base64TooLarge as error:
        raise FrameTooLarge(f"A frame has at most {limit} bytes.") from error
    except Base64Refused as error:
        raise InvalidRequest(f"body/image: {error}") from error


def _from_query(request: Request) -> FrameIn:
    """What is said about a raw frame; without `taken_at` it was taken now."""
    query = request.query_params
    told = {name: query[name] for name in ("taken_at", "sent_at", "index", "seq") if name in query}
    told.setdefault("taken_at", datetime.now(UTC).isoformat())
    try:
        return FrameIn.model_validate({"image": "", **told})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        at = "/".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"query/{at}: {first['msg']}") from error


@router.get(
    "/frames/{number}/image",
    response_class=Response,
    responses=binary_answer(*_PICTURE_TYPES, "application/octet-stream") | problem_answers(404),
)
async def get_image(
    number: int,
    request: Request,
    viewer: ViewerDep,
    session: SessionDep,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The picture of one frame."""
    frame = await FrameRepository(session).find(number)
    if frame is None or not viewer.sees(frame.truck_id):
        raise FrameNotFound
    etag = etag_of(frame.sha256, 1)
    if is_known(etag, if_none_match):
        return not_modified(etag)
    objects: Objects = request.state.objects
    try:
        content = await objects.get_part(frame.pack.sha256, frame.pack.offset, frame.size_bytes)
    except ObjectNotFound as error:
        raise FrameNotFound from error
    return picture_answer(content, frame.number, etag)
