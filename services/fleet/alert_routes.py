"""The modern API of alerts: `/api/v2/fleet/alerts`."""

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from services.fleet.alerting import Alerting, Handling, Opening
from services.fleet.answers import etag_of
from services.fleet.dependencies import (
    AlertingDep,
    DeviceDep,
    ViewerDep,
    device_id_of,
    find_viewer,
)
from services.fleet.domain import Alert, AlertId, Device, State, UserId, date, new_id
from services.fleet.repositories.alerts import AlertRepository
from services.fleet.repositories.frames import FrameRepository
from services.fleet.repositories.trucks import TruckRepository
from services.fleet.schemas import (
    PREFIX,
    AlertChangeIn,
    AlertIn,
    AlertOut,
    AlertPageOut,
    CommentIn,
    CommentOut,
    CommentsOut,
    EntryOut,
    FrameOut,
    FramePageOut,
    HistoryOut,
    SeverityName,
    number_from,
    severity_from,
    to_cursor,
)
from shared.answers import is_known, not_modified, problem_answers
from shared.assertions import get_caller
from shared.db import SessionDep
from shared.idempotency import REPLAYED, idempotency_key_of
from shared.problems import Forbidden, InvalidRequest

router = APIRouter(prefix=f"{PREFIX}/alerts", tags=["fleet"])

Limit = Annotated[int, Query(ge=1, le=100)]
IfMatch = Annotated[str | None, Header(description="The ETag of the alert as you have seen it.")]


@router.post(
    "", status_code=201, response_model=AlertOut, responses=problem_answers(401, 403, 422, 503)
)
async def open_alert(
    new: AlertIn,
    request: Request,
    response: Response,
    device: DeviceDep,
    alerting: AlertingDep,
    session: SessionDep,
) -> AlertOut:
    """Open an alert of the device's truck; the same request again gives the same alert.

    What makes it the same is the `Idempotency-Key`, else the alert's `id`, else its `seq`.
    """
    now = datetime.now(UTC)
    skew_ms = None
    if new.sent_at is not None:
        skew_ms = round((now - new.sent_at).total_seconds() * 1000)
    dated = date(new.started_at, new.sent_at, now)
    ended_at = new.ended_at
    if ended_at is not None:
        ended_at = max(dated.at, ended_at + (dated.at - new.started_at))
    opening = Opening(
        behavior=new.behavior,
        dated=dated,
        severity=severity_from(new.severity),
        ended_at=ended_at,
        id=None if new.id is None else AlertId(new.id),
        dedupe=dedupe_of(device.id, "alert", idempotency_key_of(request), new.id, new.seq),
        seq=new.seq,
        skew_ms=skew_ms,
    )
    alert, is_repeated = await alerting.open(device, opening, session)
    if is_repeated:
        response.status_code = 200
        response.headers.update(REPLAYED)
    response.headers["Location"] = f"{PREFIX}/alerts/{alert.id}"
    response.headers["ETag"] = etag_of(alert.id, alert.version)
    return AlertOut.of(alert)


def dedupe_of(device_id: UUID, what: str, *names: object) -> UUID | None:
    """The key under which the same thing is known when it is sent again."""
    name = next((name for name in names if name is not None), None)
    if name is None:
        return None
    text = f"{device_id} {what} {type(name).__name__} {name}"
    return UUID(bytes=hashlib.sha256(text.encode()).digest()[:16])


