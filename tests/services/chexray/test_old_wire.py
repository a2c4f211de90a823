"""The Django server's wire, byte for byte.

The exchanges were recorded from the original's own views (Django 3.0.7, REST framework 3.11.0) with
the networks replaced by stubs; where this server differs on purpose, QUIRKS.md says so.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from services.chexray.compat.fields import allowed_extensions
from shared.assertions import Refusal
from shared.auth_client import AuthAway, CredentialsRefused, PasswordTooCommon
from shared.problems import TooManyRequests
from tests.services.chexray.support import (
    REFUSED,
    Bench,
    as_caller,
    caller,
    dicom_radiograph,
    picture,
    png,
    stranger,
)

OLD = "/api/chexray"
POST_PATHS = ("signup", "login", "xray", "upload", "anonupload")
PATHS = (*POST_PATHS, "user")
TOKEN_PATHS = ("user", "xray", "upload")
OPEN_PATHS = ("signup", "login", "anonupload")
REQUIRED = ["This field is required."]
BLANK = ["This field may not be blank."]
NULL = ["This field may not be null."]
NO_TEXT = ["Not a valid string."]
NO_NUL = ["Null characters are not allowed."]
NAME = [
    "Enter a valid username. This value may contain only letters, numbers, and @/./+/-/_ "
    "characters."
]
NOT_A_FILE = ["The submitted data was not a file. Check the encoding type on the form."]
NOT_AN_IMAGE = [
    "Upload a valid image. The file you uploaded was either not an image or a corrupted image."
]
TOO_LONG_TITLE = "Ensure this field has no more than 50 characters."
Headers = Mapping[str, str]


def compact(answer: Any) -> bytes:
    """JSON as the old server wrote it."""
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


def assert_answer(answer: httpx.Response, status: int, body: Any, method: str = "POST") -> None:
    """Status, body and every header of an ordinary answer."""
    assert (answer.status_code, answer.content) == (status, compact(body))
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["allow"] == f"{method}, OPTIONS"
    assert answer.headers["vary"] == "Accept, Origin"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["content-length"] == str(len(answer.content))


def new_user(name: str = "bob") -> dict[str, str]:
    """A sign-up that is accepted."""
    return {"username": name, "password": "hunter2222", "password2": "hunter2222"}


@pytest.fixture
async def signed_up(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """The service, with bob signed up."""
    await client.post(f"{OLD}/signup/", json=new_user(), headers=stranger())
    return client


async def send_upload(
    client: httpx.AsyncClient,
    who: Headers,
    name: str = "a.png",
    content: bytes | None = None,
    *,
    path: str = "upload",
    title: str = "t",
    **more: str,
) -> httpx.Response:
    """Upload one picture."""
    return await client.post(
        f"{OLD}/{path}/",
        files={"image": (name, png() if content is None else content)},
        data={"title": title, **more},
        headers=who,
    )


# Sign-up


@pytest.mark.parametrize("slash", ["/", ""])
@pytest.mark.parametrize("kind", ["json", "form", "multipart"])
async def test_sign_up_answers_200_with_name_and_token(
    client: httpx.AsyncClient, slash: str, kind: str
) -> None:
    """In the three forms of a body and under both forms of the path."""
    bodies: dict[str, dict[str, Any]] = {
        "json": {"json": new_user()},
        "form": {"data": new_user()},
        "multipart": {"files": {name: (None, value) for name, value in new_user().items()}},
    }
    answer = await client.post(f"{OLD}/signup{slash}", headers=stranger(), **bodies[kind])

    assert_answer(
        answer,
        200,
        {"response": "Successfully Signed Up", "username": "bob", "token": "token-of-bob"},
    )


async def test_q08_a_taken_name_is_200_with_a_list(signed_up: httpx.AsyncClient) -> None:
    """With the final full stop that the original's document forgot."""
    answer = await signed_up.post(f"{OLD}/signup/", json=new_user(), headers=stranger())

    assert_answer(answer, 200, {"username": ["A user with that username already exists."]})


async def test_names_are_compared_with_their_case(signed_up: httpx.AsyncClient) -> None:
    """`bob` and `BOB` are two people."""
    answer = await signed_up.post(f"{OLD}/signup/", json=new_user("BOB"), headers=stranger())

    assert answer.json()["response"] == "Successfully Signed Up"


