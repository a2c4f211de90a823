"""Windows cover a picture without seams."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from services.netra.analysis.tiles import OVERLAP_PX, look_through, tile_starts


@pytest.mark.parametrize("length_px", [672, 700, 1280, 1281, 3000])
def test_windows_reach_both_edges_and_overlap(length_px: int) -> None:
    """What one window cuts, its neighbour sees whole."""
    starts = tile_starts(length_px, 672)

    assert starts[0] == 0
    assert starts[-1] + 672 == length_px
    assert all(b - a <= 672 - OVERLAP_PX for a, b in pairwise(starts))


def test_a_small_picture_takes_one_window() -> None:
    """It is padded, and the padding is cut off again."""
    assert tile_starts(100, 672) == [0]

    answer = look_through(np.ones((3, 50, 40), np.float32), (64, 64), lambda window: 2 * window)

    np.testing.assert_allclose(answer, np.full((3, 50, 40), 2.0), atol=1e-6)


def test_a_network_that_changes_nothing_gives_the_picture_back() -> None:
    """Blending weighs every pixel to one, also where four windows meet."""
    picture = np.random.default_rng(0).random((2, 300, 410)).astype(np.float32)

    answer = look_through(picture, (128, 160), lambda window: window)

    np.testing.assert_allclose(answer, picture, atol=1e-5)


def test_the_edge_of_a_window_counts_least() -> None:
    """A network that errs at its rim is outvoted by the window that sees the place whole."""

    def look(window: NDArray[np.float32]) -> NDArray[np.float32]:
        answer = np.zeros_like(window)
        answer[..., 0] = answer[..., -1] = 1.0
        return answer

    answer = look_through(np.zeros((1, 128, 256), np.float32), (128, 160), look)

    assert answer[0, :, 20:-20].max() < 0.1
