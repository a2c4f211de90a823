"""Empties the outbox: any number of couriers, one delivery at a time to each endpoint."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import asyncpg
import structlog
from prometheus_client import Counter
from sqlalchemy import func, literal, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from shared.db import asyncpg_dsn
from shared.jobs.errors import AWAY
from shared.webhooks.outbox import Webhooks
from shared.webhooks.sending import Answer, Sender

log = structlog.get_logger(__name__)

DELIVERIES = Counter(
    "vedette_webhook_attempts_total",
    "Attempts to deliver: delivered, failed (it is tried again), dead.",
    ["service", "ended"],
)
#: The pauses between attempts, a day and a half in all; then the delivery is dead.
RETRY_AFTER_S: Final = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 10_800.0, 21_600.0, 43_200.0)
_POLL_S: Final = 5.0
_AT_ONCE: Final = 8
#: Longer than an attempt may take; a courier that died is replaced after it.
_BUSY_S: Final = 60.0
_CONNECT_TIMEOUT_S: Final = 5.0
_KEEP_DAYS: Final = 30

_CLAIM = """
    WITH due AS (
        SELECT endpoint.id FROM {endpoints} AS endpoint
        WHERE endpoint.disabled_at IS NULL
            AND (endpoint.busy_until IS NULL OR endpoint.busy_until < now())
            AND EXISTS (
                SELECT FROM {deliveries} AS delivery
                WHERE delivery.endpoint_id = endpoint.id AND delivery.status = 'waiting'
                    AND delivery.next_attempt_at <= now()
            )
        LIMIT :most
        FOR UPDATE SKIP LOCKED
    ), taken AS (
        UPDATE {endpoints} AS endpoint SET busy_until = now() + make_interval(secs => :busy_s)
        FROM due WHERE endpoint.id = due.id
        RETURNING endpoint.id, endpoint.url, endpoint.secret
    )
    SELECT taken.id AS endpoint_id, taken.url, taken.secret, next.id, next.event, next.body,
        next.attempts
    FROM taken CROSS JOIN LATERAL (
        SELECT * FROM {deliveries} AS delivery
        WHERE delivery.endpoint_id = taken.id AND delivery.status = 'waiting'
            AND delivery.next_attempt_at <= now()
        ORDER BY delivery.number LIMIT 1
    ) AS next
"""
_FORGET = """
    DELETE FROM {deliveries}
    WHERE status <> 'waiting' AND finished_at < now() - make_interval(days => :days)