@pytest.mark.parametrize(
    ("sent", "errors"),
    [
        ({}, {"username": REQUIRED, "password": REQUIRED, "password2": REQUIRED}),
        (
            {"username": "  ", "password": "", "password2": None},
            {"username": BLANK, "password": BLANK, "password2": NULL},
        ),
        (
            {"username": "a" * 151, "password": "p" * 129, "password2": "q" * 500},
            {
                "username": ["Ensure this field has no more than 150 characters."],
                "password": ["Ensure this field has no more than 128 characters."],
            },
        ),
        (
            {"username": "a b" + "$" * 151, "password": "p", "password2": "p"},
            {"username": [*NAME, "Ensure this field has no more than 150 characters."]},
        ),
        ({"username": "a b", "password": "p", "password2": "p"}, {"username": NAME}),
        ({"username": "ab\ncd", "password": "p", "password2": "p"}, {"username": NAME}),
        ({"username": "a😀", "password": "p", "password2": "p"}, {"username": NAME}),
        ({"username": "a\0b", "password": "p", "password2": "p"}, {"username": [*NAME, *NO_NUL]}),
        (
            {"username": "a", "password": "p\0", "password2": "p\0"},
            {"password": NO_NUL, "password2": NO_NUL},
        ),
        (
            {"username": True, "password": [1], "password2": {"a": 1}},
            {"username": NO_TEXT, "password": NO_TEXT, "password2": NO_TEXT},
        ),
        ([1], {"non_field_errors": ["Invalid data. Expected a dictionary, but got list."]}),
        ("abc", {"non_field_errors": ["Invalid data. Expected a dictionary, but got str."]}),
        (5, {"non_field_errors": ["Invalid data. Expected a dictionary, but got int."]}),
        (None, {"non_field_errors": ["No data provided"]}),
    ],
)
async def test_q08_sign_up_errors_are_200(
    client: httpx.AsyncClient, sent: Any, errors: Mapping[str, list[str]]
) -> None:
    """Every rule of every field, in the fields' order."""
    answer = await client.post(
        f"{OLD}/signup/",
        content=json.dumps(sent),
        headers={**stranger(), "Content-Type": "application/json"},
    )

    assert_answer(answer, 200, errors)


@pytest.mark.parametrize("text", [r'{"username":"\ud800","password":"p","password2":"p"}'])
async def test_half_a_character_is_no_name(client: httpx.AsyncClient, text: str) -> None:
    """It can be neither stored nor sent."""
    answer = await client.post(
        f"{OLD}/signup/",
        content=text,
        headers={**stranger(), "Content-Type": "application/json"},
    )

    assert_answer(answer, 200, {"username": NAME})


async def test_q09_different_passwords_are_400_with_a_string(client: httpx.AsyncClient) -> None:
    """The one sign-up error with a status of its own."""
    answer = await client.post(
        f"{OLD}/signup/", json={**new_user(), "password2": "other"}, headers=stranger()
    )

    assert_answer(answer, 400, {"password": "Passwords Must Match"})


async def test_q19_a_short_password_is_told_in_djangos_words(client: httpx.AsyncClient) -> None:
    """The old server configured this rule and never applied it."""
    short = {"username": "bob", "password": "seven77", "password2": "seven77"}
    answer = await client.post(f"{OLD}/signup/", json=short, headers=stranger())

    assert_answer(
        answer,
        200,
        {"password": ["This password is too short. It must contain at least 8 characters."]},
    )


async def test_blanks_around_sign_up_fields_are_cut(bench: Bench) -> None:
    """And numbers become text."""
    async with bench.serve() as client:
        await client.post(
            f"{OLD}/signup/",
            json={"username": " zoë ", "password": 1234567890, "password2": " 1234567890 "},
            headers=stranger(),
        )

    assert (bench.auth.asked[0].username, bench.auth.asked[0].password) == ("zoë", "1234567890")


async def test_s36_sign_up_ignores_roles(bench: Bench) -> None:
    """Nobody signs up as an administrator."""
    async with bench.serve() as client:
        answer = await client.post(
            f"{OLD}/signup/",
            json={**new_user(), "role": "admin", "is_staff": True, "id": 1},
            headers=stranger(),
        )

    assert answer.json()["response"] == "Successfully Signed Up"
    assert set(bench.auth.asked[0].__slots__) == {"username", "password", "address"}


# Login


async def test_login_answers_number_name_and_token(signed_up: httpx.AsyncClient) -> None:
    """The name's blanks are cut, the password's are not."""
    answer = await signed_up.post(
        f"{OLD}/login/",
        json={"username": " bob ", "password": "hunter2222"},
        headers=stranger(),
    )
    userid = answer.json()["userid"]

    assert isinstance(userid, int)
    assert userid > 1
    assert_answer(answer, 200, {"userid": userid, "username": "bob", "token": "token-of-bob"})


@pytest.mark.parametrize(
    ("sent", "errors"),
    [
        (
            {"username": "bob", "password": "wrong"},
            {"non_field_errors": ["Unable to log in with provided credentials."]},
        ),
        (
            {"username": "nobody", "password": "hunter2222"},
            {"non_field_errors": ["Unable to log in with provided credentials."]},
        ),
        (
            {"username": "bob", "password": " hunter2222 "},
            {"non_field_errors": ["Unable to log in with provided credentials."]},
        ),
        ({}, {"username": REQUIRED, "password": REQUIRED}),
        ({"username": "", "password": ""}, {"username": BLANK, "password": BLANK}),
        ({"username": "  ", "password": "  "}, {"username": BLANK}),
        ({"username": None, "password": None}, {"username": NULL, "password": NULL}),
        ({"username": True, "password": [1]}, {"username": NO_TEXT, "password": NO_TEXT}),
        ([], {"non_field_errors": ["Invalid data. Expected a dictionary, but got list."]}),
    ],
)
async def test_login_errors_are_400(
    signed_up: httpx.AsyncClient, sent: Any, errors: Mapping[str, list[str]]
) -> None:
    """The same words for an unknown name and a wrong password."""
    answer = await signed_up.post(f"{OLD}/login/", json=sent, headers=stranger())

    assert_answer(answer, 400, errors)


