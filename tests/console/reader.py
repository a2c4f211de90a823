"""What a person does with the console, a step at a time."""

from dataclasses import dataclass
from pathlib import Path

from tests.browser import Page
from tests.console.stub import PASSWORD, StubPlatform


@dataclass(frozen=True, slots=True)
class Reader:
    """Uses `page`, which `platform` serves."""

    page: Page
    platform: StubPlatform
    picture: Path

    def arrive(self) -> None:
        """Open the page."""
        self.page.open(self.platform.url)
        self.page.wait_for("!document.getElementById('sign-in').hidden")
        self.page.wait_for("document.getElementById('health-summary').dataset.state")

    def offer(self, password: str) -> None:
        """Fill the sign-in form and send it."""
        self.page.fill("#username", "dr.okafor")
        self.page.fill("#password", password)
        self.page.click("#sign-in-button")

    def sign_in(self) -> None:
        """Arrive and sign in."""
        self.arrive()
        self.offer(PASSWORD)
        self.page.wait_for("!document.getElementById('workspace').hidden")
        self.page.wait_for("document.getElementById('more').disabled === false")

    def send(self, title: str = "Ward 7") -> None:
        """Choose the picture and send it."""
        self.page.choose_file("#image", self.picture)
        self.page.fill("#title", title)
        self.page.click("#upload-button")

    def read(self, title: str = "Ward 7") -> None:
        """Send the picture and wait for the study."""
        self.send(title)
        self.page.wait_for("!document.getElementById('study').hidden")

    def look_at(self, label: str) -> None:
        """Choose what the picture shows; an empty label is the radiograph alone."""
        self.page.click(f'#map-choices input[value="{label}"]')

    def wait_for_picture(self, which: str) -> None:
        """Wait until `#radiograph` or `#heatmap` is drawn."""
        self.page.wait_for(f"{which}.complete && {which}.naturalWidth > 0 && !{which}.hidden")

    def notice(self) -> str:
        """Wait for a notice and read it."""
        self.page.wait_for("document.querySelector('#notices .problem')")
        return self.page.text("#notices")
