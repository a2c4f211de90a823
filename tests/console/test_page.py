"""The console in a real browser, against a platform that knows its answers."""

from pathlib import Path

import pytest

from services.chexray.domain import GateReason
from tests.browser import Browser
from tests.console.reader import Reader
from tests.console.stub import STUDIES, Answer
from tests.holding import eventually

TOKEN = "/api/v2/auth/token"
BODY_TEXT = "document.body.innerText"
#: Contrast of every visible text with what lies behind it (WCAG 2.2, 1.4.3); those below 4.5.
POOR_CONTRAST = """
(() => {
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return { rgb: [r, g, b], a };
  };
  const luminance = ({ rgb }) => {
    const [r, g, b] = rgb.map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.a === 1) return colour;
    }
    return { rgb: [255, 255, 255] };
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const pair = [luminance(parse(style.color)), luminance(behind(element))];
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    if (ratio < 4.5) poor.push(`${walker.currentNode.data.trim()}: ${ratio.toFixed(2)}`);
  }
  return poor;
})()
"""
#: The accessible names of everything that can be reached, in the browser's own words.
UNNAMED = """
[...document.querySelectorAll('button, input, a, select, textarea')]
  .filter((part) => part.checkVisibility())
  .filter((part) => !(part.innerText?.trim() || part.labels?.length || part.ariaLabel))
  .map((part) => part.outerHTML)
"""


def test_the_page_loads_under_a_strict_policy(reader: Reader) -> None:
    """No inline script or style, no outside address, no text that becomes markup."""
    reader.sign_in()
    reader.read()
    reader.look_at("cardiomegaly")
    reader.wait_for_picture("heatmap")

    assert reader.page.complaints == []


def test_the_health_of_each_service_is_shown(reader: Reader) -> None:
    """In words, beside the coloured dot."""
    reader.arrive()

    assert reader.page.text("#health-summary") == "Ready"
    assert reader.page.text("#health-list").split("\n") == [
        "auth ready",
        "chexray ready",
        "gateway ready",
    ]


def test_a_service_that_is_not_ready_is_named_with_what_it_lacks(reader: Reader) -> None:
    """A 503 of `/readyz` is an answer, not an error."""
    reader.platform.ready = False
    reader.arrive()

    assert reader.page.text("#health-summary") == "Not ready: chexray"
    assert "chexray lacks network" in reader.page.text("#health-list")


def test_signing_in_shows_who_is_signed_in(reader: Reader) -> None:
    """And nothing of the password stays in the page."""
    reader.sign_in()

    assert reader.page.text("#account-name") == "dr.okafor"
    assert reader.page.evaluate("document.getElementById('password').value") == ""
    assert reader.platform.of("POST", TOKEN)[0].form["grant_type"] == "password"


def test_a_wrong_password_is_told_as_the_server_says_it(reader: Reader) -> None:
    """Title, detail and the request's id, for whoever has to look it up."""
    reader.arrive()
    reader.offer("wrong")

    notice = reader.notice()
    assert "Credentials not accepted" in notice
    assert "The user name or password is wrong." in notice
    assert "Request 0af7651916cd43dd" in notice


def test_a_refusal_that_is_no_problem_document_still_gives_its_status(reader: Reader) -> None:
    """Refusals below the application may be plain text."""
    reader.platform.instead["POST", TOKEN] = [Answer(502, b"Bad gateway", "text/plain")]
    reader.arrive()
    reader.offer("anything")

    assert "The server answered 502" in reader.notice()


def test_a_server_that_goes_away_is_said_plainly(reader: Reader) -> None:
    """The browser's own words for it help nobody."""
    reader.arrive()
    reader.page.call("Network.emulateNetworkConditions", **_OFFLINE)
    reader.offer("anything")

    assert "The server could not be reached" in reader.notice()


_OFFLINE = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}


def test_nothing_is_kept_in_the_browser(reader: Reader) -> None:
    """A token in memory ends with the page."""
    reader.sign_in()
    reader.read()

    stored = reader.page.evaluate(
        "indexedDB.databases().then((found) => [localStorage.length, sessionStorage.length,"
        " document.cookie, found.length])"
    )
    assert stored == [0, 0, "", 0]