async def test_q20_too_many_logins_are_429_in_the_frameworks_words(bench: Bench) -> None:
    """A limit that the old server did not have."""
    bench.auth.failure = TooManyRequests("Too many.", retry_after_s=7)
    async with bench.serve() as client:
        answer = await client.post(
            f"{OLD}/login/", json={"username": "a", "password": "b"}, headers=stranger()
        )

    assert_answer(
        answer, 429, {"detail": "Request was throttled. Expected available in 7 seconds."}
    )
    assert answer.headers["retry-after"] == "7"


async def test_q20_without_auth_it_is_503(bench: Bench) -> None:
    """Never a 500, and never a wrong password."""
    bench.auth.failure = AuthAway("Signing up and in is not possible for the moment.")
    async with bench.serve() as client:
        answers = [
            await client.post(f"{OLD}/{path}/", json=new_user(), headers=stranger())
            for path in ("signup", "login")
        ]

    assert [answer.status_code for answer in answers] == [503, 503]
    assert answers[0].json() == {"detail": "Signing up and in is not possible for the moment."}


@pytest.mark.parametrize(
    ("failure", "errors"),
    [
        (PasswordTooCommon(), {"password": ["This password is too common."]}),
        (CredentialsRefused(), {"username": NAME}),
    ],
)
async def test_what_auth_refuses_beyond_the_old_rules_is_told_in_old_words(
    bench: Bench, failure: Exception, errors: Mapping[str, list[str]]
) -> None:
    """Auth has the last word on names and passwords."""
    bench.auth.failure = failure
    async with bench.serve() as client:
        answer = await client.post(f"{OLD}/signup/", json=new_user(), headers=stranger())

    assert_answer(answer, 200, errors)


# Tokens, permissions, methods


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("refusal", "detail"),
    [
        (Refusal.NO_CREDENTIALS, "Invalid token header. No credentials provided."),
        (Refusal.SPACES, "Invalid token header. Token string should not contain spaces."),
        (
            Refusal.CHARACTERS,
            "Invalid token header. Token string should not contain invalid characters.",
        ),
        (Refusal.INVALID, "Invalid token."),
        (Refusal.EXPIRED, "Invalid token."),
        (Refusal.REVOKED, "Invalid token."),
        (Refusal.INACTIVE, "User inactive or deleted."),
    ],
)
async def test_q01_a_bad_token_is_401_everywhere(
    client: httpx.AsyncClient, path: str, refusal: Refusal, detail: str
) -> None:
    """Even on sign-up, login and the open upload, before method and body are looked at."""
    method = "GET" if path == "user" else "POST"
    answer = await client.put(f"{OLD}/{path}/", content=b"{", headers=stranger(refusal))

    assert_answer(answer, 401, {"detail": detail}, method)
    assert answer.headers["www-authenticate"] == "Token"


@pytest.mark.parametrize("path", TOKEN_PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "FOO"])
async def test_q02_a_stranger_gets_401_for_any_method(
    client: httpx.AsyncClient, path: str, method: str
) -> None:
    """Permission comes before the method."""
    answer = await client.request(method, f"{OLD}/{path}/", headers=stranger())

    assert_answer(
        answer,
        401,
        {"detail": "Authentication credentials were not provided."},
        "GET" if path == "user" else "POST",
    )
    assert answer.headers["www-authenticate"] == "Token"


@pytest.mark.parametrize("slash", ["/", ""])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "FOO"])
async def test_a_wrong_method_is_405_for_who_may_come(
    client: httpx.AsyncClient, as_bob: Headers, path: str, method: str, slash: str
) -> None:
    """With the method's name in escaped quotes."""
    right = "GET" if path == "user" else "POST"
    answer = await client.request(
        "PURGE" if method == right else method, f"{OLD}/{path}{slash}", headers=as_bob
    )
    named = "PURGE" if method == right else method

    assert answer.content == b'{"detail":"Method \\"%s\\" not allowed."}' % named.encode()
    assert answer.status_code == 405
    assert answer.headers["allow"] == f"{right}, OPTIONS"


async def test_without_the_scope_it_is_403_in_the_frameworks_words(
    client: httpx.AsyncClient,
) -> None:
    """A modern token of somebody who has no business with radiographs."""
    operator = as_caller(caller(scopes=frozenset({"fleet:read"})))
    answer = await client.get(f"{OLD}/user/", headers=operator)

    assert_answer(
        answer, 403, {"detail": "You do not have permission to perform this action."}, "GET"
    )


@pytest.mark.parametrize(
    ("path", "name", "description"),
    [
        ("signup", "Registration View", ""),
        ("user", "Api Detail User View", ""),
        ("xray", "Api Detail Xray View", ""),
        ("upload", "Api Upload Xray View", ""),
        (
            "anonupload",
            "Api Anonupload Xray View",
            "Keeping first user as the anonymous user",
        ),
    ],
)
async def test_options_describes_the_view(
    client: httpx.AsyncClient, as_bob: Headers, path: str, name: str, description: str
) -> None:
    """Name, description, and what it writes and reads."""
    answer = await client.options(f"{OLD}/{path}/", headers=as_bob)

    assert_answer(
        answer,
        200,
        {
            "name": name,
            "description": description,
            "renders": ["application/json", "text/html"],
            "parses": [
                "application/json",
                "application/x-www-form-urlencoded",
                "multipart/form-data",
            ],
        },
        "GET" if path == "user" else "POST",
    )


