"""Auth's word on what only auth can check: passwords and API keys."""

import json
from datetime import datetime
from typing import Any, Literal

from gateway.connection import UpstreamFailed
from gateway.upstream import Upstream
from shared.assertions import HEADER, AssertionSigner, Caller, Credential, Refusal
from shared.problems import TooManyRequests, Unavailable

Scheme = Literal["basic", "api-key"]

_GATEWAY = Caller(subject="gateway", kind="service")


class AuthAway(Unavailable):
    """Auth, which alone can check this kind of credential, does not answer."""

    slug, title = "auth-unavailable", "Credentials cannot be checked"


class CredentialRefused(Exception):
    """A credential that is not accepted, and the reason a client may be told."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Introspection:
    """Asks auth, in the gateway's own name."""

    def __init__(self, auth: Upstream, signer: AssertionSigner) -> None:
        self._auth = auth
        self._signer = signer

    async def ask(self, scheme: Scheme, credential: str, address: str) -> tuple[Caller, float]:
        """Who shows this credential, and until when (seconds since 1970) it is good.

        Raises:
            CredentialRefused: auth does not accept it.
            TooManyRequests: auth wants no more tries for the moment.
            AuthAway: auth does not answer.
        """
        question = {"scheme": scheme, "credential": credential, "address": address}
        headers = [
            ("content-type", "application/json"),
            (HEADER, self._signer.sign(_GATEWAY, "auth")),
        ]
        try:
            answer = await self._auth.fetch(
                "POST", "/internal/introspect", headers, json.dumps(question).encode()
            )
        except UpstreamFailed as error:
            raise AuthAway("Passwords and API keys cannot be checked at the moment.") from error
        if answer.status == 429:
            pause = dict(answer.headers).get(b"retry-after", b"1")
            raise TooManyRequests(
                "Too many tries; Retry-After says when to come back.",
                retry_after_s=float(pause) if pause.isdigit() else 1,
            )
        if answer.status == 401:
            raise CredentialRefused(Refusal.INVALID)
        if answer.status != 200:
            raise AuthAway("Passwords and API keys cannot be checked at the moment.")
        return _read(json.loads(answer.body), "basic" if scheme == "basic" else "api-key")


def _read(found: dict[str, Any], credential: Credential) -> tuple[Caller, float]:
    caller = Caller(
        subject=found["subject"],
        kind=found["kind"],
        username=found.get("username"),
        roles=tuple(found["roles"]),
        scopes=frozenset(found["scopes"]),
        token_id=found.get("token_id"),
        session_id=found.get("session_id"),
        credential=credential,
    )
    return caller, _instant(found.get("expires_at"))


def _instant(value: object) -> float:
    if value is None:
        return float("inf")
    if isinstance(value, str):
        return datetime.fromisoformat(value).timestamp()
    if isinstance(value, (int, float)):
        return float(value)
    raise ValueError("expires_at is not an instant")
