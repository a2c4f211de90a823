"""Photograph the console of a running platform: `python -m docs.screenshot URL …`.

Signs in, reads one picture, opens the heatmap of the finding that is furthest over its operating
point and writes a PNG. Without a picture it draws a chest: real radiographs belong to patients.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageFilter

from services.chexray.training.phantom import chest_phantom
from tests.browser import BrowserFailed, Page, find_chromium, running_browser

MAX_BYTES = 300 * 1024
_READING_DEADLINE_S = 120.0
_COLOURS = 256
_SIDE_PX = 768
#: The place in the list of the finding whose bar reaches furthest, measured by its tick.
_FURTHEST = """
[...document.querySelectorAll('.bar-track')]
  .map(({ children: [fill, tick] }) => parseFloat(fill.style.width) / parseFloat(tick.style.left))
  .reduce((best, reach, at, all) => (reach > all[best] ? at : best), 0)
"""


def draw_chest() -> Image.Image:
    """A chest with a large heart, softer and paler than the test vectors, as radiographs are."""
    chest = chest_phantom(heart_radius=0.22, effusion=0.6).resize((_SIDE_PX, _SIDE_PX))
    soft = chest.filter(ImageFilter.GaussianBlur(_SIDE_PX / 96))
    return soft.point([round(128 + (level - 128) * 0.5) for level in range(256)])


def photograph(page: Page, url: str, user: str, password: str, image: Path) -> None:
    """Lead the page from the sign-in to a read study with its map."""
    page.open(url)
    page.wait_for("!document.getElementById('sign-in').hidden")
    page.fill("#username", user)
    page.fill("#password", password)
    page.click("#sign-in-button")
    page.wait_for("!document.getElementById('workspace').hidden")
    page.choose_file("#image", image)
    page.fill("#title", "Drawn chest, frontal")
    page.click("#upload-button")
    page.wait_for(
        "!document.getElementById('study').hidden && radiograph.complete"
        " && radiograph.naturalWidth > 0",
        within_s=_READING_DEADLINE_S,
    )
    chosen = page.evaluate(_FURTHEST)
    page.click(f"#map-choices label:nth-child({chosen + 2}) input")
    page.wait_for("!heatmap.hidden && heatmap.complete && heatmap.naturalWidth > 0")
    page.wait_for("document.getElementById('health-summary').textContent === 'Ready'")
    page.evaluate("document.activeElement.blur()")


def write_small(png: Path) -> None:
    """Reduce a PNG's colours where it is larger than a repository should hold."""
    if png.stat().st_size > MAX_BYTES:
        with Image.open(png) as picture:
            picture.convert("RGB").quantize(_COLOURS).save(png, optimize=True)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="docs.screenshot", description=__doc__)
    parser.add_argument("url", help="the platform's address, http://127.0.0.1:8000/")
    parser.add_argument("--user", required=True)
    parser.add_argument("--password", required=True)
    parser.add_argument("--image", type=Path, help="a drawn chest if unset")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scheme", choices=("light", "dark"), default="light")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=860)
    arguments = parser.parse_args()
    program = find_chromium()
    if program is None:
        sys.stderr.write("No Chromium is installed.\n")
        return 1
    with (
        tempfile.TemporaryDirectory() as folder,
        running_browser(program) as browser,
        browser.page() as page,
    ):
        image = arguments.image
        if image is None:
            image = Path(folder) / "chest.png"
            draw_chest().save(image)
        page.resize(arguments.width, arguments.height)
        page.prefer(arguments.scheme)
        try:
            photograph(page, arguments.url, arguments.user, arguments.password, image.resolve())
        except BrowserFailed as error:
            sys.stderr.write(f"{error}\n")
            return 1
        arguments.out.write_bytes(page.screenshot())
    write_small(arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
