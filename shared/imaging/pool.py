"""Decoding from asynchronous code: bounded, and where it is risky in a process of its own."""

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self, TypeVar

import anyio
import anyio.to_thread
import structlog

from shared.imaging.apart import DIED, ReadingProcess
from shared.imaging.decoding import decode
from shared.imaging.errors import ImageTooLarge, UnreadableImage
from shared.imaging.limits import Limits
from shared.imaging.picture import Picture
from shared.imaging.raster import Fit
from shared.imaging.sniff import ImageFormat, find_format
from shared.imaging.wire import from_reply, to_request

log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")

_DEFAULT_LIMITS = Limits()
# Their decoders are the most attacked and best mended there are, take time in proportion to the
# header's pixels, and release the interpreter lock: a thread is enough. All others get a process.
_IN_THREAD = frozenset({ImageFormat.PNG, ImageFormat.JPEG})


async def decode_in_pool(
    data: bytes,
    limits: Limits = _DEFAULT_LIMITS,
    *,
    limiter: anyio.CapacityLimiter,
    target_px: int | None = None,
) -> Picture:
    """`decode` in a worker thread of this process; `limiter` bounds how many run at once."""
    return await anyio.to_thread.run_sync(
        functools.partial(decode, data, limits, target_px=target_px), limiter=limiter
    )


class Decoder(Protocol):
    """Decodes pictures away from the event loop, and works on them there."""

    @property
    def limiter(self) -> anyio.CapacityLimiter:
        """How many threads of this decoder may work at once."""
        ...

    async def apply(
        self, work: Callable[[Picture], Answer], data: bytes, *, target_px: int | None = None
    ) -> Answer:
        """What `work`, in a worker thread, makes of the decoded picture."""
        ...

    async def decode(self, data: bytes, *, target_px: int | None = None) -> Picture:
        """`shared.imaging.decode`, as soon as a worker is free."""
        ...

    def find_opener(
        self, data: bytes, *, target_px: int | None = None, fit: Fit | None = None
    ) -> Callable[[], Picture] | None:
        """What decodes the picture in the thread that calls it; None where only `decode` may.

        Whoever calls it bounds how many threads do.

        Raises:
            ImageTooLarge: there are too many bytes.
            UnreadableImage: there are none.
        """
        ...


class ThreadDecoder:
    """Decodes every format in threads of this process: for files that one trusts, and tests."""

    def __init__(self, max_workers: int, limits: Limits = _DEFAULT_LIMITS) -> None:
        self._limits = limits
        self.limiter = anyio.CapacityLimiter(max_workers)

    async def apply(
        self, work: Callable[[Picture], Answer], data: bytes, *, target_px: int | None = None
    ) -> Answer:
        """See `Decoder`: one visit of one thread."""

        def decode_and_work() -> Answer:
            return work(decode(data, self._limits, target_px=target_px))

        return await anyio.to_thread.run_sync(decode_and_work, limiter=self.limiter)

    async def decode(self, data: bytes, *, target_px: int | None = None) -> Picture:
        """See `Decoder`."""
        return await decode_in_pool(data, self._limits, limiter=self.limiter, target_px=target_px)

    def find_opener(
        self, data: bytes, *, target_px: int | None = None, fit: Fit | None = None
    ) -> Callable[[], Picture] | None:
        """See `Decoder`: any picture in any thread."""
        self._limits.check_bytes(len(data))
        return functools.partial(decode, data, self._limits, target_px=target_px, fit=fit)


class DecodePool:
    """Decodes a bounded number of pictures at once, in the order they were asked for.

    PNG and JPEG are decoded in threads. TIFF, JPEG 2000, DICOM and the rest go to child processes
    with a ceiling on memory and time, which are started when first needed and replaced when a
    picture kills them: a crash in a decoder costs that picture, not the service. Use it as an
    asynchronous context manager.
    """

    def __init__(
        self,
        max_workers: int,
        limits: Limits = _DEFAULT_LIMITS,
        *,
        timeout_s: float = 20.0,
        memory_bytes: int = 2 * 1024**3,
    ) -> None:
        self._limits = limits
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._threads = ThreadDecoder(max_workers, limits)
        self.limiter = self._threads.limiter
        self._idle: list[ReadingProcess] = []
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_closed = True
        while self._idle:
            await self._idle.pop().stop()

    def child_pids(self) -> tuple[int, ...]:
        """Process ids of the children that wait for work."""
        return tuple(child.pid for child in self._idle)

    async def apply(
        self, work: Callable[[Picture], Answer], data: bytes, *, target_px: int | None = None
    ) -> Answer:
        """See `Decoder` and `decode`: PNG and JPEG need one visit of one thread."""
        self._limits.check_bytes(len(data))
        if find_format(data) in _IN_THREAD | {None}:
            return await self._threads.apply(work, data, target_px=target_px)
        picture = await self.decode(data, target_px=target_px)
        return await anyio.to_thread.run_sync(work, picture, limiter=self.limiter)

    def find_opener(
        self, data: bytes, *, target_px: int | None = None, fit: Fit | None = None
    ) -> Callable[[], Picture] | None:
        """See `Decoder`: PNG and JPEG in any thread."""
        self._limits.check_bytes(len(data))
        if find_format(data) in _IN_THREAD | {None}:
            return self._threads.find_opener(data, target_px=target_px, fit=fit)
        return None

    async def decode(self, data: bytes, *, target_px: int | None = None) -> Picture:
        """`shared.imaging.decode` as soon as a worker is free.

        Raises:
            ImageTooLarge: also when a child's memory or time does not suffice.
            UnreadableImage: also when the decoder crashes.
        """
        self._limits.check_bytes(len(data))
        if find_format(data) in _IN_THREAD | {None}:
            return await decode_in_pool(
                data, self._limits, limiter=self.limiter, target_px=target_px
            )
        async with self.limiter:
            child = self._idle.pop() if self._idle else await self._start()
            is_usable = False
            try:
                with anyio.fail_after(self._timeout_s):
                    head, pixels = await child.ask(to_request(data, self._limits, target_px))
                is_usable = True
            except TimeoutError as error:
                log.warning("image_decoder_timed_out", timeout_s=self._timeout_s)
                raise ImageTooLarge(
                    f"Decoding the picture takes longer than {self._timeout_s:g} s."
                ) from error
            except DIED as error:
                log.warning("image_decoder_died")
                raise UnreadableImage("The picture cannot be decoded.") from error
            finally:
                if is_usable and not self._is_closed:
                    self._idle.append(child)
                else:
                    await child.stop()
        return from_reply(head, pixels)

    async def _start(self) -> ReadingProcess:
        return await ReadingProcess.start("shared.imaging.child", self._memory_bytes)
