"""Asks auth to sign people up and in for an old API, whose own routes do that."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol
from uuid import UUID

import httpx
import structlog
from pydantic import BaseModel, ValidationError

from shared.assertions import HEADER, AssertionSigner, Caller
from shared.problems import TooManyRequests, Unavailable

log = structlog.get_logger(__name__)

AUDIENCE = "auth"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a person signs up or in with."""

    username: str
    password: str
    address: str


class Account(BaseModel):
    """Whom auth knows, and the token that the old API gives out."""

    user_id: UUID
    username: str
    token: str
    expires_in: int
    """Seconds for which the token is good."""


class UsernameTaken(Exception):
    """Somebody has this name already."""


class PasswordTooShort(Exception):
    """The password is shorter than auth accepts."""


class PasswordTooCommon(Exception):
    """The password is one of those that are tried first."""


class WrongCredentials(Exception):
    """No active account has this name and password."""


class CredentialsRefused(Exception):
    """Auth does not take this name or password, for a reason that the old API has no word for."""


class AuthAway(Unavailable):
    """Auth does not answer, so nobody can sign up or in for the moment."""

    slug, title = "auth-away", "Sign-in unavailable"


class Auth(Protocol):
    """Signs people up and in; tests bring a stub."""

    async def sign_up(self, credentials: Credentials) -> Account:
        """Make an account; raises `UsernameTaken` or `PasswordTooShort`."""
        ...

    async def log_in(self, credentials: Credentials) -> Account:
        """Give a token; raises `WrongCredentials`."""
        ...


class AuthClient:
    """`Auth` over HTTP, in the name of the service that speaks the old API `api`."""

    def __init__(self, api: str, client: httpx.AsyncClient, signer: AssertionSigner) -> None:
        self._api = api
        self._client = client
        self._signer = signer

    async def sign_up(self, credentials: Credentials) -> Account:
        """See `Auth`; `AuthAway` and `TooManyRequests` pass through."""
        answer = await self._post("/internal/legacy/sign-up", credentials)
        if answer.status_code == HTTPStatus.CREATED:
            return _account(answer)
        match _slug(answer):
            case "username-taken":
                raise UsernameTaken
            case "password-too-short":
                raise PasswordTooShort
            case "password-too-common":
                raise PasswordTooCommon
            case _:
                raise _unexpected(answer)

    async def log_in(self, credentials: Credentials) -> Account:
        """See `Auth`; `AuthAway` and `TooManyRequests` pass through."""
        answer = await self._post("/internal/legacy/login", credentials)
        if answer.status_code == HTTPStatus.OK:
            return _account(answer)
        if _slug(answer) == "wrong-credentials":
            raise WrongCredentials
        raise _unexpected(answer)

    async def _post(self, path: str, credentials: Credentials) -> httpx.Response:
        assertion = self._signer.sign(Caller(subject=self._api, kind="service"), AUDIENCE)
        try:
            return await self._client.post(
                path,
                json={
                    "api": self._api,
                    "username": credentials.username,
                    "password": credentials.password,
                    "address": credentials.address,
                },
                headers={HEADER: assertion},
            )
        except httpx.HTTPError as error:
            log.warning("auth_away", error=type(error).__name__)
            raise AuthAway("Signing up and in is not possible for the moment.") from error


def _account(answer: httpx.Response) -> Account:
    try:
        return Account.model_validate_json(answer.content)
    except ValidationError as error:
        raise AuthAway("Signing up and in is not possible for the moment.") from error


def _slug(answer: httpx.Response) -> str:
    try:
        kind = answer.json().get("type", "")
    except (ValueError, AttributeError):
        return ""
    return str(kind).rsplit("/", 1)[-1]


def _unexpected(answer: httpx.Response) -> Exception:
    """What a refusal means that neither route has a word for."""
    if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        after = answer.headers.get("Retry-After", "")
        return TooManyRequests(
            "Too many attempts.", retry_after_s=int(after) if after.isdecimal() else 1
        )
    if answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
        return CredentialsRefused()
    log.error("auth_answered_unexpectedly", status=answer.status_code)
    return AuthAway("Signing up and in is not possible for the moment.")
