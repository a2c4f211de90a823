"""Accounts in the database."""

from collections.abc import Sequence

from sqlalchemy import any_, func, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.domain import ANONYMOUS_ID, Role, User, UserId
from services.auth.errors import UserNotFound
from services.auth.tables import UserRow


class UserRepository:
    """Finds and keeps accounts."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, user: User) -> bool:
        """Keep a new account; False when its user name is taken."""
        added = await self._session.execute(
            insert(UserRow)
            .values(
                id=user.id,
                username=user.username,
                email=user.email,
                password_hash=user.password_hash,
                roles=[role.value for role in user.roles],
                created_at=user.created_at,
                disabled_at=user.disabled_at,
                tokens_valid_from=user.tokens_valid_from,
            )
            .on_conflict_do_nothing(index_elements=[UserRow.username])
            .returning(UserRow.id)
        )
        return added.scalar_one_or_none() is not None

    async def find(self, user_id: UserId) -> User | None:
        """The account with this identifier."""
        row = await self._session.get(UserRow, user_id, populate_existing=True)
        return None if row is None else _to_user(row)

    async def find_by_username(self, username: str) -> User | None:
        """The account with exactly this user name."""
        row = await self._session.scalar(select(UserRow).where(UserRow.username == username))
        return None if row is None else _to_user(row)

    async def find_steady(self, user_id: UserId) -> User | None:
        """The account, which nobody changes until the transaction ends.

        What is minted from it is therefore dated before any later revocation.
        """
        row = await self._session.scalar(
            select(UserRow)
            .where(UserRow.id == user_id)
            .with_for_update(read=True)
            .execution_options(populate_existing=True)
        )
        return None if row is None else _to_user(row)

    async def get_for_update(self, user_id: UserId) -> User:
        """The account, locked until the transaction ends.

        Raises:
            UserNotFound: there is none, or it is the platform's own.
        """
        row = await self._session.scalar(
            select(UserRow)
            .where(UserRow.id == user_id, UserRow.id != ANONYMOUS_ID)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
        if row is None:
            raise UserNotFound("There is no account with this identifier.")
        return _to_user(row)

    async def get(self, user_id: UserId) -> User:
        """The account.

        Raises:
            UserNotFound: there is none, or it is the platform's own.
        """
        user = await self.find(user_id)
        if user is None or user.id == ANONYMOUS_ID:
            raise UserNotFound("There is no account with this identifier.")
        return user

    async def page(self, after: UserId | None, limit: int) -> Sequence[User]:
        """Up to `limit` accounts, oldest first, from behind `after`."""
        query = select(UserRow).where(UserRow.id != ANONYMOUS_ID).order_by(UserRow.id).limit(limit)
        if after is not None:
            query = query.where(UserRow.id > after)
        return [_to_user(row) for row in await self._session.scalars(query)]

    async def save(self, user: User) -> None:
        """Write what can change of an account."""
        await self._session.execute(
            update(UserRow)
            .where(UserRow.id == user.id)
            .values(
                email=user.email,
                password_hash=user.password_hash,
                roles=[role.value for role in user.roles],
                disabled_at=user.disabled_at,
                tokens_valid_from=user.tokens_valid_from,
            )
        )

    async def replace_hash(self, user_id: UserId, old: str, new: str) -> None:
        """Keep the same password under today's parameters, unless it was changed meanwhile."""
        await self._session.execute(
            update(UserRow)
            .where(UserRow.id == user_id, UserRow.password_hash == old)
            .values(password_hash=new)
        )

    async def has_people(self) -> bool:
        """Whether anybody but the platform itself has an account."""
        found = await self._session.scalar(
            select(UserRow.id).where(UserRow.id != ANONYMOUS_ID).limit(1)
        )
        return found is not None

    async def count_administrators(self) -> int:
        """How many enabled administrators there are."""
        count = await self._session.scalar(
            select(func.count())
            .select_from(UserRow)
            .where(literal(Role.ADMIN.value) == any_(UserRow.roles), UserRow.disabled_at.is_(None))
        )
        return count or 0

    async def lock_administrators(self) -> None:
        """Let one transaction at a time decide about administrators."""
        await self._session.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended('vedette-administrators', 0))")
        )


def _to_user(row: UserRow) -> User:
    return User(
        id=UserId(row.id),
        username=row.username,
        email=row.email,
        password_hash=row.password_hash,
        roles=tuple(Role(role) for role in row.roles),
        created_at=row.created_at,
        disabled_at=row.disabled_at,
        tokens_valid_from=row.tokens_valid_from,
    )
