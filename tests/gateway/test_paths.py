"""The path that the policy reads is the path that a service routes on."""

from urllib.parse import unquote

import httptools
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.responses import Response
from starlette.routing import Match, Router
from starlette.routing import Route as StarletteRoute

from gateway.errors import RefusedRequest
from gateway.matching import Policy
from gateway.paths import check_query, read_path
from gateway.policy import TABLE
from shared.problems import NotFound

POLICY = Policy(TABLE)
_PIECES = [
    "/", "//", ".", "..", "%2e", "%2E%2e", "%252e", "%2f", "%5c", "\\", ";x", "%3b", "%00", "%0a",
    "%ff", "%c3%a9", "%C3", "é", "~", "a", "A", "%61", "%41", "api", "v2", "chexray", "studies",
    "media", "images", "login", "auth", "token", "internal", "%69nternal", "x.png", " ", "%20", "+",
    "%25", "%2", "%", "#f", "?q", "@", ":", "*", "..;", "...", "%7f", "docs", "openapi.json",
]  # fmt: skip
_paths = st.lists(st.sampled_from(_PIECES), min_size=1, max_size=9).map(
    lambda parts: "/" + "".join(parts)
)
_real_paths = st.sampled_from(
    [route.path.replace("**", "a/b").replace("{name}", "x.png") for route in TABLE]
)


async def _nothing(_: object) -> Response:
    return Response()


#: What FastAPI would route on, row by row.
_ROUTERS = {
    route.path: Router(
        [
            StarletteRoute(
                route.path.replace("**", "{rest:path}"),
                _nothing,
                methods=sorted(route.methods),
            )
        ]
    )
    for route in TABLE
}


def _starlette_matches(row: str, path: str) -> bool:
    scope = {"type": "http", "method": "GET", "path": path, "root_path": "", "headers": []}
    (route,) = _ROUTERS[row].routes
    return route.matches(scope)[0] is not Match.NONE


@settings(max_examples=1500, deadline=None)
@given(_paths)
@example("/api/v2/chexray/%2e%2e/auth/users")
@example("/api/v2/chexray/..;/x")
@example("/%61pi/v2/chexray/studies")
def test_an_accepted_path_is_read_alike_by_the_server_behind(target: str) -> None:
    """Uvicorn splits and decodes what arrives; Starlette routes on the result."""
    raw = target.encode()
    try:
        path = read_path(raw)
    except RefusedRequest:
        return

    behind = unquote(httptools.parse_url(raw).path.decode("ascii"))

    assert path == behind
    assert httptools.parse_url(raw).path == raw
    assert not {".", ".."} & set(path.split("/"))
    assert "//" not in path
    assert not set(path) & set("\\;\x00%?#")


@settings(max_examples=800, deadline=None)
@given(st.one_of(_paths, _real_paths))
def test_the_policys_row_is_the_route_that_runs(target: str) -> None:
    """Envoy CVE-2021-29492, Traefik stripPrefix and their kin: policy for one, code of another."""
    try:
        route = POLICY.find(read_path(target.encode()))
    except (RefusedRequest, NotFound):
        return

    path = unquote(target)

    assert _starlette_matches(route.path, path)
    literal = [row for row in _ROUTERS if "{" not in row and "*" not in row]
    assert all(not _starlette_matches(row, path) for row in literal if row not in (route.path,))


@pytest.mark.parametrize(
    "raw",
    [
        b"//x", b"/a//b", b"/a/./b", b"/a/../b", b"/..", b"/.", b"/a/%2e%2e/b", b"/a/%2E/b",
        b"/a%2fb", b"/a%5cb", b"/a\\b", b"/a;b", b"/a%3bb", b"/a%00b", b"/a%0d%0ab", b"/a%252e",
        b"/a%25", b"/a%zz", b"/a%2", b"/a%ff", b"/\xc3\xa9", b"a", b"", b"*", b"http://x/a",
        b"/a b", b"/a%7f", b"/a%c2%85b", b"/a%e2%80%a8b", b"/a%23b", b"/a%3fb",
    ],
)  # fmt: skip
def test_a_path_that_could_be_read_twice_is_refused(raw: bytes) -> None:
    with pytest.raises(RefusedRequest):
        read_path(raw)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/", "/"),
        (b"/.well-known/jwks.json", "/.well-known/jwks.json"),
        (b"/media/images/a%20b.png", "/media/images/a b.png"),
        (b"/media/images/%C3%A9.png", "/media/images/é.png"),
        (b"/%61pi", "/api"),
        (b"/a...b/", "/a...b/"),
    ],
)
def test_an_ordinary_path_is_decoded_once(raw: bytes, path: str) -> None:
    assert read_path(raw) == path


@pytest.mark.parametrize("query", [b"a=\x80", b"a=\x01", b"a b", b"a#b"])
def test_a_query_is_printable(query: bytes) -> None:
    with pytest.raises(RefusedRequest):
        check_query(query)
