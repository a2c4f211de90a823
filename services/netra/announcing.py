"""Tells those who wait that an analysis has ended, in the transaction in which it ends."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Final
from uuid import UUID

import asyncpg
import structlog
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.netra.domain import AnalysisId
from services.netra.tables import (
    AnalysisRow,
    ExaminationRow,
    WebhookDeliveryRow,
    WebhookRow,
)
from shared.db import asyncpg_dsn
from shared.webhooks import Webhooks

log = structlog.get_logger(__name__)

CHANNEL: Final = "netra_analyses"
WEBHOOKS: Final = Webhooks(WebhookRow, WebhookDeliveryRow)
#: What a webhook may hear of.
EVENTS: Final = (
    "analysis.completed",
    "analysis.held",
    "analysis.failed",
    "analysis.cancelled",
)
_RECONNECT_S: Final = 0.5
_CONNECT_TIMEOUT_S: Final = 5.0
#: Who waits looks again after so long, because a notice is lost with its connection.
LOOK_AGAIN_S: Final = 1.0
_LOST: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


async def announce(session: AsyncSession, analysis_id: AnalysisId) -> None:
    """Tell requests that wait, and the owner's webhooks, when the session's transaction commits.

    Webhooks hear what the row says now; they hear no patient's name and no finding, which the
    receiver asks for with a credential.
    """
    row = (
        await session.execute(
            select(
                AnalysisRow.owner,
                AnalysisRow.status,
                AnalysisRow.label,
                ExaminationRow.reference,
            )
            .outerjoin(ExaminationRow, ExaminationRow.id == AnalysisRow.examination_id)
            .where(AnalysisRow.id == analysis_id)
        )
    ).one()
    await WEBHOOKS.announce(
        session,
        tenant=str(row.owner),
        event=f"analysis.{row.status}",
        data={
            "id": str(analysis_id),
            "status": row.status,
            "label": row.label,
            "examination": row.reference,
        },
    )
    await session.execute(
        text("SELECT pg_notify(:channel, :analysis)"),
        {"channel": CHANNEL, "analysis": str(analysis_id)},
    )


class Endings:
    """Hears of analyses that have ended, for requests that wait for one."""

    def __init__(self) -> None:
        self._waiting: dict[UUID, set[asyncio.Event]] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def listen(cls, database_url: str) -> AsyncIterator["Endings"]:
        """Listen until the block ends; the database may come and go meanwhile."""
        endings = cls()
        listening = asyncio.create_task(endings._listen_for_ever(asyncpg_dsn(database_url)))
        try:
            yield endings
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening

    @contextlib.contextmanager
    def watching(self, analysis_id: AnalysisId) -> Iterator[asyncio.Event]:
        """An event that is set whenever the analysis may have ended, from here on.

        Look at the analysis inside, so that no end falls between the look and the wait.
        """
        ended = asyncio.Event()
        self._waiting.setdefault(analysis_id, set()).add(ended)
        try:
            yield ended
        finally:
            others = self._waiting[analysis_id]
            others.discard(ended)
            if not others:
                del self._waiting[analysis_id]

    def _heard(self, *arguments: object) -> None:
        with contextlib.suppress(ValueError):
            for ended in self._waiting.get(UUID(str(arguments[-1])), ()):
                ended.set()

    async def _listen_for_ever(self, dsn: str) -> None:
        while True:
            try:
                connection = await asyncpg.connect(dsn, timeout=_CONNECT_TIMEOUT_S)
                try:
                    lost = asyncio.Event()
                    connection.add_termination_listener(lambda _, lost=lost: lost.set())
                    await connection.add_listener(CHANNEL, self._heard)
                    await lost.wait()
                finally:
                    connection.terminate()
            except _LOST as error:
                log.info("endings_disconnected", error=type(error).__name__)
            await asyncio.sleep(_RECONNECT_S)