"""


@dataclass(frozen=True, slots=True)
class _Errand:
    endpoint_id: UUID
    url: str
    secret: str
    delivery_id: UUID
    event: str
    body: bytes
    attempt: int


class Courier:
    """Delivers one service's webhooks for as long as the process lives."""

    def __init__(
        self, webhooks: Webhooks, sender: Sender, engine: AsyncEngine, database_url: str
    ) -> None:
        self._webhooks = webhooks
        self._sender = sender
        self._dsn = asyncpg_dsn(database_url)
        self._sessions = async_sessionmaker(engine, expire_on_commit=False)
        self._service = str(webhooks.endpoints.schema)
        self._names = {
            "endpoints": f'"{self._service}"."{webhooks.endpoints.name}"',
            "deliveries": f'"{self._service}"."{webhooks.deliveries.name}"',
        }
        self._woken = asyncio.Event()
        self._errands: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Courier"]:
        """Deliver until the block ends; an attempt that is cut off is made again by another."""
        loops = [asyncio.create_task(self._deliver()), asyncio.create_task(self._listen())]
        try:
            yield self
        finally:
            tasks = [*loops, *self._errands]
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _listen(self) -> None:
        while True:
            try:
                connection = await asyncpg.connect(self._dsn, timeout=_CONNECT_TIMEOUT_S)
            except (*AWAY, asyncpg.PostgresError):
                await asyncio.sleep(_CONNECT_TIMEOUT_S)
                continue
            lost = asyncio.Event()
            try:
                connection.add_termination_listener(lambda _, lost=lost: lost.set())
                await connection.add_listener(self._webhooks.channel, lambda *_: self._woken.set())
                self._woken.set()
                await lost.wait()
            except (*AWAY, asyncpg.PostgresError) as error:
                log.warning("courier_disconnected", error=type(error).__name__)
            finally:
                connection.terminate()

    async def _deliver(self) -> None:
        forget_at = 0.0
        while True:
            self._woken.clear()
            try:
                if asyncio.get_running_loop().time() > forget_at:
                    forget_at = asyncio.get_running_loop().time() + 3600
                    await self._forget()
                found = await self._take() if len(self._errands) < _AT_ONCE else []
            except AWAY as error:
                log.warning("courier_database_away", error=type(error).__name__)
                found = []
            for errand in found:
                task = asyncio.create_task(self._run(errand))
                self._errands.add(task)
                task.add_done_callback(self._on_done)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await self._woken.wait()

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._errands.discard(task)
        # The endpoint may have more, and there is room for another.
        self._woken.set()

    async def _take(self) -> list[_Errand]:
        async with self._sessions.begin() as session:
            rows = await session.execute(
                text(_CLAIM.format(**self._names)),
                {"most": _AT_ONCE - len(self._errands), "busy_s": _BUSY_S},
            )
            return [
                _Errand(
                    endpoint_id=row.endpoint_id,
                    url=row.url,
                    secret=row.secret,
                    delivery_id=row.id,
                    event=row.event,
                    body=row.body.encode(),
                    attempt=row.attempts + 1,
                )
                for row in rows
            ]

    async def _run(self, errand: _Errand) -> None:
        answer = await self._sender.send(
            errand.url,
            errand.secret,
            errand.body,
            delivery_id=errand.delivery_id,
            event=errand.event,
            attempt=errand.attempt,
        )
        change = _change(answer, errand.attempt)
        ended = {"delivered": "delivered", "dead": "dead"}.get(str(change.get("status")), "failed")
        try:
            async with self._sessions.begin() as session:
                await self._record(session, errand, change)
        except AWAY as error:
            # It stays due and is delivered once more when the endpoint is no longer busy.
            log.warning("delivery_not_recorded", error=type(error).__name__)
            return
        DELIVERIES.labels(self._service, ended).inc()
        log.info(
            "webhook_attempted",
            delivery=str(errand.delivery_id),
            ended=ended,
            status=answer.status,
            attempt=errand.attempt,
        )

    async def _record(self, session: AsyncSession, errand: _Errand, change: dict[str, Any]) -> None:
        deliveries, endpoints = self._webhooks.deliveries, self._webhooks.endpoints
        # The endpoint first, as whoever removes it does: the other way round they could wait for
        # each other.
        await session.execute(
            update(endpoints).where(endpoints.c.id == errand.endpoint_id).values(busy_until=None)
        )
        await session.execute(
            update(deliveries).where(deliveries.c.id == errand.delivery_id).values(**change)
        )

    async def _forget(self) -> None:
        async with self._sessions.begin() as session:
            await session.execute(text(_FORGET.format(**self._names)), {"days": _KEEP_DAYS})


def _change(answer: Answer, attempt: int) -> dict[str, Any]:
    """The columns of a delivery after an attempt."""
    change: dict[str, Any] = {
        "attempts": attempt,
        "last_status": answer.status,
        "last_error": answer.error,
    }
    if answer.delivered:
        return change | {"status": "delivered", "finished_at": func.now()}
    if answer.gone or attempt > len(RETRY_AFTER_S):
        return change | {"status": "dead", "finished_at": func.now()}
    delay_s = max(RETRY_AFTER_S[attempt - 1], answer.retry_after_s or 0)
    later = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, literal(delay_s))
    return change | {"next_attempt_at": later}
