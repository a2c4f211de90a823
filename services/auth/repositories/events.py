"""Security events and revocations in the database."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.domain import (
    CLOCK_SKEW,
    LONGEST_TOKEN_LIFETIME,
    AuditEvent,
    Device,
    User,
    new_id,
)
from services.auth.tables import AuditRow, RevocationRow
from shared.revocations import CHANNEL, Revocation, RevokedKind


class EventRepository:
    """Writes down what happened, and tells every process what is revoked."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def record(
        self,
        event: str,
        now: datetime,
        *,
        actor: str | None = None,
        subject: object = None,
        address: str | None = None,
        **detail: str,
    ) -> None:
        """Add one event to the audit log."""
        await self._session.execute(
            insert(AuditRow).values(
                id=new_id(now),
                at=now,
                event=event,
                actor=actor,
                subject=None if subject is None else str(subject),
                address=address,
                detail=detail,
            )
        )

    async def page(
        self, event: str | None, before: UUID | None, limit: int
    ) -> Sequence[AuditEvent]:
        """Up to `limit` events, newest first, from behind `before`."""
        query = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit)
        if event is not None:
            query = query.where(AuditRow.event == event)
        if before is not None:
            query = query.where(AuditRow.id < before)
        return [_to_event(row) for row in await self._session.scalars(query)]

    async def revoke(self, kind: RevokedKind, value: object, now: datetime) -> None:
        """Refuse one token, session or key from the commit on."""
        await self._announce(kind, str(value), None, False, now)

    async def revoke_user(self, user: User, now: datetime) -> None:
        """Refuse what was issued to an account before its `tokens_valid_from`, or all of it."""
        issued_before = datetime.fromtimestamp(user.tokens_valid_from, UTC)
        await self._announce("user", str(user.id), issued_before, user.is_disabled, now)

    async def revoke_device(self, device: Device, now: datetime) -> None:
        """Refuse what was issued to a device before its `tokens_valid_from`, or all of it."""
        issued_before = datetime.fromtimestamp(device.tokens_valid_from, UTC)
        is_disabled = device.disabled_at is not None
        await self._announce("user", str(device.id), issued_before, is_disabled, now)

    async def _announce(
        self,
        kind: RevokedKind,
        value: str,
        issued_before: datetime | None,
        inactive: bool,
        now: datetime,
    ) -> None:
        expires_at = now + LONGEST_TOKEN_LIFETIME + 2 * CLOCK_SKEW
        revocation_id = await self._session.scalar(
            insert(RevocationRow)
            .values(
                kind=kind,
                value=value,
                issued_before=issued_before,
                inactive=inactive,
                expires_at=expires_at,
            )
            .returning(RevocationRow.id)
        )
        revocation = Revocation(
            id=revocation_id or 0,
            kind=kind,
            value=value,
            issued_before=None if issued_before is None else issued_before.timestamp(),
            inactive=inactive,
            expires_at=expires_at.timestamp(),
        )
        # PostgreSQL delivers it when, and only when, the transaction commits.
        await self._session.execute(select(func.pg_notify(CHANNEL, revocation.to_json())))

    async def delete_over(self, now: datetime, audit_before: datetime) -> None:
        """Delete revocations that no token can outlive, and events older than they are kept."""
        await self._session.execute(delete(RevocationRow).where(RevocationRow.expires_at < now))
        await self._session.execute(delete(AuditRow).where(AuditRow.at < audit_before))


def _to_event(row: AuditRow) -> AuditEvent:
    return AuditEvent(
        id=row.id,
        at=row.at,
        event=row.event,
        actor=row.actor,
        subject=row.subject,
        address=row.address,
        detail=row.detail,
    )
