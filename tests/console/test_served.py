"""The console as the real gateway serves it, with its policy, its headers and its checks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from starlette.types import Receive, Scope, Send

from tests.browser import Browser
from tests.console.reader import Reader
from tests.console.stub import CONSOLE, SCOPES, StubPlatform, radiograph
from tests.console.stub import Asked as PageAsked
from tests.gateway.support import Rig, StubService, access_token, answer, read, rig

#: What the gateway asks for itself.
_ITS_OWN = frozenset({"/livez", "/readyz", "/.well-known/jwks.json"})


@dataclass
class Behind:
    """The services behind the gateway: the console's stub, and keys for the gateway."""

    platform: StubPlatform
    service: StubService = field(default_factory=StubService)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"] in _ITS_OWN:
            await self.service(scope, receive, send)
            return
        headers = Message()
        for name, value in scope["headers"]:
            headers[name.decode()] = value.decode("latin-1")
        # The gateway has taken the token and vouches for the caller; the stub wants one of its own.
        headers["Authorization"] = "Bearer access-0"
        query = {
            name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()
        }
        body = await read(receive, None)
        asked = PageAsked(scope["method"], scope["path"], query, headers, body)
        given = self.platform.answer(asked)
        await answer(
            send,
            given.body,
            status=given.status,
            headers=[(b"content-type", given.media_type.encode())],
        )


@pytest.fixture
def behind() -> Behind:
    """Services that take the tokens that the gateway can check."""
    return Behind(StubPlatform(mint=lambda _: access_token(scopes=frozenset(SCOPES))))


@pytest.fixture
def gateway(behind: Behind, tmp_path: Path) -> Iterator[Rig]:
    """A real gateway before them."""
    with rig(tmp_path / "keys", behind, rate_limit_scale=1000) as gateway:
        behind.platform.url = f"{gateway.url}/"
        yield gateway


def test_a_radiograph_is_read_through_the_gateway(
    browser: Browser, gateway: Rig, behind: Behind, tmp_path: Path
) -> None:
    """Sign-in, multipart upload, heatmap: under the gateway's policy, without a complaint."""
    picture = tmp_path / "chest.png"
    picture.write_bytes(radiograph())
    with browser.page() as page:
        reader = Reader(page, behind.platform, picture)
        reader.sign_in()
        reader.read("Ward 7")
        reader.wait_for_picture("radiograph")
        reader.look_at("cardiomegaly")
        reader.wait_for_picture("heatmap")

        assert page.complaints == []
        assert page.text("#health-summary") == "Ready"
        assert "gateway ready" in page.text("#health-list")
        assert page.text("#study-heading") == "Ward 7"


def test_every_file_is_served_and_checked_again_each_time(gateway: Rig) -> None:
    """A cached module beside a newer page would fail in ways that nobody can reproduce."""
    files = [file for file in CONSOLE.iterdir() if file.suffix != ".html"]
    answers = {file.name: gateway.get(f"/console/{file.name}") for file in files}

    assert {name: found.status_code for name, found in answers.items()} == dict.fromkeys(
        answers, 200
    )
    assert {found.headers["cache-control"] for found in answers.values()} == {"no-cache"}
    assert answers["console.js"].headers["content-type"].startswith("text/javascript")


def test_the_page_may_not_be_framed_and_runs_no_inline_script(gateway: Rig) -> None:
    """What the page relies on."""
    policy = gateway.get("/").headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))

    assert rules["script-src"] == "'self'"
    assert rules["frame-ancestors"] == "'none'"
    assert "blob:" in rules["img-src"].split()