async def test_options_of_login_describes_its_fields_too(client: httpx.AsyncClient) -> None:
    """Recorded to the byte."""
    answer = await client.options(f"{OLD}/login/", headers=stranger())

    assert answer.content == (
        b'{"name":"Custom Auth Token","description":"","renders":["application/json"],'
        b'"parses":["application/x-www-form-urlencoded","multipart/form-data",'
        b'"application/json"],"actions":{"POST":{"username":{"type":"string","required":true,'
        b'"read_only":false,"label":"Username"},"password":{"type":"string","required":true,'
        b'"read_only":false,"label":"Password"}}}}'
    )


# Bodies


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b'{"a"', "Expecting ':' delimiter: line 1 column 5 (char 4)"),
        (b'{"a":}', "Expecting value: line 1 column 6 (char 5)"),
        (b'{"a":1} x', "Extra data: line 1 column 9 (char 8)"),
        (b'{"a":"\x01"}', "Invalid control character at: line 1 column 7 (char 6)"),
        (b"nul", "Expecting value: line 1 column 1 (char 0)"),
        (b'{"username":NaN}', "Out of range float values are not JSON compliant: 'NaN'"),
        (
            b"\xef\xbb\xbf{}",
            "Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)",
        ),
        (
            b'{"username":"\xe9"}',
            "'utf-8' codec can't decode byte 0xe9 in position 13: invalid continuation byte",
        ),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
@pytest.mark.parametrize("path", ["signup", "login", "anonupload"])
async def test_broken_json_is_400_with_pythons_words(
    client: httpx.AsyncClient, path: str, content: bytes, detail: str
) -> None:
    """The position included."""
    answer = await client.post(
        f"{OLD}/{path}/",
        content=content,
        headers={**stranger(), "Content-Type": "application/json"},
    )

    assert_answer(answer, 400, {"detail": f"JSON parse error - {detail}"})


@pytest.mark.parametrize("content_type", ["text/plain", "text/plain; charset=utf-8", "foo", ""])
@pytest.mark.parametrize("path", ["signup", "login", "xray", "upload", "anonupload"])
async def test_a_body_of_another_type_is_415(
    client: httpx.AsyncClient, as_bob: Headers, path: str, content_type: str
) -> None:
    """The header is quoted whole."""
    answer = await client.post(
        f"{OLD}/{path}/", content=b"x", headers={**as_bob, "Content-Type": content_type}
    )

    assert_answer(answer, 415, {"detail": f'Unsupported media type "{content_type}" in request.'})


async def test_q06_no_body_is_an_empty_form_whatever_its_type(
    client: httpx.AsyncClient,
) -> None:
    """Missing fields are told, not the type."""
    answer = await client.post(
        f"{OLD}/login/", headers={**stranger(), "Content-Type": "text/plain"}
    )

    assert_answer(answer, 400, {"username": REQUIRED, "password": REQUIRED})


@pytest.mark.parametrize(
    ("content_type", "status", "body"),
    [
        (
            "multipart/form-data",
            400,
            {"detail": "Multipart form parse error - Invalid boundary in multipart: None"},
        ),
        (
            "multipart/form-data; boundary=x",
            200,
            {"username": REQUIRED, "password": REQUIRED, "password2": REQUIRED},
        ),
    ],
)
async def test_q07_a_multipart_body_without_parts(
    client: httpx.AsyncClient, content_type: str, status: int, body: Any
) -> None:
    """Without a boundary it is an error, with one an empty form."""
    answer = await client.post(
        f"{OLD}/signup/",
        content=b"garbage",
        headers={**stranger(), "Content-Type": content_type},
    )

    assert_answer(answer, status, body)


@pytest.mark.parametrize("charset", ["latin-1", '"utf-8"', "nonsense"])
async def test_json_in_a_named_charset_is_read(client: httpx.AsyncClient, charset: str) -> None:
    """An unknown one counts as UTF-8."""
    answer = await client.post(
        f"{OLD}/signup/",
        content=b'{"username":"e"}',
        headers={**stranger(), "Content-Type": f"Application/JSON; charset={charset}"},
    )

    assert_answer(answer, 200, {"password": REQUIRED, "password2": REQUIRED})


async def test_of_a_field_sent_twice_the_last_counts(bench: Bench) -> None:
    """SECURITY 52: one rule for forms, multipart and JSON alike."""
    content = b"username=carl&username=dave&password=abcdefgh&password2=abcdefgh"
    async with bench.serve() as client:
        await client.post(
            f"{OLD}/signup/",
            content=content,
            headers={**stranger(), "Content-Type": "application/x-www-form-urlencoded"},
        )

    assert bench.auth.asked[0].username == "dave"