@router.get("", response_model=AlertPageOut, responses=problem_answers(401, 403, 422, 503))
async def list_alerts(
    viewer: ViewerDep,
    session: SessionDep,
    cursor: str | None = None,
    limit: Limit = 20,
    truck_id: UUID | None = None,
    incident_id: UUID | None = None,
    state: State | None = None,
    behavior: Annotated[str | None, Query(max_length=80)] = None,
    min_severity: SeverityName | None = None,
    going_on: bool | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> AlertPageOut:
    """The alerts that you may see, newest first."""
    conditions, given = filters(
        truck_id=truck_id, incident_id=incident_id, state=state, behavior=behavior,
        min_severity=min_severity, going_on=going_on, since=since, until=until,
    )  # fmt: skip
    if cursor is not None:
        conditions.append("a.number < :cursor")
        given["cursor"] = number_from(cursor)
    found = await AlertRepository(session).page(
        trucks=viewer.trucks, conditions=conditions, parameters=given, limit=limit + 1
    )
    return AlertPageOut(
        items=[AlertOut.of(alert) for alert in found[:limit]],
        next_cursor=to_cursor(str(found[limit - 1].number)) if len(found) > limit else None,
    )


def filters(
    *,
    truck_id: UUID | None,
    incident_id: UUID | None,
    state: State | None,
    behavior: str | None,
    min_severity: SeverityName | None,
    going_on: bool | None,
    since: datetime | None,
    until: datetime | None,
) -> tuple[list[str], dict[str, Any]]:
    """Conditions, made of constants, and their parameters."""
    conditions: list[str] = []
    given: dict[str, Any] = {}
    severity = severity_from(min_severity)
    for name, value, condition in (
        ("truck_id", truck_id, "a.truck_id = :truck_id"),
        ("incident_id", incident_id, "a.incident_id = :incident_id"),
        ("state", None if state is None else state.value, "a.state = :state"),
        ("behavior", behavior, "a.behavior = :behavior"),
        ("severity", None if severity is None else int(severity), "a.severity >= :severity"),
        ("since", aware(since), "a.started_at >= :since"),
        ("until", aware(until), "a.started_at < :until"),
    ):
        if value is not None:
            conditions.append(condition)
            given[name] = value
    if going_on is not None:
        conditions.append("a.ended_at IS NULL" if going_on else "a.ended_at IS NOT NULL")
    if behavior is not None and "\0" in behavior:
        raise InvalidRequest("`behavior` holds no NUL.")
    return conditions, given


def aware(at: datetime | None) -> datetime | None:
    """A time of a query; one without a zone is UTC."""
    return at if at is None or at.tzinfo is not None else at.replace(tzinfo=UTC)


@router.get("/{alert_id}", response_model=AlertOut, responses=problem_answers(401, 403, 404, 503))
async def get_alert(
    alert_id: UUID,
    viewer: ViewerDep,
    session: SessionDep,
    response: Response,
    if_none_match: Annotated[str | None, Header()] = None,
) -> AlertOut | Response:
    """One alert."""
    alert = await AlertRepository(session).get(AlertId(alert_id), viewer.trucks)
    etag = etag_of(alert.id, alert.version)
    if is_known(etag, if_none_match):
        return not_modified(etag)
    response.headers["ETag"] = etag
    return AlertOut.of(alert)


@router.patch(
    "/{alert_id}", response_model=AlertOut, responses=problem_answers(401, 403, 404, 409, 412, 422)
)
async def change_alert(
    alert_id: UUID,
    change: AlertChangeIn,
    request: Request,
    response: Response,
    alerting: AlertingDep,
    session: SessionDep,
    if_match: IfMatch = None,
) -> AlertOut:
    """A device ends its alert; a person acknowledges, assigns, closes it or calls it false.

    Ending is idempotent, and of several ends the latest counts. With `If-Match` a change is made
    only to the alert as you have seen it.
    """
    alerts = AlertRepository(session)
    if get_caller(request).kind == "device":
        device = await TruckRepository(session).get_device(device_id_of(request))
        alert = await _end(AlertId(alert_id), change, device, alerting, session)
    else:
        viewer = await find_viewer(request, session)
        if change.ended_at is not None or change.sent_at is not None:
            raise Forbidden("A device ends its alert; people acknowledge, assign and close it.")
        seen = await alerts.get(AlertId(alert_id), viewer.trucks, locked=True)
        version = seen.version
        if if_match is not None and not is_known(etag_of(seen.id, seen.version), if_match):
            version = -1  # whichever it was that the person has seen
        alert = await alerting.handle(
            viewer,
            seen,
            Handling(
                change.state,
                None if change.assignee is None else UserId(change.assignee),
                severity_from(change.severity),
                change.legal_hold,
            ),
            version,
            session,
        )
    response.headers["ETag"] = etag_of(alert.id, alert.version)
    return AlertOut.of(alert)


async def _end(
    alert_id: AlertId,
    change: AlertChangeIn,
    device: Device,
    alerting: Alerting,
    session: AsyncSession,
) -> Alert:
    handling = (change.state, change.assignee, change.severity, change.legal_hold)
    if change.ended_at is None or any(value is not None for value in handling):
        raise Forbidden("A device ends its alert, with `ended_at`, and does nothing else to it.")
    alert = await AlertRepository(session).get(alert_id, {device.truck_id})
    ended = date(change.ended_at, change.sent_at, datetime.now(UTC))
    return await alerting.end(device, alert, ended.at, session)


@router.get("/{alert_id}/history", response_model=HistoryOut, responses=problem_answers(404))
async def get_history(alert_id: UUID, viewer: ViewerDep, session: SessionDep) -> HistoryOut:
    """Who did what to an alert, and when."""
    alerts = AlertRepository(session)
    alert = await alerts.get(AlertId(alert_id), viewer.trucks)
    return HistoryOut(items=[EntryOut.of(entry) for entry in await alerts.history(alert.id)])


@router.get("/{alert_id}/comments", response_model=CommentsOut, responses=problem_answers(404))
async def list_comments(alert_id: UUID, viewer: ViewerDep, session: SessionDep) -> CommentsOut:
    """What people wrote about an alert."""
    alerts = AlertRepository(session)
    alert = await alerts.get(AlertId(alert_id), viewer.trucks)
    return CommentsOut(
        items=[CommentOut.model_validate(dict(row)) for row in await alerts.comments(alert.id)]
    )


@router.post(
    "/{alert_id}/comments",
    status_code=201,
    response_model=CommentOut,
    responses=problem_answers(403, 404, 422),
)
async def add_comment(
    alert_id: UUID, new: CommentIn, viewer: ViewerDep, session: SessionDep
) -> CommentOut:
    """Write something about an alert."""
    if not viewer.may_handle:
        raise Forbidden("You may see this alert, and not write about it.")
    alerts = AlertRepository(session)
    alert = await alerts.get(AlertId(alert_id), viewer.trucks)
    comment_id = new_id()
    at = await alerts.comment(comment_id, alert.id, viewer.user_id, viewer.username, new.body)
    await alerts.log(alert.id, str(viewer.user_id), "commented", comment_id=str(comment_id))
    return CommentOut(
        id=comment_id, at=at, author=viewer.user_id, author_name=viewer.username, body=new.body
    )


@router.get("/{alert_id}/frames", response_model=FramePageOut, responses=problem_answers(404, 422))
async def list_frames(
    alert_id: UUID,
    viewer: ViewerDep,
    session: SessionDep,
    cursor: str | None = None,
    limit: Limit = 20,
) -> FramePageOut:
    """The frames of an alert, newest first, without their pictures."""
    alert = await AlertRepository(session).get(AlertId(alert_id), viewer.trucks)
    conditions, given = [], {}
    if cursor is not None:
        conditions.append("f.number < :cursor")
        given["cursor"] = number_from(cursor)
    found = await FrameRepository(session).of_alert(
        alert.id, conditions=conditions, parameters=given, limit=limit + 1
    )
    return FramePageOut(
        items=[FrameOut.of(frame) for frame in found[:limit]],
        next_cursor=to_cursor(str(found[limit - 1].number)) if len(found) > limit else None,
    )
