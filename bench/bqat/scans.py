"""The service with a database and a folder of portraits, and scans of that folder."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx
import psutil

from shared.assertions import GATEWAY, HEADER, AssertionSigner, Caller
from shared.keys import ensure_keys, read_key
from shared.postgres import EmbeddedPostgres

PORT = 18_660
_SERVICE = f"http://127.0.0.1:{PORT + 5}"
_START_TIMEOUT_S = 90
_FOLDER = "portraits"


class ScanningService:
    """Runs `services.bqat` and scans `files` copies of the portraits."""

    def __init__(
        self, home: Path, models: Path, portraits: Sequence[Path], files: int, processes: int
    ) -> None:
        self._home = home
        self._processes = processes
        self.files = files
        (home / "models").symlink_to(models)
        folder = home / "bqat" / "data" / _FOLDER
        folder.mkdir(parents=True)
        for number in range(files):
            portrait = portraits[number % len(portraits)]
            shutil.copyfile(portrait, folder / f"{number:05}{portrait.suffix}")
        self._database = EmbeddedPostgres(home)
        self._caller = Caller(
            subject=str(uuid4()), kind="user", scopes=frozenset({"bqat:read", "bqat:write"})
        )
        self._service: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start, and wait until it is ready."""
        url = self._database.start(timeout_s=60)
        ensure_keys(self._home / "keys")
        environment = {
            **os.environ,
            "VEDETTE_HOME": str(self._home),
            "VEDETTE_PORT": str(PORT),
            "VEDETTE_DATABASE_URL": url,
            "VEDETTE_LOG_LEVEL": "warning",
            "VEDETTE_BQAT_PROCESSES": str(self._processes),
        }
        self._service = subprocess.Popen([sys.executable, "-m", "services.bqat"], env=environment)
        until = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < until and self._service.poll() is None:
            try:
                if httpx.get(f"{_SERVICE}/readyz", timeout=2).is_success:
                    return self
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        raise SystemExit("The service was not ready in time.")

    def __exit__(
        self,
        _: type[BaseException] | None,
        __: BaseException | None,
        ___: TracebackType | None,
    ) -> None:
        """Stop both."""
        if self._service is not None:
            self._service.terminate()
            self._service.wait(30)
        self._database.stop()

    def scan(self, engine: str) -> tuple[float, float]:
        """One scan of the folder: files per second, and processor time per file of all of it."""
        before = self._processor_s()
        order = {"modality": "face", "engine": engine, "source": {"folder": _FOLDER}}
        found = self._call("/api/v2/bqat/scans", order)
        while found["finished_at"] is None:
            time.sleep(2)
            found = self._call(f"/api/v2/bqat/scans/{found['id']}")
        if found["status"] != "completed" or found["failed"] or found["done"] != self.files:
            raise SystemExit(f"The scan ended otherwise than it should have: {found}")
        begun, ended = (
            datetime.fromisoformat(found[name]) for name in ("created_at", "finished_at")
        )
        used = self._processor_s() - before
        return self.files / (ended - begun).total_seconds(), used / self.files

    def _call(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        signer = AssertionSigner(GATEWAY, read_key(self._home / "keys", "assertion-bqat"))
        answer = httpx.request(
            "GET" if body is None else "POST",
            _SERVICE + path,
            json=body,
            headers={HEADER: signer.sign(self._caller, "bqat")},
            timeout=60,
        )
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def _processor_s(self) -> float:
        """Processor time of the service, its processes and the database, those that ended too."""
        seconds = 0.0
        for process in psutil.Process().children(recursive=True):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            seconds += times.user + times.system
        return seconds
