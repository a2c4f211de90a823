"""The report as a reader sees it, in a real browser."""

from collections.abc import Generator
from pathlib import Path

import pytest

from shared.evaluation.page import to_html
from shared.evaluation.run import Excluded
from tests.browser import Browser, Page
from tests.shared.evaluation.support import measured, sample


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Generator[Page]:
    """A report, opened from a file."""
    report = tmp_path / "report.html"
    excluded = (Excluded(f"{'long-name' * 20}.png", "refused", "colour"),)
    report.write_text(to_html(measured(sample(), by=("view",), excluded=excluded)), "utf-8")
    with browser.page() as page:
        page.resize(1280, 900)
        page.prefer("light")
        page.open(report.as_uri())
        yield page


def test_the_browser_has_nothing_to_complain_about(page: Page) -> None:
    """No violation of its own content security policy, nothing that failed to load."""
    assert page.complaints == []
    assert page.text("h1") == "stub@1.0"


@pytest.mark.parametrize("width_px", [360, 768, 1280])
def test_nothing_is_wider_than_the_screen(page: Page, width_px: int) -> None:
    """Wide tables scroll by themselves."""
    page.resize(width_px, 800)

    assert page.evaluate("document.documentElement.scrollWidth") <= width_px


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_curves_stand_out_from_the_ground(page: Page, scheme: str) -> None:
    """By at least the contrast that WCAG 2.2 asks for: 4.5 for text, 3 for figures."""
    page.prefer(scheme)
    contrast = """(() => {
      const light = (colour) => {
        const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
          .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const ground = light(getComputedStyle(document.body).backgroundColor);
      return [['p.note', 'color'], ['thead th', 'color'], ['.curve', 'stroke'], ['.level', 'color']]
        .map(([selector, member]) => {
          const own = light(getComputedStyle(document.querySelector(selector))[member]);
          return (Math.max(own, ground) + 0.05) / (Math.min(own, ground) + 0.05);
        });
    })()"""
    note, head, curve, level = page.evaluate(contrast)

    assert min(note, head, level) >= 4.5
    assert curve >= 3
