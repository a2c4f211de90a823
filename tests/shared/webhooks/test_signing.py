"""A receiver can tell who sent a webhook, that nobody changed it, and that it is not an old one."""

import hashlib
import hmac

import pytest

from shared.webhooks import is_genuine, new_secret, signature


def test_the_signature_is_the_documented_one() -> None:
    """Anybody can compute it with a standard library."""
    digest = hmac.new(b"whsec_x", b'1700000000.{"a":1}', hashlib.sha256).hexdigest()
    assert signature("whsec_x", b'{"a":1}', 1_700_000_000) == f"t=1700000000,v1={digest}"


@pytest.mark.parametrize(
    ("secret", "body", "now"),
    [("other", b"{}", 1000.0), ("s", b"{ }", 1000.0), ("s", b"{}", 1301.0), ("s", b"{}", 699.0)],
)
def test_another_secret_body_or_time_is_refused(secret: str, body: bytes, now: float) -> None:
    """The right one is accepted at the edge of the tolerance."""
    header = signature("s", b"{}", 1000)
    assert is_genuine("s", header, b"{}", now=1300.0)
    assert not is_genuine(secret, header, body, now=now)


@pytest.mark.parametrize("header", ["", "t=,v1=", "v1=00", "t=1000", "t=-1,v1=00", "t=²,v1=é", ","])
def test_a_malformed_header_is_refused(header: str) -> None:
    """And raises nothing."""
    assert not is_genuine("s", header, b"{}", now=1000.0)


def test_secrets_differ() -> None:
    """Each endpoint has its own."""
    assert len({new_secret() for _ in range(50)}) == 50
