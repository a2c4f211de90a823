"""The internal assertion: how one process of the platform tells another who is calling.

The gateway checks a client's credential once, strips every identity header, and states its finding
in a short-lived HS256 token for exactly one service. A service believes nothing else: a request
that reaches its port without such an assertion is refused.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

from fastapi import Depends, Request
from jose import jws, jwt
from jose.exceptions import JOSEError
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.problems import Forbidden, Unauthenticated, send_problem
from shared.scopes import header_in

HEADER = "Vedette-Assertion"
_HEADER_NAME = HEADER.lower().encode()
CLIENT_ADDRESS_HEADER = "Vedette-Client-Address"
LIFETIME_S = 60
GATEWAY = "gateway"
_LEEWAY_S = 5
_MAX_BYTES = 8192
_MAX_REMEMBERED = 4096

#: What a service's port answers without an assertion: the questions of a process supervisor.
OPEN_PATHS = frozenset({"/livez", "/readyz"})

Kind = Literal["user", "device", "service", "anonymous"]
Credential = Literal["none", "bearer", "token", "basic", "api-key", "query"]


class Refusal(StrEnum):
    """Why a credential that a client sent was not accepted."""

    NO_CREDENTIALS = "no-credentials"
    """The scheme stands alone."""
    SPACES = "spaces"
    CHARACTERS = "characters"
    INVALID = "invalid"
    EXPIRED = "expired"
    REVOKED = "revoked"
    INACTIVE = "inactive"
    """The account is disabled or gone."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, as the gateway or another service states it."""

    subject: str
    kind: Kind
    username: str | None = None
    roles: tuple[str, ...] = ()
    scopes: frozenset[str] = frozenset()
    token_id: str | None = None
    session_id: str | None = None
    credential: Credential = "none"
    refusal: Refusal | None = None
    """Set where a bad credential is the service's to answer; the caller is then anonymous."""


ANONYMOUS = Caller(subject="anonymous", kind="anonymous")


class AssertionRefused(Exception):
    """The text is not an assertion that this service may believe."""


class AssertionSigner:
    """States who is calling, in the name of one issuer."""

    def __init__(self, issuer: str, key: bytes) -> None:
        self._issuer = issuer
        self._key = key

    def sign(self, caller: Caller, audience: str, *, now: float | None = None) -> str:
        """An assertion for `audience`, valid for 60 seconds from `now` (seconds since 1970)."""
        issued_at = int(time.time() if now is None else now)
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": audience,
            "sub": caller.subject,
            "iat": issued_at,
            "exp": issued_at + LIFETIME_S,
            "kind": caller.kind,
            "scope": " ".join(sorted(caller.scopes)),
            "roles": list(caller.roles),
            "credential": caller.credential,
        }
        optional = {
            "username": caller.username,
            "jti": caller.token_id,
            "sid": caller.session_id,
            "refusal": caller.refusal,
        }
        claims |= {name: value for name, value in optional.items() if value is not None}
        signed: str = jwt.encode(
            claims, self._key, algorithm="HS256", headers={"kid": self._issuer}
        )
        return signed


class AssertionVerifier:
    """Believes the assertions of known issuers that are meant for one audience."""

    def __init__(self, audience: str, keys: Mapping[str, bytes]) -> None:
        self._audience = audience
        self._keys = dict(keys)
        # The gateway sends one text for many requests; its signature need not be checked twice.
        self._remembered: dict[str, tuple[Caller, int]] = {}

    def verify(self, text: str, *, now: float | None = None) -> Caller:
        """Who is calling.

        Raises:
            AssertionRefused: the signature, audience, issuer, times or claims are not right.
        """
        at = time.time() if now is None else now
        remembered = self._remembered.get(text)
        if remembered is None:
            remembered = self._read(text, at)
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[text] = remembered
        caller, expires_at = remembered
        if at > expires_at + _LEEWAY_S:
            self._remembered.pop(text, None)
            raise AssertionRefused("The assertion has expired.")
        return caller

    def _read(self, text: str, at: float) -> tuple[Caller, int]:
        if len(text) > _MAX_BYTES:
            raise AssertionRefused("The assertion is too long.")
        try:
            issuer = jws.get_unverified_header(text).get("kid")
            key = self._keys.get(issuer) if isinstance(issuer, str) else None
            if key is None:
                raise AssertionRefused("The assertion's issuer is not known here.")
            claims = jwt.decode(
                text,
                key,
                algorithms=["HS256"],
                audience=self._audience,
                issuer=issuer,
                # Expiry is checked above on every use, against the caller's clock.
                options={"verify_exp": False, "require_exp": True, "require_iat": True,
                         "require_sub": True, "require_aud": True, "require_iss": True},
            )  # fmt: skip
            issued_at, expires_at = int(claims["iat"]), int(claims["exp"])
            caller = _caller_from(claims)
        except (JOSEError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise AssertionRefused("The assertion is not valid.") from error
        if expires_at - issued_at > LIFETIME_S or issued_at > at + _LEEWAY_S:
            raise AssertionRefused("The assertion's times are not right.")
        if issuer != GATEWAY and (caller.kind, caller.subject) != ("service", issuer):
            raise AssertionRefused("A service speaks for itself alone.")
        return caller, expires_at


def _caller_from(claims: Mapping[str, Any]) -> Caller:
    refusal = claims.get("refusal")
    return Caller(
        subject=claims["sub"],
        kind=claims["kind"],
        username=claims.get("username"),
        roles=tuple(claims["roles"]),
        scopes=frozenset(claims["scope"].split()),
        token_id=claims.get("jti"),
        session_id=claims.get("sid"),
        credential=claims["credential"],
        refusal=None if refusal is None else Refusal(refusal),
    )


class AssertionMiddleware:
    """Lets nothing but health checks past without a valid assertion (plain ASGI)."""

    def __init__(self, app: ASGIApp, verifier: AssertionVerifier) -> None:
        self._app = app
        self._verifier = verifier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Verify, remember the caller in the request's state, and pass on."""
        if scope["type"] == "lifespan" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        text = header_in(scope, _HEADER_NAME)
        try:
            if text is None:
                raise AssertionRefused("There is no assertion.")
            caller = self._verifier.verify(text)
        except AssertionRefused:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            problem = Unauthenticated("This port answers the gateway alone.")
            await send_problem(problem, scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)


def get_caller(request: Request) -> Caller:
    """Who is calling, as the middleware found it."""
    caller: Caller = request.state.caller
    return caller


CallerDep = Annotated[Caller, Depends(get_caller)]


def require(scope: str) -> Callable[[Request], Caller]:
    """A dependency that lets a caller pass who holds `scope`.

    The gateway's policy says the same; a service that stands alone must be as safe.
    """

    def require_scope(request: Request) -> Caller:
        caller = get_caller(request)
        if caller.kind == "anonymous":
            raise Unauthenticated("A credential is needed.", headers={"WWW-Authenticate": "Bearer"})
        if scope not in caller.scopes:
            raise Forbidden(f"This needs the scope {scope}.")
        return caller

    return require_scope


def client_address(request: Request) -> str:
    """The client's address as the gateway saw it, or the peer's when a service calls."""
    stated = request.headers.get(CLIENT_ADDRESS_HEADER)
    if stated:
        return stated
    return request.client.host if request.client else "unknown"
