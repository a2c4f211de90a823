"""A browser for the console's tests, and a platform that answers it."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.browser import Browser, Page
from tests.console.reader import Reader
from tests.console.stub import StubPlatform, radiograph, running_stub


@pytest.fixture
def platform() -> Generator[StubPlatform]:
    """A platform with its own state."""
    with running_stub() as platform:
        yield platform


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    """Where the browser puts what it downloads."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    return folder


@pytest.fixture
def page(browser: Browser, downloads: Path) -> Generator[Page]:
    """A fresh tab as wide as a desk's."""
    with browser.page(downloads=downloads) as page:
        page.resize(1280, 900)
        page.prefer("light")
        yield page


@pytest.fixture
def reader(page: Page, platform: StubPlatform, tmp_path: Path) -> Reader:
    """Somebody who uses the console, and who holds a drawn radiograph."""
    picture = tmp_path / "chest.png"
    picture.write_bytes(radiograph())
    return Reader(page, platform, picture)
