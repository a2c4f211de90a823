"""Analyses in a process of their own: their libraries are large, and their work is all processor.

`python -m services.bqat.apart` reads one order from standard input and writes one answer. What
goes there is JSON and NumPy's own format without pickles; the process ends with its work, and with
it all memory that a large dataset took.
"""

import asyncio
import contextlib
import io
import json
import os
import signal
import struct
import sys
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.lifeline import tethered

_HEAD: Final = struct.Struct(">IQ")
_KEPT_VARIABLES: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VEDETTE_HOME")
Arrays = Mapping[str, NDArray[Any]]


class AnalysisFailed(Exception):
    """The analysis said why it cannot be made, or its process ended."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


async def analyse(what: str, head: Mapping[str, Any], arrays: Arrays) -> bytes:
    """The answer of an analysis.

    Args:
        what: `outliers` or `report`.
        head: what it is told, as JSON.
        arrays: what it is given.

    Raises:
        AnalysisFailed: it cannot be made.
    """
    text = json.dumps({"what": what, **head}).encode()
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **dict(arrays))
    body = packed.getvalue()
    environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    process = await asyncio.create_subprocess_exec(
        *tethered([sys.executable, "-m", "services.bqat.apart"], last_signal=signal.SIGKILL),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
    )
    try:
        answer, _ = await process.communicate(_HEAD.pack(len(text), len(body)) + text + body)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(process.wait())
    if process.returncode != 0 or not answer:
        raise AnalysisFailed("analysis-died", "The process of the analysis ended without a word.")
    if answer[:1] == b"!":
        code, _, detail = answer[1:].decode().partition("\n")
        raise AnalysisFailed(code, detail)
    return answer[1:]


def _answer(head: Mapping[str, Any], arrays: Arrays) -> bytes:
    """Make one analysis, in its process."""
    from services.bqat.outliers import TooFewSamples
    from services.bqat.reporting import report_from
    from services.bqat.verdicts import outliers_from

    try:
        if head["what"] == "outliers":
            return b"=" + json.dumps(outliers_from(head, arrays)).encode()
        return b"=" + report_from(head, arrays).encode()
    except TooFewSamples:
        return b"!too-few\nToo few samples have all of the columns, or the columns never differ."
    except MemoryError:
        return b"!too-large\nThe dataset needs more memory than there is."


def main() -> None:
    """Read one order and write one answer."""
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        head_bytes, body_bytes = _HEAD.unpack(sys.stdin.buffer.read(_HEAD.size))
        head = json.loads(sys.stdin.buffer.read(head_bytes))
        with np.load(io.BytesIO(sys.stdin.buffer.read(body_bytes)), allow_pickle=False) as packed:
            arrays = {name: packed[name] for name in packed.files}
        out.write(_answer(head, arrays))


if __name__ == "__main__":
    main()
