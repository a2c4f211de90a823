"""Auth in this process on a real database, and a stand-in for the gateway in front of it."""

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from services.auth.app import assertion_verifier, create_app, resources
from services.auth.settings import Settings
from shared.assertions import (
    CLIENT_ADDRESS_HEADER,
    GATEWAY,
    HEADER,
    AssertionSigner,
    Caller,
    Credential,
)
from shared.keys import ensure_keys, read_key
from shared.tokens import Claims, KeySet, TokenDoor, TokenType
from tests.serving import running

ADMIN = "chief"
PASSWORD = "nine grey herons over the fen"
NEW_PASSWORD = "seven brown hares in the barley"

ANONYMOUS = Caller(subject="anonymous", kind="anonymous")


@dataclass
class Clock:
    """A clock that only moves when it is told to."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=250_000))

    def __call__(self) -> datetime:
        """The present."""
        return self.now

    def advance(self, **duration: float) -> None:
        """Let time pass."""
        self.now += timedelta(**duration)


@dataclass
class Auth:
    """A running auth service, called as the gateway and the services call it."""

    client: httpx.AsyncClient
    clock: Clock
    settings: Settings
    keys_dir: Path
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    addresses: Iterator[str] = field(
        default_factory=lambda: (f"198.51.{n // 250}.{n % 250 + 1}" for n in itertools.count())
    )

    @property
    def database_url(self) -> str:
        """Where its tables are."""
        return self.settings.require_database_url()

    async def call(
        self,
        method: str,
        path: str,
        *,
        caller: Caller = ANONYMOUS,
        address: str | None = None,
        headers: dict[str, str] | None = None,
        **content: Any,
    ) -> httpx.Response:
        """A client's request as the gateway passes it on."""
        key = read_key(self.keys_dir, "assertion-auth")
        assertion = AssertionSigner(GATEWAY, key).sign(caller, "auth")
        return await self.client.request(
            method,
            path,
            headers={
                HEADER: assertion,
                CLIENT_ADDRESS_HEADER: address or next(self.addresses),
                **(headers or {}),
            },
            **content,
        )

    async def ask(
        self, path: str, question: dict[str, Any], *, service: str = "chexray"
    ) -> httpx.Response:
        """A service's own question."""
        if service == GATEWAY:
            key = read_key(self.keys_dir, "assertion-auth")
        else:
            key = read_key(self.keys_dir, f"service-{service}")
        caller = Caller(subject=service, kind="service")
        assertion = AssertionSigner(service, key).sign(caller, "auth")
        question = {"address": next(self.addresses), **question}
        return await self.client.post(path, json=question, headers={HEADER: assertion})

    async def grant(self, address: str | None = None, **form: str) -> httpx.Response:
        """A request at the token endpoint."""
        return await self.call("POST", "/api/v2/auth/token", address=address, data=form)

    async def log_in(
        self, username: str = ADMIN, password: str = PASSWORD, address: str | None = None
    ) -> dict[str, Any]:
        """The tokens of a login that succeeds."""
        answer = await self.grant(
            address, grant_type="password", username=username, password=password
        )
        assert answer.status_code == 200, answer.text
        tokens: dict[str, Any] = answer.json()
        return tokens

    async def refresh(self, refresh_token: str) -> httpx.Response:
        """Exchange a refresh token."""
        return await self.grant(grant_type="refresh_token", refresh_token=refresh_token)

    async def door(self) -> TokenDoor:
        """The door as the gateway has it: from the published keys."""
        published = await self.call("GET", "/.well-known/jwks.json")
        return TokenDoor(self.settings.issuer, KeySet.from_jwks(published.json()))

    async def claims(
        self, token: str, type_: TokenType = TokenType.ACCESS, audience: str = "vedette"
    ) -> Claims:
        """What a token says, verified."""
        door = await self.door()
        return door.verify(token, type=type_, audience=audience, now=self.clock.now.timestamp())

    async def caller(self, access_token: str, credential: Credential = "bearer") -> Caller:
        """Whom the gateway takes the holder of an access token for."""
        claims = await self.claims(access_token)
        return Caller(
            subject=claims.subject,
            kind=claims.kind,
            username=claims.username,
            roles=claims.roles,
            scopes=claims.scopes,
            token_id=claims.token_id,
            session_id=claims.session_id,
            credential=credential,
        )

    async def administrator(self) -> Caller:
        """The first administrator, signed in."""
        return await self.caller((await self.log_in())["access_token"])

    async def add_user(self, *roles: str, username: str | None = None) -> dict[str, Any]:
        """An account that the administrator makes, a clinician's unless told otherwise."""
        username = username or f"user-{next(self.numbers)}"
        answer = await self.call(
            "POST",
            "/api/v2/auth/users",
            caller=await self.administrator(),
            json={"username": username, "password": PASSWORD, "roles": roles or ["clinician"]},
        )
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def sign_in_new_user(self, *roles: str) -> Caller:
        """A new account, signed in."""
        made = await self.add_user(*roles)
        return await self.caller((await self.log_in(made["username"]))["access_token"])

    async def change_user(self, user_id: str, **change: Any) -> httpx.Response:
        """A change that the administrator makes."""
        return await self.call(
            "PATCH",
            f"/api/v2/auth/users/{user_id}",
            caller=await self.administrator(),
            json=change,
        )

    async def events(self, event: str) -> list[dict[str, Any]]:
        """The security events of one kind."""
        answer = await self.call(
            "GET", f"/api/v2/auth/audit?event={event}", caller=await self.administrator()
        )
        found: list[dict[str, Any]] = answer.json()["items"]
        return found


@asynccontextmanager
async def running_auth(
    database_url: str, keys_dir: Path, *, clock: Clock | None = None, **settings: Any
) -> AsyncIterator[Auth]:
    """Auth from its start to its stop, with every resource that it opens in production."""
    ensure_keys(keys_dir)
    clock = clock or Clock()
    chosen = Settings(
        **{
            "database_url": SecretStr(database_url),
            "keys_dir": keys_dir,
            "admin_username": ADMIN,
            "admin_password": SecretStr(PASSWORD),
            "rate_limit_scale": 1.0,
            **settings,
        }
    )
    app = create_app(resources(chosen, clock), assertion_verifier(chosen))
    async with running(app) as client:
        yield Auth(client, clock, chosen, keys_dir)
