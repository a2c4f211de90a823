"""The process that decodes what may crash or hang: `python -m shared.imaging.child <bytes>`.

It reads requests from standard input and answers on standard output until its input ends. It has
no credentials in its environment, may not write files, and has a ceiling on its memory.
"""

import os
import sys
from typing import BinaryIO

from shared.imaging import dicom as _dicom  # noqa: F401  # paid for before the ceiling is set
from shared.imaging.ceiling import limit_memory
from shared.imaging.decoding import decode
from shared.imaging.picture import Picture
from shared.imaging.wire import LENGTHS, READY, from_request, to_reply
from shared.problems import Problem


def answer(requests: BinaryIO, replies: BinaryIO) -> None:
    """Serve requests, one after the other, until there are no more."""
    replies.write(READY)
    replies.flush()
    while len(lengths := requests.read(LENGTHS.size)) == LENGTHS.size:
        head_bytes, data_bytes = LENGTHS.unpack(lengths)
        limits, target_px = from_request(requests.read(head_bytes))
        data = requests.read(data_bytes)
        outcome: Picture | Problem
        try:
            outcome = decode(data, limits, target_px=target_px)
        except Problem as problem:
            outcome = problem
        for part in to_reply(outcome):
            replies.write(part)
        replies.flush()
        # Neither the file nor its pixels wait in memory for the next request.
        del data, outcome, part


if __name__ == "__main__":
    # Native decoders print what they think of a file; nothing but replies may reach the parent.
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)
        if sys.platform == "linux":
            limit_memory(int(sys.argv[1]))
        answer(sys.stdin.buffer, replies)
