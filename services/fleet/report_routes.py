"""The modern API of what alerts make together: events, incidents, reports, exports, webhooks."""

from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse

from services.fleet.alert_routes import aware, filters
from services.fleet.dependencies import AdministratorDep, GuardDep, ViewerDep
from services.fleet.domain import IncidentId, Severity, State
from services.fleet.errors import IncidentNotFound, InvalidCursor
from services.fleet.reports import Reports, alerts_as_csv, csv_lines
from services.fleet.repositories.alerts import AlertRepository
from services.fleet.repositories.events import EventRepository
from services.fleet.schemas import (
    PREFIX,
    AlertOut,
    BehaviorReportsOut,
    EventOut,
    EventPageOut,
    IncidentOut,
    IncidentPageOut,
    IncidentWithAlertsOut,
    SeverityName,
    TruckReportsOut,
    WebhookIn,
    WebhookOut,
    from_cursor,
    severity_name,
    to_cursor,
)
from services.fleet.webhooks import TENANT, WEBHOOKS
from shared.answers import problem_answers
from shared.db import SessionDep
from shared.problems import InvalidRequest, NotFound
from shared.webhooks import AddressRefused

router = APIRouter(prefix=PREFIX, tags=["fleet"])

Since = Annotated[datetime | None, Query(description="From this time; a month ago if unset.")]
Until = Annotated[datetime | None, Query(description="Before this time; now if unset.")]
_CSV = {"Content-Disposition": 'attachment; filename="alerts.csv"', "Cache-Control": "no-store"}


