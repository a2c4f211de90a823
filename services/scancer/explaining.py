"""Draws where a network looked over the picture that it looked at."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from services.scancer.prediction import Explained
from shared.imaging import Decoder, Picture, overlay, to_png
from shared.inference import Preprocess, compile_preprocess
from shared.inference.explain import normalised_map

_MAX_SIDE_PX = 1024


async def draw_explanation(decoder: Decoder, explained: Explained, image: bytes) -> bytes:
    """The picture with its map as a PNG; longest side at most 1,024 pixels."""
    index = explained.prediction.label or 0
    heat = normalised_map(explained.maps[index])
    preprocess = compile_preprocess(explained.manifest.input)
    return await decoder.apply(
        partial(_draw, heat=heat, preprocess=preprocess), image, target_px=_MAX_SIDE_PX
    )


def _draw(picture: Picture, heat: NDArray[np.float32], preprocess: Preprocess) -> bytes:
    pixels = picture.pixels
    height_px, width_px = pixels.shape[:2]
    framing = preprocess.framing(height_px, width_px)
    left, top, right, bottom = (round(side) for side in framing.source_xyxy_px)
    x0, y0, x1, y1 = framing.target_xyxy_px
    rows, columns = heat.shape
    # The part of the map that shows the picture, laid where the network saw it.
    part = heat[
        y0 * rows // preprocess.height_px : max(1, -(-y1 * rows // preprocess.height_px)),
        x0 * columns // preprocess.width_px : max(1, -(-x1 * columns // preprocess.width_px)),
    ]
    whole = np.zeros((height_px, width_px), np.float32)
    rows_of = np.linspace(0, part.shape[0] - 1, max(1, bottom - top)).round().astype(int)
    columns_of = np.linspace(0, part.shape[1] - 1, max(1, right - left)).round().astype(int)
    whole[top:bottom, left:right] = part[np.ix_(rows_of, columns_of)]
    return to_png(overlay(pixels, whole, max_side_px=_MAX_SIDE_PX))
