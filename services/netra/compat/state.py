"""What the old API needs beside what the modern one does."""

from typing import Protocol, TypedDict

from shared.assertions import Caller
from shared.auth_client import Auth


class TokenReader(Protocol):
    """Finds the caller behind a token; tests bring a stub."""

    async def find_caller(self, token: str) -> Caller:
        """Who was given this token; raises `TokenRefused` or `Unavailable`."""
        ...


class CompatState(TypedDict):
    """What the lifespan opens for the old API."""

    auth: Auth
    body_tokens: TokenReader
