"""Who hears of what: members, the trucks they may see, and what they have heard already.

A notice is written once and handed to everybody entitled. Nothing here waits for a client: who
does not take what it is given is dropped, and catches up by its cursor.
"""

import asyncio
import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog
from prometheus_client import Counter, Gauge

from services.fleet.domain import Event, UserId, Viewer
from shared.tokens import Claims

log = structlog.get_logger(__name__)

NAMESPACE: Final = "/alert"
#: Notices that may wait for one client; a notice has some 300 bytes.
MAX_QUEUED: Final = 256
MAX_REPLAYED: Final = 1000

MEMBERS: Final = Gauge("vedette_fleet_members", "Live connections that are entitled to notices.")
NOTICES: Final = Counter("vedette_fleet_notices_total", "Notices handed to live connections.")
DROPPED: Final = Counter(
    "vedette_fleet_dropped_total", "Live connections that were ended by us.", ["reason"]
)


class Transport(Protocol):
    """One client's connection, as the hub sees it."""

    def push(self, text: str) -> bool:
        """Queue a Socket.IO packet; False when there is no room."""
        ...

    def cut(self) -> None:
        """End the connection at once, whatever the client does."""
        ...


@dataclass(eq=False, slots=True)
class Member:
    """A client that has shown a token."""

    transport: Transport
    viewer: Viewer
    claims: Claims
    wants_all: bool
    """Whether it hears of every event, or of new alerts alone as the original's clients do."""
    heard: int
    """The number of the newest event that was handed to it, or that it may not see."""
    held: list[Event] | None = field(default_factory=list)
    """What came while older events are read for it; None when it is up to date."""


class Hub:
    """Hands events to members."""

    def __init__(self) -> None:
        self.newest = 0
        """The number of the newest event that was published."""
        self._members: dict[Transport, Member] = {}
        self._by_user: dict[UserId, set[Member]] = {}

    @property
    def members(self) -> Collection[Member]:
        """Everybody who hears."""
        return self._members.values()

    def join(
        self, transport: Transport, viewer: Viewer, claims: Claims, *, wants_all: bool
    ) -> Member:
        """Let a client hear; what comes from now on is held back until `release`."""
        self.leave(transport)
        member = Member(transport, viewer, claims, wants_all, self.newest)
        self._members[transport] = member
        self._by_user.setdefault(viewer.user_id, set()).add(member)
        MEMBERS.set(len(self._members))
        return member

    def release(self, member: Member, replayed: Iterable[Event]) -> None:
        """Hand over what was read for a member, and what came meanwhile, in this order."""
        held, member.held = member.held or [], None
        for event in (*replayed, *held):
            self._hand(member, event, Notice(event))

    def leave(self, transport: Transport) -> None:
        """Forget a client."""
        member = self._members.pop(transport, None)
        if member is None:
            return
        of_user = self._by_user[member.viewer.user_id]
        of_user.discard(member)
        if not of_user:
            del self._by_user[member.viewer.user_id]
        MEMBERS.set(len(self._members))

    def drop(self, member: Member, reason: str) -> None:
        """End a client's connection."""
        DROPPED.labels(reason).inc()
        log.info("member_dropped", reason=reason, user_id=str(member.viewer.user_id))
        self.leave(member.transport)
        member.transport.cut()

    async def publish(self, events: Iterable[Event]) -> None:
        """Hand events, in the order of their numbers, to everybody who may see them."""
        for event in events:
            self.newest = event.id
            notice = Notice(event)
            for count, member in enumerate(tuple(self._members.values())):
                if count % 500 == 499:
                    # Thousands of members must not keep the loop from answering requests.
                    await asyncio.sleep(0)
                if member.held is not None:
                    self._hold(member, event)
                elif event.id > member.heard:
                    self._hand(member, event, notice)

    def _hold(self, member: Member, event: Event) -> None:
        assert member.held is not None
        if event.id <= member.heard:
            return
        member.held.append(event)
        if len(member.held) > MAX_QUEUED:
            self.drop(member, "slow")

    def _hand(self, member: Member, event: Event, notice: "Notice") -> None:
        if self._members.get(member.transport) is not member:
            return
        member.heard = max(member.heard, event.id)
        if event.truck_id is None or not member.viewer.sees(event.truck_id):
            return
        texts = notice.texts(member.wants_all)
        for text in texts:
            if not member.transport.push(text):
                self.drop(member, "slow")
                return
        NOTICES.inc(len(texts))

    def users(self) -> Collection[UserId]:
        """Everybody who has a connection."""
        return tuple(self._by_user)

    def members_of(self, user_id: UserId) -> Collection[Member]:
        """The connections of one person."""
        return tuple(self._by_user.get(user_id, ()))

    def entitle(self, user_id: UserId, find: Callable[[Member], Viewer]) -> None:
        """Look again at what somebody may see; who may see nothing any more is dropped."""
        for member in self.members_of(user_id):
            member.viewer = find(member)
            if not member.viewer.may_read:
                self.drop(member, "rights")


class Notice:
    """An event as Socket.IO packets, written when the first client needs it."""

    __slots__ = ("_alert", "_event", "_full")

    def __init__(self, event: Event) -> None:
        self._event = event
        self._alert: str | None = None
        self._full: str | None = None

    def texts(self, wants_all: bool) -> tuple[str, ...]:
        """What a client is sent."""
        texts: tuple[str, ...] = ()
        if self._event.type == "alert.opened":
            self._alert = self._alert or packet("an_alert", alert_notice(self._event))
            texts += (self._alert,)
        if wants_all:
            self._full = self._full or packet("fleet_event", event_json(self._event))
            texts += (self._full,)
        return texts


def packet(name: str, data: dict[str, Any]) -> str:
    """A Socket.IO event without the Engine.IO digit; ASCII, so that lengths are never in doubt."""
    return f"2{NAMESPACE},{json.dumps([name, data], separators=(',', ':'))}"


def alert_notice(event: Event) -> dict[str, Any]:
    """`an_alert` as the original said it, and what it left to be done: which alert."""
    return {
        "data": "new_alert",
        "event_id": event.id,
        "alert_id": event.data["alert_number"],
        "truck_id": event.data["truck_number"],
        "behavior": event.data["behavior"],
        "severity": event.data["severity"],
        "id": str(event.alert_id),
    }


def event_json(event: Event) -> dict[str, Any]:
    """An event as the modern API tells it."""
    return {
        "id": event.id,
        "type": event.type,
        "at": event.at.isoformat(),
        "truck_id": None if event.truck_id is None else str(event.truck_id),
        "alert_id": None if event.alert_id is None else str(event.alert_id),
        "data": dict(event.data),
    }
