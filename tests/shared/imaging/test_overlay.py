"""Heat maps laid over pictures."""

import numpy as np
import pytest

from shared.imaging import overlay
from tests.shared.imaging.builders import gradient


def test_cold_parts_stay_as_they_are() -> None:
    """No heat, no colour: the anatomy is not tinted where the network saw nothing."""
    result = overlay(gradient(), np.zeros((7, 7)))

    np.testing.assert_array_equal(result, np.dstack([gradient()] * 3))


def test_hot_parts_turn_red_where_they_are() -> None:
    """A map of two by two lands in the corner that it names."""
    heat = np.array([[0.0, 0.0], [0.0, 1.0]])

    result = overlay(np.full((200, 200), 128, np.uint8), heat).astype(int)

    assert result[199, 199, 0] - result[199, 199, 2] > 50
    np.testing.assert_allclose(result[0, 0], [128, 128, 128], atol=1)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((2000, 1000), (1024, 512)), ((500, 3000), (171, 1024)), ((300, 200), (300, 200))],
)
def test_the_aspect_is_kept_and_the_longest_side_bounded(
    shape: tuple[int, int], expected: tuple[int, int]
) -> None:
    """Small pictures are not enlarged."""
    result = overlay(np.zeros(shape, np.uint8), np.ones((7, 7)))

    assert result.shape == (*expected, 3)
    assert result.dtype == np.uint8


def test_a_colour_picture_keeps_its_colours_in_the_cold() -> None:
    """Fundus photographs are RGB."""
    rgb = np.dstack([gradient(), gradient() // 2, gradient() // 3])

    np.testing.assert_array_equal(overlay(rgb, np.zeros((2, 2))), rgb)


@pytest.mark.parametrize(
    "heat", [np.array([[np.nan]]), np.zeros((0, 3)), np.zeros(4), np.full((2, 2), np.inf)]
)
def test_a_heat_map_that_is_none_is_a_programming_error(heat: np.ndarray) -> None:
    """NaN from a network must not become a plausible colour."""
    with pytest.raises(ValueError, match="heat map"):
        overlay(gradient(), heat)