def test_an_upload_sends_the_file_and_its_title_once(reader: Reader) -> None:
    """With the token, and with a key that makes a repetition harmless."""
    reader.sign_in()
    reader.read("Ward 7")

    (sent,) = reader.platform.of("POST", STUDIES)
    assert sent.parts == {"image": reader.picture.read_bytes(), "title": b"Ward 7"}
    assert sent.headers["Authorization"] == "Bearer access-1"
    assert len(sent.headers["Idempotency-Key"]) == 32


def test_an_upload_that_failed_is_repeated_with_the_same_key(reader: Reader) -> None:
    """The server may have read the picture although its answer was lost."""
    reader.platform.instead["POST", STUDIES] = [
        Answer.problem(503, "Temporarily unavailable", "Come back.", Retry_After="3")
    ]
    reader.sign_in()
    reader.send()
    notice = reader.notice()
    reader.page.click("#upload-button")
    reader.page.wait_for("!document.getElementById('study').hidden")

    assert "Come back. Try again in 3 s." in notice
    first, second = reader.platform.of("POST", STUDIES)
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]


def test_the_next_upload_has_a_key_of_its_own(reader: Reader) -> None:
    """Or it would be answered with the study before."""
    reader.sign_in()
    reader.read("first")
    reader.send("second")
    reader.page.wait_for("document.getElementById('study-heading').textContent === 'second'")

    first, second = reader.platform.of("POST", STUDIES)
    assert first.headers["Idempotency-Key"] != second.headers["Idempotency-Key"]


def test_an_upload_can_be_cancelled(reader: Reader) -> None:
    """Which is no error, and the chosen file can be sent again."""
    reader.sign_in()
    reader.page.call("Network.emulateNetworkConditions", **_SLOW)
    reader.send()
    reader.page.wait_for("document.getElementById('progress').checkVisibility()")
    progress = reader.page.text("#progress-text")
    reader.page.click("#upload-cancel")
    reader.page.wait_for("!document.getElementById('progress').checkVisibility()")

    assert progress == "Sending the picture …"
    assert reader.page.text("#notices") == ""
    assert reader.page.text("#image-name") == "chest.png"
    assert not reader.page.evaluate("document.getElementById('upload-button').disabled")


_SLOW = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 1000}


def test_a_file_can_be_dropped(reader: Reader) -> None:
    """Onto the field; beside it the browser does not leave the page for the file."""
    reader.sign_in()
    left_to_the_browser = reader.page.evaluate(_DROPPED % ("body", "beside.png"))
    beside = reader.page.text("#image-name")
    reader.page.evaluate(_DROPPED % ("#drop", "dropped.dcm"))

    assert not left_to_the_browser
    assert beside == "Choose a frontal chest radiograph"
    assert reader.page.text("#image-name") == "dropped.dcm"


_DROPPED = """
(() => {
  const target = document.querySelector("%s");
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File(["DICM"], "%s"));
  const options = { dataTransfer, bubbles: true, cancelable: true };
  return target.dispatchEvent(new DragEvent("drop", options));
})()
"""


def test_findings_are_shown_in_words_and_numbers(reader: Reader) -> None:
    """Colour alone tells some readers nothing."""
    reader.sign_in()
    reader.read()

    rows = reader.page.evaluate(
        "[...document.querySelectorAll('.finding')].map((row) =>"
        " ['name', 'verdict', 'value', 'point'].map((part) =>"
        " row.querySelector('.' + part).textContent))"
    )
    assert rows == [
        ["Atelectasis", "Negative", "0.310", "Operating point 0.420"],
        ["Cardiomegaly", "Positive", "0.870", "Operating point 0.380"],
        ["Consolidation", "Negative", "0.090", "Operating point 0.270"],
        ["Edema", "Negative", "0.440", "Operating point 0.510"],
        ["Pleural effusion", "Positive", "0.630", "Operating point 0.470"],
    ]


def test_bars_and_ticks_stand_at_their_values(reader: Reader) -> None:
    """The bar's length is the probability, the tick's place the operating point."""
    reader.sign_in()
    reader.read()

    shares = reader.page.evaluate(
        "[...document.querySelectorAll('.bar-track')].map((track) => {"
        " const inner = track.clientWidth;"
        " const tick = track.querySelector('.bar-tick').getBoundingClientRect();"
        " const left = track.getBoundingClientRect().left + track.clientLeft;"
        " return [track.querySelector('.bar-fill').clientWidth / inner,"
        "  (tick.left + tick.width / 2 - left) / inner]; })"
    )
    flat = [value for pair in shares for value in pair]
    assert flat == pytest.approx(
        [0.31, 0.42, 0.87, 0.38, 0.09, 0.27, 0.44, 0.51, 0.63, 0.47], abs=0.01
    )


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        ("demo", "Demo grade: not for diagnosis."),
        ("research", "Do not base a diagnosis on it."),
        ("validated", "It supports a reader and does not replace one."),
        ("rules", "This answer comes from fixed rules"),
        ("something new", "Nothing is known about the accuracy of this answer."),
    ],
)
def test_the_evidence_level_is_explained(reader: Reader, evidence: str, words: str) -> None:
    """An unknown level is never taken for a good one."""
    reader.platform.evidence = evidence
    reader.sign_in()
    reader.read()

    assert words in reader.page.text("#evidence")


