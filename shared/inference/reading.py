"""From an encoded picture to a network's answer, each step in the thread where it is cheapest.

On a processor that runs pictures one by one, one thread decodes, prepares and runs: the picture
stays in its cache, nobody else wants the interpreter, and a request waits undecoded for its turn,
so that one that is refused has cost nothing. Elsewhere the decoder's threads prepare pictures, and
the event loop those that take it less time than a thread would.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Protocol

import anyio.to_thread
import numpy as np
from numpy.typing import NDArray

from shared.imaging import Decoder, Picture
from shared.imaging.quick import is_quick
from shared.inference.batching import Outputs, Prepare, Priority
from shared.inference.network import Aside, Noted
from shared.inference.package import ModelPackage

# Enlarging a small picture for an input beyond this takes longer than decoding it.
_MOST_INPUT_PIXELS = 128 * 128


class Reads(Protocol):
    """What is needed of a network, here or elsewhere."""

    @property
    def package(self) -> ModelPackage:
        """What the network is."""
        ...

    async def prepare_and_run(
        self,
        prepare: Prepare,
        *,
        aside: Aside | None,
        deadline_s: float | None = None,
        priority: Priority = Priority.INTERACTIVE,
    ) -> Outputs:
        """See `Network`."""
        ...

    def preparing(
        self, *, deadline_s: float | None = None, priority: Priority = Priority.INTERACTIVE
    ) -> AbstractContextManager[Noted]:
        """See `Network`."""
        ...


async def read_picture(
    network: Reads,
    data: bytes,
    decoder: Decoder,
    *,
    prepare: Callable[[Picture], NDArray[np.float32]] | None = None,
    target_px: int | None = None,
    prepares_quickly: bool = False,
    deadline_s: float | None = None,
    priority: Priority = Priority.INTERACTIVE,
) -> Outputs:
    """Let a network read one encoded picture.

    Args:
        network: what reads.
        data: the whole file.
        decoder: knows the limits, and decodes apart what is risky.
        prepare: makes the network's input `(1, C, H, W)` of the decoded picture, in any thread;
            None for the package's own preprocessing.
        target_px: see `shared.imaging.decode`; only where `prepare` is given.
        prepares_quickly: whether `prepare` takes no longer than the package's own preprocessing.
        deadline_s: how long the answer may take, decoding included; None for the engine's
            deadline.
        priority: whether somebody waits for the answer.

    Returns:
        As `Network.run`.

    Raises:
        What `shared.imaging.decode`, `prepare` and `Network.run` raise.
    """
    preprocess = network.package.preprocess
    if prepare is None:
        opener = decoder.find_opener(data, target_px=preprocess.target_px, fit=preprocess.fit)
        target_px, prepares_quickly = preprocess.target_px, True
    else:
        opener = decoder.find_opener(data, target_px=target_px)
    if opener is None:
        began_at = time.perf_counter()
        with network.preparing(deadline_s=deadline_s, priority=priority):
            picture = await decoder.decode(data, target_px=target_px)
        if deadline_s is not None:
            deadline_s = max(0.0, deadline_s - (time.perf_counter() - began_at))
        opener = partial(_same, picture)
    make = partial(_prepared, opener, prepare or partial(_preprocessed, network.package))
    is_small = preprocess.height_px * preprocess.width_px <= _MOST_INPUT_PIXELS
    is_here = prepares_quickly and is_small and is_quick(data)
    aside = None if is_here else partial(_in_thread, decoder)
    return await network.prepare_and_run(
        make, aside=aside, deadline_s=deadline_s, priority=priority
    )


def _same(picture: Picture) -> Picture:
    return picture


def _preprocessed(package: ModelPackage, picture: Picture) -> NDArray[np.float32]:
    return package.preprocess(picture.pixels)[np.newaxis]


def _prepared(
    opener: Callable[[], Picture], prepare: Callable[[Picture], NDArray[np.float32]]
) -> NDArray[np.float32]:
    return prepare(opener())


async def _in_thread(decoder: Decoder, make: Prepare) -> NDArray[np.float32]:
    return await anyio.to_thread.run_sync(make, limiter=decoder.limiter)