# Accept and format


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "application/*",
        "application/json",
        "application/json;q=0.5,text/html;q=0.1",
        "text/html,application/json",
        "application/xml, application/json",
        "application/json; charset=utf-8",
    ],
)
async def test_json_is_the_favourite(
    client: httpx.AsyncClient, as_bob: Headers, accept: str
) -> None:
    """Also where HTML is as welcome."""
    answer = await client.get(f"{OLD}/user/", headers={**as_bob, "Accept": accept})

    assert answer.headers["content-type"] == "application/json"
    assert answer.content.endswith(b'"username":"bob","pastxrays":[]}')


async def test_an_indent_may_be_asked_for(client: httpx.AsyncClient, as_bob: Headers) -> None:
    """At most eight blanks."""
    answer = await client.get(
        f"{OLD}/user/", headers={**as_bob, "Accept": "application/json; indent=4"}
    )

    assert answer.content.endswith(b',\n    "username": "bob",\n    "pastxrays": []\n}')


@pytest.mark.parametrize("accept", ["image/png", "", "garbage"])
@pytest.mark.parametrize("path", PATHS)
async def test_q03_an_accept_header_that_nothing_satisfies_is_406(
    client: httpx.AsyncClient, path: str, accept: str
) -> None:
    """Before the token is looked at."""
    answer = await client.post(
        f"{OLD}/{path}/", content=b"{", headers={**stranger(Refusal.INVALID), "Accept": accept}
    )

    assert_answer(
        answer,
        406,
        {"detail": "Could not satisfy the request Accept header."},
        "GET" if path == "user" else "POST",
    )


async def test_login_writes_json_alone(client: httpx.AsyncClient) -> None:
    """HTML is 406 there, and its format 404."""
    by_header = await client.post(
        f"{OLD}/login/", json={}, headers={**stranger(), "Accept": "text/html"}
    )
    by_format = await client.post(f"{OLD}/login/?format=api", json={}, headers=stranger())

    assert_answer(by_header, 406, {"detail": "Could not satisfy the request Accept header."})
    assert_answer(by_format, 404, {"detail": "Not found."})


@pytest.mark.parametrize("name", ["xml", "JSON"])
async def test_an_unknown_format_is_404(client: httpx.AsyncClient, name: str) -> None:
    """Before the token is looked at."""
    answer = await client.get(f"{OLD}/user/?format={name}", headers=stranger())

    assert_answer(answer, 404, {"detail": "Not found."}, "GET")


@pytest.mark.parametrize("name", ["json", ""])
async def test_the_json_format_may_be_named(
    client: httpx.AsyncClient, as_bob: Headers, name: str
) -> None:
    """And an empty name is none."""
    answer = await client.get(f"{OLD}/user/?format={name}", headers=as_bob)

    assert answer.headers["content-type"] == "application/json"


async def test_q28_the_json_format_is_json_for_browsers_too(
    client: httpx.AsyncClient, as_bob: Headers
) -> None:
    """It forces JSON, whatever is accepted."""
    answer = await client.get(f"{OLD}/user/?format=json", headers={**as_bob, "Accept": "text/html"})

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")


async def test_q04_a_browser_gets_a_plain_page(client: httpx.AsyncClient, as_bob: Headers) -> None:
    """The same JSON, escaped, with nothing to run."""
    name = caller(username="<b>")
    answer = await client.get(
        f"{OLD}/user/", headers={**as_caller(name), "Accept": "text/html,*/*;q=0.8"}
    )

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "&lt;b&gt;" in answer.text
    assert "<b>" not in answer.text


# CORS


@pytest.mark.parametrize("path", [f"{name}{slash}" for name in PATHS for slash in ("/", "")])
@pytest.mark.parametrize(
    "origin",
    ["https://perxeptron.github.io", "http://localhost:4200", "http://localhost:3000"],
)
async def test_preflights_of_the_old_front_ends_are_answered(
    client: httpx.AsyncClient, path: str, origin: str
) -> None:
    """Empty, 200, with django-cors-headers' own lists."""
    answer = await client.options(
        f"{OLD}/{path}",
        headers={**stranger(), "Origin": origin, "Access-Control-Request-Method": "POST"},
    )

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-allow-headers"] == (
        "accept, accept-encoding, authorization, content-type, dnt, origin, user-agent, "
        "x-csrftoken, x-requested-with"
    )
    assert (
        answer.headers["access-control-allow-methods"] == "DELETE, GET, OPTIONS, PATCH, POST, PUT"
    )
    assert answer.headers["access-control-max-age"] == "86400"


@pytest.mark.parametrize(
    "origin",
    ["http://evil", "null", "https://perxeptron.github.io.evil", "http://perxeptron.github.io"],
)
async def test_s48_other_origins_are_told_nothing(client: httpx.AsyncClient, origin: str) -> None:
    """Neither by a preflight nor by an answer."""
    headers = {**stranger(), "Origin": origin}
    preflight = await client.options(
        f"{OLD}/signup/", headers={**headers, "Access-Control-Request-Method": "POST"}
    )
    answer = await client.get(f"{OLD}/user/", headers=headers)

    assert preflight.status_code == 200
    assert "access-control-allow-origin" not in preflight.headers
    assert "access-control-allow-origin" not in answer.headers


