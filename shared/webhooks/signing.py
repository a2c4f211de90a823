"""The signature of a webhook: who sent it, that nobody changed it, and when it was sent.

`Vedette-Signature: t=1700000000,v1=<hex>` is HMAC-SHA256 over the seconds, a full stop and the body
as it was sent. A receiver computes it anew and refuses what is older than a few minutes.
"""

import hashlib
import hmac
import secrets
from typing import Final

HEADER: Final = "Vedette-Signature"
#: How far a receiver lets the clocks differ.
TOLERANCE_S: Final = 300
_SECRET_BYTES: Final = 32


def new_secret() -> str:
    """A secret for one endpoint, 256 random bits."""
    return f"whsec_{secrets.token_urlsafe(_SECRET_BYTES)}"


def signature(secret: str, body: bytes, at: int) -> str:
    """The header's value for a body that is sent `at` (seconds since 1970)."""
    return f"t={at},v1={_digest(secret, body, at)}"


def is_genuine(secret: str, header: str, body: bytes, *, now: float) -> bool:
    """What a receiver asks: whether the header is of this secret, this body, and about now."""
    parts = dict(part.partition("=")[::2] for part in header.split(","))
    stamp, given = parts.get("t", ""), parts.get("v1", "")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12 and given.isascii()):
        return False
    at = int(stamp)
    right = hmac.compare_digest(given, _digest(secret, body, at))
    return right and abs(now - at) <= TOLERANCE_S


def _digest(secret: str, body: bytes, at: int) -> str:
    return hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
