"""The process that reads slides: `python -m services.scancer.slides.child <bytes>`.

Whole-slide files are large, full of offsets, and read by libraries in C. Here they may crash, hang
or ask for memory at nobody's cost: no credentials, no files to write, a ceiling on memory, and a
parent that waits only so long. Requests and replies are those of `shared.imaging.wire`: a JSON
head, then pixels.
"""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import openslide
from numpy.typing import NDArray

from shared.imaging.ceiling import limit_memory
from shared.imaging.wire import LENGTHS, READY, to_head

#: Beyond this OpenSlide is not asked; the parent asks for less.
MAX_READ_PIXELS = 32_000_000
#: What a pixel of a scanned slide may measure; files that say otherwise mean a screen's.
PLAUSIBLE_MPP_UM = (0.02, 20.0)


def answer(requests: BinaryIO, replies: BinaryIO) -> None:
    """Serve requests about one slide after the other, until there are no more."""
    replies.write(READY)
    replies.flush()
    slide: openslide.OpenSlide | None = None
    while len(lengths := requests.read(LENGTHS.size)) == LENGTHS.size:
        head_bytes, _ = LENGTHS.unpack(lengths)
        request = json.loads(requests.read(head_bytes))
        pixels = np.zeros(0, np.uint8)
        try:
            if request["op"] == "open":
                slide = openslide.OpenSlide(request["path"])
                members = facts_of(slide)
            elif slide is None:
                members = {"error": "no slide is open"}
            else:
                pixels = read(slide, request)
                members = {"shape": pixels.shape}
        except (openslide.OpenSlideError, ValueError, MemoryError, OSError) as error:
            members = {"error": type(error).__name__}
        replies.write(to_head(members, pixels.nbytes))
        replies.write(pixels.reshape(-1).data)
        replies.flush()


def facts_of(slide: openslide.OpenSlide) -> dict[str, Any]:
    """What the parent makes `SlideFacts` of."""
    properties = slide.properties
    levels = zip(slide.level_dimensions, slide.level_downsamples, strict=True)
    return {
        "format": properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown"),
        "mpp_um": _mpp_of(properties),
        "levels": [[*size, downsample] for size, downsample in levels],
    }


def _mpp_of(properties: Mapping[str, str]) -> float | None:
    """The mean of both directions, if both are stated and plausible."""
    found = []
    for name in (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y):
        try:
            found.append(float(properties[name]))
        except (KeyError, ValueError):
            return None
    mean = sum(found) / 2
    low, high = PLAUSIBLE_MPP_UM
    return mean if low <= mean <= high else None


def read(slide: openslide.OpenSlide, request: Mapping[str, int]) -> NDArray[np.uint8]:
    """A rectangle of one level as `(H, W, 3)`; what the scanner left out is white."""
    width, height = int(request["width"]), int(request["height"])
    if not 0 < width * height <= MAX_READ_PIXELS:
        raise ValueError("a read of this size is never asked for")
    picture = slide.read_region((request["x"], request["y"]), request["level"], (width, height))
    rgba = np.asarray(picture)
    alpha = rgba[:, :, 3:].astype(np.uint16)
    if (alpha == 255).all():
        return np.ascontiguousarray(rgba[:, :, :3])
    blended = (rgba[:, :, :3] * alpha + 255 * (255 - alpha)) // 255
    return np.ascontiguousarray(blended.astype(np.uint8))


if __name__ == "__main__":
    # Native readers print what they think of a file; nothing but replies may reach the parent.
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)
        if sys.platform == "linux":
            limit_memory(int(sys.argv[1]))
        answer(sys.stdin.buffer, replies)
