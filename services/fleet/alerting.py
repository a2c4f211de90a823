"""What happens to alerts: devices open and end them, people handle them."""

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from services.fleet.domain import (
    TRANSITIONS,
    Alert,
    AlertId,
    Dated,
    Device,
    IncidentId,
    Mark,
    Severity,
    State,
    TruckId,
    UserId,
    Viewer,
    default_severity,
    new_id,
)
from services.fleet.errors import (
    IllegalTransition,
    NotThisTruck,
    VersionConflict,
)
from services.fleet.incidents import group
from services.fleet.repositories.alerts import AlertRepository, NewAlert
from services.fleet.repositories.events import EventRepository
from services.fleet.repositories.trucks import TruckRepository
from shared.idempotency import IdempotencyKeyReused
from shared.problems import Forbidden

log = structlog.get_logger(__name__)

_SYSTEM: Final = "fleet"


@dataclass(frozen=True, slots=True)
class Opening:
    """What a device says when it opens an alert."""

    behavior: str
    dated: Dated
    severity: Severity | None = None
    ended_at: datetime | None = None
    id: AlertId | None = None
    """The device's own choice, so that it can go on before it has our answer."""
    dedupe: UUID | None = None
    """The same for the same request sent again; None: an alert that began alike is the same."""
    seq: int | None = None
    skew_ms: int | None = None
    """How far the device's clock is off, where that was measured."""

    @property
    def sha256(self) -> bytes:
        """Tells a repeated request from another one under the same key."""
        said = (self.behavior, self.dated.stated_at.isoformat(), self.severity, self.id)
        return hashlib.sha256(repr(said).encode()).digest()


@dataclass(frozen=True, slots=True)
class Handling:
    """What a person changes of an alert; None leaves it as it is."""

    state: State | None = None
    assignee: UserId | None = None
    severity: Severity | None = None
    legal_hold: bool | None = None