def test_the_network_and_its_calibration_are_named(reader: Reader) -> None:
    """A number is worth what its network is worth."""
    reader.sign_in()
    reader.read()

    assert reader.page.text("#model") == "chexray-mobilenet@1.0"
    assert reader.page.text("#calibration").startswith("Not calibrated")


def test_a_refused_picture_is_shown_with_reasons_and_advice(reader: Reader) -> None:
    """And without a number, an evidence level or a report."""
    reader.platform.reasons = (GateReason.NO_LUNG_FIELDS, GateReason.COLOUR)
    reader.sign_in()
    reader.read()
    reader.wait_for_picture("radiograph")

    text = reader.page.text("#study")
    assert "Two dark lung fields beside a bright midline were not found." in text
    assert "Send the radiograph itself, not a photograph of a screen or film." in text
    assert "Findings" not in text
    assert "Demo grade" not in text
    assert "DICOM report" not in text


def test_every_gate_reason_has_advice() -> None:
    """A reason without a way out leaves a reader alone."""
    words = (Path(__file__).parents[2] / "console" / "wording.js").read_text()

    missing = [reason for reason in GateReason if f"{reason}:" not in words.replace('"', "")]
    assert missing == []


def test_a_heatmap_is_fetched_with_the_token_and_shown_over_the_picture(reader: Reader) -> None:
    """An address in an `<img>` could carry no token; a blob needs none."""
    reader.sign_in()
    reader.read()
    reader.look_at("pleural_effusion")
    reader.wait_for_picture("heatmap")

    (asked,) = reader.platform.of("GET", reader.platform.studies[0]["heatmap_url"])
    assert asked.query == {"label": "pleural_effusion"}
    assert asked.headers["Authorization"] == "Bearer access-1"
    assert reader.page.evaluate("heatmap.src.startsWith('blob:')")
    assert "pleural effusion" in reader.page.evaluate("heatmap.alt")


def test_a_map_that_was_seen_is_not_fetched_again(reader: Reader) -> None:
    """Toggling is how two maps are compared."""
    reader.sign_in()
    reader.read()
    for label in ("edema", "", "atelectasis", "edema"):
        reader.look_at(label)
        reader.wait_for_picture("heatmap" if label else "radiograph")

    labels = [
        asked.query["label"]
        for asked in reader.platform.of("GET", reader.platform.studies[0]["heatmap_url"])
    ]
    assert labels == ["edema", "atelectasis"]


def test_the_overlay_fades_with_its_slider(reader: Reader) -> None:
    """Below it lies the radiograph."""
    reader.sign_in()
    reader.read()
    reader.wait_for_picture("radiograph")
    reader.look_at("edema")
    reader.wait_for_picture("heatmap")
    reader.page.evaluate("strength.value = 40, strength.dispatchEvent(new Event('input'))")

    assert reader.page.evaluate("getComputedStyle(heatmap).opacity") == "0.4"
    assert reader.page.evaluate("radiograph.checkVisibility()")


def test_a_picture_that_browsers_do_not_draw_is_said_to_be_one(reader: Reader) -> None:
    """The map, which the server draws, is still shown, and at full strength."""
    reader.platform.image_type = "application/dicom"
    reader.sign_in()
    reader.read()
    reader.page.wait_for("document.getElementById('picture-state').textContent.includes('do not')")
    reader.look_at("cardiomegaly")
    reader.wait_for_picture("heatmap")

    assert not reader.page.evaluate("radiograph.checkVisibility()")
    assert reader.page.evaluate("getComputedStyle(heatmap).opacity") == "1"


