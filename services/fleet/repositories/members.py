"""People: their numbers on the old wire, their roles, and the trucks they may see."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from services.fleet.domain import Role, TruckId, UserId, Viewer, role_from
from services.fleet.errors import MemberNotFound, NameTaken
from services.fleet.repositories.events import EventRepository
from shared.assertions import Caller


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who has to do with the fleet."""

    user_id: UserId
    number: int
    account_number: int
    username: str
    email: str | None
    role: Role | None
    """None where the account's own rights say what they may do."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A truck that somebody may see."""

    truck_id: TruckId
    truck_number: int
    expires_at: datetime | None


_COLUMNS = "user_id, number, account_number, username, email, role"


class MemberRepository:
    """Finds and keeps people."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def find_viewer(self, caller: Caller) -> Viewer | None:
        """What the caller may see and do now; None where it is not a person."""
        try:
            user_id = UserId(UUID(caller.subject))
        except ValueError:
            return None
        return await self.viewer_of(user_id, caller.username or "", caller.scopes)

    async def viewer_of(self, user_id: UserId, username: str, scopes: frozenset[str]) -> Viewer:
        """What a person may see and do now."""
        row = (
            await self._session.execute(
                text(
                    """
                    SELECT role, ARRAY(
                        SELECT truck_id FROM fleet.grants
                        WHERE user_id = :user_id AND (expires_at IS NULL OR expires_at > now())
                    ) AS granted
                    FROM (SELECT CAST(:user_id AS uuid) AS id) AS asked
                    LEFT JOIN fleet.members ON user_id = asked.id
                    """
                ),
                {"user_id": user_id},
            )
        ).one()
        role = role_from(scopes) if row.role is None else Role(row.role)
        granted = frozenset(TruckId(truck) for truck in row.granted)
        return Viewer(user_id, username, role, scopes, granted)

    async def know(self, user_id: UserId, username: str) -> Member:
        """The person, whose numbers are given out at the first question."""
        await self._session.execute(
            text(
                "INSERT INTO fleet.members (user_id, username) VALUES (:user_id, :username)"
                " ON CONFLICT DO NOTHING"
            ),
            {"user_id": user_id, "username": username},
        )
        return await self.get(user_id)

    async def add(
        self, user_id: UserId, username: str, email: str | None, role: Role | None
    ) -> Member:
        """Keep somebody new.

        Raises:
            NameTaken: somebody has this e-mail address.
        """
        try:
            found = await self._session.execute(
                text(
                    "INSERT INTO fleet.members (user_id, username, email, role)"  # noqa: S608 (ours)
                    " VALUES (:user_id, :username, :email, :role)"
                    " ON CONFLICT (user_id) DO UPDATE SET role = excluded.role"
                    f" RETURNING {_COLUMNS}"
                ),
                {"user_id": user_id, "username": username, "email": email, "role": role},
            )
        except IntegrityError as error:
            raise NameTaken("Somebody has this name or e-mail address already.") from error
        return _to_member(found.mappings().one())

    async def get(self, user_id: UserId) -> Member:
        """The person; raises `MemberNotFound`."""
        return await self._one("user_id = :value", user_id)

    async def find_by_username(self, username: str) -> Member | None:
        """The person of this name."""
        try:
            return await self._one("username = :value", username)
        except MemberNotFound:
            return None

    async def is_email_taken(self, email: str) -> bool:
        """Whether somebody has this e-mail address."""
        query = text("SELECT EXISTS (SELECT FROM fleet.members WHERE email = :email)")
        return bool(await self._session.scalar(query, {"email": email}))

    async def is_empty(self) -> bool:
        """Whether nobody has anything to do with the fleet yet; holds until the commit."""
        await self._session.execute(text("LOCK TABLE fleet.members IN SHARE ROW EXCLUSIVE MODE"))
        query = text("SELECT NOT EXISTS (SELECT FROM fleet.members)")
        return bool(await self._session.scalar(query))

    async def _one(self, condition: str, value: object) -> Member:
        found = await self._session.execute(
            text(f"SELECT {_COLUMNS} FROM fleet.members WHERE {condition}"),  # noqa: S608 (ours)
            {"value": value},
        )
        row = found.mappings().one_or_none()
        if row is None:
            raise MemberNotFound
        return _to_member(row)

    async def change(
        self, user_id: UserId, *, email: str | None = None, role: Role | None = None
    ) -> Member:
        """Change what is given; a new role is felt by open connections at once.

        Raises:
            MemberNotFound, NameTaken: as they say.
        """
        try:
            await self._session.execute(
                text(
                    "UPDATE fleet.members SET email = coalesce(:email, email),"
                    " role = coalesce(:role, role) WHERE user_id = :user_id"
                ),
                {"user_id": user_id, "email": email, "role": role},
            )
        except IntegrityError as error:
            raise NameTaken("Somebody has this e-mail address already.") from error
        if role is not None:
            await EventRepository(self._session).tell_rights_changed(user_id)
        return await self.get(user_id)

    async def page(
        self,
        *,
        conditions: Sequence[str] = (),
        parameters: dict[str, Any] | None = None,
        order: str = "number DESC",
        limit: int = 20,
        offset: int = 0,
    ) -> tuple[Sequence[Member], int]:
        """Some people, and how many there are; conditions and order are made of constants."""
        where = " AND ".join(("TRUE", *conditions))
        given = parameters or {}
        total = await self._session.scalar(
            text(f"SELECT count(*) FROM fleet.members WHERE {where}"),  # noqa: S608 (constants)
            given,
        )
        found = await self._session.execute(
            text(
                f"SELECT {_COLUMNS} FROM fleet.members WHERE {where}"  # noqa: S608 (constants)
                f" ORDER BY {order} LIMIT :limit OFFSET :offset"
            ),
            {**given, "limit": limit, "offset": offset},
        )
        return [_to_member(row) for row in found.mappings()], total or 0

    async def grant(self, user_id: UserId, truck_id: TruckId, expires_at: datetime | None) -> None:
        """Let somebody see a truck, until a time or for good."""
        await self._session.execute(
            text(
                "INSERT INTO fleet.grants (user_id, truck_id, expires_at)"
                " VALUES (:user_id, :truck_id, :expires_at)"
                " ON CONFLICT (user_id, truck_id) DO UPDATE SET expires_at = excluded.expires_at"
            ),
            {"user_id": user_id, "truck_id": truck_id, "expires_at": expires_at},
        )
        await EventRepository(self._session).tell_rights_changed(user_id)

    async def revoke(self, user_id: UserId, truck_id: TruckId) -> None:
        """Take the sight of a truck away; felt by open connections at once."""
        await self._session.execute(
            text("DELETE FROM fleet.grants WHERE user_id = :user_id AND truck_id = :truck_id"),
            {"user_id": user_id, "truck_id": truck_id},
        )
        await EventRepository(self._session).tell_rights_changed(user_id)

    async def grants_of(self, user_id: UserId) -> Sequence[Grant]:
        """The trucks that somebody was granted, those that are over included."""
        found = await self._session.execute(
            text(
                "SELECT truck_id, number, expires_at FROM fleet.grants"
                " JOIN fleet.trucks ON id = truck_id WHERE user_id = :user_id ORDER BY number"
            ),
            {"user_id": user_id},
        )
        return [Grant(row.truck_id, row.number, row.expires_at) for row in found]


def _to_member(row: RowMapping) -> Member:
    return Member(
        user_id=row["user_id"],
        number=row["number"],
        account_number=row["account_number"],
        username=row["username"],
        email=row["email"],
        role=None if row["role"] is None else Role(row["role"]),
    )
