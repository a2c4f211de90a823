"""Headers and cursors that no program of ours sends: refused or ignored, never a 500."""

from base64 import urlsafe_b64encode
from collections.abc import Mapping

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.services.chexray.support import png, stranger

OLD = "/api/chexray"
STUDIES = "/api/v2/chexray/studies"
Headers = Mapping[str, str]

CHARSETS = ("undefined", "punycode", "idna", "hex", "unicode_escape", "utf-16", "utf-7", "nonsense")

#: One service answers all examples of a test; nothing that they leave behind matters to the next.
many = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def form(file_name: str = "chest.x-.png") -> bytes:
    """A picture and a title, with the boundary `x`."""
    return (
        b'--x\r\nContent-Disposition: form-data; name="title"\r\n\r\nt-\xe9.\r\n'
        b'--x\r\nContent-Disposition: form-data; name="image"; filename="'
        + file_name.encode()
        + b'"\r\nContent-Type: image/png\r\n\r\n'
        + png()
        + b"\r\n--x--\r\n"
    )


def cursor(text: str) -> str:
    """What a list would have given out for this place."""
    return urlsafe_b64encode(text.encode("utf-8", "replace")).decode().rstrip("=")


async def test_a_charset_that_decodes_nothing_is_a_json_parse_error(
    client: httpx.AsyncClient,
) -> None:
    """In the words of the codec, as the framework had it."""
    answer = await client.post(
        f"{OLD}/login/",
        content=b"{}",
        headers={**stranger(), "Content-Type": "application/json; charset=undefined"},
    )

    assert answer.status_code == 400
    assert answer.json() == {"detail": "JSON parse error - undefined encoding"}


@pytest.mark.parametrize("charset", ["punycode", "idna", "unicode_escape", "x" * 9000])
async def test_json_is_not_decoded_with_what_is_slow_or_no_charset(
    client: httpx.AsyncClient, charset: str
) -> None:
    """Python knows codecs that need a time quadratic in the body; they count as UTF-8 (Q27)."""
    answer = await client.post(
        f"{OLD}/signup/",
        content='{"username":"é-"}'.encode(),
        headers={**stranger(), "Content-Type": f"application/json; charset={charset}"},
    )

    assert answer.status_code == 200
    assert answer.json()["password"] == ["This field is required."]


@pytest.mark.parametrize(
    "parameter", [*(f" charset={charset}" for charset in CHARSETS), '\tCharset*="undefined"']
)
async def test_a_multipart_form_has_no_charset(
    client: httpx.AsyncClient, as_bob: Headers, parameter: str
) -> None:
    """RFC 7578 knows none: whatever is stated, the form is read the same."""
    headers = {**as_bob, "Content-Type": f"multipart/form-data; boundary=x;{parameter}"}
    old = await client.post(f"{OLD}/upload/", content=form(), headers=headers)
    new = await client.post(STUDIES, content=form(), headers=headers)

    assert (old.status_code, old.json()["title"]) == (201, "t-é.")
    assert (new.status_code, new.json()["title"]) == (201, "t-é.")


@pytest.mark.parametrize(
    "accept",
    [
        "application/json; indent*=utf-8''4",
        "application/json; indent*0=4; indent*=5",
        f"application/json; indent*{'9' * 5000}=4",
        f"application/json; indent={'9' * 5000}",
    ],
)
async def test_an_indent_in_an_odd_form_is_none(
    client: httpx.AsyncClient, as_bob: Headers, accept: str
) -> None:
    """The answer is the plain one."""
    answer = await client.get(f"{OLD}/user/", headers={**as_bob, "Accept": accept})

    assert answer.status_code == 200
    assert b"\n" not in answer.content


@pytest.mark.parametrize(
    "place",
    [
        "0001-01-01T00:00:00+23:59 01a1f899d79c789981748022608a643z",
        "0001-01-01T00:00:00+23:59 01a1f899d79c78998174802260 8a643",
        "0001-01-01T00:00:00+23:59 01a1f899d79c789981748022608a643f",
        "9999-12-31T23:59:59-23:59 01a1f899d79c789981748022608a643f",
        "2026-01-01T00:00:00 01a1f899d79c789981748022608a643f",
    ],
)
async def test_a_cursor_beyond_the_calendar_is_422(
    client: httpx.AsyncClient, as_bob: Headers, place: str
) -> None:
    """Like every other cursor that no list gave out."""
    answer = await client.get(STUDIES, params={"cursor": cursor(place)}, headers=as_bob)

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-cursor")


# Whatever else there is

VISIBLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
PARAMETER = st.builds(
    "{}{}={}".format,
    st.sampled_from(["charset", "boundary", "indent", "q", "CharSet", "x"]),
    st.sampled_from(["", "*", "*0", "*0*", "*1", " "]),
    st.one_of(
        st.sampled_from([*CHARSETS, "x", '"x"', "utf-8''4", "undefined''%ff", '"', "1_0", "-1"]),
        VISIBLE,
    ),
)
PARAMETERS = st.lists(st.one_of(PARAMETER, VISIBLE), max_size=4).map("; ".join)


@many
@given(
    path=st.sampled_from([f"{OLD}/signup/", f"{OLD}/login", f"{OLD}/anonupload/", STUDIES]),
    media_type=st.sampled_from(
        ["multipart/form-data", "application/json", "application/x-www-form-urlencoded", "a/b", ""]
    ),
    parameters=PARAMETERS,
    body=st.sampled_from([form(), form("a\u0661.b-"), b"{}", b'{"username":"a-"}', b"--x--", b"="]),
)
@example(
    path=STUDIES,
    media_type="multipart/form-data",
    parameters='boundary=x; char; charset=""set=undefined',
    body=form(),
)
async def test_no_content_type_is_a_500(
    client: httpx.AsyncClient,
    as_bob: Headers,
    path: str,
    media_type: str,
    parameters: str,
    body: bytes,
) -> None:
    content_type = f"{media_type}; boundary=x; {parameters}".strip()
    answer = await client.post(path, content=body, headers={**as_bob, "Content-Type": content_type})

    assert answer.status_code < 500


@many
@given(
    path=st.sampled_from([f"{OLD}/user/", f"{OLD}/login/", f"{STUDIES}/image"]),
    media_type=st.sampled_from(["application/json", "text/html", "*/*", "application/*", "", "/"]),
    parameters=PARAMETERS,
)
async def test_no_accept_header_is_a_500(
    client: httpx.AsyncClient, as_bob: Headers, path: str, media_type: str, parameters: str
) -> None:
    accept = f"{media_type}; {parameters}".strip()
    answer = await client.get(path, headers={**as_bob, "Accept": accept})

    assert answer.status_code < 500


@many
@given(
    text=st.one_of(
        st.text(max_size=60),
        st.builds(
            "{}{}{:+03d}:{:02d} {}".format,
            st.datetimes().map(lambda at: at.isoformat()),
            st.sampled_from(["", "Z", ".5", ":60"]),
            st.integers(-24, 24),
            st.integers(0, 60),
            st.one_of(st.uuids().map(lambda found: found.hex), st.text(max_size=32)),
        ),
    ),
)
async def test_no_cursor_is_a_500(client: httpx.AsyncClient, as_bob: Headers, text: str) -> None:
    answers = [
        await client.get(STUDIES, params={"cursor": found}, headers=as_bob)
        for found in (cursor(text), text.encode("utf-8", "replace").decode())
    ]

    assert {answer.status_code for answer in answers} <= {200, 422}
