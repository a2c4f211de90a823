"""Devices of the original server: how they register, and what they report."""

import hashlib
from datetime import UTC, datetime
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from services.fleet.alerting import Alerting, Opening
from services.fleet.auth_client import DeviceTaken, DeviceUnknown
from services.fleet.compat import fields
from services.fleet.compat.envelope import JSON_TYPE, Refused, answer
from services.fleet.compat.fields import Body
from services.fleet.compat.state import device_id_of, device_in
from services.fleet.devices import Devices
from services.fleet.domain import (
    OLD_BEHAVIORS,
    DeviceId,
    Mark,
    NewFrame,
    date,
    is_picture,
)
from services.fleet.errors import AlertNotFound, AlertOver, NameTaken, NotADevice, NotThisTruck
from services.fleet.ingest import FrameWriter
from services.fleet.repositories.alerts import AlertRepository
from shared.assertions import client_address
from shared.auth_client import CredentialsRefused, PasswordTooCommon, PasswordTooShort
from shared.base64text import Base64Refused, Base64TooLarge, decode_base64_text

_MAX_INDEX = 2**31 - 1


async def register_device(request: Request) -> Response:
    """Register a device, or renew its token with the same password (Q15)."""
    return await _register(request, may_create=True)


async def renew_device(request: Request) -> Response:
    """Renew the token of a device that is registered."""
    return await _register(request, may_create=False)


async def _register(request: Request, *, may_create: bool) -> Response:
    body = fields.read_body(await request.body())
    fields.require(body, "mac", "password", "name")
    mac, name = fields.mac(fields.text(body, "mac")), fields.text(body, "name", most=150)
    password = body["password"]
    if not isinstance(password, str) or "\0" in password:
        raise Refused(400, str({"password": ["Not a valid string."]}))
    if len(password) > fields.MAX_PASSWORD:
        raise Refused(413, fields.LARGE_PASSWORD)
    role = fields.role(body.get("role") or "Limited")
    devices: Devices = request.state.devices
    try:
        device, token = await devices.register(
            mac, password, name, role, client_address(request), may_create=may_create
        )
    except NameTaken as error:
        raise Refused(409, fields.TRUCK_TAKEN) from error
    except DeviceTaken as error:
        raise Refused(409, f"{fields.CONFLICT}mac") from error
    except (DeviceUnknown, NotADevice) as error:
        raise Refused(401, fields.NO_DEVICE) from error
    except (PasswordTooShort, PasswordTooCommon, CredentialsRefused) as error:
        raise Refused(400, fields.SHORT_PASSWORD) from error
    return answer(
        {"id": device.account_number, "truck_id": device.truck_number, "token": token.token}
    )


async def open_alert(request: Request) -> Response:
    """Open an alert; the answer has its number under both names (Q16)."""
    body = fields.read_body(await request.body())
    fields.require(body, "token", "truck_id", "alert_init", "behavior")
    device_id = await device_id_of(request, body["token"])
    truck = fields.number(body["truck_id"], "truck_id")
    began_at = fields.moment(body["alert_init"], request.state.zone)
    behavior = body["behavior"]
    if behavior not in OLD_BEHAVIORS:
        raise Refused(400, fields.UNKNOWN_BEHAVIOR)
    alerting: Alerting = request.state.alerting
    async with request.state.sessions.begin() as session:
        try:
            device = await device_in(session, device_id)
        except NotADevice as error:
            raise Refused(400, fields.WRONG_TOKEN) from error
        if device.truck_number != truck:
            raise Refused(400, fields.WRONG_TOKEN)
        opening = Opening(str(behavior), date(began_at, None, datetime.now(UTC)))
        alert, _ = await alerting.open(device, opening, session)
    return answer({"id": alert.number, "alert_id": alert.number})


