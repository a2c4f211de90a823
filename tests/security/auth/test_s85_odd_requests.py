"""Attack 85: whatever is sent, no route answers with a 5xx."""

import base64
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.services.auth.rig import ADMIN, Auth

AUTH = "/api/v2/auth"
ODD_NAMES = [
    "a\x00b", "\x00", "\ufeff", "x" * 100_000, "'; DROP TABLE auth.users; --", "%00", "\u202e",
    "a\r\nb", "🦢", " chief", "chief ", "CHIEF", "chief\x00",
]  # fmt: skip

TEXT = st.text(max_size=50) | st.sampled_from([*ODD_NAMES, ADMIN, "password", "clinician"])
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
MEMBERS = st.sampled_from(
    ["username", "password", "email", "roles", "disabled", "name", "scopes", "expires_at", "token",
     "current_password", "new_password", "api", "address", "scheme", "credential"]
)  # fmt: skip
BODIES = st.dictionaries(MEMBERS, JSON, max_size=6) | JSON

BODY_ROUTES = [
    ("POST", f"{AUTH}/revoke"),
    ("POST", f"{AUTH}/users"),
    ("PATCH", f"{AUTH}/users/01900000-0000-7000-8000-00000000dead"),
    ("POST", f"{AUTH}/users/me/password"),
    ("POST", f"{AUTH}/api-keys"),
]

#: Examples share the service of the module: each is one more client of it.
EXAMPLES = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize(("method", "path"), BODY_ROUTES)
@given(body=BODIES)
@EXAMPLES
async def test_s85_no_body_is_a_bug(auth: Auth, method: str, path: str, body: Any) -> None:
    content = json.dumps(body).encode("utf-8", "surrogatepass")
    answer = await auth.call(
        method,
        path,
        caller=await auth.administrator(),
        content=content,
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code < 500


@pytest.mark.parametrize("path", ["legacy/sign-up", "legacy/login", "introspect"])
@given(body=st.dictionaries(MEMBERS, JSON, max_size=6))
@EXAMPLES
async def test_s85_no_question_of_a_service_is_a_bug(
    auth: Auth, path: str, body: dict[str, Any]
) -> None:
    base = {"api": "chexray", "username": "u", "password": "eight-ch", "address": "192.0.2.1"}
    wanted = base if path.startswith("legacy") else {"scheme": "basic", "credential": "YTpi"}
    answer = await auth.ask(f"/internal/{path}", {**wanted, **body})

    assert answer.status_code < 500


@given(form=st.dictionaries(st.sampled_from(["grant_type", "username", "password"]), TEXT))
@EXAMPLES
async def test_s85_no_form_is_a_bug(auth: Auth, form: dict[str, str]) -> None:
    encodable = {name: value.encode(errors="replace").decode() for name, value in form.items()}
    answer = await auth.grant(**{"grant_type": "password", **encodable})

    assert answer.status_code < 500


@pytest.mark.parametrize("username", ODD_NAMES)
async def test_s85_an_odd_name_is_nobodys(auth: Auth, username: str) -> None:
    """Everywhere where a name comes in, PostgreSQL's forbidden NUL included."""
    basic = base64.b64encode(f"{username}:wrong".encode()).decode()
    answers = [
        await auth.grant(grant_type="password", username=username, password="wrong"),
        await auth.ask(
            "/internal/legacy/login",
            {"api": "chexray", "username": username[:8000], "password": "wrong"},
        ),
        await auth.ask(
            "/internal/introspect",
            {"scheme": "basic", "credential": basic[:8000]},
            service="gateway",
        ),
    ]

    assert [answer.status_code for answer in answers] == [400, 401, 401]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=x", "limit=-1", "cursor=x", "cursor=%00", "cursor=", "limit="],
)
@pytest.mark.parametrize("path", ["users", "api-keys", "sessions", "audit"])
async def test_s85_an_odd_page_is_422(auth: Auth, path: str, query: str) -> None:
    answer = await auth.call("GET", f"{AUTH}/{path}?{query}", caller=await auth.administrator())

    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{AUTH}/token"), ("DELETE", f"{AUTH}/users"), ("PUT", f"{AUTH}/users/me"),
        ("POST", f"{AUTH}/audit"), ("POST", "/.well-known/jwks.json"),
    ],
)  # fmt: skip
async def test_s85_a_wrong_method_is_405(auth: Auth, method: str, path: str) -> None:
    answer = await auth.call(method, path, caller=await auth.administrator())

    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"


async def test_s85_a_file_is_no_password(auth: Auth) -> None:
    answer = await auth.call(
        "POST",
        f"{AUTH}/token",
        data={"grant_type": "password", "username": ADMIN},
        files={"password": ("p.txt", b"nine grey herons over the fen")},
    )

    assert answer.status_code == 422
