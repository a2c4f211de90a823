"""Genuine clients from npm, run by node; tests that need them skip where there is neither."""

import fcntl
import json
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.database import ROOT

_CACHE = ROOT / ".cache" / "npm"

#: Says on each line what happens, as JSON; reads nothing.
_SCRIPT = """
const [,, modules, url, options, hello] = process.argv;
const io = require(modules + '/socket.io-client');
const socket = (io.connect || io)(url + '/alert', JSON.parse(options));
const say = (name, data) => console.log(JSON.stringify([name, data]));
for (const name of ['my_response', 'an_alert', 'fleet_event', 'resync'])
  socket.on(name, data => say(name, data));
for (const name of ['connect_error', 'error'])
  socket.on(name, error => say(name, String(error && error.message || error)));
socket.on('connect', () => say('connect', socket.io.engine.transport.name));
socket.on('disconnect', reason => say('disconnect', reason));
if (hello) socket.emit('get_alert', JSON.parse(hello));
"""


def package(version: str) -> Path:
    """The folder that holds socket.io-client of `version`, fetched once by name.

    Raises:
        pytest.skip.Exception: there is no node or no npm, or the registry does not answer.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed (Debian: apt-get install nodejs npm)")
    folder = _CACHE / f"socket.io-client-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    modules = folder / "node_modules"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (modules / "socket.io-client" / "package.json").exists():
            fetched = subprocess.run(
                ["npm", "install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund",
                 "--ignore-scripts", "--prefix", str(folder), f"socket.io-client@{version}"],
                capture_output=True, text=True, timeout=120,
            )  # fmt: skip
            if fetched.returncode:
                pytest.skip(f"npm could not fetch socket.io-client {version}")
    return modules


@dataclass
class NodeClient:
    """A client that runs, and what it says."""

    process: subprocess.Popen[str]
    said: "queue.Queue[tuple[str, Any]]" = field(default_factory=queue.Queue)

    def __post_init__(self) -> None:
        """Listen in the background."""
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            name, data = json.loads(line)
            self.said.put((name, data))

    def hear(self, wanted: str, within_s: float = 20) -> Any:
        """What comes with the next event of this name; raises `queue.Empty` without one."""
        until = time.monotonic() + within_s
        while True:
            name, data = self.said.get(timeout=max(0.0, until - time.monotonic()))
            if name == wanted:
                return data


@contextmanager
def node_client(
    version: str, url: str, options: dict[str, Any], hello: dict[str, Any] | None
) -> Iterator[NodeClient]:
    """A client of `version` on the namespace, which emits `get_alert` with `hello`."""
    modules = package(version)
    arguments = [str(modules), url, json.dumps(options), json.dumps(hello) if hello else ""]
    process = subprocess.Popen(
        ["node", "-e", _SCRIPT, "client", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        yield NodeClient(process)
    finally:
        process.kill()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()
