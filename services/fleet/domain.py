"""Trucks, alerts and frames: what they are and the rules they obey."""

import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from enum import IntEnum, StrEnum
from typing import Final, NewType
from uuid import UUID

UserId = NewType("UserId", UUID)
TruckId = NewType("TruckId", UUID)
DeviceId = NewType("DeviceId", UUID)
AlertId = NewType("AlertId", UUID)
IncidentId = NewType("IncidentId", UUID)


class Severity(IntEnum):
    """How much an alert matters."""

    INFO = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4


class Behavior(StrEnum):
    """What a device saw: the five of the original server, then today's."""

    SAFE = "Safe"
    UNSAFE = "Unsafe"
    EATING_OR_DRINKING = "Eating/Drinking"
    SINGLE_HAND = "Single Hand"
    TAMPER = "Tamper"
    EYES_CLOSED = "EyesClosed"
    MICROSLEEP = "Microsleep"
    ASLEEP = "Asleep"
    DROWSY = "Drowsy"
    YAWNING = "Yawning"
    DISTRACTED = "Distracted"
    VISUAL_TIME_SHARING = "VisualTimeSharing"
    PHONE_USE = "PhoneUse"
    NO_SEATBELT = "NoSeatbelt"
    SMOKING = "Smoking"
    EATING_DRINKING = "EatingDrinking"
    CAMERA_OBSTRUCTED = "CameraObstructed"
    NO_DRIVER = "NoDriver"
    UNKNOWN_DRIVER = "UnknownDriver"
    HARSH_BRAKE = "HarshBrake"
    HARSH_ACCELERATION = "HarshAccel"
    HARSH_TURN = "HarshTurn"
    SPEEDING = "Speeding"
    FOLLOWING_DISTANCE = "FollowingDistance"
    LANE_DEPARTURE = "LaneDeparture"
    COLLISION = "Collision"
    PANIC_BUTTON = "PanicButton"
    DEVICE_OFFLINE = "DeviceOffline"


#: What the original server knew.
OLD_BEHAVIORS: Final = (
    Behavior.SAFE,
    Behavior.UNSAFE,
    Behavior.EATING_OR_DRINKING,
    Behavior.SINGLE_HAND,
    Behavior.TAMPER,
)
#: `other:<text>`, for what is in no list yet.
OTHER_PREFIX: Final = "other:"
MAX_OTHER_CHARACTERS: Final = 64

DEFAULT_SEVERITY: Final[Mapping[str, Severity]] = {
    Behavior.SAFE: Severity.INFO,
    Behavior.UNSAFE: Severity.HIGH,
    Behavior.EATING_OR_DRINKING: Severity.LOW,
    Behavior.SINGLE_HAND: Severity.MEDIUM,
    Behavior.TAMPER: Severity.HIGH,
    Behavior.EYES_CLOSED: Severity.MEDIUM,
    Behavior.MICROSLEEP: Severity.HIGH,
    Behavior.ASLEEP: Severity.CRITICAL,
    Behavior.DROWSY: Severity.HIGH,
    Behavior.YAWNING: Severity.LOW,
    Behavior.DISTRACTED: Severity.HIGH,
    Behavior.VISUAL_TIME_SHARING: Severity.MEDIUM,
    Behavior.PHONE_USE: Severity.HIGH,
    Behavior.NO_SEATBELT: Severity.HIGH,
    Behavior.SMOKING: Severity.MEDIUM,
    Behavior.EATING_DRINKING: Severity.LOW,
    Behavior.CAMERA_OBSTRUCTED: Severity.HIGH,
    Behavior.NO_DRIVER: Severity.CRITICAL,
    Behavior.UNKNOWN_DRIVER: Severity.MEDIUM,
    Behavior.HARSH_BRAKE: Severity.MEDIUM,
    Behavior.HARSH_ACCELERATION: Severity.LOW,
    Behavior.HARSH_TURN: Severity.LOW,
    Behavior.SPEEDING: Severity.MEDIUM,
    Behavior.FOLLOWING_DISTANCE: Severity.MEDIUM,
    Behavior.LANE_DEPARTURE: Severity.MEDIUM,
    Behavior.COLLISION: Severity.CRITICAL,
    Behavior.PANIC_BUTTON: Severity.CRITICAL,
    Behavior.DEVICE_OFFLINE: Severity.MEDIUM,
}


