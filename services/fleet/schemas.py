"""What travels over the modern wire of fleet."""

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from services.fleet.domain import (
    Alert,
    Device,
    Event,
    Frame,
    Mark,
    Role,
    Severity,
    State,
    Truck,
    is_behavior,
)
from services.fleet.errors import InvalidCursor
from services.fleet.realtime.hub import event_json
from services.fleet.repositories.alerts import Entry
from services.fleet.repositories.members import Grant, Member

PREFIX = "/api/v2/fleet"
SeverityName = Literal["info", "low", "medium", "high", "critical"]


def _known_behavior(text: str) -> str:
    if not is_behavior(text):
        raise ValueError("is neither in the list nor `other:` with a short text")
    return text


BehaviorText = Annotated[
    str, Field(max_length=80, examples=["Microsleep"]), AfterValidator(_known_behavior)
]
Seq = Annotated[int, Field(ge=0, lt=2**63, description="Counts what the device sends.")]
SentAt = Annotated[
    AwareDatetime | None, Field(description="By the device's clock, to measure how far it is off.")
]
Plain = Annotated[str, Field(min_length=1, max_length=150, pattern=r"^[^\x00-\x1f\x7f]+$")]


class In(BaseModel):
    """What a client sends; a member that nobody asked for is an error, not a wish."""

    model_config = ConfigDict(extra="forbid")


class Out(BaseModel):
    """What a client gets: these members and no others."""


class AlertIn(In):
    """A device opens an alert."""

    behavior: BehaviorText
    started_at: AwareDatetime
    ended_at: AwareDatetime | None = None
    severity: SeverityName | None = None
    id: UUID | None = None
    seq: Seq | None = None
    sent_at: SentAt = None


class AlertChangeIn(In):
    """A device ends an alert (`ended_at`), or a person handles it (everything else)."""

    ended_at: AwareDatetime | None = None
    sent_at: SentAt = None
    state: State | None = None
    assignee: UUID | None = None
    severity: SeverityName | None = None
    legal_hold: bool | None = None


class AlertOut(Out):
    """An alert."""

    id: UUID
    number: Annotated[int, Field(description="What the old API calls it.")]
    truck_id: UUID
    truck_number: int
    device_id: UUID | None
    incident_id: UUID
    behavior: str
    severity: SeverityName
    state: State
    started_at: datetime
    ended_at: datetime | None
    stated_at: Annotated[datetime, Field(description="The beginning as the device said it.")]
    received_at: datetime
    marks: list[Mark]
    assignee: UUID | None
    legal_hold: bool
    version: int

    @classmethod
    def of(cls, alert: Alert) -> "AlertOut":
        """As it is told."""
        return cls(
            id=alert.id,
            number=alert.number,
            truck_id=alert.truck_id,
            truck_number=alert.truck_number,
            device_id=alert.device_id,
            incident_id=alert.incident_id,
            behavior=alert.behavior,
            severity=severity_name(alert.severity),
            state=alert.state,
            started_at=alert.started_at,
            ended_at=alert.ended_at,
            stated_at=alert.stated_at,
            received_at=alert.received_at,
            marks=sorted(alert.marks),
            assignee=alert.assignee,
            legal_hold=alert.legal_hold,
            version=alert.version,
        )


class AlertPageOut(Out):
    """A page of alerts, newest first."""

    items: list[AlertOut]
    next_cursor: str | None


class EntryOut(Out):
    """One line of an alert's history."""

    at: datetime
    actor: str
    action: str
    detail: dict[str, Any]

    @classmethod
    def of(cls, entry: Entry) -> "EntryOut":
        """As it is told."""
        return cls(at=entry.at, actor=entry.actor, action=entry.action, detail=dict(entry.detail))


class HistoryOut(Out):
    """An alert's history, oldest first."""

    items: list[EntryOut]


class CommentIn(In):
    """A comment on an alert."""

    body: Annotated[str, Field(min_length=1, max_length=4000, pattern=r"^[^\x00]+$")]


class CommentOut(Out):
    """A comment on an alert."""

    id: UUID
    at: datetime
    author: UUID
    author_name: str
    body: str


class CommentsOut(Out):
    """The comments on an alert, oldest first."""

    items: list[CommentOut]


class FrameIn(In):
    """A frame inside JSON; raw bytes with the same members in the query cost less."""

    image: Annotated[str, Field(description="Base64 of a JPEG, PNG or WebP picture.")]
    taken_at: AwareDatetime
    index: Annotated[int, Field(ge=0, lt=2**31)] = 0
    seq: Seq | None = None
    sent_at: SentAt = None


