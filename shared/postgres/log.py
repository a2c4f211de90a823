"""What the database server says, kept in a place that cannot fill the disk."""

import contextlib
from pathlib import Path
from typing import IO


class BoundedLog:
    """A log file and its predecessor, of a few megabytes each."""

    def __init__(self, path: Path, *, most_bytes: int = 4 << 20) -> None:
        """Nothing is opened before the first line."""
        self._path = path
        self._most_bytes = most_bytes
        self._file: IO[bytes] | None = None

    def write(self, line: bytes) -> None:
        """Append one line; start a new file when this one is full."""
        # A full disk must not stop the reader of the server's messages, or the server with it.
        with contextlib.suppress(OSError):
            if self._file is None or self._file.tell() > self._most_bytes:
                self._turn()
            if self._file is not None:
                self._file.write(line)
                self._file.flush()

    def _turn(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._path.exists() and self._path.stat().st_size > self._most_bytes:
            self._path.replace(self._path.with_suffix(".log.1"))
        self._file = self._path.open("ab")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