async def test_errors_too_are_readable_for_the_old_front_end(
    bench: Bench,
) -> None:
    """And for an origin that the operator has allowed."""
    bench.allowed_origins = frozenset({"https://ward.example"})
    async with bench.serve() as client:
        answers = [
            await client.get(f"{OLD}/user/", headers={**stranger(), "Origin": origin})
            for origin in ("http://localhost:4200", "https://ward.example")
        ]

    assert [answer.headers["access-control-allow-origin"] for answer in answers] == [
        "http://localhost:4200",
        "https://ward.example",
    ]
    assert all("access-control-max-age" not in answer.headers for answer in answers)


# Upload and x-rays


@pytest.mark.parametrize("slash", ["/", ""])
async def test_an_upload_answers_201_with_the_x_ray_object(
    client: httpx.AsyncClient, as_bob: Headers, slash: str
) -> None:
    """Its keys in the old order, true probabilities, relative addresses."""
    answer = await client.post(
        f"{OLD}/upload{slash}",
        files={"image": ("view 1 (front).png", png())},
        data={"title": " Chest-X-Ray "},
        headers=as_bob,
    )
    xray = answer.json()

    assert list(xray) == [
        "id", "title", "image", "date_posted", "userperson", "heatmap_image", "atelectasis",
        "cardiomegaly", "consolidation", "edema", "pleural_effusion",
    ]  # fmt: skip
    assert_answer(answer, 201, xray)
    assert xray["title"] == "Chest-X-Ray"
    assert re.fullmatch(r"/media/images/view_1_front_[0-9A-Za-z]{22}\.png", xray["image"])
    assert xray["heatmap_image"] == xray["image"].replace("images/", "heatmaps/heatmap_")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", xray["date_posted"])
    assert [xray[name] for name in list(xray)[6:]] == [0.125, 0.75, 0.5, 0.25, 0.875]
    assert answer.headers["vedette-model"] == "chexray-stub@1.0"
    assert answer.headers["vedette-evidence"] == "demo"


async def test_past_x_rays_are_newest_first_and_hold_modern_uploads(
    client: httpx.AsyncClient, as_bob: Headers
) -> None:
    """One list for both APIs."""
    first = (await send_upload(client, as_bob)).json()
    await client.post("/api/v2/chexray/studies", files={"image": ("b.png", png())}, headers=as_bob)
    third = (await send_upload(client, as_bob)).json()
    answer = await client.get(f"{OLD}/user/", headers=as_bob)
    numbers = answer.json()["pastxrays"]

    assert numbers == sorted(numbers, reverse=True)
    assert (len(numbers), numbers[0], numbers[-1]) == (3, third["id"], first["id"])
    assert_answer(
        answer,
        200,
        {"userid": first["userperson"], "username": "bob", "pastxrays": numbers},
        "GET",
    )


async def test_q13_a_refused_picture_has_no_figures(bench: Bench, as_bob: Headers) -> None:
    """Null is not 0.0: the network did not look."""
    bench.classifier.gate = REFUSED
    async with bench.serve() as client:
        xray = (await send_upload(client, as_bob)).json()

    assert [xray[name] for name in list(xray)[5:]] == [None] * 6


@pytest.mark.parametrize("path", ["upload", "anonupload"])
@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        ({}, {"title": REQUIRED, "image": ["No file was submitted."]}),
        ({"title": "t", "image": "abc"}, {"image": NOT_A_FILE}),
        ({"title": "t", "image": ""}, {"image": NOT_A_FILE}),
        ({"title": None, "image": None}, {"title": NULL, "image": NULL}),
        ({"title": True, "image": 5}, {"title": NO_TEXT, "image": NOT_A_FILE}),
        ({"title": 5}, {"image": ["No file was submitted."]}),
        ({"title": "a\0"}, {"title": NO_NUL, "image": ["No file was submitted."]}),
        ([], {"non_field_errors": ["Invalid data. Expected a dictionary, but got list."]}),
    ],
)
async def test_an_upload_without_a_file_is_400(
    client: httpx.AsyncClient, as_bob: Headers, path: str, fields: Any, errors: Any
) -> None:
    """JSON can carry no file, and is told so."""
    answer = await client.post(f"{OLD}/{path}/", json=fields, headers=as_bob)

    assert_answer(answer, 400, errors)


@pytest.mark.parametrize(
    ("name", "content", "title", "errors"),
    [
        ("a.png", b"", "t", {"image": ["The submitted file is empty."]}),
        ("a.png", b"", "", {"title": BLANK, "image": ["The submitted file is empty."]}),
        ("a.png", b"hello", "t", {"image": NOT_AN_IMAGE}),
        ("a.png", b"hello", "   ", {"title": BLANK, "image": NOT_AN_IMAGE}),
        ("a.xyz", b"hello", "t", {"image": NOT_AN_IMAGE}),
        ("a.png", png()[:50], "t", {"image": NOT_AN_IMAGE}),
        ("a.png", png(), "   ", {"title": BLANK}),
        (
            "a.png",
            png(),
            "x" * 51,
            {"title": ["Ensure this field has no more than 50 characters."]},
        ),
        (
            "n" * 120 + ".png",
            png(),
            "t",
            {"image": ["Ensure this filename has at most 100 characters (it has 124)."]},
        ),
    ],
)
async def test_upload_errors_are_400(
    client: httpx.AsyncClient,
    as_bob: Headers,
    name: str,
    content: bytes,
    title: str,
    errors: Mapping[str, list[str]],
) -> None:
    """Both fields' errors at once; what is no picture is not judged by its name."""
    answer = await send_upload(client, as_bob, name, content, title=title)

    assert_answer(answer, 400, errors)