@dataclass(frozen=True, slots=True)
class Alerting:
    """The rules of alerts, in one transaction each: change, history and announcement together."""

    incident_gap: timedelta
    escalate_after: int

    async def open(
        self, device: Device, opening: Opening, session: AsyncSession
    ) -> tuple[Alert, bool]:
        """Open an alert, or find the one that the same request opened before.

        Returns:
            The alert, and whether it was here already.

        Raises:
            IdempotencyKeyReused: the same key or identifier came with something else.
        """
        alerts = AlertRepository(session)
        # One truck's alerts take turns: repeated requests see each other, and so do incidents.
        await TruckRepository(session).get(device.truck_id, locked=True)
        await TruckRepository(session).saw_device(device.id, opening.skew_ms, opening.seq)
        earlier = await self._find_earlier(alerts, device, opening)
        if earlier is not None:
            return earlier, True
        if opening.seq is not None and opening.seq < (device.last_seq or 0):
            marks = opening.dated.marks | {Mark.OUT_OF_ORDER}
            opening = replace(opening, dated=replace(opening.dated, marks=marks))
        return await self._add(device.truck_id, device, opening, session), False

    async def raise_for(self, device: Device, behavior: str, session: AsyncSession) -> Alert:
        """Open an alert of the platform's own about a device."""
        await TruckRepository(session).get(device.truck_id, locked=True)
        now = datetime.now(UTC)
        opening = Opening(behavior, Dated(now, now, frozenset()))
        return await self._add(device.truck_id, device, opening, session)

    async def _find_earlier(
        self, alerts: AlertRepository, device: Device, opening: Opening
    ) -> Alert | None:
        if opening.dedupe is None:
            return await alerts.find_same_open(device.id, opening.behavior, opening.dated.stated_at)
        found = await alerts.find_by_dedupe(opening.dedupe)
        if found is None:
            return None
        earlier, sha256 = found
        if sha256 != opening.sha256 or earlier.device_id != device.id:
            raise IdempotencyKeyReused("This key or identifier came before with another alert.")
        return earlier

    async def _add(
        self, truck_id: TruckId, device: Device | None, opening: Opening, session: AsyncSession
    ) -> Alert:
        alerts = AlertRepository(session)
        alert = await alerts.add(
            NewAlert(
                id=opening.id or AlertId(new_id()),
                truck_id=truck_id,
                device_id=None if device is None else device.id,
                incident_id=IncidentId(new_id()),
                behavior=opening.behavior,
                severity=opening.severity
                if opening.severity is not None
                else default_severity(opening.behavior),
                started_at=opening.dated.at,
                ended_at=opening.ended_at,
                stated_at=opening.dated.stated_at,
                marks=opening.dated.marks,
                seq=opening.seq,
                dedupe=opening.dedupe,
                request_sha256=opening.sha256,
            )
        )
        await alerts.log(alert.id, _actor(device), "opened", behavior=alert.behavior)
        await self._regroup(alert, session)
        alert = await alerts.get(alert.id)
        if opening.severity is None:
            alert = await self._escalate(alert, session)
        await self._announce("alert.opened", alert, session)
        log.info("alert_opened", alert=alert.number, truck=alert.truck_number)
        return alert

    async def _escalate(self, alert: Alert, session: AsyncSession) -> Alert:
        """Raise what happens again and again within one incident by a step."""
        alerts = AlertRepository(session)
        times = await alerts.same_in_incident(alert.incident_id, alert.behavior)
        grave = Severity.INFO < alert.severity < Severity.CRITICAL
        if times < self.escalate_after or not grave:
            return alert
        raised = replace(alert, severity=Severity(alert.severity + 1))
        await alerts.save(raised)
        await alerts.log(alert.id, _SYSTEM, "escalated", times=times)
        return raised

    async def end(
        self, device: Device, alert: Alert, ended_at: datetime, session: AsyncSession
    ) -> Alert:
        """End an alert; again, earlier or later, the latest end counts, in whatever order.

        Raises:
            NotThisTruck: the alert is another device's.
        """
        if alert.device_id != device.id:
            raise NotThisTruck
        await TruckRepository(session).get(device.truck_id, locked=True)
        await TruckRepository(session).saw_device(device.id)
        return await self._end(await AlertRepository(session).get(alert.id), ended_at, session)

    async def end_going_on(self, device: Device, behavior: str, session: AsyncSession) -> None:
        """End the alerts of the platform's own about a device that are over now."""
        await TruckRepository(session).get(device.truck_id, locked=True)
        for alert in await AlertRepository(session).end_going_on(device.id, behavior):
            await self._end(alert, datetime.now(UTC), session)

    async def _end(self, alert: Alert, ended_at: datetime, session: AsyncSession) -> Alert:
        marks = alert.marks
        if ended_at < alert.started_at:
            marks |= {Mark.OUT_OF_ORDER}
        end = max(alert.started_at, ended_at)
        if alert.ended_at is not None and alert.ended_at >= end:
            return alert
        alerts = AlertRepository(session)
        ended = replace(alert, ended_at=end, marks=marks, version=alert.version + 1)
        await alerts.save(ended)
        await alerts.log(alert.id, "device", "ended", ended_at=end.isoformat())
        await self._regroup(ended, session)
        ended = await alerts.get(alert.id)
        await self._announce("alert.ended", ended, session)
        return ended

    async def handle(
        self,
        viewer: Viewer,
        alert: Alert,
        change: Handling,
        version: int | None,
        session: AsyncSession,
    ) -> Alert:
        """Change an alert by a person.

        Args:
            viewer: who.
            alert: locked in this transaction.
            change: what.
            version: what the person has seen; None where they do not say.
            session: the transaction.

        Raises:
            Forbidden, VersionConflict, IllegalTransition: as they say.
        """
        if not viewer.may_handle:
            raise Forbidden("You may see this alert, and not change it.")
        if change.legal_hold is not None and not viewer.may_administer:
            raise Forbidden("Only an administrator of the fleet holds alerts.")
        if version is not None and version != alert.version:
            raise VersionConflict(
                "Somebody else changed this alert meanwhile.", version=alert.version
            )
        state = change.state
        if state is None and change.assignee is not None and alert.state is not State.ASSIGNED:
            state = State.ASSIGNED
        if state is not None and state is not alert.state and state not in TRANSITIONS[alert.state]:
            raise IllegalTransition(f"An alert that is {alert.state} does not become {state}.")
        if state is State.ASSIGNED and (change.assignee or alert.assignee) is None:
            raise IllegalTransition("An alert is assigned to somebody.")
        after = replace(
            alert,
            state=state or alert.state,
            assignee=None if state is State.OPEN else change.assignee or alert.assignee,
            severity=alert.severity if change.severity is None else change.severity,
            legal_hold=alert.legal_hold if change.legal_hold is None else change.legal_hold,
        )
        if after == alert:
            return alert
        after = replace(after, version=alert.version + 1)
        alerts = AlertRepository(session)
        await alerts.save(after)
        await alerts.log(alert.id, str(viewer.user_id), "changed", **_difference(alert, after))
        if after.severity != alert.severity:
            await self._regroup(after, session)
            after = await alerts.get(alert.id)
        await self._announce("alert.changed", after, session)
        return after

    async def _regroup(self, alert: Alert, session: AsyncSession) -> None:
        """Divide the alerts around a changed one into incidents anew."""
        alerts = AlertRepository(session)
        until = alert.ended_at or alert.started_at + timedelta(hours=1)
        spans = await alerts.spans_near(
            alert.truck_id, alert.incident_id, alert.started_at, until, self.incident_gap
        )
        before = {span.incident_id for span in spans if span.incident_id is not None}
        kept: set[IncidentId] = set()
        for found in group(spans, self.incident_gap):
            known = {span.incident_id for span in found.spans if span.incident_id} - kept
            incident_id = min(known) if known else IncidentId(new_id())
            kept.add(incident_id)
            await alerts.write_incident(
                incident_id,
                alert.truck_id,
                found.spans,
                found.started_at,
                found.ended_at,
                found.severity,
            )
        await alerts.drop_incidents(before - kept)

    async def _announce(self, kind: str, alert: Alert, session: AsyncSession) -> None:
        await EventRepository(session).announce(
            kind, event_data(alert), truck_id=alert.truck_id, alert_id=alert.id
        )


def event_data(alert: Alert) -> dict[str, Any]:
    """What an event tells of an alert: enough to show it, nothing of a picture."""
    return {
        "alert_number": alert.number,
        "truck_number": alert.truck_number,
        "incident_id": str(alert.incident_id),
        "behavior": alert.behavior,
        "severity": alert.severity.name.lower(),
        "state": alert.state.value,
        "started_at": alert.started_at.isoformat(),
        "ended_at": None if alert.ended_at is None else alert.ended_at.isoformat(),
        "version": alert.version,
    }


def _actor(device: Device | None) -> str:
    return _SYSTEM if device is None else f"device {device.id}"


def _difference(before: Alert, after: Alert) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("state", "assignee", "severity", "legal_hold"):
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            found[name] = new.name.lower() if isinstance(new, Severity) else new
    return {name: str(value) if isinstance(value, UUID) else value for name, value in found.items()}
