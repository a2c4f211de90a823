"""Looks at a large picture through a network's small window, without seams."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

#: Neighbouring windows share at least this much, so that what one cuts the other sees whole.
OVERLAP_PX = 64

Look = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""From `(1, C, h, w)` to `(1, K, h, w)`."""


def tile_starts(length_px: int, window_px: int) -> list[int]:
    """Where windows begin along one side, evenly spread from edge to edge."""
    if length_px <= window_px:
        return [0]
    count = int(np.ceil((length_px - OVERLAP_PX) / (window_px - OVERLAP_PX)))
    return [round(i * (length_px - window_px) / (count - 1)) for i in range(count)]


def look_through(
    tensor: NDArray[np.float32], window: tuple[int, int], look: Look, empty: float = 0.0
) -> NDArray[np.float32]:
    """Run a network over a picture in windows and blend where they overlap.

    Args:
        tensor: `(C, H, W)`.
        window: height and width of the network's input.
        look: the network.
        empty: what fills windows that are larger than the picture.

    Returns:
        `(K, H, W)`.
    """
    height, width = tensor.shape[1:]
    rows, columns = window
    if height < rows or width < columns:
        missing = ((0, 0), (0, max(0, rows - height)), (0, max(0, columns - width)))
        padded = np.pad(tensor, missing, constant_values=empty)
        return look_through(padded, window, look)[:, :height, :width]
    blend = np.multiply.outer(_ramp(rows), _ramp(columns)).astype(np.float32)
    total: NDArray[np.float32] | None = None
    weight = np.zeros((height, width), np.float32)
    for top in tile_starts(height, rows):
        for left in tile_starts(width, columns):
            place = slice(top, top + rows), slice(left, left + columns)
            seen = look(np.ascontiguousarray(tensor[None, :, *place]))[0]
            if total is None:
                total = np.zeros((len(seen), height, width), np.float32)
            total[:, *place] += seen * blend
            weight[place] += blend
    if total is None:
        raise ValueError("a picture has at least one window")
    return total / weight


def _ramp(length_px: int) -> NDArray[np.float32]:
    """1 in the middle of a window, falling towards its edges, never 0."""
    from_edge = np.minimum(np.arange(length_px), np.arange(length_px)[::-1]) + 1.0
    return np.minimum(from_edge / (OVERLAP_PX / 2), 1.0).astype(np.float32)