class FrameStoredOut(Out):
    """A frame that is kept."""

    number: int
    truck_id: UUID
    alert_id: UUID | None
    repeated: bool


class FrameOut(Out):
    """A frame, without its picture."""

    number: int
    truck_id: UUID
    truck_number: int
    alert_id: UUID | None
    taken_at: datetime
    stated_at: datetime
    received_at: datetime
    index: int
    seq: int | None
    size_bytes: int
    marks: list[Mark]
    image_url: str

    @classmethod
    def of(cls, frame: Frame) -> "FrameOut":
        """As it is told."""
        return cls(
            number=frame.number,
            truck_id=frame.truck_id,
            truck_number=frame.truck_number,
            alert_id=frame.alert_id,
            taken_at=frame.taken_at,
            stated_at=frame.stated_at,
            received_at=frame.received_at,
            index=frame.index,
            seq=frame.seq,
            size_bytes=frame.size_bytes,
            marks=sorted(frame.marks),
            image_url=f"{PREFIX}/frames/{frame.number}/image",
        )


class FramePageOut(Out):
    """A page of frames, newest first."""

    items: list[FrameOut]
    next_cursor: str | None


class TruckIn(In):
    """A new truck."""

    name: Plain


class TruckChangeIn(In):
    """What is to change of a truck."""

    legal_hold: bool


class TruckOut(Out):
    """A truck."""

    id: UUID
    number: int
    name: str
    status: str
    legal_hold: bool
    created_at: datetime

    @classmethod
    def of(cls, truck: Truck) -> "TruckOut":
        """As it is told."""
        return cls(
            id=truck.id,
            number=truck.number,
            name=truck.name,
            status=truck.status,
            legal_hold=truck.legal_hold,
            created_at=truck.created_at,
        )


class TruckPageOut(Out):
    """A page of trucks, newest first."""

    items: list[TruckOut]
    next_cursor: str | None


class CameraOut(Out):
    """What a truck's picture looked like last: how bright, how varied, how sharp."""

    faults: Annotated[list[str], Field(description="dark, blocked, blurred, frozen")]
    since: datetime
    checked_at: datetime
    frame_number: int
    brightness: Annotated[float, Field(description="Mean of the gray levels, 0 to 255.")]
    contrast: Annotated[float, Field(description="Their standard deviation.")]
    sharpness: Annotated[float, Field(description="Variance of the Laplacian.")]


class EnrolmentOut(Out):
    """A code that puts one device into a truck; it is shown once."""

    code: str
    truck_id: UUID
    expires_at: datetime


class EnrolIn(In):
    """A device shows its code, and the Ed25519 key that it will sign with."""

    code: Annotated[str, Field(max_length=64)]
    public_key: Annotated[str, Field(max_length=64, description="Base64 of 32 bytes.")]


class ChallengeOut(Out):
    """What a device has to sign, after the line `vedette device token`."""

    challenge: str
    expires_in: int


class DeviceTokenIn(In):
    """A device shows that it holds its key."""

    device_id: UUID
    challenge: Annotated[str, Field(max_length=128)]
    signature: Annotated[str, Field(max_length=128, description="Base64 of 64 bytes.")]


class DeviceTokenOut(Out):
    """A device's token, for `Authorization: Bearer`."""

    device_id: UUID
    truck_id: UUID | None
    access_token: str
    token_type: Literal["bearer"]
    expires_in: int


class DeviceOut(Out):
    """The computer in a truck."""

    id: UUID
    truck_id: UUID
    mac: str | None
    has_key: bool
    created_at: datetime
    last_seen_at: datetime | None
    clock_skew_ms: int | None
    last_seq: int | None
    offline: bool
    disabled: bool

    @classmethod
    def of(cls, device: Device) -> "DeviceOut":
        """As it is told."""
        return cls(
            id=device.id,
            truck_id=device.truck_id,
            mac=device.mac,
            has_key=device.has_key,
            created_at=device.created_at,
            last_seen_at=device.last_seen_at,
            clock_skew_ms=device.clock_skew_ms,
            last_seq=device.last_seq,
            offline=device.is_offline,
            disabled=device.is_disabled,
        )


class DevicesOut(Out):
    """The devices of a truck, oldest first."""

    items: list[DeviceOut]


