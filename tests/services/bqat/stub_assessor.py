"""What a crew of tests runs: an assessor that obeys the sample.

A sample is JSON: `{"profile": {…}}` is its profile, `{"sleep": s}` takes time, `{"die": true}` ends
the process, `{"raise": true}` is an engine's bug. Anything else is no sample.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.bqat.assessing import answer


class NoSample(Exception):
    """The bytes are no sample."""


@dataclass(frozen=True)
class Profiled:
    """What the stub says of a sample."""

    profile: Mapping[str, Any]
    evidence: str
    errors: tuple[str, ...]


class StubAssessor:
    """Knows its answers beforehand, and refuses what a real one would refuse."""

    def assess(
        self,
        modality: str,
        content: bytes,
        *,
        file_name: str,
        engine: str | None,
        options: Mapping[str, Any],
    ) -> Profiled:
        """Do as the sample says."""
        try:
            order = json.loads(content)
        except ValueError as error:
            raise NoSample("The bytes are no sample.") from error
        time.sleep(order.get("sleep", 0))
        if order.get("die"):
            os._exit(9)
        if order.get("raise"):
            raise ZeroDivisionError
        return Profiled(order["profile"], "rules", tuple(order.get("errors", ())))


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)
        answer(StubAssessor(), NoSample, sys.stdin.buffer, replies)
