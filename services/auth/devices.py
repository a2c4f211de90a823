"""Accounts of machines: registering with a name and a password, enrolment, tokens, revocation."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.auth.attempts import LoginLimits
from services.auth.domain import Device, DeviceId, new_id
from services.auth.errors import DeviceTaken, DeviceUnknown, WrongCredentials
from services.auth.passwords import LEGACY_MIN_CHARACTERS, PasswordHasher, check_password
from services.auth.repositories.devices import DeviceRepository
from services.auth.repositories.events import EventRepository
from services.auth.tokens import DeviceToken, Tokens

log = structlog.get_logger(__name__)

#: A device that registers with its password at every start, and one that shows a key.
REGISTERED_LIFETIME: Final = timedelta(days=30)
ENROLLED_LIFETIME: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Devices:
    """Knows devices, and mints their tokens."""

    sessions: async_sessionmaker[AsyncSession]
    hasher: PasswordHasher
    limits: LoginLimits
    tokens: Tokens
    clock: Callable[[], datetime]

    async def register(
        self, name: str, password: str, address: str, *, may_create: bool
    ) -> tuple[DeviceToken, bool]:
        """The token of the device called `name`, which is made where there is none yet.

        A name is no secret: whoever brings another password gets nothing.

        Returns:
            The token, and whether the device is new.

        Raises:
            DeviceTaken: the name belongs to a device with another password.
            DeviceUnknown: there is none and none may be made.
            PasswordTooShort, PasswordTooLong, TooManyAttempts: as they say.
        """
        check_password(password, min_characters=LEGACY_MIN_CHARACTERS)
        async with self.sessions.begin() as session:
            known = await DeviceRepository(session).find_by_name(name)
        if known is None:
            if not may_create:
                raise DeviceUnknown("There is no such device.")
            made = await self._create(name, await self.hasher.hash(password))
            if made is not None:
                return await self.token(made.id, REGISTERED_LIFETIME), True
        return await self._known(name, password, address), False

    async def _known(self, name: str, password: str, address: str) -> DeviceToken:
        async with self.limits.turn(f"device {name}", address) as attempt:
            async with self.sessions.begin() as session:
                known = await DeviceRepository(session).find_by_name(name)
            matches = await self.hasher.verify(
                None if known is None else known.password_hash, password
            )
            async with self.sessions.begin() as session:
                if known is not None and matches and known.disabled_at is None:
                    await self.limits.succeeded(attempt, session)
                else:
                    await self.limits.failed(attempt, session)
        if known is None or not matches or known.disabled_at is not None:
            # Who knows the password costs its address nothing: devices come back at every start.
            await self.limits.admit_address(address)
            raise DeviceTaken("This name belongs to another device.")
        return await self.token(known.id, REGISTERED_LIFETIME)

    async def enrol(self) -> DeviceId:
        """Make a device without name and password; its service checks its key."""
        made = await self._create(None, None)
        assert made is not None
        return made.id

    async def _create(self, name: str | None, password_hash: str | None) -> Device | None:
        now = self.clock()
        device = Device(DeviceId(new_id(now)), name, password_hash, now, None, 0)
        async with self.sessions.begin() as session:
            if not await DeviceRepository(session).add(device):
                return None
            await EventRepository(session).record(
                "device_created", now, actor="fleet", subject=device.id
            )
        log.info("device_created", device_id=str(device.id))
        return device

    async def token(self, device_id: DeviceId, lifetime: timedelta) -> DeviceToken:
        """A token for a device that has proved itself.

        Raises:
            DeviceNotFound: there is none with this identifier.
            WrongCredentials: the device is disabled.
        """
        async with self.sessions.begin() as session:
            device = await DeviceRepository(session).get_steady(device_id)
            if device.disabled_at is not None:
                raise WrongCredentials("The device is disabled.")
            return self.tokens.for_device(device, lifetime)

    async def change(
        self, device_id: DeviceId, *, disabled: bool | None, ends_tokens: bool, actor: str
    ) -> None:
        """Disable or enable a device, or end every token it has.

        Raises:
            DeviceNotFound: there is none with this identifier.
        """
        async with self.sessions.begin() as session:
            devices = DeviceRepository(session)
            before = await devices.get_steady(device_id, changing=True)
            now = self.clock()
            disabled_at = before.disabled_at
            if disabled is not None:
                disabled_at = (before.disabled_at or now) if disabled else None
            valid_from = before.tokens_valid_from
            if ends_tokens or disabled_at != before.disabled_at:
                valid_from = max(int(now.timestamp()), valid_from) + 1
            after = replace(before, disabled_at=disabled_at, tokens_valid_from=valid_from)
            if after == before:
                return
            await devices.save(after)
            events = EventRepository(session)
            await events.revoke_device(after, now)
            await events.record(
                "device_disabled" if after.disabled_at else "device_tokens_ended",
                now,
                actor=actor,
                subject=device_id,
            )
        log.info("device_changed", device_id=str(device_id), disabled=after.disabled_at is not None)
