"""`/docs` in a browser: every operation is drawn, and tried from the page itself."""

from tests.browser import Browser, Page
from tests.e2e.conftest import Platform


def test_the_documentation_shows_every_operation(platform: Platform, browser: Browser) -> None:
    """A viewer that is too old for the document shows an error in its place."""
    with platform.client() as client:
        document = client.get("/openapi.json").json()
    operations = sum(len(path) for path in document["paths"].values())
    with browser.page() as page:
        page.open(f"{platform.base_url}/docs")
        page.wait_for("document.querySelectorAll('.opblock').length > 0", within_s=60)
        drawn = page.evaluate("document.querySelectorAll('.opblock').length")
        complaints = page.complaints

    assert drawn == operations
    assert complaints == []


def execute(page: Page, operation: str) -> str:
    """Open an operation, try it, and return what the page shows of the answer."""
    shown = f"[id$={operation}]"
    page.wait_for(f"document.querySelector('{shown} .opblock-summary-control') !== null")
    page.click(f"{shown} .opblock-summary-control")
    # The example comes last: until then the page is still resolving the document.
    page.wait_for(f"document.querySelector('{shown} .responses-table .highlight-code') !== null")
    page.click(f"{shown} .execute")
    page.wait_for(f"document.querySelector('{shown} .live-responses-table') !== null")
    return page.text(f"{shown} .live-responses-table")


def test_an_operation_can_be_tried(platform: Platform, browser: Browser) -> None:
    """What a person exploring the API does first."""
    with browser.page() as page:
        page.open(f"{platform.base_url}/docs")
        answer = execute(page, "auth_publish_keys")

    assert '"kty": "RSA"' in answer


def test_a_person_can_sign_in_from_the_documentation(platform: Platform, browser: Browser) -> None:
    """The page asks for the token itself, and its next request carries it."""
    with browser.page() as page:
        page.open(f"{platform.base_url}/docs")
        page.wait_for("document.querySelector('.btn.authorize') !== null", within_s=60)
        page.click(".btn.authorize")
        page.wait_for("document.querySelector('#oauth_username') !== null")
        page.fill("#oauth_username", platform.admin_username)
        page.fill("#oauth_password", platform.admin_password)
        page.evaluate(
            "document.querySelector('#oauth_username').closest('.auth-container')"
            ".querySelector('button.authorize').click()"
        )
        page.wait_for("document.querySelector('.auth-container h6')?.innerText === 'Authorized'")
        page.click(".btn-done")
        answer = execute(page, "auth_read_me")

    assert '"username": "admin"' in answer
