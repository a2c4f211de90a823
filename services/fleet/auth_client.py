"""What fleet asks of auth: people of the old wire, and every device's token."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol, TypeVar
from uuid import UUID

import httpx
import structlog
from pydantic import BaseModel, ValidationError

from services.fleet.domain import DeviceId, UserId
from shared.assertions import HEADER, AssertionSigner, Caller
from shared.auth_client import (
    AUDIENCE,
    Account,
    AuthAway,
    AuthClient,
    Credentials,
    CredentialsRefused,
    PasswordTooShort,
)
from shared.problems import TooManyRequests

log = structlog.get_logger(__name__)

API = "fleet"
Kind = TypeVar("Kind", bound=BaseModel)
_AWAY = "Devices and people cannot be registered for the moment."


class DeviceToken(BaseModel):
    """A device's token."""

    device_id: UUID
    token: str
    expires_in: int


class DeviceTaken(Exception):
    """The network address belongs to a device with another password."""


class DeviceUnknown(Exception):
    """No device has this network address."""


class AccountOfOthers(Exception):
    """The account was not made through the old wire, so that it has no say over it."""


@dataclass(frozen=True, slots=True)
class Registration:
    """What a device registers with."""

    name: str
    password: str
    address: str
    may_create: bool


class FleetAuth(Protocol):
    """Signs people and devices up and in; tests bring a stub."""

    async def sign_up(self, credentials: Credentials) -> Account:
        """Make an account; raises `UsernameTaken` or `PasswordTooShort`."""
        ...

    async def log_in(self, credentials: Credentials) -> Account:
        """Give a token; raises `WrongCredentials`."""
        ...

    async def change(
        self, user_id: UserId, password: str | None, address: str, actor: str
    ) -> Account:
        """Change a password and give a new token; raises `AccountOfOthers`."""
        ...

    async def register(self, registration: Registration) -> DeviceToken:
        """A device's token by its password; raises `DeviceTaken` or `DeviceUnknown`."""
        ...

    async def enrol(self) -> DeviceId:
        """Make a device that has a key."""
        ...

    async def device_token(self, device_id: DeviceId) -> DeviceToken:
        """A token for a device whose key was checked."""
        ...

    async def change_device(
        self, device_id: DeviceId, *, disabled: bool | None, ends_tokens: bool, actor: str
    ) -> None:
        """Shut a device out, let it in again, or end its tokens."""
        ...


class RemoteAuth(AuthClient):
    """`FleetAuth` over HTTP, in the name of fleet."""

    def __init__(self, client: httpx.AsyncClient, signer: AssertionSigner) -> None:
        super().__init__(API, client, signer)
        self._http = client
        self._speaks = signer

    async def change(
        self, user_id: UserId, password: str | None, address: str, actor: str
    ) -> Account:
        """See `FleetAuth`."""
        answer = await self._ask(
            "/internal/legacy/change",
            api=API, user_id=str(user_id), password=password, address=address, actor=actor,
        )  # fmt: skip
        if answer.status_code in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
            raise AccountOfOthers
        _require(answer, HTTPStatus.OK)
        return _read(Account, answer)

    async def register(self, registration: Registration) -> DeviceToken:
        """See `FleetAuth`."""
        answer = await self._ask(
            "/internal/devices/register",
            name=registration.name,
            password=registration.password,
            address=registration.address,
            may_create=registration.may_create,
        )
        if answer.status_code == HTTPStatus.CONFLICT:
            raise DeviceTaken
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise DeviceUnknown
        _require(answer, HTTPStatus.OK, HTTPStatus.CREATED)
        return _read(DeviceToken, answer)

    async def enrol(self) -> DeviceId:
        """See `FleetAuth`."""
        answer = await self._ask("/internal/devices/enrol")
        _require(answer, HTTPStatus.CREATED)
        return DeviceId(UUID(answer.json()["device_id"]))

    async def device_token(self, device_id: DeviceId) -> DeviceToken:
        """See `FleetAuth`."""
        answer = await self._ask("/internal/devices/token", device_id=str(device_id))
        _require(answer, HTTPStatus.OK)
        return _read(DeviceToken, answer)

    async def change_device(
        self, device_id: DeviceId, *, disabled: bool | None, ends_tokens: bool, actor: str
    ) -> None:
        """See `FleetAuth`."""
        answer = await self._ask(
            "/internal/devices/change",
            device_id=str(device_id), disabled=disabled, ends_tokens=ends_tokens, actor=actor,
        )  # fmt: skip
        _require(answer, HTTPStatus.NO_CONTENT)

    async def _ask(self, path: str, **question: Any) -> httpx.Response:
        assertion = self._speaks.sign(Caller(subject=API, kind="service"), AUDIENCE)
        try:
            return await self._http.post(path, json=question, headers={HEADER: assertion})
        except httpx.HTTPError as error:
            log.warning("auth_away", error=type(error).__name__)
            raise AuthAway(_AWAY) from error


def _require(answer: httpx.Response, *expected: int) -> None:
    """Raise what an answer means that the question has no word for."""
    if answer.status_code in expected:
        return
    if answer.status_code in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        after = answer.headers.get("Retry-After", "")
        wait_s = int(after) if after.isdecimal() else 1
        if answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            raise AuthAway(_AWAY, retry_after_s=wait_s)
        raise TooManyRequests("Too many attempts.", retry_after_s=wait_s)
    if answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
        if "password-too-short" in answer.text:
            raise PasswordTooShort
        raise CredentialsRefused
    log.error("auth_answered_unexpectedly", status=answer.status_code)
    raise AuthAway(_AWAY)


def _read(kind: type[Kind], answer: httpx.Response) -> Kind:
    try:
        return kind.model_validate_json(answer.content)
    except ValidationError as error:
        raise AuthAway(_AWAY) from error
