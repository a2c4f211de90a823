"""What front ends of the original server read: trucks, alerts, frames."""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import Response

from services.fleet.compat import fields
from services.fleet.compat.envelope import Refused, answer
from services.fleet.compat.fields import Query
from services.fleet.compat.state import caller_of_query, viewer_in
from services.fleet.compat.translate import (
    to_alert,
    to_frame,
    to_last_frame,
    to_truck,
)
from services.fleet.domain import Frame
from services.fleet.repositories.alerts import AlertRepository
from services.fleet.repositories.frames import FrameRepository
from services.fleet.repositories.trucks import TruckRepository
from shared.objects import ObjectNotFound, Objects

_TRUCKS_PER_PAGE = 10
_ALERTS_PER_PAGE = 20
_FRAMES_PER_PAGE = 5
#: Frames are whole pictures: more in one answer would be hundreds of megabytes.
_MAX_FRAMES = 100
_TRUCK_COLUMNS = {"id": "t.number", "name": "t.name", "status": "t.status"}
_ALERT_COLUMNS = {
    "id": "a.number",
    "truck_id": "t.number",
    "truck_name": "t.name",
    "behavior": "a.behavior",
    "alert_init": "a.started_at",
    "alert_end": "a.ended_at",
    "started": "(a.ended_at IS NULL)",
}


async def list_trucks(request: Request) -> Response:
    """Trucks, newest first, and the newest alert of each where that is asked for."""
    caller = caller_of_query(request)
    zone = request.state.zone
    query = Query(request.query_params, zone)
    limit, offset = query.paging(_TRUCKS_PER_PAGE)
    conditions, parameters = ["t.status = :status"], {"status": query.text("status") or "Active"}
    given: dict[str, Any] = dict(parameters)
    if (number := query.number("id")) is not None:
        conditions.append("t.number = :number")
        given["number"] = number
    if (name := query.text("name")) is not None:
        conditions.append("t.name = :name")
        given["name"] = name
    tells = query.get("include_last_alert", fields.is_true) or False
    start, end = query.moment("last_alert_time_start"), query.moment("last_alert_time_end")
    async with request.state.sessions.begin() as session:
        viewer = await viewer_in(session, caller)
        repository = TruckRepository(session)
        if start is not None or end is not None:
            conditions.append(
                "EXISTS (SELECT FROM fleet.alerts x WHERE x.truck_id = t.id"
                " AND (CAST(:start AS timestamptz) IS NULL OR x.started_at >= :start)"
                " AND (CAST(:end AS timestamptz) IS NULL OR x.started_at <= :end))"
            )
            given |= {"start": start, "end": end}
        found, total = await repository.page(
            trucks=viewer.trucks,
            conditions=conditions,
            parameters=given,
            order=query.order(_TRUCK_COLUMNS, "t.number DESC"),
            limit=limit,
            offset=offset,
        )
        last = {}
        if tells:
            last = await repository.last_alerts([truck.id for truck in found], start, end)
    return answer(
        {
            "trucks": [to_truck(truck, last.get(truck.id), zone, tells=tells) for truck in found],
            "totalPages": fields.pages(total, limit),
            "totalItems": total,
            "perPage": limit,
        }
    )


