"""From a decoded picture to the network's input, compiled once from the manifest."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.imaging.halving import halve
from shared.inference.manifest import InputSpec

# Before the antialiased resize, Pillow may average whole blocks of pixels as long as the
# picture stays this many times larger than the target; see tests for the deviation.
_REDUCING_GAP = 2.0


@dataclass(frozen=True, slots=True)
class Framing:
    """Which part of a picture the network sees, and where that lies in the network's input."""

    source_xyxy_px: tuple[float, float, float, float]
    """In pixels of the picture."""
    target_xyxy_px: tuple[int, int, int, int]
    """In pixels of the network's input."""


class Preprocess:
    """Turns uint8 pixels into the float32 input of one network; safe to call from many threads."""

    def __init__(self, spec: InputSpec) -> None:
        self.spec = spec
        self.height_px, self.width_px = spec.size
        self.shape = (spec.channels, self.height_px, self.width_px)
        self.target_px = max(spec.size)
        """The side that a decoder may reduce a picture to twice of."""
        # ((x * scale) - mean) / std as one multiplication and one subtraction.
        self._gains = tuple(np.float32(spec.scale / std) for std in spec.std)
        self._offsets = tuple(
            np.float32(mean / std) for mean, std in zip(spec.mean, spec.std, strict=True)
        )

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Prepare one picture.

        Args:
            pixels: `(H, W)` gray or `(H, W, 3)` RGB, 0 to 255.

        Returns:
            `(C, H, W)`, channel first, in the network's own range.

        Raises:
            ValueError: `pixels` has another shape or type, or is empty.
        """
        _check(pixels)
        pixels = self._in_colour(pixels)
        if self.spec.equalise:
            pixels = _equalised(pixels)
        framing = self.framing(pixels.shape[0], pixels.shape[1])
        left, top, right, bottom = framing.target_xyxy_px
        seen = _resized(pixels, framing.source_xyxy_px, (right - left, bottom - top))
        is_full = (right - left, bottom - top) == (self.width_px, self.height_px)
        prepared = (np.empty if is_full else np.zeros)(self.shape, np.float32)
        for channel, gain, offset in zip(
            range(self.shape[0]), self._gains, self._offsets, strict=True
        ):
            plane = prepared[channel, top:bottom, left:right]
            np.multiply(_plane(seen, self._source_channel(channel)), gain, out=plane)
            if offset:
                np.subtract(plane, offset, out=plane)
        return prepared

    def fit(self, image: Image.Image) -> Image.Image:
        """Resize a picture, gray or RGB, as a call would, so that the call has it to do no more.

        A decoder that does this saves copying the whole picture twice.
        """
        if self.spec.equalise or (self.spec.colour == "GRAY" and image.mode != "L"):
            return image
        framing = self.framing(image.height, image.width)
        left, top, right, bottom = framing.target_xyxy_px
        return _fitted(image, framing.source_xyxy_px, (right - left, bottom - top))

    def framing(self, height_px: int, width_px: int) -> Framing:
        """Where a picture of this size lands in the network's input."""
        whole = (0.0, 0.0, float(width_px), float(height_px))
        full = (0, 0, self.width_px, self.height_px)
        if self.spec.resize == "stretch":
            return Framing(whole, full)
        if self.spec.resize == "crop":
            scale = min(height_px / self.height_px, width_px / self.width_px)
            seen_width, seen_height = self.width_px * scale, self.height_px * scale
            left, top = (width_px - seen_width) / 2, (height_px - seen_height) / 2
            # Rounding must not push the box over the edge.
            right, bottom = min(left + seen_width, width_px), min(top + seen_height, height_px)
            return Framing((max(left, 0.0), max(top, 0.0), right, bottom), full)
        scale = min(self.height_px / height_px, self.width_px / width_px)
        fitted_width = max(1, min(self.width_px, round(width_px * scale)))
        fitted_height = max(1, min(self.height_px, round(height_px * scale)))
        x, y = (self.width_px - fitted_width) // 2, (self.height_px - fitted_height) // 2
        return Framing(whole, (x, y, x + fitted_width, y + fitted_height))

    def _in_colour(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Gray where the network reads gray; gray pictures stay one plane until the end."""
        if pixels.ndim == 3 and self.spec.colour == "GRAY":
            return _as_uint8(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
        return pixels

    def _source_channel(self, channel: int) -> int:
        return 2 - channel if self.spec.colour == "BGR" else channel


def compile_preprocess(spec: InputSpec) -> Preprocess:
    """Compile the manifest's `input` into a function from pixels to the network's input."""
    return Preprocess(spec)


def _check(pixels: NDArray[np.uint8]) -> None:
    if pixels.dtype != np.uint8:
        raise ValueError(f"pixels are {pixels.dtype}, not uint8")
    if pixels.ndim != 2 and not (pixels.ndim == 3 and pixels.shape[2] == 3):
        raise ValueError(f"pixels have the shape {pixels.shape}, not (H, W) or (H, W, 3)")
    if pixels.size == 0:
        raise ValueError("there are no pixels")


def _as_uint8(pixels: object) -> NDArray[np.uint8]:
    return np.asarray(pixels, np.uint8)


def _equalised(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.ndim == 3:
        pixels = _as_uint8(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    return _as_uint8(cv2.equalizeHist(pixels))


def _plane(pixels: NDArray[np.uint8], channel: int) -> NDArray[np.uint8]:
    return pixels if pixels.ndim == 2 else pixels[:, :, channel]


def _resized(
    pixels: NDArray[np.uint8],
    box_xyxy_px: tuple[float, float, float, float],
    size_px: tuple[int, int],
) -> NDArray[np.uint8]:
    """Resize the part of `pixels` inside the box, antialiased."""
    if _is_whole(pixels.shape[1], pixels.shape[0], box_xyxy_px, size_px):
        return pixels
    height_px, width_px = pixels.shape[:2]
    if box_xyxy_px == (0.0, 0.0, width_px, height_px) and _begins_with_halving(
        width_px, height_px, size_px
    ):
        # What Pillow would do itself, to the last bit, in a tenth of the time.
        pixels = halve(pixels)
        box_xyxy_px = (0.0, 0.0, width_px / 2, height_px / 2)
    return np.asarray(_fitted(Image.fromarray(pixels), box_xyxy_px, size_px))


def _begins_with_halving(width_px: int, height_px: int, size_px: tuple[int, int]) -> bool:
    """Whether the blocks that Pillow averages first are two by two pixels, and all whole."""
    across, down = width_px / size_px[0], height_px / size_px[1]
    return (
        int(across / _REDUCING_GAP) == int(down / _REDUCING_GAP) == 2
        and width_px % 2 == height_px % 2 == 0
    )


def _fitted(
    image: Image.Image,
    box_xyxy_px: tuple[float, float, float, float],
    size_px: tuple[int, int],
) -> Image.Image:
    if _is_whole(image.width, image.height, box_xyxy_px, size_px):
        return image
    return image.resize(
        size_px, Image.Resampling.BILINEAR, box=box_xyxy_px, reducing_gap=_REDUCING_GAP
    )


def _is_whole(
    width_px: int,
    height_px: int,
    box_xyxy_px: tuple[float, float, float, float],
    size_px: tuple[int, int],
) -> bool:
    return size_px == (width_px, height_px) and box_xyxy_px == (0.0, 0.0, width_px, height_px)