def is_behavior(text: str) -> bool:
    """Whether `text` is in the list, or `other:` with a short text of printable characters."""
    if text in DEFAULT_SEVERITY:
        return True
    other = text.removeprefix(OTHER_PREFIX)
    return text.startswith(OTHER_PREFIX) and (
        0 < len(other) <= MAX_OTHER_CHARACTERS and other.isprintable() and other == other.strip()
    )


def default_severity(behavior: str) -> Severity:
    """What an alert is worth until somebody says otherwise."""
    return DEFAULT_SEVERITY.get(behavior, Severity.MEDIUM)


class State(StrEnum):
    """What people have done about an alert; whether it is over is another question."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    ASSIGNED = "assigned"
    CLOSED = "closed"
    FALSE_ALARM = "false_alarm"


_ALIVE: Final = frozenset({State.OPEN, State.ACKNOWLEDGED, State.ASSIGNED})
#: From where to where; closed alerts may be opened again, and nothing else follows on them.
TRANSITIONS: Final[Mapping[State, frozenset[State]]] = {
    **{state: frozenset(State) - {State.OPEN} for state in _ALIVE},
    State.CLOSED: frozenset({State.OPEN, State.CLOSED, State.FALSE_ALARM}),
    State.FALSE_ALARM: frozenset({State.OPEN, State.FALSE_ALARM}),
}


class Mark(StrEnum):
    """What is odd about when something was said to happen; it is kept all the same."""

    LATE = "late"
    """It came long after it happened, as after an outage."""
    FUTURE = "future"
    """It is said to happen more than a day ahead: the clock of the device is wrong."""
    CLOCK_SKEW = "clock_skew"
    """The device's clock is off; the time was corrected by what was measured."""
    OUT_OF_ORDER = "out_of_order"
    """A later one of the same device was here before."""
    UNREADABLE = "unreadable"
    """The bytes have none of the forms of a picture."""


LATE_AFTER: Final = timedelta(minutes=2)
FUTURE_FROM: Final = timedelta(days=1)
SKEW_FROM: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Dated:
    """When something happened, as far as can be known."""

    at: datetime
    stated_at: datetime
    """What the device said, whatever it was."""
    marks: frozenset[Mark]


def date(stated_at: datetime, sent_at: datetime | None, received_at: datetime) -> Dated:
    """Judge a device's time.

    Args:
        stated_at: when it happened, by the device's clock.
        sent_at: when it was sent, by the same clock; None where the device does not say.
        received_at: when it came, by ours.
    """
    at, marks = stated_at, set[Mark]()
    if sent_at is not None and abs(received_at - sent_at) >= SKEW_FROM:
        at += received_at - sent_at
        marks.add(Mark.CLOCK_SKEW)
    if at > received_at + FUTURE_FROM:
        marks.add(Mark.FUTURE)
    elif received_at - at > LATE_AFTER:
        marks.add(Mark.LATE)
    return Dated(at, stated_at, frozenset(marks))


