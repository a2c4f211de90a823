"""Devices: how they register, enrol with a one-time code and a key, and get their tokens."""

import base64
import hashlib
import hmac
import re
import secrets
import struct
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.fleet.auth_client import DeviceToken, FleetAuth, Registration
from services.fleet.domain import Device, DeviceId, Truck, TruckId, UserId
from services.fleet.errors import EnrolmentRefused, KeyRefused, NameTaken
from services.fleet.repositories.events import EventRepository
from services.fleet.repositories.trucks import TruckRepository
from shared.problems import TooManyRequests

log = structlog.get_logger(__name__)

CHALLENGE_LIFETIME_S: Final = 60
#: Crockford's alphabet: no letter is taken for a digit when somebody types the code in a cab.
_CODE_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CODE_CHARACTERS: Final = 20
_is_code = re.compile(rf"[{_CODE_ALPHABET}]{{{_CODE_CHARACTERS}}}").fullmatch
#: What a device signs begins with this, so that its key signs nothing else by mistake.
SIGNED_PREFIX: Final = b"vedette device token\n"
_MAX_DEVICES_REMEMBERED: Final = 65_536


class DeviceRates:
    """How many requests each device has left: one instant per device (GCRA)."""

    def __init__(self, per_s: float, scale: float) -> None:
        self._interval_s = 0.0 if scale == 0 else 1 / (per_s * scale)
        self._burst_s = 1.0
        self._free_at: dict[DeviceId, float] = {}

    def take(self, device_id: DeviceId) -> None:
        """Count a request.

        Raises:
            TooManyRequests: the device has none left for now.
        """
        if not self._interval_s:
            return
        now = time.monotonic()
        free_at = max(self._free_at.get(device_id, now), now) + self._interval_s
        if free_at - now > self._burst_s:
            raise TooManyRequests(
                "This device sends too much.", retry_after_s=free_at - now - self._burst_s
            )
        if len(self._free_at) >= _MAX_DEVICES_REMEMBERED:
            self._free_at = {key: at for key, at in self._free_at.items() if at > now}
        self._free_at[device_id] = free_at


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A code that puts one device into a truck."""

    code: str
    truck_id: TruckId
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Devices:
    """Registers devices and gives them tokens."""

    sessions: async_sessionmaker[AsyncSession]
    auth: FleetAuth
    challenge_key: bytes
    enrolment_lifetime: timedelta
    open_registration: bool

    async def register(
        self, mac: str, password: str, name: str, role: str, address: str, *, may_create: bool
    ) -> tuple[Device, DeviceToken]:
        """Register a device as the old wire does, or renew its token.

        Raises:
            NameTaken: the truck's name belongs to another device's truck.
            DeviceTaken, DeviceUnknown, PasswordTooShort: as auth says.
        """
        async with self.sessions.begin() as session:
            trucks = TruckRepository(session)
            known = await trucks.find_device_by_mac(mac)
            is_new = known is None and may_create
            if is_new and await trucks.find_by_name(name) is not None:
                raise NameTaken("There is a truck of this name already.")
        creates = may_create and (self.open_registration or known is not None)
        token = await self.auth.register(Registration(mac, password, address, creates))
        # Auth was first, so that whoever repeats this after a failure in between goes on here.
        device_id = DeviceId(token.device_id)
        async with self.sessions.begin() as session:
            trucks = TruckRepository(session)
            known = await trucks.find_device_by_mac(mac)
            if known is None:
                truck = await trucks.add(name)
                await trucks.add_device(device_id, truck.id, mac=mac, role=role)
                await _announce(session, truck, device_id)
            else:
                await trucks.saw_device(known.id)
            return await trucks.get_device(device_id), token

    async def new_code(self, truck_id: TruckId, created_by: UserId) -> Enrolment:
        """A code for one device in this truck; it is shown once, and only its digest is kept."""
        code = "".join(secrets.choice(_CODE_ALPHABET) for _ in range(_CODE_CHARACTERS))
        expires_at = datetime.now(UTC) + self.enrolment_lifetime
        async with self.sessions.begin() as session:
            await TruckRepository(session).add_enrolment(
                _digest(code), truck_id, created_by, expires_at
            )
        return Enrolment(code, truck_id, expires_at)

    async def enrol(self, code: str, public_key: bytes) -> tuple[Device, DeviceToken]:
        """Put the device that holds a code into its truck, with the key that it will sign with.

        The same device, known by its key, may ask again: the answer to the first may be lost.

        Raises:
            EnrolmentRefused: the code is unknown, used or over.
            KeyRefused: the key is not an Ed25519 public key.
        """
        _read_key(public_key)
        plain = code.strip().upper().replace("-", "")
        if _is_code(plain) is None:
            raise EnrolmentRefused
        async with self.sessions.begin() as session:
            trucks = TruckRepository(session)
            again = await trucks.find_enrolled(_digest(plain), public_key)
            if again is not None:
                return again, await self.auth.device_token(again.id)
            # First of all, so that of many who show the code at once one alone goes on.
            truck = await trucks.get(await trucks.use_enrolment(_digest(plain)))
            device_id = await self.auth.enrol()
            await trucks.add_device(device_id, truck.id, public_key=public_key)
            await trucks.remember_enrolled(_digest(plain), device_id)
            await _announce(session, truck, device_id)
            device = await trucks.get_device(device_id)
        log.info("device_enrolled", device_id=str(device_id), truck=truck.number)
        return device, await self.auth.device_token(device_id)

    def challenge(self) -> str:
        """What a device has to sign next; nothing is kept of it."""
        nonce = secrets.token_bytes(16) + struct.pack(">Q", int(time.time()) + CHALLENGE_LIFETIME_S)
        return base64.urlsafe_b64encode(nonce + self._mac(nonce)).decode()

    async def token(self, device_id: DeviceId, challenge: str, signature: bytes) -> DeviceToken:
        """A token for the device that signed the challenge.

        Raises:
            KeyRefused: the challenge is not ours, over or used, or the signature is not the
                device's.
        """
        refused = KeyRefused("The signature is not accepted.")
        try:
            nonce = base64.urlsafe_b64decode(challenge.encode("ascii"))
        except ValueError as error:
            raise refused from error
        if len(nonce) != 56 or not hmac.compare_digest(self._mac(nonce[:24]), nonce[24:]):
            raise refused
        (expires_at,) = struct.unpack(">Q", nonce[16:24])
        if expires_at < time.time():
            raise KeyRefused("The challenge is over; ask for another one.")
        async with self.sessions.begin() as session:
            trucks = TruckRepository(session)
            key = await trucks.public_key_of(device_id)
            if key is None:
                raise refused
            try:
                _read_key(key).verify(signature, SIGNED_PREFIX + challenge.encode("ascii"))
            except InvalidSignature as error:
                raise refused from error
            if not await trucks.use_challenge(nonce[:16], datetime.fromtimestamp(expires_at, UTC)):
                raise refused
            await trucks.saw_device(device_id)
        return await self.auth.device_token(device_id)

    async def disable(self, device_id: DeviceId, *, disabled: bool, actor: str) -> Device:
        """Shut a device out within a second, or let it in again."""
        async with self.sessions.begin() as session:
            device = await TruckRepository(session).disable_device(device_id, disabled=disabled)
            await EventRepository(session).announce(
                "device.disabled" if disabled else "device.enabled",
                {"device_id": str(device_id)},
                truck_id=device.truck_id,
            )
            await self.auth.change_device(
                device_id, disabled=disabled, ends_tokens=False, actor=actor
            )
        return device

    def _mac(self, nonce: bytes) -> bytes:
        return hmac.new(self.challenge_key, b"challenge" + nonce, hashlib.sha256).digest()


async def _announce(session: AsyncSession, truck: Truck, device_id: DeviceId) -> None:
    await EventRepository(session).announce(
        "device.registered",
        {"device_id": str(device_id), "truck_number": truck.number},
        truck_id=truck.id,
    )


def _digest(code: str) -> bytes:
    """What is kept of a code: SHA-256 suffices for 100 random bits, unlike for passwords."""
    return hashlib.sha256(code.encode()).digest()


def _read_key(public_key: bytes) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(public_key)
    except ValueError as error:
        raise KeyRefused("This is not an Ed25519 public key of 32 bytes.") from error


def device_id_from(subject: str) -> DeviceId:
    """A device's identifier in a token; raises `ValueError`."""
    return DeviceId(UUID(subject))