def test_the_report_is_downloaded_under_the_studys_name(reader: Reader, downloads: Path) -> None:
    """A plain link could not carry the token."""
    reader.sign_in()
    reader.read()
    reader.page.click("#report")
    study = reader.platform.studies[0]
    report = downloads / f"study-{study['id']}.dcm"

    assert eventually(report.exists, within_s=10)
    assert report.read_bytes().endswith(b"DICM")


def test_what_somebody_typed_stays_text(reader: Reader) -> None:
    """In titles, in lists and in what a server sends back as an error."""
    markup = "<img src=x onerror=document.title='gone'><b>bold</b>"
    reader.platform.add(markup)
    reader.platform.instead["GET", f"{STUDIES}/{reader.platform.studies[0]['id']}"] = [
        Answer.problem(400, markup, markup)
    ]
    reader.sign_in()
    reader.page.click(".study-button")
    notice = reader.notice()
    reader.read(markup)

    assert markup in notice
    assert reader.page.text("#study-heading") == markup
    assert reader.page.text(".study-title") == markup
    assert reader.page.evaluate("document.querySelectorAll('b').length") == 0
    assert reader.page.evaluate("document.title") == "Vedette"


def test_past_studies_come_a_page_at_a_time(reader: Reader) -> None:
    """Newest first, until there are no more."""
    for number in range(1, 24):
        reader.platform.add(f"Study {number}")
    reader.sign_in()
    for shown in (20, 23):
        reader.page.click("#more")
        reader.page.wait_for(f"document.querySelectorAll('.study-button').length === {shown}")

    titles = reader.page.evaluate(
        "[...document.querySelectorAll('.study-title')].map((title) => title.textContent)"
    )
    assert titles == [f"Study {number}" for number in range(23, 0, -1)]
    assert not reader.page.evaluate("more.checkVisibility()")


def test_a_past_study_opens_and_is_marked(reader: Reader) -> None:
    """For ears as for eyes, with the focus at its head."""
    reader.platform.add("old")
    reader.platform.add("new")
    reader.sign_in()
    reader.page.click("#studies li:nth-child(2) button")
    reader.page.wait_for("document.getElementById('study-heading').textContent === 'old'")

    assert reader.page.text("[aria-current] .study-title") == "old"
    assert reader.page.evaluate("document.activeElement.id") == "study-heading"


def test_findings_that_are_withheld_are_said_to_be(reader: Reader) -> None:
    """They are neither negative nor refused."""
    reader.platform.add("kept back", withheld=True, findings=[])
    reader.sign_in()
    reader.page.click(".study-button")
    reader.page.wait_for("!document.getElementById('study').hidden")

    assert "Findings withheld" in reader.page.text(".study-summary")
    assert "VEDETTE_EVIDENCE" in reader.page.text("#refusal")


def test_a_study_is_deleted_after_a_question(reader: Reader) -> None:
    """And leaves the list and the panel."""
    reader.sign_in()
    reader.read()
    reader.page.click("#delete")
    reader.page.wait_for("document.getElementById('delete-dialog').open")
    reader.page.click("#delete-confirm")
    reader.page.wait_for("document.getElementById('study').hidden")

    assert reader.platform.studies == []
    assert reader.page.text("#studies-state") == "You have no studies."


def test_a_deletion_that_is_not_meant_deletes_nothing(reader: Reader) -> None:
    """Escape is a no, also after an earlier yes."""
    reader.sign_in()
    reader.read()
    reader.page.click("#delete")
    reader.page.wait_for("document.getElementById('delete-dialog').open")
    reader.page.press("Escape", 27)
    reader.page.wait_for("!document.getElementById('delete-dialog').open")

    assert len(reader.platform.studies) == 1


def test_an_account_that_may_only_read_is_told_so(reader: Reader) -> None:
    """Before it has chosen a file."""
    reader.platform.scopes = ["chexray:read"]
    reader.sign_in()

    assert "Your account may not read radiographs" in reader.page.text("#drop")
    assert reader.page.evaluate("document.getElementById('upload-button').disabled")


def test_tokens_are_exchanged_before_they_expire(reader: Reader) -> None:
    """Each refresh token once; the page goes on with the new pair."""
    reader.platform.expires_in = 2
    reader.sign_in()
    assert eventually(lambda: reader.platform.exchanges >= 2, within_s=10)
    reader.platform.gone.add("access-1")
    reader.read()

    refreshes = [
        asked.form["refresh_token"]
        for asked in reader.platform.of("POST", TOKEN)
        if asked.form["grant_type"] == "refresh_token"
    ]
    assert refreshes == [f"refresh-{at + 1}" for at in range(len(refreshes))]