@router.get("/events", response_model=EventPageOut, responses=problem_answers(401, 403, 422))
async def list_events(
    viewer: ViewerDep,
    session: SessionDep,
    since: Annotated[
        int, Query(ge=0, lt=2**63, description="The `next_cursor` of before, or an event's id.")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> EventPageOut:
    """What was announced to live connections, in its order, from behind `since`."""
    events = EventRepository(session)
    newest = await events.newest()
    found = await events.after(since, limit, viewer.trucks)
    following = found[-1].id if len(found) == limit else max(since, newest)
    return EventPageOut(items=[EventOut.of(event) for event in found], next_cursor=str(following))


@router.get("/incidents", response_model=IncidentPageOut, responses=problem_answers(401, 403, 422))
async def list_incidents(
    viewer: ViewerDep,
    session: SessionDep,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> IncidentPageOut:
    """Alerts that belong together, newest first."""
    before = None
    if cursor is not None:
        at, _, number = from_cursor(cursor).partition(" ")
        try:
            before = (datetime.fromisoformat(at), UUID(number))
        except ValueError as error:
            raise InvalidCursor("This cursor is not one of this list.") from error
        if before[0].tzinfo is None:
            raise InvalidCursor("This cursor is not one of this list.")
    found = await AlertRepository(session).incidents(viewer.trucks, before=before, limit=limit + 1)
    items = [_incident(dict(row)) for row in found[:limit]]
    last = items[-1] if len(found) > limit else None
    return IncidentPageOut(
        items=items,
        next_cursor=None if last is None else to_cursor(f"{last.started_at.isoformat()} {last.id}"),
    )


def _incident(row: dict[str, object]) -> IncidentOut:
    return IncidentOut.model_validate(
        {**row, "severity": severity_name(Severity(int(str(row["severity"]))))}
    )


@router.get(
    "/incidents/{incident_id}",
    response_model=IncidentWithAlertsOut,
    responses=problem_answers(404),
)
async def get_incident(
    incident_id: UUID, viewer: ViewerDep, session: SessionDep
) -> IncidentWithAlertsOut:
    """One incident and its alerts."""
    alerts = AlertRepository(session)
    found = await alerts.incidents(viewer.trucks, incident_id=IncidentId(incident_id))
    if not found:
        raise IncidentNotFound
    items = await alerts.page(
        trucks=viewer.trucks,
        conditions=["a.incident_id = :incident_id"],
        parameters={"incident_id": incident_id},
        order="a.started_at, a.number",
        limit=1000,
    )
    return IncidentWithAlertsOut(
        **_incident(dict(found[0])).model_dump(), items=[AlertOut.of(alert) for alert in items]
    )


@router.get(
    "/alerts.csv",
    response_class=Response,
    responses={200: {"content": {"text/csv": {}}}, **problem_answers(401, 403, 422)},
)
async def export_alerts(
    request: Request,
    viewer: ViewerDep,
    truck_id: UUID | None = None,
    state: State | None = None,
    behavior: Annotated[str | None, Query(max_length=80)] = None,
    min_severity: SeverityName | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Response:
    """The alerts that you may see as comma-separated values, newest first."""
    conditions, given = filters(
        truck_id=truck_id, incident_id=None, state=state, behavior=behavior,
        min_severity=min_severity, going_on=None, since=since, until=until,
    )  # fmt: skip
    lines = alerts_as_csv(request.state.sessions, viewer.trucks, conditions, given)
    return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=_CSV)


def _span(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    end = aware(until) or datetime.now(UTC)
    return aware(since) or end - timedelta(days=30), end


@router.get(
    "/reports/behaviors",
    response_model=BehaviorReportsOut,
    responses=problem_answers(401, 403, 422),
)
async def report_behaviors(
    request: Request,
    viewer: ViewerDep,
    session: SessionDep,
    since: Since = None,
    until: Until = None,
) -> BehaviorReportsOut | Response:
    """How often each behavior was seen, how soon people acted, and how often it was false.

    With `Accept: text/csv` as a table.
    """
    items = await Reports(session, viewer.trucks).by_behavior(*_span(since, until))
    if "text/csv" in request.headers.get("accept", ""):
        return _table([item.model_dump() for item in items])
    return BehaviorReportsOut(items=items)


@router.get(
    "/reports/trucks", response_model=TruckReportsOut, responses=problem_answers(401, 403, 422)
)
async def report_trucks(
    request: Request,
    viewer: ViewerDep,
    session: SessionDep,
    since: Since = None,
    until: Until = None,
) -> TruckReportsOut | Response:
    """How many alerts each truck had, by severity. With `Accept: text/csv` as a table."""
    items = await Reports(session, viewer.trucks).by_truck(*_span(since, until))
    if "text/csv" in request.headers.get("accept", ""):
        return _table([item.model_dump() for item in items])
    return TruckReportsOut(items=items)


def _table(rows: list[dict[str, object]]) -> Response:
    lines = [list(rows[0])] if rows else []
    content = csv_lines(
        [*lines, *(["" if cell is None else cell for cell in row.values()] for row in rows)]
    )
    return Response(
        content, media_type="text/csv; charset=utf-8", headers={"Cache-Control": "no-store"}
    )


@router.post(
    "/webhooks", status_code=201, response_model=WebhookOut, responses=problem_answers(403, 422)
)
async def add_webhook(
    wanted: WebhookIn,
    _: AdministratorDep,
    guard: GuardDep,
    session: SessionDep,
    response: Response,
) -> WebhookOut:
    """Have another system told of events, signed with a secret that is shown this once."""
    try:
        made = await WEBHOOKS.register(
            session, guard, tenant=TENANT, url=wanted.url, events=wanted.events
        )
    except AddressRefused as error:
        raise InvalidRequest(f"body/url: {error}") from error
    response.headers["Cache-Control"] = "no-store"
    return WebhookOut(id=made.id, url=made.url, events=list(made.events), secret=made.secret)


@router.delete("/webhooks/{webhook_id}", status_code=204, responses=problem_answers(403, 404))
async def remove_webhook(webhook_id: UUID, _: AdministratorDep, session: SessionDep) -> None:
    """Tell it nothing any more."""
    if not await WEBHOOKS.remove(session, webhook_id, tenant=TENANT):
        raise NotFound("There is no such webhook.")
