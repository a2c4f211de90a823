"""The console's files hold nothing that a strict gateway or a network without internet refuses."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.console.stub import CONSOLE

FILES = sorted(CONSOLE.iterdir())
SCRIPTS = sorted(CONSOLE.glob("*.js"))
PAGE = CONSOLE / "index.html"
#: Ways for text to become markup or code.
_SINKS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|setHTMLUnsafe|createContextualFragment"
    r"|DOMParser|\beval\b|new Function|srcdoc|setAttribute\(\s*[\"'](style|on|href|src)|javascript:"
)
_STORES = re.compile(r"localStorage|sessionStorage|indexedDB|document\.cookie|caches\.")


class Markup(HTMLParser):
    """What the page's markup names."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.pointers: set[str] = set()
        self.addresses: list[str] = []
        self.attributes: set[str] = set()
        self.inline: list[str] = []
        self._inside = ""
        self.feed(PAGE.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element names."""
        found = {name: value or "" for name, value in attrs}
        self._inside = tag
        self.attributes |= found.keys()
        self.ids += [found["id"]] if "id" in found else []
        for name in ("for", "aria-labelledby", "aria-describedby"):
            self.pointers |= set(found.get(name, "").split())
        self.addresses += [found[name] for name in ("src", "href", "action") if name in found]

    def handle_data(self, data: str) -> None:
        """Note the content of elements that may have none."""
        if self._inside in ("script", "style") and data.strip():
            self.inline.append(data)

    def handle_endtag(self, tag: str) -> None:
        """Leave the element."""
        self._inside = ""


@pytest.fixture(scope="module")
def markup() -> Markup:
    """The page, parsed."""
    return Markup()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_nothing_comes_from_another_server(file: Path) -> None:
    """Hospitals and mines have no internet; a namespace's name is not an address."""
    text = file.read_text().replace("http://www.w3.org/2000/svg", "")

    assert not re.search(r"(https?:)?//[\w-]+\.", text)
    assert "@import" not in text


def test_no_script_or_style_is_inline(markup: Markup) -> None:
    """The content security policy would refuse it."""
    assert markup.inline == []
    assert not [name for name in markup.attributes if name == "style" or name.startswith("on")]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda file: file.name)
def test_text_never_becomes_markup(script: Path) -> None:
    """Titles and file names are what somebody typed."""
    assert not _SINKS.search(script.read_text())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda file: file.name)
def test_no_script_keeps_anything_in_the_browser(script: Path) -> None:
    """Tokens and pictures end with the page."""
    assert not _STORES.search(script.read_text())


def test_every_id_is_given_once(markup: Markup) -> None:
    """A second one would never be found."""
    assert len(markup.ids) == len(set(markup.ids))


def test_every_id_that_is_used_exists(markup: Markup) -> None:
    """Scripts, labels and descriptions point at elements of this page."""
    used = set(markup.pointers)
    for script in SCRIPTS:
        calls = r"(?:getElementById|element)\(\s*\"([\w-]+)\"\s*\)"
        used |= set(re.findall(calls, script.read_text()))
    used |= {address[1:] for address in markup.addresses if address.startswith("#")}

    assert used <= set(markup.ids)
    assert len(used) > 40


def test_every_class_that_scripts_look_for_is_in_the_page() -> None:
    """Templates and scripts agree on their parts."""
    page = PAGE.read_text()
    row_parts = ["name", "verdict", "value", "bar-fill", "bar-tick", "point"]
    list_parts = ["study-title", "study-time", "study-summary"]
    problem_parts = ["problem-title", "problem-detail", "problem-request", "problem-dismiss"]

    for part in row_parts + list_parts + problem_parts:
        assert re.search(rf'class="[^"]*\b{part}\b', page), part


def test_every_file_that_is_named_exists(markup: Markup) -> None:
    """Addresses are relative, so that the page also works below a prefix."""
    local = [address for address in markup.addresses if address.startswith("console/")]
    imported = [
        name for script in SCRIPTS for name in re.findall(r'from "\./([\w.]+)"', script.read_text())
    ]

    assert {"console/console.css", "console/console.js"} <= set(local)
    for name in [address.removeprefix("console/") for address in local] + imported:
        assert (CONSOLE / name).is_file()


def test_the_files_are_small() -> None:
    """A page without a build step stays one that can be read."""
    assert sum(file.stat().st_size for file in FILES) < 100_000