async def list_alerts(request: Request) -> Response:
    """Alerts, newest first (Q20)."""
    caller = caller_of_query(request)
    zone = request.state.zone
    query = Query(request.query_params, zone)
    limit, offset = query.paging(_ALERTS_PER_PAGE)
    conditions: list[str] = []
    given: dict[str, object] = {}

    def add(condition: str, name: str, value: object | None) -> None:
        if value is not None:
            conditions.append(condition)
            given[name] = value

    add("a.number = :number", "number", query.number("id"))
    add("t.number = :truck", "truck", query.number("truck_id"))
    add("t.name = :truck_name", "truck_name", query.text("truck_name"))
    add("a.behavior = :behavior", "behavior", query.text("behavior"))
    add("a.started_at >= :after", "after", query.moment("alert_init"))
    add("a.started_at >= :init_start", "init_start", query.moment("alert_init_start"))
    add("a.started_at <= :init_end", "init_end", query.moment("alert_init_end"))
    add("a.ended_at >= :end_start", "end_start", query.moment("alert_finish_time_start"))
    add("a.ended_at <= :end_end", "end_end", query.moment("alert_finish_time_end"))
    started = query.get("started", fields.is_true)
    if started is not None:
        conditions.append("a.ended_at IS NULL" if started else "a.ended_at IS NOT NULL")
    async with request.state.sessions.begin() as session:
        viewer = await viewer_in(session, caller)
        repository = AlertRepository(session)
        total = await repository.count(
            trucks=viewer.trucks, conditions=conditions, parameters=given
        )
        found = await repository.page(
            trucks=viewer.trucks,
            conditions=conditions,
            parameters=given,
            order=query.order(_ALERT_COLUMNS, "a.number DESC"),
            limit=limit,
            offset=offset,
        )
    return answer(
        {
            "alerts": [to_alert(alert, zone) for alert in found],
            "totalPages": fields.pages(total, limit),
            "totalItems": total,
            "perPage": limit,
        }
    )


async def list_frames(request: Request) -> Response:
    """Frames of an alert, newest first, with their pictures (Q12)."""
    caller = caller_of_query(request)
    zone = request.state.zone
    query = Query(request.query_params, zone)
    limit, offset = query.paging(_FRAMES_PER_PAGE)
    limit = min(limit, _MAX_FRAMES)
    conditions: list[str] = []
    given: dict[str, int | datetime] = {}
    number = query.number("alert_id")
    if (since := query.moment("frame_timestamp")) is not None:
        conditions.append("f.taken_at >= :since")
        given["since"] = since
    if (index := query.number("frame_index")) is not None:
        conditions.append("f.frame_index >= :index")
        given["index"] = index
    async with request.state.sessions.begin() as session:
        viewer = await viewer_in(session, caller)
        alert = await AlertRepository(session).find_by_number(1 if number is None else number)
        frames: Sequence[Frame] = ()
        if alert is not None and viewer.sees(alert.truck_id):
            frames = await FrameRepository(session).of_alert(
                alert.id, conditions=conditions, parameters=given, limit=limit, offset=offset
            )
    return answer(
        {"frames": [to_frame(frame, await _image(request, frame), zone) for frame in frames]}
    )


async def last_status(request: Request) -> Response:
    """The newest frame of a truck, of an alert or safe (Q14)."""
    caller = caller_of_query(request)
    query = Query(request.query_params, request.state.zone)
    number = query.number("truck_id")
    async with request.state.sessions.begin() as session:
        viewer = await viewer_in(session, caller)
        truck = await TruckRepository(session).find_by_number(1 if number is None else number)
        if truck is None or not viewer.sees(truck.id):
            raise Refused(400, fields.NO_TRUCK)
        frame = await FrameRepository(session).last_of(truck.id)
    if frame is None:
        return answer({"frame": {}})
    return answer({"frame": to_last_frame(frame, await _image(request, frame), request.state.zone)})


async def current_status(request: Request) -> Response:
    """What the original server always answered here, which tells nothing of anybody (Q21)."""
    return answer(
        {
            "deviceId": 1,
            "lastAlert": "",
            "lastAlertTimestamp": "",
            "lastFrameStatus": {"behavior": "", "frame": "", "timestamp": ""},
            "startTime": "",
        }
    )


async def _image(request: Request, frame: Frame) -> str:
    """A picture as clean base64; empty where retention was faster than this request."""
    objects: Objects = request.state.objects
    try:
        content = await objects.get_part(frame.pack.sha256, frame.pack.offset, frame.size_bytes)
    except ObjectNotFound:
        return ""
    encoded = await anyio.to_thread.run_sync(base64.b64encode, content)
    return encoded.decode("ascii")
