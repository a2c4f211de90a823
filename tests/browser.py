"""A headless Chromium, driven over its DevTools protocol; nothing but `websockets` is needed."""

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_START_DEADLINE_S = 60.0
_ANSWER_DEADLINE_S = 60.0
#: A screenshot is one message.
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--lang=en-GB",
    "--remote-debugging-port=0",
)
_WAIT = """
new Promise((resolve, reject) => {
  const deadline = performance.now() + %d;
  (function look() {
    let value = false;
    try { value = %s; } catch { /* what it looks at is not there yet */ }
    if (value) resolve(value);
    else if (performance.now() > deadline) reject(new Error("still not so"));
    else setTimeout(look, 20);
  })();
})
"""


class BrowserFailed(Exception):
    """The browser did not do what it was asked."""


def find_chromium() -> str | None:
    """The installed browser, if there is one."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class Page:
    """One tab with nothing in its storage."""

    def __init__(self, connection: ClientConnection, session_id: str) -> None:
        self._connection = connection
        self._session_id = session_id
        self._last_id = 0
        self.complaints: list[str] = []
        """Uncaught exceptions, violations of the content security policy, failed loads."""
        for domain in ("Page", "Runtime", "Log", "DOM", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of one command of the DevTools protocol."""
        self._last_id += 1
        order = {"id": self._last_id, "method": method, "params": parameters}
        self._connection.send(json.dumps({**order, "sessionId": self._session_id}))
        while True:
            message = json.loads(self._connection.recv(_ANSWER_DEADLINE_S))
            if message.get("sessionId") != self._session_id:
                continue
            if message.get("id") == self._last_id:
                if "error" in message:
                    raise BrowserFailed(f"{method}: {message['error']['message']}")
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def open(self, url: str) -> None:
        """Go there and wait until the page and its scripts are loaded."""
        answer = self.call("Page.navigate", url=url)
        if "errorText" in answer:
            raise BrowserFailed(f"{url}: {answer['errorText']}")
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise BrowserFailed(_description(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def wait_for(self, expression: str, *, within_s: float = 15) -> Any:
        """The first true value of `expression`, which the page asks itself again and again."""
        try:
            return self.evaluate(_WAIT % (within_s * 1000, expression))
        except BrowserFailed as error:
            raise BrowserFailed(f"{expression}: {error}\n{self.text('body')}") from error

    def text(self, selector: str) -> str:
        """What a reader sees of the first element that matches."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText"))

    def click(self, selector: str) -> None:
        """Click the first element that matches."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def fill(self, selector: str, value: str) -> None:
        """Replace what stands in a field, as if typed."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).select()")
        self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
        self.call("Input.insertText", text=value)

    def press(self, key: str, code: int, *, text: str = "") -> None:
        """Press and release one key; `code` is its Windows virtual key code."""
        typed = {"text": text} if text else {}
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **typed)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def choose_file(self, selector: str, path: Path) -> None:
        """Put a file into a file input."""
        document = self.call("DOM.getDocument")
        found = self.call("DOM.querySelector", nodeId=document["root"]["nodeId"], selector=selector)
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=found["nodeId"])

    def resize(self, width_px: int, height_px: int, *, scale: float = 1) -> None:
        """Give the tab this size, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width_px,
            height=height_px,
            deviceScaleFactor=scale,
            mobile=False,
        )

    def prefer(self, scheme: str) -> None:
        """Make the tab's user prefer `light` or `dark`."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.call("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, *, whole: bool = False) -> bytes:
        """A PNG of what is visible, or of the whole page."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        return base64.b64decode(answer["data"])

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        if message["method"] == "Runtime.exceptionThrown":
            self.complaints.append(_description(parameters["exceptionDetails"]))
        elif message["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.complaints.append(parameters["entry"]["text"])


class Browser:
    """A running Chromium."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._last_id = 0

    @contextmanager
    def page(self, *, downloads: Path | None = None) -> Generator[Page]:
        """A fresh tab that shares nothing with any other."""
        context = self._call("Target.createBrowserContext")["browserContextId"]
        if downloads is not None:
            self._call(
                "Browser.setDownloadBehavior",
                behavior="allow",
                browserContextId=context,
                downloadPath=str(downloads),
            )
        target = self._call("Target.createTarget", url="about:blank", browserContextId=context)
        session = self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        try:
            yield Page(self._connection, session["sessionId"])
        finally:
            self._call("Target.disposeBrowserContext", browserContextId=context)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._last_id -= 1  # A page counts up.
        order = {"id": self._last_id, "method": method, "params": parameters}
        self._connection.send(json.dumps(order))
        while True:
            message = json.loads(self._connection.recv(_ANSWER_DEADLINE_S))
            if message.get("id") == self._last_id:
                if "error" in message:
                    raise BrowserFailed(f"{method}: {message['error']['message']}")
                result: dict[str, Any] = message["result"]
                return result


@contextmanager
def running_browser(program: str) -> Generator[Browser]:
    """A Chromium with an empty profile; it ends with everything that it started."""
    with tempfile.TemporaryDirectory(prefix="vedette-browser-", ignore_cleanup_errors=True) as home:
        process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={home}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            address = _address(Path(home) / "DevToolsActivePort", process)
            # Pings would draw from `random` in a thread of their own, while Hypothesis watches it.
            with connect(
                address,
                max_size=_MAX_MESSAGE_BYTES,
                compression=None,
                proxy=None,
                ping_interval=None,
            ) as connection:
                yield Browser(connection)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _address(announced: Path, process: subprocess.Popen[bytes]) -> str:
    """Where the browser listens: it picks a port and writes it into its profile."""
    deadline = time.monotonic() + _START_DEADLINE_S
    while time.monotonic() < deadline and process.poll() is None:
        lines = announced.read_text().splitlines() if announced.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.05)
    raise BrowserFailed(f"the browser did not start (exit status {process.poll()})")


def _description(details: dict[str, Any]) -> str:
    thrown: dict[str, Any] = details.get("exception", {})
    return str(thrown.get("description") or details.get("text"))
