"""Which web origins may call: CORS for the modern routes, and the origin check of WebSockets."""

import re
from collections.abc import Iterable
from typing import Final

HeaderPair = tuple[bytes, bytes]

#: The published front end of the old chest X-ray API and its two development servers.
OLD_FRONT_ENDS: Final = (
    "https://perxeptron.github.io",
    "http://localhost:4200",
    "http://localhost:3000",
)
_is_localhost = re.compile(
    rb"https?://(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?"
).fullmatch
_ALLOWED_HEADERS: Final = (
    b"authorization, content-type, idempotency-key, if-match, if-none-match, prefer, traceparent, "
    b"x-request-id"
)
_EXPOSED_HEADERS: Final = (
    b"etag, location, retry-after, ratelimit, ratelimit-policy, vedette-evidence, vedette-model, "
    b"x-request-id"
)


class OriginPolicy:
    """Lets the same origin, localhost, the old front ends and the configured origins call.

    No answer ever allows credentials mode: tokens travel in a header that a page sets itself.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(
            origin.rstrip("/").lower().encode() for origin in (*OLD_FRONT_ENDS, *origins)
        )

    def allows(self, origin: bytes, scheme: str, host: bytes) -> bool:
        """Whether a page of `origin` may read answers of this server, called `host` by it."""
        origin = origin.lower()
        return (
            origin in self._origins
            or origin == scheme.encode() + b"://" + host.lower()
            or _is_localhost(origin) is not None
        )

    def answer_headers(self, origin: bytes) -> list[HeaderPair]:
        """What an answer to an allowed origin carries."""
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED_HEADERS),
        ]

    def preflight_headers(self, origin: bytes, allow: str) -> list[HeaderPair]:
        """What the answer to an allowed origin's preflight carries."""
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-methods", allow.encode()),
            (b"access-control-allow-headers", _ALLOWED_HEADERS),
            (b"access-control-max-age", b"600"),
        ]
