"""Login limits in the database: shared by replicas, and still there after a restart."""

from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.tables import AddressLimitRow, KnownAddressRow, LoginFailureRow


class AttemptRepository:
    """Counts logins by address, and failures by account."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def take(
        self, address: str, now: datetime, interval: timedelta, burst: int
    ) -> datetime | None:
        """Let one more login of `address` through, or say from when on one will be.

        The generic cell rate algorithm in one statement: the row says when the address will
        have all of its `burst` back, each login moves it by `interval`.
        """
        latest = now + interval * (burst - 1)
        base = func.greatest(AddressLimitRow.free_at, now)
        statement = insert(AddressLimitRow).values(address=address, free_at=now + interval)
        taken = await self._session.scalar(
            statement.on_conflict_do_update(
                index_elements=[AddressLimitRow.address],
                set_={"free_at": base + interval},
                where=base <= latest,
            ).returning(AddressLimitRow.free_at)
        )
        if taken is not None:
            return None
        free_at = await self._session.scalar(
            select(AddressLimitRow.free_at).where(AddressLimitRow.address == address)
        )
        return max(now, (free_at or now) - interval * (burst - 1))

    async def is_known(self, account: str, address: str) -> bool:
        """Whether the account has signed in from the address before."""
        return await self._session.get(KnownAddressRow, (account, address)) is not None

    async def blocked_until(self, account: str, address: str) -> datetime | None:
        """Until when the account takes no login from the address ('' is every unknown one)."""
        until: datetime | None = await self._session.scalar(
            select(LoginFailureRow.blocked_until).where(
                LoginFailureRow.account == account, LoginFailureRow.address == address
            )
        )
        return until

    async def lock_failures(
        self, account: str, address: str, now: datetime
    ) -> tuple[int, datetime]:
        """Failures and when the last one was, locked until the transaction ends."""
        row = LoginFailureRow
        await self._session.execute(
            insert(row)
            .values(account=account, address=address, failures=0, failed_at=now)
            .on_conflict_do_nothing()
        )
        found = await self._session.execute(
            select(row.failures, row.failed_at)
            .where(row.account == account, row.address == address)
            .with_for_update()
        )
        failures, failed_at = found.one()
        return failures, failed_at

    async def count(
        self, account: str, address: str, failures: int, now: datetime, until: datetime | None
    ) -> None:
        """Write the failures so far, and before when no further login is taken."""
        await self._session.execute(
            update(LoginFailureRow)
            .where(LoginFailureRow.account == account, LoginFailureRow.address == address)
            .values(failures=failures, failed_at=now, blocked_until=until)
        )

    async def succeed(self, account: str, address: str, counted_as: str, now: datetime) -> None:
        """Forget the failures that stood in the way, and know the address from here on."""
        await self._session.execute(
            delete(LoginFailureRow).where(
                LoginFailureRow.account == account, LoginFailureRow.address == counted_as
            )
        )
        await self._session.execute(
            insert(KnownAddressRow)
            .values(account=account, address=address, seen_at=now)
            .on_conflict_do_update(
                index_elements=[KnownAddressRow.account, KnownAddressRow.address],
                set_={"seen_at": now},
            )
        )

    async def delete_over(
        self, now: datetime, failures_before: datetime, seen_before: datetime
    ) -> None:
        """Delete counters that count nothing any more, and addresses not seen for long."""
        await self._session.execute(delete(AddressLimitRow).where(AddressLimitRow.free_at < now))
        await self._session.execute(
            delete(LoginFailureRow).where(LoginFailureRow.failed_at < failures_before)
        )
        await self._session.execute(
            delete(KnownAddressRow).where(KnownAddressRow.seen_at < seen_before)
        )