@pytest.mark.parametrize(("name", "extension"), [("a.xyz", "xyz"), ("abc", ""), (".png", "")])
async def test_a_file_name_that_no_picture_has_is_400(
    client: httpx.AsyncClient, as_bob: Headers, name: str, extension: str
) -> None:
    """In typographic quotes, with the list that this server's Pillow knows."""
    answer = await send_upload(client, as_bob, name)
    text = answer.json()["image"][0]

    assert answer.status_code == 400
    assert text.startswith(
        f"File extension “{extension}” is not allowed. Allowed extensions are: bmp, dib, gif, "
    )
    assert text.endswith(f", {allowed_extensions()[-2]}, dcm.")
    assert "“".encode() in answer.content


async def test_a_file_part_without_a_name_was_not_sent(
    client: httpx.AsyncClient, as_bob: Headers
) -> None:
    """Browsers send an empty file field so."""
    body = b'--x\r\nContent-Disposition: form-data; name="image"; filename=""\r\n\r\n\r\n--x--\r\n'
    answer = await client.post(
        f"{OLD}/upload/",
        content=body,
        headers={**as_bob, "Content-Type": "multipart/form-data; boundary=x"},
    )

    assert_answer(answer, 400, {"title": REQUIRED, "image": ["No file was submitted."]})


async def test_a_file_is_no_title(client: httpx.AsyncClient, as_bob: Headers) -> None:
    """Whatever is in it."""
    answer = await client.post(
        f"{OLD}/upload/",
        files={"title": ("t.txt", b"t"), "image": ("a.png", png())},
        headers=as_bob,
    )

    assert_answer(answer, 400, {"title": NO_TEXT})


async def test_s36_owner_and_findings_sent_by_a_client_are_ignored(
    client: httpx.AsyncClient, as_bob: Headers
) -> None:
    """Q16: the old server let a client give its upload to somebody else."""
    plain = (await send_upload(client, as_bob)).json()
    forged = await send_upload(
        client, as_bob, userperson="1", edema="1.0", heatmap_image="x", id="1"
    )

    assert forged.status_code == 201
    assert forged.json()["userperson"] == plain["userperson"] != 1
    assert forged.json()["edema"] == 0.25


@pytest.mark.parametrize("signed_in", [False, True])
async def test_q17_an_open_upload_belongs_to_user_1(
    client: httpx.AsyncClient, as_bob: Headers, signed_in: bool
) -> None:
    """Whoever sends it."""
    who = as_bob if signed_in else stranger()
    answer = await send_upload(client, who, path="anonupload")
    users = await client.get(f"{OLD}/user/", headers=as_bob)

    assert (answer.status_code, answer.json()["userperson"]) == (201, 1)
    assert users.json()["pastxrays"] == []


async def test_an_x_ray_is_shown_to_its_owner(client: httpx.AsyncClient, as_bob: Headers) -> None:
    """Exactly as the upload answered."""
    uploaded = await send_upload(client, as_bob)
    number = uploaded.json()["id"]
    asked: list[dict[str, Any]] = [
        {"json": {"xray_id": number}},
        {"json": {"xray_id": f" {number} "}},
        {"json": {"xray_id": number + 0.5}},
        {"data": {"xray_id": number}},
        {"files": {"xray_id": (None, str(number))}},
    ]
    answers = [await client.post(f"{OLD}/xray/", headers=as_bob, **body) for body in asked]

    assert [answer.status_code for answer in answers] == [200] * len(asked)
    assert {answer.content for answer in answers} == {uploaded.content}
    assert answers[0].headers["vedette-evidence"] == "demo"


async def test_q11_somebody_elses_x_ray_is_200_with_a_refusal(
    client: httpx.AsyncClient, as_bob: Headers, as_eve: Headers
) -> None:
    """The old client tells it from success by its words."""
    number = (await send_upload(client, as_bob)).json()["id"]
    answer = await client.post(f"{OLD}/xray/", json={"xray_id": number}, headers=as_eve)

    assert_answer(answer, 200, {"response": "You don't have permission to view this."})


@pytest.mark.parametrize(
    "sent",
    [
        {"xray_id": 2**62},
        {"xray_id": 10**30},
        {"xray_id": -1},
        {"xray_id": None},
        {"xray_id": False},
        {"xray_id": "abc"},
        {"xray_id": "1.0"},
        {"xray_id": ""},
        {"xray_id": [1]},
        {"xray_id": {"a": 1}},
        {},
        [1],
        None,
        "1",
    ],
)
async def test_q18_no_such_x_ray_is_404_without_body_and_type(
    client: httpx.AsyncClient, as_bob: Headers, sent: Any
) -> None:
    """Also for what made the old server fail with 500."""
    answer = await client.post(f"{OLD}/xray/", json=sent, headers=as_bob)

    assert (answer.status_code, answer.content) == (404, b"")
    assert "content-type" not in answer.headers
    assert answer.headers["allow"] == "POST, OPTIONS"
    assert answer.headers["vary"] == "Accept, Origin"


