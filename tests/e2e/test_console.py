"""The console on the whole platform: a person, a browser, a radiograph of nobody."""

import io
from pathlib import Path

from PIL import Image

from tests.browser import Browser
from tests.console.stub import radiograph
from tests.e2e.conftest import Platform


def test_a_person_signs_in_and_reads_a_radiograph(
    platform: Platform, browser: Browser, tmp_path: Path
) -> None:
    """From the sign-in to a heatmap and back to the sign-in, without a complaint.

    The file is a TIFF, which no browser shows: the platform draws it.
    """
    picture = tmp_path / "chest.tif"
    Image.open(io.BytesIO(radiograph())).save(picture)
    with browser.page() as page:
        page.resize(1280, 900)
        page.open(platform.base_url)
        page.wait_for("document.getElementById('sign-in').checkVisibility()")
        page.fill("#username", platform.admin_username)
        page.fill("#password", platform.admin_password)
        page.click("#sign-in-button")
        page.wait_for("document.getElementById('workspace').checkVisibility()")
        page.choose_file("#image", picture)
        page.fill("#title", "Drawn chest")
        page.click("#upload-button")
        page.wait_for("document.getElementById('study').checkVisibility()", within_s=60)
        page.wait_for("radiograph.complete && radiograph.naturalWidth > 0")
        findings = page.evaluate("document.querySelectorAll('.finding').length")
        page.click('#map-choices input[value="cardiomegaly"]')
        page.wait_for("!heatmap.hidden && heatmap.complete && heatmap.naturalWidth > 0")
        page.wait_for("document.getElementById('health-summary').textContent === 'Ready'")
        heading = page.text("#study-heading")
        page.click("#sign-out")
        page.wait_for("document.getElementById('sign-in').checkVisibility()")

        assert page.complaints == []
        assert heading == "Drawn chest"
        assert findings == 5