async def end_alert(request: Request) -> Response:
    """End an alert that goes on (Q17)."""
    body = fields.read_body(await request.body())
    fields.require(body, "token", "alert_id", "alert_end")
    device_id = await device_id_of(request, body["token"])
    number = fields.number(body["alert_id"], "alert_id")
    ended_at = fields.moment(body["alert_end"], request.state.zone)
    alerting: Alerting = request.state.alerting
    async with request.state.sessions.begin() as session:
        alert = await AlertRepository(session).find_by_number(number)
        if alert is None or alert.device_id != device_id:
            raise Refused(400, fields.NO_ALERT)
        if alert.ended_at is not None:
            if alert.ended_at == max(ended_at, alert.started_at):
                # The same once more: the answer to the first was lost on the way.
                return answer({"id": alert.number})
            raise Refused(400, fields.NO_ALERT)
        await alerting.end(await device_in(session, device_id), alert, ended_at, session)
    return answer({"id": alert.number})


async def add_frame(request: Request) -> Response:
    """Keep a frame of an alert that goes on; its truck follows from the alert (Q17, Q18)."""
    body = fields.read_body(await request.body())
    fields.require(body, "token", "alert_id", "frame_timestamp", "frame")
    device_id = await device_id_of(request, body["token"])
    number = fields.number(body["alert_id"], "alert_id")
    frame = _frame(request, body, device_id, f"alert {number}", alert_number=number)
    stored = await _store(request, frame)
    return Response(
        b'{"code": 200, "status_code": "Success", "data": {"id": %d, "frame_id": %d}}\n'
        % (stored, stored),
        media_type=JSON_TYPE,
    )


async def add_safe_frame(request: Request) -> Response:
    """Keep a frame on which nothing is the matter (Q16, Q18)."""
    body = fields.read_body(await request.body())
    fields.require(body, "token", "truck_id", "frame_timestamp", "frame")
    device_id = await device_id_of(request, body["token"])
    truck = fields.number(body["truck_id"], "truck_id")
    frame = _frame(request, body, device_id, "safe", truck_number=truck)
    stored = await _store(request, frame)
    return Response(
        b'{"code": 200, "status_code": "Success", "data": {"safeframe_id": %d, "id": %d}}\n'
        % (stored, stored),
        media_type=JSON_TYPE,
    )


def _frame(
    request: Request,
    body: Body,
    device_id: DeviceId,
    place: str,
    *,
    alert_number: int | None = None,
    truck_number: int | None = None,
) -> NewFrame:
    stated_at = fields.moment(body["frame_timestamp"], request.state.zone)
    index = fields.number(body.get("frame_index") or 0, "frame_index")
    if not 0 <= index <= _MAX_INDEX:
        raise Refused(400, str({"frame_index": ["Not a valid integer."]}))
    written = body["frame"]
    limit: int = request.state.max_frame_bytes
    try:
        if not isinstance(written, str):
            raise Base64Refused("The frame is not text.")
        content = decode_base64_text(written, max_bytes=limit)
    except Base64TooLarge as error:
        raise Refused(413, f"Frame is too large, {limit} bytes at most.") from error
    except Base64Refused as error:
        raise Refused(400, fields.WRONG_FRAME) from error
    # A device that heard no answer sends the same again; it is the same frame then (Q19).
    sha256 = hashlib.sha256(content).hexdigest()
    key = hashlib.sha256(f"{sha256} {device_id} {place} {stated_at.isoformat()} {index}".encode())
    return NewFrame(
        device_id=device_id,
        content=content,
        dated=date(stated_at, None, datetime.now(UTC)),
        index=index,
        sha256=sha256,
        dedupe=UUID(bytes=key.digest()[:16]),
        alert_number=alert_number,
        truck_number=truck_number,
        needs_open_alert=alert_number is not None,
        marks=frozenset() if is_picture(content) else frozenset({Mark.UNREADABLE}),
    )


async def _store(request: Request, frame: NewFrame) -> int:
    writer: FrameWriter = request.state.writer
    try:
        return (await writer.store(frame)).number
    except (AlertNotFound, AlertOver) as error:
        raise Refused(400, fields.NO_ALERT) from error
    except (NotThisTruck, NotADevice) as error:
        raise Refused(400, fields.WRONG_TOKEN) from error