async def test_line_separators_of_javascript_are_escaped(
    client: httpx.AsyncClient, as_bob: Headers
) -> None:
    """Everything else beyond ASCII is plain UTF-8."""
    answer = await send_upload(client, as_bob, title="Lungs ünï \u2028 q")

    assert 'Lungs ünï \\u2028 q"'.encode() in answer.content


async def test_q26_the_evidence_policy_holds_on_the_old_wire(bench: Bench, as_bob: Headers) -> None:
    """A clear error instead of figures."""
    async with bench.serve() as client:
        number = (await send_upload(client, as_bob)).json()["id"]
    bench.evidence = "refuse"
    async with bench.serve() as client:
        answers = [
            await send_upload(client, as_bob),
            await client.post(f"{OLD}/xray/", json={"xray_id": number}, headers=as_bob),
        ]

    assert [answer.status_code for answer in answers] == [409, 409]
    assert list(answers[0].json()) == ["detail"]


# Media


async def test_q14_a_picture_is_public_under_its_unguessable_name(
    client: httpx.AsyncClient, as_bob: Headers
) -> None:
    """The name that the upload answered, and no other."""
    address = (await send_upload(client, as_bob)).json()["image"]
    found = await client.get(address, headers=stranger())
    guessed = await client.get("/media/images/a.png", headers=stranger())
    renamed = await client.get(address.replace("a_", "b_"), headers=stranger())
    other_folder = await client.get(address.replace("images", "heatmaps"), headers=stranger())

    assert (found.status_code, found.content) == (200, png())
    assert found.headers["content-type"] == "image/png"
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["x-frame-options"] == "DENY"
    assert [answer.status_code for answer in (guessed, renamed, other_folder)] == [404, 404, 404]


@pytest.mark.parametrize(
    ("name", "content", "extension", "kind"),
    [
        ("a.PNG", png(), "PNG", "image/png"),
        ("a.b.c.jpeg", picture("JPEG"), "jpeg", "image/jpeg"),
        ("lies.jpg", png(), "jpg", "image/jpeg"),
        ("a.bmp", picture("BMP"), "png", "image/png"),
    ],
)
async def test_q15_a_heatmap_is_a_png_or_a_jpeg_by_its_name(
    client: httpx.AsyncClient,
    as_bob: Headers,
    name: str,
    content: bytes,
    extension: str,
    kind: str,
) -> None:
    """Drawn when it is asked for."""
    address = (await send_upload(client, as_bob, name, content)).json()["heatmap_image"]
    heatmap = await client.get(address, headers=stranger())

    assert address.endswith(f".{extension}")
    assert (heatmap.status_code, heatmap.headers["content-type"]) == (200, kind)
    assert heatmap.headers["vedette-evidence"] == "demo"


async def test_q14_what_browsers_do_not_show_is_served_as_png(
    client: httpx.AsyncClient, as_bob: Headers
) -> None:
    """A TIFF or DICOM file would otherwise carry its patient's name to whoever has the address."""
    address = (await send_upload(client, as_bob, "a.tif", picture("TIFF"))).json()["image"]
    image = await client.get(address, headers=stranger())

    assert address.endswith(".png")
    assert image.headers["content-type"] == "image/png"
    assert image.content.startswith(b"\x89PNG")


async def test_q12_a_dicom_file_is_read_and_its_patient_stays_inside(
    client: httpx.AsyncClient, as_bob: Headers
) -> None:
    """Under its own extension, and shown as a PNG."""
    answer = await send_upload(client, as_bob, "MUELLER.dcm", dicom_radiograph())
    image = await client.get(answer.json()["image"], headers=stranger())

    assert answer.status_code == 201
    assert re.fullmatch(r"/media/images/MUELLER_\w{22}\.png", answer.json()["image"])
    assert image.content.startswith(b"\x89PNG")
    assert b"4711" not in image.content


async def test_s60_a_file_name_is_only_ever_a_name(
    client: httpx.AsyncClient, as_bob: Headers
) -> None:
    """Folders, drives, control characters and markup are gone; the rest survives."""
    names = {
        "../../x.png": "x",
        "/etc/passwd.png": "passwd",
        "C:\\temp\\y.png": "y",
        "a\u202egnp.png": "agnp",
        "<img src=x>.png": "img_srcx",
        "é 我.png": "%C3%A9_%E6%88%91",
    }
    for name, stem in names.items():
        address = (await send_upload(client, as_bob, name)).json()["image"]
        served = await client.get(address, headers=stranger())

        assert re.fullmatch(rf"/media/images/{stem}_[0-9A-Za-z]{{22}}\.png", address)
        assert served.status_code == 200


@pytest.mark.parametrize(
    "name",
    ["nope.png", "x" * 300 + ".png", "..%2f..%2fetc%2fpasswd", "%00.png", "a_" + "A" * 22 + ".png"],
)
async def test_an_unknown_media_name_is_404(client: httpx.AsyncClient, name: str) -> None:
    """And no question to the database where there is nothing to look up."""
    answer = await client.get(f"/media/images/{name}", headers=stranger())

    assert answer.status_code == 404