class DeviceChangeIn(In):
    """What is to change of a device."""

    disabled: bool


class IncidentOut(Out):
    """Alerts of one truck that belong together."""

    id: UUID
    truck_id: UUID
    truck_number: int
    started_at: datetime
    ended_at: datetime | None
    severity: SeverityName
    alerts: int


class IncidentPageOut(Out):
    """A page of incidents, newest first."""

    items: list[IncidentOut]
    next_cursor: str | None


class IncidentWithAlertsOut(IncidentOut):
    """An incident with its alerts, in the order in which they began."""

    items: list[AlertOut]


class EventOut(Out):
    """Something that was announced."""

    id: int
    type: str
    at: datetime
    truck_id: UUID | None
    alert_id: UUID | None
    data: dict[str, Any]

    @classmethod
    def of(cls, event: Event) -> "EventOut":
        """As live connections are told it."""
        return cls.model_validate(event_json(event))


class EventPageOut(Out):
    """Events, oldest first; `next_cursor` is the `since` of the next question."""

    items: list[EventOut]
    next_cursor: str


class MemberIn(In):
    """What somebody is in the fleet."""

    username: Plain
    role: Role


class MemberOut(Out):
    """Somebody who has to do with the fleet."""

    user_id: UUID
    number: int
    username: str
    email: str | None
    role: Role | None

    @classmethod
    def of(cls, member: Member) -> "MemberOut":
        """As it is told."""
        return cls(
            user_id=member.user_id,
            number=member.number,
            username=member.username,
            email=member.email,
            role=member.role,
        )


class MemberPageOut(Out):
    """People, newest first."""

    items: list[MemberOut]
    next_cursor: str | None


class GrantIn(In):
    """For how long somebody may see a truck."""

    expires_at: AwareDatetime | None = None


class GrantOut(Out):
    """A truck that somebody may see."""

    truck_id: UUID
    truck_number: int
    expires_at: datetime | None

    @classmethod
    def of(cls, grant: Grant) -> "GrantOut":
        """As it is told."""
        return cls(
            truck_id=grant.truck_id, truck_number=grant.truck_number, expires_at=grant.expires_at
        )


class GrantsOut(Out):
    """The trucks that somebody may see."""

    items: list[GrantOut]


class BehaviorReportOut(Out):
    """How often one behavior was seen, and how people judged it."""

    behavior: str
    alerts: int
    open: int
    false_alarms: int
    false_alarm_share: float | None
    seconds_to_acknowledge_p50: float | None
    seconds_to_acknowledge_p95: float | None
    mean_seconds: float | None


class TruckReportOut(Out):
    """How many alerts one truck had, by severity."""

    truck_id: UUID
    truck_number: int
    name: str
    alerts: int
    incidents: int
    critical: int
    high: int
    medium: int
    low: int
    info: int


class BehaviorReportsOut(Out):
    """One line per behavior, the most frequent first."""

    items: list[BehaviorReportOut]


class TruckReportsOut(Out):
    """One line per truck, the one with most alerts first."""

    items: list[TruckReportOut]


class WebhookIn(In):
    """Whom to tell of what."""

    url: Annotated[str, Field(max_length=2048)]
    events: Annotated[
        list[Annotated[str, Field(max_length=64)]], Field(min_length=1, max_length=32)
    ] = ["*"]


class WebhookOut(Out):
    """Whom to tell; the secret that signs is shown once."""

    id: UUID
    url: str
    events: list[str]
    secret: str


def severity_name(severity: Severity) -> SeverityName:
    """The name of a severity on the wire."""
    names: tuple[SeverityName, ...] = ("info", "low", "medium", "high", "critical")
    return names[severity]


def severity_from(name: SeverityName | None) -> Severity | None:
    """The severity of a name."""
    return None if name is None else Severity[name.upper()]


def to_cursor(place: str) -> str:
    """A place in a list as an opaque text."""
    return base64.urlsafe_b64encode(place.encode()).rstrip(b"=").decode()


def from_cursor(cursor: str) -> str:
    """The place that a cursor stands for; raises `InvalidCursor`."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error) as error:
        raise InvalidCursor("This cursor is not one of this list.") from error


def number_from(cursor: str) -> int:
    """The number that a cursor stands for; raises `InvalidCursor`."""
    place = from_cursor(cursor)
    if not (place.isascii() and place.isdigit() and len(place) < 19):
        raise InvalidCursor("This cursor is not one of this list.")
    return int(place)
