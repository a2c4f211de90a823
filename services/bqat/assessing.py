"""The process that assesses samples: `python -m services.bqat.assessing <memory bytes>`.

It reads requests from standard input and answers on standard output, one after the other, until its
input ends. It has no credential in its environment and a ceiling on its memory. What goes back and
forth is JSON, never a pickle: what decodes hostile files is not trusted by who asked it to.
"""

import json
import math
import os
import resource
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

READY: Final = b"R"
#: Bytes of the JSON head, and of the sample behind it.
REQUEST: Final = struct.Struct(">II")
REPLY: Final = struct.Struct(">I")
_NICENESS: Final = 10
_LARGEST_FILE_BYTES: Final = 256 * 1024 * 1024


class Assessed(Protocol):
    """A profile as an engine makes it; see `services.bqat.engines.Assessment`."""

    @property
    def profile(self) -> Mapping[str, Any]:
        """The measures."""

    @property
    def evidence(self) -> str:
        """What they are worth."""

    @property
    def errors(self) -> tuple[str, ...]:
        """What was decided on the way."""


class Assesses(Protocol):
    """What makes a profile of a sample; see `services.bqat.engines.Assessor`."""

    def assess(
        self,
        modality: str,
        content: bytes,
        *,
        file_name: str,
        engine: str | None,
        options: Mapping[str, Any],
    ) -> Assessed:
        """Profile one sample."""
        ...


def answer(
    assessor: Assesses, refusal: type[Exception], requests: BinaryIO, replies: BinaryIO
) -> None:
    """Serve requests until there are no more.

    Args:
        assessor: makes profiles.
        refusal: what it raises when a sample is none; its text says why.
        requests: what the parent writes.
        replies: what the parent reads.
    """
    replies.write(READY)
    replies.flush()
    while len(lengths := requests.read(REQUEST.size)) == REQUEST.size:
        head_bytes, body_bytes = REQUEST.unpack(lengths)
        head = json.loads(requests.read(head_bytes))
        text = json.dumps(assess(assessor, refusal, head, requests.read(body_bytes))).encode()
        replies.write(REPLY.pack(len(text)) + text)
        replies.flush()


def assess(
    assessor: Assesses, refusal: type[Exception], head: Mapping[str, Any], content: bytes
) -> dict[str, Any]:
    """One answer: a profile, or why there is none."""
    try:
        found = assessor.assess(
            head["modality"],
            content,
            file_name=head["file_name"],
            engine=head["engine"],
            options=head["options"],
        )
    except refusal as error:
        return {"failure": str(error), "is_input": True}
    except MemoryError:
        return {"failure": "The sample needs more memory than one may take.", "is_input": True}
    except Exception as error:  # an engine's bug costs this sample, not the scan
        return {"failure": f"The engine failed ({type(error).__name__}).", "is_input": False}
    return {
        "profile": {name: _finite(value) for name, value in found.profile.items()},
        "evidence": found.evidence,
        "errors": list(found.errors),
    }


def _finite(value: Any) -> Any:
    """JSON knows no infinity and no NaN; numpy's scalars become Python's."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def limit_memory(extra_bytes: int) -> None:
    """Let this process grow by `extra_bytes` of address space, and write no large files."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    ceiling = pages * resource.getpagesize() + extra_bytes
    resource.setrlimit(resource.RLIMIT_AS, (ceiling, ceiling))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST_FILE_BYTES, _LARGEST_FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Load the networks once, then serve."""
    # The engines take seconds to load, which only this process has to wait for.
    from services.bqat.engines import Unassessable, create_assessor
    from services.bqat.settings import Settings

    # Libraries print what they think of a file; nothing but replies may reach the parent.
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)
        # Whoever waits for an answer comes before a scan.
        os.nice(_NICENESS)
        assessor = create_assessor(Settings())
        if sys.platform == "linux":
            limit_memory(int(sys.argv[1]))
        answer(assessor, Unassessable, sys.stdin.buffer, replies)


if __name__ == "__main__":
    main()
