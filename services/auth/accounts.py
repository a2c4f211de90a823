"""Making accounts and changing them; whatever takes rights away is felt at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.auth.attempts import LoginLimits
from services.auth.domain import LegacyApi, Role, User, UserId, is_username, new_id
from services.auth.errors import (
    ChangedTooOften,
    LastAdministrator,
    NotOfThisApi,
    UsernameInvalid,
    UsernameTaken,
    WrongPassword,
)
from services.auth.passwords import (
    LEGACY_MIN_CHARACTERS,
    MODERN_MIN_CHARACTERS,
    PasswordHasher,
    check_new_password,
    check_password,
    check_size,
    is_common,
    is_default,
)
from services.auth.repositories.events import EventRepository
from services.auth.repositories.sessions import SessionRepository
from services.auth.repositories.users import UserRepository

log = structlog.get_logger(__name__)


class WeakAdministratorPassword(ValueError):
    """The password that the first administrator was to get is one that is tried first."""


@dataclass(frozen=True, slots=True)
class Change:
    """What an administrator changes of an account; None leaves it as it is."""

    roles: tuple[Role, ...] | None = None
    disabled: bool | None = None
    password: str | None = None
    email: str | None = None


@dataclass(frozen=True, slots=True)
class Accounts:
    """Makes accounts, and changes who may do what."""

    sessions: async_sessionmaker[AsyncSession]
    hasher: PasswordHasher
    limits: LoginLimits
    clock: Callable[[], datetime]

    async def create(
        self,
        username: str,
        password: str,
        roles: Sequence[Role],
        *,
        email: str | None = None,
        actor: str,
    ) -> User:
        """Make an account.

        Raises:
            UsernameInvalid, UsernameTaken, PasswordTooShort, PasswordTooCommon: as they say.
        """
        check_new_password(password, username=username)
        return await self._add(username, password, roles, email=email, actor=actor)

    async def sign_up(self, api: LegacyApi, username: str, password: str) -> User:
        """Make the account of somebody who signs up through an old API.

        Raises:
            UsernameInvalid, UsernameTaken, PasswordTooShort: as they say.
        """
        check_password(password, min_characters=LEGACY_MIN_CHARACTERS)
        return await self._add(username, password, [api.sign_up_role], email=None, actor=api.name)

    async def create_first_administrator(self, username: str, password: str) -> bool:
        """Make the first administrator if nobody has an account yet.

        Raises:
            WeakAdministratorPassword: the password is very short, or what devices come with.
        """
        async with self.sessions.begin() as session:
            users = UserRepository(session)
            await users.lock_administrators()
            if await users.has_people():
                return False
            if len(password) < LEGACY_MIN_CHARACTERS or is_default(password, username=username):
                raise WeakAdministratorPassword(
                    "VEDETTE_ADMIN_PASSWORD is too short or among those that are tried first."
                )
            check_size(password)
            if len(password) < MODERN_MIN_CHARACTERS or is_common(password, username=username):
                # Whoever runs the platform chose it knowingly; the start does not fail for it.
                log.warning("first_administrator_password_weak")
            user = await self._new(username, password, [Role.ADMIN], None)
            await users.add(user)
            await EventRepository(session).record(
                "first_administrator_created", self.clock(), actor="auth", subject=user.id
            )
        log.info("first_administrator_created", user_id=str(user.id))
        return True

    async def get(self, user_id: UserId) -> User:
        """One account.

        Raises:
            UserNotFound: there is none with this identifier.
        """
        async with self.sessions.begin() as session:
            return await UserRepository(session).get(user_id)

    async def page(self, after: UUID | None, limit: int) -> Sequence[User]:
        """Up to `limit` accounts, oldest first, from behind `after`."""
        async with self.sessions.begin() as session:
            return await UserRepository(session).page(
                None if after is None else UserId(after), limit
            )

    async def change(self, user_id: UserId, change: Change, *, actor: str) -> User:
        """Change an account; tokens that say what is no longer true are refused from now on.

        A new password or a disabled account also ends every session.

        Raises:
            UserNotFound, PasswordTooShort, PasswordTooCommon, ChangedTooOften: as they say.
            LastAdministrator: nobody would be left to administer.
        """
        new_hash = None
        if change.password is not None:
            username = (await self.get(user_id)).username
            check_new_password(change.password, username=username)
            new_hash = await self.hasher.hash(change.password)
        async with self.sessions.begin() as session:
            users = UserRepository(session)
            await users.lock_administrators()
            before = await users.get_for_update(user_id)
            after = self._apply(before, change, new_hash)
            await users.save(after)
            if await users.count_administrators() == 0:
                raise LastAdministrator("One enabled administrator has to be left.")
            await self._enforce(session, before, after, actor)
            return after

    async def change_through_old_api(
        self, api: LegacyApi, user_id: UserId, password: str | None, *, actor: str
    ) -> User:
        """Change the password of an account that belongs to an old API alone; None keeps it.

        Whoever administers an old API has no say over administrators and other people's accounts.

        Raises:
            UserNotFound, PasswordTooShort, ChangedTooOften: as they say.
            NotOfThisApi: the account has other roles than a sign-up through this API gives.
        """
        new_hash = None
        if password is not None:
            check_password(password, min_characters=LEGACY_MIN_CHARACTERS)
            new_hash = await self.hasher.hash(password)
        async with self.sessions.begin() as session:
            users = UserRepository(session)
            before = await users.get_for_update(user_id)
            if before.roles != (api.sign_up_role,) or before.is_disabled:
                raise NotOfThisApi("This account cannot be changed through this API.")
            after = self._apply(before, Change(), new_hash)
            await users.save(after)
            await self._enforce(session, before, after, actor)
            return after

    async def change_own_password(
        self, user_id: UserId, current: str, new: str, address: str
    ) -> None:
        """Change a password by its owner; every session ends, this one too.

        Raises:
            WrongPassword: the current password is wrong.
            TooManyAttempts: the address or the account has to wait, as for a login.
            PasswordTooShort, PasswordTooCommon: the new one is no good.
            ChangedTooOften: as it says.
        """
        check_size(current)
        user = await self.get(user_id)
        check_new_password(new, username=user.username)
        await self.limits.admit_address(address)
        if not await self._knows_password(user, current, address):
            raise WrongPassword("The current password is wrong.")
        new_hash = await self.hasher.hash(new)
        async with self.sessions.begin() as session:
            users = UserRepository(session)
            before = await users.get_for_update(user_id)
            if before.password_hash != user.password_hash:
                raise WrongPassword("The password was changed meanwhile.")
            after = self._apply(before, Change(), new_hash)
            await users.save(after)
            await self._enforce(session, before, after, str(user_id))

    async def _knows_password(self, user: User, password: str, address: str) -> bool:
        """Check a password of who is signed in; a wrong one counts like that of a login.

        Otherwise a token left open somewhere would be a place to guess at without limit.
        """
        async with self.limits.turn(user.username, address) as attempt:
            matches = await self.hasher.verify(user.password_hash, password)
            async with self.sessions.begin() as session:
                if matches:
                    await self.limits.succeeded(attempt, session)
                    return True
                await self.limits.failed(attempt, session)
                await EventRepository(session).record(
                    "password_change_failed",
                    self.clock(),
                    actor=str(user.id),
                    subject=user.id,
                    address=address,
                )
        log.info("password_change_failed", user_id=str(user.id))
        return False

    async def _add(
        self,
        username: str,
        password: str,
        roles: Sequence[Role],
        *,
        email: str | None,
        actor: str,
    ) -> User:
        if not is_username(username):
            raise UsernameInvalid("A user name is 1 to 150 letters, digits and @ . + - _.")
        user = await self._new(username, password, roles, email)
        async with self.sessions.begin() as session:
            if not await UserRepository(session).add(user):
                raise UsernameTaken("A user with that username already exists.")
            await EventRepository(session).record(
                "user_created",
                user.created_at,
                actor=actor,
                subject=user.id,
                roles=" ".join(user.roles),
            )
        log.info("user_created", user_id=str(user.id))
        return user

    async def _new(
        self, username: str, password: str, roles: Sequence[Role], email: str | None
    ) -> User:
        now = self.clock()
        return User(
            id=UserId(new_id(now)),
            username=username,
            email=email,
            password_hash=await self.hasher.hash(password),
            roles=tuple(sorted(set(roles))),
            created_at=now,
            disabled_at=None,
            tokens_valid_from=0,
        )

    def _apply(self, before: User, change: Change, new_hash: str | None) -> User:
        now = self.clock()
        disabled_at = before.disabled_at
        if change.disabled is not None:
            disabled_at = (before.disabled_at or now) if change.disabled else None
        after = replace(
            before,
            roles=before.roles if change.roles is None else tuple(sorted(set(change.roles))),
            email=before.email if change.email is None else change.email,
            disabled_at=disabled_at,
            password_hash=new_hash or before.password_hash,
        )
        if not after.says_otherwise(before):
            return after
        valid_from = before.next_valid_from(now)
        if valid_from is not None:
            return replace(after, tokens_valid_from=valid_from)
        if after.is_disabled:
            # This never has to wait: nothing of a disabled account is accepted, whatever its date,
            # and enabling it again needs a date of its own.
            return after
        raise ChangedTooOften("The account changes too often; wait a moment.", retry_after_s=1)

    async def _enforce(self, session: AsyncSession, before: User, after: User, actor: str) -> None:
        now = self.clock()
        events = EventRepository(session)
        if after.says_otherwise(before):
            await events.revoke_user(after, now)
        if after.is_disabled or after.password_hash != before.password_hash:
            await SessionRepository(session).end_all(after.id, now)
        for event, happened in (
            ("roles_changed", after.roles != before.roles),
            ("password_changed", after.password_hash != before.password_hash),
            ("user_disabled", after.is_disabled and not before.is_disabled),
            ("user_enabled", before.is_disabled and not after.is_disabled),
        ):
            if happened:
                await events.record(event, now, actor=actor, subject=after.id)
                log.info(event, user_id=str(after.id), actor=actor)
