"""Rate limits: exact, small, and told to the client."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bounded import BoundedMap
from gateway.matching import Policy
from gateway.policy import TABLE
from gateway.rates import RateLimiter, RateLimits, address_key
from gateway.route import Rate
from tests.gateway.support import Rig, answer, rig

TEN_A_MINUTE = Rate("test", quota=10, window_s=60, by="address")


def test_the_whole_quota_may_come_at_once_and_not_one_more() -> None:
    limiter = RateLimiter(TEN_A_MINUTE, 1)

    verdicts = [limiter.take("a", 1000.0) for _ in range(11)]

    assert [verdict.allowed for verdict in verdicts] == [True] * 10 + [False]
    assert [verdict.remaining for verdict in verdicts] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]
    assert verdicts[-1].retry_after_s == pytest.approx(6.0, abs=0.01)


def test_a_refused_request_does_not_push_the_next_one_back() -> None:
    limiter = RateLimiter(TEN_A_MINUTE, 1)
    for _ in range(50):
        limiter.take("a", 0.0)

    assert limiter.take("a", 6.01).allowed


def test_callers_do_not_share_a_quota() -> None:
    limiter = RateLimiter(TEN_A_MINUTE, 1)
    for _ in range(10):
        limiter.take("a", 0.0)

    assert limiter.take("b", 0.0).allowed


@given(st.lists(st.floats(min_value=0, max_value=30), min_size=1, max_size=200))
def test_no_window_lets_through_more_than_two_quotas(gaps: list[float]) -> None:
    limiter = RateLimiter(TEN_A_MINUTE, 1)
    now, passed = 0.0, []
    for gap in gaps:
        now += gap / 10
        if limiter.take("a", now).allowed:
            passed.append(now)

    assert all(sum(at <= other < at + 60 for other in passed) <= 20 for at in passed)


def test_the_scale_multiplies_every_limit_and_zero_switches_them_off() -> None:
    assert RateLimiter(TEN_A_MINUTE, 2.5).quota == 25
    assert RateLimits([TEN_A_MINUTE], 0).limiter(TEN_A_MINUTE) is None


def test_the_headers_follow_the_draft() -> None:
    limiter = RateLimiter(TEN_A_MINUTE, 1)

    verdict = limiter.take("a", 0.0)

    assert limiter.policy_header == (b"ratelimit-policy", b'"test";q=10;w=60')
    assert limiter.header(verdict) == (b"ratelimit", b'"test";r=9;t=7')


def test_what_a_service_says_of_its_limits_is_not_contradicted(gateway: Rig) -> None:
    """A client that is refused reads when to come back, not that it has quota left."""
    own = [(b"ratelimit-policy", b'"own";q=5;w=9'), (b"ratelimit", b'"own";r=0;t=9')]
    after = [(b"retry-after", b"9")]
    gateway.service.extra["/open/own"] = lambda _, __, send: answer(send, b"", headers=own)
    gateway.service.extra["/open/refused"] = lambda _, __, send: answer(
        send, b"", status=429, headers=after
    )

    with_own = gateway.get("/open/own")
    refused = gateway.get("/open/refused")
    plain = gateway.get("/open/plain")

    assert with_own.headers.get_list("ratelimit") == ['"own";r=0;t=9']
    assert with_own.headers.get_list("ratelimit-policy") == ['"own";q=5;w=9']
    assert refused.headers["retry-after"] == "9"
    assert not {"ratelimit", "ratelimit-policy"} & set(refused.headers)
    assert plain.headers["ratelimit"].startswith('"wide";r=')


def test_an_old_wire_words_the_gateways_limit_as_its_own(tmp_path: Path) -> None:
    with rig(tmp_path) as gateway:
        answers = [gateway.post("/api/chexray/login/") for _ in range(11)]

    refused = answers[-1]
    wait_s = refused.headers["retry-after"]
    assert [found.status_code for found in answers] == [200] * 10 + [429]
    assert refused.headers["content-type"] == "application/json"
    assert refused.json() == {
        "detail": f"Request was throttled. Expected available in {wait_s} seconds."
    }
    assert refused.headers["ratelimit"].startswith('"login";r=0;')
    assert len(refused.headers["x-request-id"]) == 32


def test_one_second_is_not_said_in_the_plural() -> None:
    throttled = Policy(TABLE).find("/api/chexray/login/").throttled

    assert throttled is not None
    assert throttled(1) == {"detail": "Request was throttled. Expected available in 1 second."}
    assert Policy(TABLE).find("/api/v2/chexray/studies").throttled is None


@pytest.mark.parametrize(
    ("status", "told"), [(413, 411), (429, 411), (400, 411), (502, 500), (503, 500), (504, 500)]
)
def test_the_old_fundus_api_tells_every_refusal_as_an_error_of_its_own(
    status: int, told: int
) -> None:
    refused = Policy(TABLE).find("/v1/getStatus").refused

    assert refused is not None
    assert refused(status)["status"] == told
    assert str(refused(status)["message"]).startswith("LC-ERR-00")
    assert "200" not in str(refused(status))


def test_an_absent_service_is_told_in_the_old_form(tmp_path: Path) -> None:
    """A camera reads the body whatever the status is."""
    with rig(tmp_path, netra_url="http://127.0.0.1:1") as gateway:
        answer = gateway.request("POST", "/v1/getStatus")

    assert answer.status_code in (502, 503)
    assert answer.json()["message"].startswith("LC-ERR-0009")
    assert answer.json()["statusJob"] == "QUEUED"


def test_the_old_fundus_api_tells_a_limit_as_an_error_of_its_own() -> None:
    """Its clients show the message, and take a body with the digits 200 for success."""
    throttled = Policy(TABLE).find("/v1/getToken").throttled

    assert throttled is not None
    assert throttled(200) == {
        "status": 411,
        "message": "LC-ERR-0008 : Too many requests. Please try again later.",
    }


def test_torchserves_wire_is_refused_in_its_own_form(tmp_path: Path) -> None:
    """What is too large it told without a word, an absent worker with a class of Java."""
    with rig(tmp_path, scancer_url="http://127.0.0.1:1") as gateway:
        large = gateway.request("PUT", "/models/m", content=bytes(65 * 1024))
        away = gateway.request("PUT", "/predictions/m", content=b"x")
        inference = gateway.request("POST", "/v2/models/m/infer", content=b"{}")

    assert (large.status_code, large.content) == (413, b"")
    assert away.status_code in (502, 503)
    assert away.json()["code"] == away.status_code
    assert away.json()["type"] == "ServiceUnavailableException"
    assert list(inference.json()) == ["error"]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (
            "/predictions/m",
            {
                "code": 429,
                "type": "ServiceUnavailableException",
                "message": "Too Many Requests",
            },
        ),
        ("/v2/models/m/infer", {"error": "Too Many Requests"}),
    ],
)
def test_a_limit_of_scancers_wires_is_told_in_their_form(
    path: str, told: dict[str, object]
) -> None:
    throttled = Policy(TABLE).find(path).throttled

    assert throttled is not None
    assert throttled(3) == told


def test_memory_is_bounded_however_many_callers_come() -> None:
    kept: BoundedMap[int, int] = BoundedMap(100)

    for number in range(10_000):
        kept.put(number, number)

    assert len(kept) <= 100
    assert kept.get(9_999) == 9_999
    assert kept.get(0) is None


def test_what_is_used_is_kept() -> None:
    kept: BoundedMap[int, int] = BoundedMap(100)
    kept.put(-1, 7)

    for number in range(1000):
        kept.put(number, number)
        assert kept.get(-1) == 7


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_an_ipv6_subscriber_is_one_address(address: str, key: str) -> None:
    """Whoever is given a /64 could otherwise use 2^64 quotas."""
    assert address_key(address) == key
