"""Resizes and converts pictures of the data folder into a folder of their own, as a task.

Pictures are decoded by the platform's own decoder, the risky formats in a process apart; a picture
that cannot be read is left out and counted.
"""

import asyncio
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from services.bqat.domain import (
    ALL_EXTENSIONS,
    Modality,
    OptionsRefused,
    Task,
    Wanted,
    wanted_files,
)
from services.bqat.errors import InputRefused
from services.bqat.sources import DataFolder, SampleUnreadable, relative_name
from shared.imaging import Decoder, Picture
from shared.jobs import Claim, JobFailed
from shared.problems import Problem

_PICTURES: Final = tuple(ending for ending in ALL_EXTENSIONS if ending != "wav")
_WRITABLE: Final = ("png", "jpeg", "jpg", "bmp", "jp2")
_GRAY: Final = ("grayscale", "greyscale", "bw")
_LONGEST_SIDE_PX: Final = 12_000
_REPORT_EVERY: Final = 20


@dataclass(frozen=True, slots=True)
class Change:
    """What is done to each picture."""

    ending: str | None
    """The format it is written in; None: its own, or PNG where that is not written here."""
    scale: float | None
    width_px: int | None
    is_gray: bool
    is_binary: bool


def read_change(options: Mapping[str, Any]) -> Change:
    """What the options of a preprocessing task say.

    Raises:
        OptionsRefused: they say something that is not done here.
    """
    ending = options.get("convert")
    if ending is not None and ending not in _WRITABLE:
        raise OptionsRefused(f"convert: one of {', '.join(_WRITABLE)}")
    scale = options.get("scale")
    if scale is not None and not 0 < float(scale) <= 20:
        raise OptionsRefused("scale: above 0 and at most 20")
    width = options.get("resize")
    if width is not None and not 20 <= int(width) <= 10_000:
        raise OptionsRefused("resize: from 20 to 10000 pixels")
    mode = options.get("mode")
    if mode not in (None, "rgb", *_GRAY):
        raise OptionsRefused("mode: rgb, greyscale or bw")
    return Change(
        ending,
        None if scale in (None, 1, 1.0) else float(str(scale)),
        None if width is None else int(width),
        mode in _GRAY,
        mode == "bw",
    )


def apply(change: Change, picture: Picture, ending: str) -> bytes:
    """One picture, changed and encoded."""
    pixels = picture.pixels
    height, width = pixels.shape[:2]
    factor = change.width_px / width if change.width_px else change.scale
    if factor is not None:
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        if max(size) > _LONGEST_SIDE_PX:
            raise InputRefused(f"A side would have more than {_LONGEST_SIDE_PX} pixels.")
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)
    if change.is_gray and pixels.ndim == 3:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    if change.is_binary:
        _, binary = cv2.threshold(pixels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
        pixels = np.asarray(binary, np.uint8)
    return _encode(pixels, ending)


def _encode(pixels: NDArray[np.uint8], ending: str) -> bytes:
    drawn = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    written, encoded = cv2.imencode(f".{ending}", drawn)
    if not written:
        raise InputRefused("The picture cannot be written in this format.")
    return encoded.tobytes()


class Preprocessor:
    """Does preprocessing tasks."""

    def __init__(self, data: DataFolder, decoder: Decoder) -> None:
        self._data = data
        self._decoder = decoder

    async def run(self, claim: Claim, task: Task) -> Mapping[str, Any]:
        """Write every picture of the source folder, changed, into the target folder."""
        try:
            change = read_change(task.options)
            source = relative_name(str(task.source.get("source")))
            target = relative_name(str(task.source.get("target")))
            pattern = str(task.options.get("pattern") or "")
            wanted = _wanted(task.source.get("input_format"), pattern)
        except (OptionsRefused, InputRefused) as error:
            raise JobFailed("input-refused", str(error)) from error
        names = await asyncio.to_thread(lambda: list(self._data.files(source, wanted)))
        folder = self._data.root / target
        if not folder.resolve().is_relative_to(self._data.root.resolve()):
            raise JobFailed("input-refused", "The target leads out of the data folder.")
        await asyncio.to_thread(folder.mkdir, mode=0o755, parents=True, exist_ok=True)
        failed = 0
        for number, name in enumerate(names):
            try:
                await self._change(change, name, PurePosixPath(name).relative_to(source), target)
            except (Problem, SampleUnreadable):
                failed += 1
            if number % _REPORT_EVERY == 0:
                await claim.progress(
                    number / len(names), total=len(names), done=number, failed=failed
                )
        async with claim.effect() as effect:
            await effect.set(total=len(names), done=len(names), failed=failed)
            result = {"target": f"data/{target}", "written": len(names) - failed, "failed": failed}
            await effect.complete(result)
        return result

    async def _change(
        self, change: Change, name: str, inner: PurePosixPath, target: PurePosixPath
    ) -> None:
        content = await self._data.read(name)
        own = inner.suffix.lower().lstrip(".")
        ending = change.ending or (own if own in _WRITABLE else "png")
        encoded = await self._decoder.apply(lambda picture: apply(change, picture, ending), content)
        path = self._data.root / target / inner.with_suffix(f".{ending}")
        await asyncio.to_thread(_write, path, encoded)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(partial, flags, 0o644), "wb") as file:
        file.write(content)
    partial.replace(path)


def _wanted(formats: Any, pattern: str) -> Wanted:
    endings = formats if isinstance(formats, list) and formats else list(_PICTURES)
    known = frozenset(str(ending).lower() for ending in endings) & set(_PICTURES)
    return Wanted(known, wanted_files(Modality.FACE, {"pattern": pattern}).pattern)
