"""Where the network looked, drawn over the radiograph when somebody asks."""

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from services.chexray.domain import ActivationMaps, Pathology
from shared.imaging import Picture, overlay, to_jpeg, to_png
from shared.inference.explain import normalised_map

MAX_SIDE_PX = 1024
_HEAT_SIDE_PX = 256

OverlayFormat = Literal["png", "jpeg"]


def heat_of(maps: ActivationMaps, label: Pathology) -> NDArray[np.float32]:
    """The map of one label, `(rows, columns)`, 0 (nothing speaks for it) to 1 (its peak)."""
    planes = np.frombuffer(maps.values, "<f2").reshape(len(Pathology), maps.rows, maps.columns)
    return normalised_map(planes[list(Pathology).index(label)].astype(np.float32))


def spread(
    heat: NDArray[np.float32],
    covers_xyxy: tuple[float, float, float, float],
    width_px: int,
    height_px: int,
) -> NDArray[np.float32]:
    """Lay a coarse map over a whole picture; what the network did not see stays 0.

    Args:
        heat: `(rows, columns)`, 0 to 1.
        covers_xyxy: the part of the picture that `heat` covers, in fractions.
        width_px: width of the result.
        height_px: height of the result.

    Returns:
        `(height_px, width_px)`, 0 to 1, interpolated bicubically.
    """
    rows, columns = heat.shape
    left, top, right, bottom = covers_xyxy
    x_step = columns / ((right - left) * width_px)
    y_step = rows / ((bottom - top) * height_px)
    # Pixel centres of the result in pixel coordinates of the map.
    to_map = np.array(
        [
            [x_step, 0, 0.5 * x_step - left * columns / (right - left) - 0.5],
            [0, y_step, 0.5 * y_step - top * rows / (bottom - top) - 0.5],
        ]
    )
    laid = cv2.warpAffine(
        heat,
        to_map,
        (width_px, height_px),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    x = (np.arange(width_px) + 0.5) / width_px
    y = (np.arange(height_px) + 0.5) / height_px
    seen = ((y >= top) & (y <= bottom))[:, np.newaxis] & ((x >= left) & (x <= right))
    return np.where(seen, np.clip(laid, 0, 1), 0).astype(np.float32)


def draw_heatmap(
    picture: Picture, maps: ActivationMaps, label: Pathology, output: OverlayFormat
) -> bytes:
    """The radiograph with the map of `label` over it.

    Args:
        picture: the upload, decoded for `MAX_SIDE_PX`.
        maps: what the network answered.
        label: whose map.
        output: the format of the result.

    Returns:
        An RGB picture in the upload's aspect, its longest side at most 1,024 px.
    """
    pixels = picture.to_gray()
    height_px, width_px = pixels.shape
    scale = min(1.0, _HEAT_SIDE_PX / max(height_px, width_px))
    size = (max(1, round(width_px * scale)), max(1, round(height_px * scale)))
    heat = spread(heat_of(maps, label), maps.covers_xyxy, *size)
    drawn = overlay(pixels, heat, max_side_px=MAX_SIDE_PX)
    return to_png(drawn) if output == "png" else to_jpeg(drawn)


def draw_plain(picture: Picture) -> bytes:
    """The upload as a PNG that every browser shows, without any of the file's metadata."""
    return to_png(picture.pixels)