def test_a_token_that_was_revoked_early_is_exchanged_when_it_is_refused(reader: Reader) -> None:
    """A key may be rotated, a clock may be wrong."""
    reader.sign_in()
    reader.platform.gone.add("access-1")
    reader.read()

    assert reader.platform.exchanges == 2
    assert reader.page.text("#study-heading") == "Ward 7"


def test_a_session_that_is_over_leads_back_to_the_sign_in(reader: Reader) -> None:
    """With nothing of it left in the page."""
    reader.sign_in()
    reader.read("Ward 7")
    reader.platform.gone.add("access-1")
    reader.platform.instead["POST", TOKEN] = [
        Answer.problem(400, "Credentials not accepted", "It is over.")
    ]
    reader.page.click("#report")

    reader.page.wait_for("!document.getElementById('sign-in').hidden")
    assert "Ward 7" not in reader.page.evaluate("document.body.textContent")


def test_signing_out_revokes_the_session_and_forgets_everything(reader: Reader) -> None:
    """Whoever comes next sees nothing of who was here."""
    reader.sign_in()
    reader.read("Ward 7")
    reader.page.click("#sign-out")
    reader.page.wait_for("!document.getElementById('sign-in').hidden")

    assert eventually(lambda: bool(reader.platform.of("POST", "/api/v2/auth/revoke")), within_s=10)
    (revoked,) = reader.platform.of("POST", "/api/v2/auth/revoke")
    assert revoked.body == b'{"token":"refresh-1"}'
    text = reader.page.evaluate("document.body.textContent")
    assert "Ward 7" not in text
    assert "dr.okafor" not in text
    assert reader.page.evaluate("document.querySelectorAll('[src^=blob]').length") == 0


def test_the_keyboard_alone_is_enough(reader: Reader) -> None:
    """From the first Tab to another heatmap."""
    reader.arrive()
    page = reader.page
    page.evaluate("document.getElementById('username').focus()")
    page.call("Input.insertText", text="dr.okafor")
    page.press("Tab", 9)
    page.call("Input.insertText", text="correct horse battery")
    page.press("Enter", 13, text="\r")
    page.wait_for("document.activeElement.id === 'main'")
    page.press("Tab", 9)
    focused = page.evaluate("document.activeElement.id")
    page.choose_file("#image", reader.picture)
    page.press("Tab", 9)
    page.press("Tab", 9)
    page.press("Enter", 13, text="\r")
    page.wait_for("document.activeElement.id === 'study-heading'")
    page.press("Tab", 9)
    page.press("ArrowRight", 39)
    reader.wait_for_picture("heatmap")

    assert focused == "image"
    assert page.evaluate("document.activeElement.value") == "atelectasis"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(reader: Reader, scheme: str) -> None:
    """A contrast of 4.5 at least, in both colour schemes."""
    page = reader.page
    page.prefer(scheme)
    reader.platform.ready = False
    reader.arrive()
    at_the_door = page.evaluate(POOR_CONTRAST)
    reader.offer("wrong")
    reader.notice()
    refused = page.evaluate(POOR_CONTRAST)
    reader.sign_in()
    reader.read()
    reader.look_at("edema")
    reader.wait_for_picture("heatmap")

    assert at_the_door + refused + page.evaluate(POOR_CONTRAST) == []


def test_everything_that_can_be_used_has_a_name(reader: Reader) -> None:
    """For those who hear the page."""
    reader.arrive()
    at_the_door = reader.page.evaluate(UNNAMED)
    reader.sign_in()
    reader.read()

    assert at_the_door + reader.page.evaluate(UNNAMED) == []


@pytest.mark.parametrize("width_px", [360, 768, 1280])
def test_nothing_is_wider_than_the_screen(reader: Reader, width_px: int) -> None:
    """Not even with a title that has no blanks."""
    reader.page.resize(width_px, 780)
    reader.sign_in()
    reader.read("W" * 200)
    reader.look_at("edema")
    reader.wait_for_picture("heatmap")

    assert reader.page.evaluate("document.documentElement.scrollWidth") == width_px


def test_two_tabs_share_nothing(reader: Reader, browser: Browser) -> None:
    """A session belongs to the page that opened it."""
    reader.sign_in()
    with browser.page() as other:
        Reader(other, reader.platform, reader.picture).arrive()

        assert not other.evaluate("document.getElementById('workspace').checkVisibility()")
