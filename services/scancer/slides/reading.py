"""Opens a large picture for reading piece by piece, whatever its format."""

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import anyio
import anyio.to_thread
import numpy as np
import structlog
from numpy.typing import NDArray

from services.scancer.slides.errors import SlideTooLarge, UnreadableSlide
from services.scancer.slides.geometry import Level, Reading, SlideFacts
from shared.imaging import DecodePool, ImageTooLarge, Picture, UnreadableImage, UnsupportedImage
from shared.imaging.apart import DIED, ReadingProcess
from shared.imaging.sniff import ImageFormat, find_format
from shared.imaging.wire import to_head

log = structlog.get_logger(__name__)

_MODULE = "services.scancer.slides.child"
_BIG_TIFF = (b"II+\0", b"MM\0+")
_MAX_LEVELS = 64
#: Whole-slide scanners stay below this; it also keeps every product within 64 bits.
_MAX_SIDE_PX = 2_000_000


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a slide may ask for.

    Attributes:
        open_timeout_s: how long opening may take.
        read_timeout_s: how long one read may take.
        memory_bytes: by how much the process that reads may grow.
        max_picture_bytes: the largest file that is no slide, and decoded as a whole.
    """

    open_timeout_s: float = 30.0
    read_timeout_s: float = 60.0
    memory_bytes: int = 1536 * 1024 * 1024
    max_picture_bytes: int = 64 * 1024 * 1024


class Slide(Protocol):
    """A large picture that is open for reading."""

    @property
    def facts(self) -> SlideFacts:
        """What its file says about itself."""
        ...

    async def read(self, reading: Reading) -> NDArray[np.uint8]:
        """A rectangle of one level, `(H, W, 3)`; outside the picture it is white.

        Raises:
            UnreadableSlide: this part of the file is damaged.
            SlideTooLarge: reading it takes more memory or time than a slide may.
        """
        ...


@asynccontextmanager
async def open_slide(path: Path, decoder: DecodePool, bounds: Bounds) -> AsyncIterator[Slide]:
    """Open a file by what its bytes say, never by its name.

    Slides are read by OpenSlide in a process of their own; what is a plain picture instead is
    decoded as a whole, within the limits of every picture.

    Raises:
        UnreadableSlide: it is no TIFF-based slide, TIFF, PNG or JPEG, or it is damaged.
        SlideTooLarge: it is larger than the limits allow.
    """
    head = await anyio.to_thread.run_sync(_head_of, path)
    kind = find_format(head)
    if kind is ImageFormat.TIFF or head[:4] in _BIG_TIFF:
        process = await ReadingProcess.start(_MODULE, bounds.memory_bytes)
        try:
            slide = await _ProcessSlide.open(process, path, bounds)
            if slide is not None:
                yield slide
                return
        finally:
            await process.stop()
    elif kind not in (ImageFormat.PNG, ImageFormat.JPEG):
        raise UnreadableSlide(
            "The file is no slide in a TIFF-based format (SVS, NDPI, SCN, BIF, Philips, generic), "
            "TIFF, PNG or JPEG."
        )
    yield await _decode(path, decoder, bounds)


def _head_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(256)


async def _decode(path: Path, decoder: DecodePool, bounds: Bounds) -> "_PictureSlide":
    size = (await anyio.Path(path).stat()).st_size
    if size > bounds.max_picture_bytes:
        raise SlideTooLarge(
            f"A picture that is not stored in tiles may have {bounds.max_picture_bytes} bytes."
        )
    try:
        picture = await decoder.decode(await anyio.to_thread.run_sync(path.read_bytes))
    except ImageTooLarge as error:
        raise SlideTooLarge(error.detail) from error
    except (UnreadableImage, UnsupportedImage) as error:
        raise UnreadableSlide(error.detail) from error
    return _PictureSlide(picture)


class _PictureSlide:
    """A decoded picture, read as a slide with one level."""

    def __init__(self, picture: Picture) -> None:
        pixels = picture.pixels
        self._pixels = pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
        height, width = pixels.shape[:2]
        self._facts = SlideFacts(picture.format, width, height, None, (Level(width, height, 1.0),))

    @property
    def facts(self) -> SlideFacts:
        """See `Slide`."""
        return self._facts

    async def read(self, reading: Reading) -> NDArray[np.uint8]:
        """See `Slide`."""
        piece = np.full((reading.height_px, reading.width_px, 3), 255, np.uint8)
        top, left = max(0, reading.y_px), max(0, reading.x_px)
        inside = self._pixels[
            top : max(top, reading.y_px + reading.height_px),
            left : max(left, reading.x_px + reading.width_px),
        ]
        y, x = top - reading.y_px, left - reading.x_px
        piece[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
        return piece


class _ProcessSlide:
    """A slide that another process reads."""

    def __init__(self, process: ReadingProcess, facts: SlideFacts, bounds: Bounds) -> None:
        self._process = process
        self._facts = facts
        self._bounds = bounds

    @classmethod
    async def open(
        cls, process: ReadingProcess, path: Path, bounds: Bounds
    ) -> "_ProcessSlide | None":
        """Open a file; None where it is no slide that OpenSlide knows."""
        request = {"op": "open", "path": str(path)}
        members, _ = await _ask(process, request, bounds.open_timeout_s)
        if members.get("error") == "OpenSlideUnsupportedFormatError":
            return None
        if "error" in members:
            raise UnreadableSlide("The slide's file is damaged.")
        return cls(process, _to_facts(members), bounds)

    @property
    def facts(self) -> SlideFacts:
        """See `Slide`."""
        return self._facts

    async def read(self, reading: Reading) -> NDArray[np.uint8]:
        """See `Slide`."""
        request = {
            "op": "read",
            "x": reading.x_px,
            "y": reading.y_px,
            "level": reading.level,
            "width": reading.width_px,
            "height": reading.height_px,
        }
        members, pixels = await _ask(self._process, request, self._bounds.read_timeout_s)
        if "error" in members or len(pixels) != reading.width_px * reading.height_px * 3:
            raise UnreadableSlide("A part of the slide's file is damaged.")
        return np.frombuffer(pixels, np.uint8).reshape(reading.height_px, reading.width_px, 3)


async def _ask(
    process: ReadingProcess, request: dict[str, Any], timeout_s: float
) -> tuple[dict[str, Any], bytes]:
    try:
        with anyio.fail_after(timeout_s):
            head, pixels = await process.ask((to_head(request, 0), b""))
    except TimeoutError as error:
        log.warning("slide_reader_timed_out", op=request["op"], timeout_s=timeout_s)
        raise SlideTooLarge(f"Reading the slide takes longer than {timeout_s:g} s.") from error
    except DIED as error:
        log.warning("slide_reader_died", op=request["op"])
        raise UnreadableSlide("The slide's file cannot be read.") from error
    members: dict[str, Any] = json.loads(head)
    if members.get("error") == "MemoryError":
        raise SlideTooLarge("Reading the slide takes more memory than a slide may.")
    return members, pixels


def _to_facts(members: dict[str, Any]) -> SlideFacts:
    """The facts, if they are possible: the process that states them has read a hostile file."""
    levels = tuple(
        Level(int(width), int(height), float(downsample))
        for width, height, downsample in members["levels"]
    )
    if not 0 < len(levels) <= _MAX_LEVELS:
        raise UnreadableSlide("The slide has no resolution, or too many.")
    for level in levels:
        if not (level.width_px > 0 and level.height_px > 0 and _is_factor(level.downsample)):
            raise UnreadableSlide("The slide has a resolution without pixels.")
    finest = levels[0]
    if max(finest.width_px, finest.height_px) > _MAX_SIDE_PX:
        raise SlideTooLarge(f"A slide may have {_MAX_SIDE_PX} pixels on a side.")
    mpp_um = members["mpp_um"]
    return SlideFacts(
        str(members["format"])[:40],
        finest.width_px,
        finest.height_px,
        None if mpp_um is None else float(mpp_um),
        levels,
    )


def _is_factor(downsample: float) -> bool:
    return math.isfinite(downsample) and downsample >= 1.0
