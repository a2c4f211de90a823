"""Lets clients hear: their token is checked as a request's is, and again while they stay."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.fleet.domain import Event, UserId, Viewer
from services.fleet.realtime.hub import MAX_REPLAYED, Hub, Member, Transport, packet
from services.fleet.repositories.events import EventRepository
from services.fleet.repositories.members import MemberRepository
from shared.body_tokens import BodyTokens
from shared.problems import Problem
from shared.tokens import Claims, TokenRefused, TokenType

log = structlog.get_logger(__name__)

MODERN_AUDIENCE: Final = "vedette"
_RECHECK_S: Final = 15.0
_MAX_CURSOR: Final = 2**63 - 1


class NotAdmitted(Exception):
    """The client shows nothing by which it may hear."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client says when it wants to hear."""

    token: str
    since: int | None = None
    """The number of the last event that it has seen."""
    wants_all: bool = False
    """`events: "all"`: every event, and not new alerts alone."""

    @classmethod
    def read(cls, data: object) -> "Wish":
        """Read a client's message; raises `NotAdmitted`."""
        if not isinstance(data, dict) or not isinstance(data.get("token"), str):
            raise NotAdmitted
        since = data.get("since")
        if isinstance(since, bool) or not isinstance(since, int) or not 0 <= since <= _MAX_CURSOR:
            since = None
        return cls(data["token"], since, data.get("events") == "all")


@dataclass(frozen=True, slots=True)
class Admitted:
    """A client that may hear, and what it wants."""

    claims: Claims
    viewer: Viewer
    wish: Wish


class Admission:
    """Checks tokens and rights, at the door and afterwards."""

    def __init__(
        self, hub: Hub, tokens: BodyTokens, sessions: async_sessionmaker[AsyncSession]
    ) -> None:
        self._hub = hub
        self._tokens = tokens
        self._sessions = sessions
        self._recheck = asyncio.Event()
        self._reloading: set[asyncio.Task[None]] = set()
        tokens.on_revoked(lambda _: self._recheck.set())

    async def check(self, wish: Wish) -> Admitted:
        """Whether a client may hear.

        Raises:
            NotAdmitted: the token is not good, or its owner may see nothing.
            Problem: it cannot be checked at the moment.
        """
        claims = await self._verify(wish.token)
        viewer = await self._viewer(claims)
        if not viewer.may_read:
            raise NotAdmitted
        return Admitted(claims, viewer, wish)

    async def enter(self, transport: Transport, admitted: Admitted) -> Member:
        """Let a client hear: first what it has missed, then everything new.

        Raises:
            Problem: what it has missed cannot be read; it is out again, and may come back.
        """
        wish = admitted.wish
        member = self._hub.join(
            transport, admitted.viewer, admitted.claims, wants_all=wish.wants_all
        )
        transport.push(packet("my_response", {"data": "Added!", "cursor": member.heard}))
        try:
            missed = await self._missed(member, wish.since)
        except Problem:
            self._hub.drop(member, "unchecked")
            raise
        self._hub.release(member, missed)
        return member

    async def admit(self, transport: Transport, wish: Wish) -> Member:
        """Check a client and let it hear; raises as `check` and `enter` do."""
        return await self.enter(transport, await self.check(wish))

    async def _verify(self, token: str) -> Claims:
        """The claims of a token of the old wire, or of the modern API."""
        try:
            try:
                return await self._tokens.verify(token, TokenType.LEGACY)
            except TokenRefused:
                return await self._tokens.verify(token, TokenType.ACCESS, audience=MODERN_AUDIENCE)
        except TokenRefused as error:
            raise NotAdmitted from error

    async def _viewer(self, claims: Claims) -> Viewer:
        try:
            user_id = UserId(UUID(claims.subject))
        except ValueError as error:
            raise NotAdmitted from error
        async with self._sessions.begin() as session:
            return await MemberRepository(session).viewer_of(
                user_id, claims.username, claims.scopes
            )

    async def _missed(self, member: Member, since: int | None) -> list[Event]:
        """The events between `since` and the member's joining; too many are told as `resync`."""
        if since is None or since >= member.heard:
            return []
        async with self._sessions.begin() as session:
            events = EventRepository(session)
            found = await events.after(since, MAX_REPLAYED + 1, member.viewer.trucks)
            is_whole = since + 1 >= await events.oldest()
        missed = [event for event in found if event.id <= member.heard]
        if len(found) > MAX_REPLAYED or not is_whole:
            member.transport.push(packet("resync", {"cursor": member.heard}))
            return []
        return missed

    def rights_changed(self, user_id: UserId) -> None:
        """Look again at what somebody may see, without waiting for it here."""
        if not self._hub.members_of(user_id):
            return
        task = asyncio.create_task(self._reload(user_id))
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)

    async def _reload(self, user_id: UserId) -> None:
        members = self._hub.members_of(user_id)
        if not members:
            return
        try:
            async with self._sessions.begin() as session:
                repository = MemberRepository(session)
                found = {
                    scopes: await repository.viewer_of(user_id, "", scopes)
                    for scopes in {member.claims.scopes for member in members}
                }
        except Problem:
            # What cannot be said is not shown: the client comes back and is asked again.
            for member in members:
                self._hub.drop(member, "unchecked")
            return
        self._hub.entitle(user_id, lambda member: found.get(member.claims.scopes, member.viewer))

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Check everybody again now and then and after each revocation, until the block ends."""
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    async def _watch(self) -> None:
        while True:
            is_due = False
            try:
                async with asyncio.timeout(_RECHECK_S):
                    await self._recheck.wait()
            except TimeoutError:
                is_due = True
            self._recheck.clear()
            for member in tuple(self._hub.members):
                with contextlib.suppress(Problem):
                    refusal = self._tokens.refusal(member.claims)
                    if refusal is not None:
                        self._hub.drop(member, refusal.value)
            if is_due:
                # Grants end by the clock, which announces nothing.
                for user_id in self._hub.users():
                    if any(member.viewer.trucks is not None
                           for member in self._hub.members_of(user_id)):  # fmt: skip
                        await self._reload(user_id)
