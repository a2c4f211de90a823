"""Pictures from the bytes of a biometric sample."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.bqat.engines.assessment import Unassessable
from services.bqat.engines.wsq import MAGIC as WSQ_MAGIC
from services.bqat.engines.wsq import Damaged, decode_wsq
from shared.imaging import Limits, decode
from shared.problems import Problem

Gray = NDArray[np.uint8]
_LIMITS = Limits(max_pixels=60_000_000, max_side_px=12_000)


@dataclass(frozen=True, slots=True)
class Sample:
    """One decoded picture.

    Attributes:
        pixels: `(H, W)` gray or `(H, W, 3)` RGB, upright.
        format: what the bytes were: png, jpeg, bmp, jpeg2000, wsq and so on.
    """

    pixels: NDArray[np.uint8]
    format: str

    @property
    def height_px(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width_px(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    def to_gray(self) -> Gray:
        """`(H, W)`, ITU-R BT.601 luma."""
        if self.pixels.ndim == 2:
            return self.pixels
        return np.asarray(cv2.cvtColor(self.pixels, cv2.COLOR_RGB2GRAY), np.uint8)

    def to_rgb(self) -> NDArray[np.uint8]:
        """`(H, W, 3)`."""
        if self.pixels.ndim == 3:
            return self.pixels
        return np.asarray(cv2.cvtColor(self.pixels, cv2.COLOR_GRAY2RGB), np.uint8)


def read_sample(content: bytes) -> Sample:
    """Decode a picture of any format that is read here.

    Raises:
        Unassessable: it is none, is damaged, or is too large.
    """
    if content.startswith(WSQ_MAGIC):
        try:
            return Sample(decode_wsq(content), "wsq")
        except Damaged as error:
            raise Unassessable(f"The WSQ picture is damaged: {error}.") from error
    try:
        picture = decode(content, _LIMITS)
    except Problem as problem:
        raise Unassessable(problem.detail) from problem
    return Sample(picture.pixels, picture.format)