def read_old_time(text: str, zone: tzinfo) -> datetime:
    """A time of the original wire, which has no zone: it is meant as `zone`'s.

    Raises:
        ValueError: it is not exactly `YYYY-MM-DD HH:MM:SS`.
    """
    if len(text) != 19 or not text.isascii():
        raise ValueError("the text has not the form of a time")
    naive = datetime.strptime(text, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007  # the zone is added here
    at = naive.replace(tzinfo=zone).astimezone(UTC)
    if at.year < 1970:
        raise ValueError("the time is before there were such devices")
    return at


class Role(StrEnum):
    """What a person may do, in the original server's words."""

    ADMIN = "Admin"
    """Everything, people and devices included."""
    FULL = "Full"
    """Sees and handles every truck."""
    LIMITED = "Limited"
    """Reads the trucks that were granted."""
    UNAUTHORIZED = "Unauthorized"
    """Nothing."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """A person, and what they may see and do at this moment."""

    user_id: UserId
    username: str
    role: Role
    scopes: frozenset[str]
    granted: frozenset[TruckId] = frozenset()

    @property
    def trucks(self) -> frozenset[TruckId] | None:
        """The trucks that may be seen; None for all of them."""
        return self.granted if self.role is Role.LIMITED else None

    @property
    def may_read(self) -> bool:
        """Whether anything may be seen at all."""
        return self.role is not Role.UNAUTHORIZED and "fleet:read" in self.scopes

    @property
    def may_handle(self) -> bool:
        """Whether alerts may be acknowledged, assigned and closed."""
        return self.role in (Role.ADMIN, Role.FULL) and "fleet:write" in self.scopes

    @property
    def may_administer(self) -> bool:
        """Whether people, trucks and devices may be changed."""
        return self.role is Role.ADMIN and "fleet:admin" in self.scopes

    def sees(self, truck_id: TruckId) -> bool:
        """Whether this truck may be seen."""
        return self.may_read and (self.trucks is None or truck_id in self.trucks)


def role_from(scopes: Collection[str]) -> Role:
    """The role of somebody whom nobody gave one here: what their account allows."""
    if "fleet:admin" in scopes:
        return Role.ADMIN
    return Role.FULL if "fleet:read" in scopes else Role.UNAUTHORIZED


@dataclass(frozen=True, slots=True)
class Truck:
    """A truck."""

    id: TruckId
    number: int
    name: str
    status: str
    account_number: int | None
    """Of its device, on the original wire."""
    created_at: datetime
    legal_hold: bool


@dataclass(frozen=True, slots=True)
class Device:
    """The computer in a truck."""

    id: DeviceId
    account_number: int
    truck_id: TruckId
    truck_number: int
    mac: str | None
    has_key: bool
    created_at: datetime
    last_seen_at: datetime | None
    clock_skew_ms: int | None
    last_seq: int | None
    """The highest sequence number that it has sent."""
    is_offline: bool
    is_disabled: bool


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that a device saw, from its beginning to its end."""

    id: AlertId
    number: int
    truck_id: TruckId
    truck_number: int
    device_id: DeviceId | None
    incident_id: IncidentId
    behavior: str
    severity: Severity
    state: State
    started_at: datetime
    ended_at: datetime | None
    stated_at: datetime
    received_at: datetime
    marks: frozenset[Mark]
    assignee: UserId | None
    version: int
    legal_hold: bool


@dataclass(frozen=True, slots=True)
class NewFrame:
    """A picture on its way into the store."""

    device_id: DeviceId
    content: bytes
    dated: Dated
    index: int
    sha256: str
    dedupe: UUID
    """The same for the same frame sent again."""
    alert_number: int | None = None
    """The alert it belongs to, by number; or by `alert_id`; neither for a safe frame."""
    alert_id: AlertId | None = None
    truck_number: int | None = None
    """What the device says; only its own truck is right."""
    needs_open_alert: bool = False
    seq: int | None = None
    marks: frozenset[Mark] = frozenset()


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """What became of a frame."""

    number: int
    truck_id: TruckId
    alert_id: AlertId | None
    is_repeated: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture that is kept."""

    number: int
    alert_id: AlertId | None
    alert_number: int | None
    truck_id: TruckId
    truck_number: int
    taken_at: datetime
    stated_at: datetime
    received_at: datetime
    index: int
    seq: int | None
    sha256: str
    pack: "Pack"
    size_bytes: int
    marks: frozenset[Mark]


@dataclass(frozen=True, slots=True)
class Pack:
    """Where a picture lies: in an object that holds those of one commit, one after the other."""

    sha256: str
    offset: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was announced, and can be asked for again by its number."""

    id: int
    type: str
    at: datetime
    truck_id: TruckId | None
    alert_id: AlertId | None
    data: Mapping[str, object] = field(default_factory=dict)


def new_id(now_s: float | None = None) -> UUID:
    """A UUID of version 7 (RFC 9562, section 5.7): sortable by time, 74 random bits."""
    milliseconds = int((time.time() if now_s is None else now_s) * 1000)
    random = secrets.randbits(74)
    value = milliseconds << 80 | 0x7 << 76 | (random >> 62) << 64 | 0b10 << 62
    return UUID(int=value | random & (1 << 62) - 1)


#: What pictures begin with: the forms that cameras send.
_MAGIC: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
)


def media_type_of(content: bytes) -> str | None:
    """The media type that the first bytes say, or None."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _MAGIC if content.startswith(magic)), None)


def is_picture(content: bytes) -> bool:
    """Whether the bytes begin as a picture does."""
    return media_type_of(content) is not None
