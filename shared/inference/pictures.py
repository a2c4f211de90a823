"""Drawn colour pictures for the test vectors of published networks.

They belong to nobody, and whole-number arithmetic makes them the same on every machine.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

SIDE_PX = 240


def drawn_face() -> NDArray[np.uint8]:
    """A face as a child draws it, a little left of the centre; `(240, 240, 3)` RGB."""
    rows, columns = _grid()
    picture = np.stack([90 + rows // 4, 110 + columns // 5, 140 + (rows + columns) // 8], axis=-1)

    def paint(row: int, column: int, tall: int, wide: int, colour: tuple[int, int, int]) -> None:
        inside = (rows - row) ** 2 * wide**2 + (columns - column) ** 2 * tall**2
        picture[inside <= tall**2 * wide**2] = colour

    paint(226, 112, 40, 90, (60, 70, 110))  # shoulders
    paint(108, 112, 84, 66, (58, 40, 30))  # hair
    paint(122, 112, 72, 54, (222, 178, 150))  # skin
    for column in (90, 134):
        paint(98, column, 3, 15, (70, 48, 38))  # brow
        paint(112, column, 7, 13, (245, 242, 238))  # eye
        paint(112, column, 6, 6, (60, 44, 36))  # iris
    paint(128, 112, 18, 6, (206, 158, 130))  # nose
    paint(140, 112, 5, 12, (186, 132, 110))  # nostrils
    paint(163, 112, 8, 22, (172, 84, 82))  # mouth
    paint(162, 112, 2, 18, (110, 44, 48))
    # A light from the upper left: without shading it is no face to a network.
    picture = picture * (300 - (columns - 80) ** 2 // 160 - rows // 6)[..., None] // 290
    return np.asarray(np.clip(picture, 0, 255), np.uint8)


def rings() -> NDArray[np.uint8]:
    """Coloured rings over a chequered ground with fine grain; `(240, 240, 3)` RGB."""
    rows, columns = _grid()
    distance = (rows - 100) ** 2 + (columns - 130) ** 2
    ground = 90 + 50 * ((rows // 24 + columns // 24) % 2)
    grain = (rows * 7919 + columns * 104729 + rows * columns * 31) % 37
    picture = np.stack(
        [
            ground + grain + distance // 40 % 60,
            ground + grain + distance // 90 % 70,
            ground - grain + distance // 150 % 80,
        ],
        axis=-1,
    )
    return np.asarray(np.clip(picture, 0, 255), np.uint8)


PICTURES: Mapping[str, Callable[[], NDArray[np.uint8]]] = {"face": drawn_face, "rings": rings}


def _grid() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows = np.arange(SIDE_PX, dtype=np.int64)
    return np.broadcast_to(rows[:, None], (SIDE_PX, SIDE_PX)), np.broadcast_to(
        rows[None, :], (SIDE_PX, SIDE_PX)
    )
