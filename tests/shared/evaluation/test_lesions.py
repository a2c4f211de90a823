"""Figures of outlined lesions, against cases that can be counted by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.evaluation.lesions import LesionTally, pixel_counts, precision_recall_area

SIZE = (20, 20)


def mask(*boxes: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """True inside the boxes."""
    pixels = np.zeros(SIZE, np.bool_)
    for left, top, right, bottom in boxes:
        pixels[top:bottom, left:right] = True
    return pixels


def flat(level: float) -> NDArray[np.float32]:
    """The same probability everywhere."""
    return np.full(SIZE, level, np.float32)


def test_sure_pixels_that_are_right_have_the_whole_area() -> None:
    truth = mask((2, 2, 6, 6))
    area = precision_recall_area([pixel_counts(truth, truth.astype(np.float32))])

    assert area is not None
    assert area.value == pytest.approx(1.0)
    # One picture says nothing about others.
    assert (area.low, area.high) == (None, None)


def test_one_level_for_all_pixels_has_the_share_of_lesions_as_area() -> None:
    """It names everything at once: precision is the prevalence, 16 of 400 pixels."""
    area = precision_recall_area([pixel_counts(mask((2, 2, 6, 6)), flat(0.3))])

    assert area is not None
    assert area.value == pytest.approx(16 / 400)


def test_steps_are_added_as_by_hand() -> None:
    """Half of the lesion surely with as many others, the rest with everything."""
    truth = mask((0, 0, 4, 4))
    sure = mask((0, 0, 4, 2), (10, 10, 14, 12)).astype(np.float32) * 0.9
    area = precision_recall_area([pixel_counts(truth, sure)])

    assert area is not None
    assert area.value == pytest.approx(0.5 * 0.5 + 0.5 * 16 / 400)


def test_pixels_of_all_pictures_are_pooled() -> None:
    """A picture without lesions counts through what is named on it."""
    truth = mask((2, 2, 6, 6))
    counts = [
        pixel_counts(truth, truth.astype(np.float32)),
        pixel_counts(mask(), mask((0, 0, 4, 4)).astype(np.float32)),
    ]
    area = precision_recall_area(counts)

    assert area is not None
    assert area.value == pytest.approx(0.5)
    assert area.low is not None
    assert area.high is not None
    assert area.low <= area.value <= area.high


def test_without_a_lesion_there_is_no_area() -> None:
    assert precision_recall_area([pixel_counts(mask(), flat(0.5))]) is None
    assert precision_recall_area([]) is None


def test_lesions_are_found_by_any_pixel_in_a_box_and_boxes_without_one_are_false() -> None:
    tally = LesionTally("haemorrhage")
    tally.add(
        mask((2, 2, 5, 5), (10, 10, 12, 12), (16, 0, 18, 2)),
        flat(0.1),
        [((4, 4, 8, 8), 0.9), ((9, 9, 13, 13), 0.4), ((0, 15, 3, 18), 0.6), ((0, 10, 1, 11), 0.3)],
    )
    tally.add(mask(), flat(0.1), [((0, 0, 3, 3), 0.2)])
    found = tally.measure()

    assert (found.pictures, found.pictures_with_it, found.lesions) == (2, 1, 3)
    assert found.reported is not None
    assert found.reported.false_positives == pytest.approx(1.5)
    assert found.reported.sensitivity.value == pytest.approx(2 / 3)
    half, one = found.froc
    # Half a false box per picture: the one of 0.6 is let in, the one of 0.3 is not.
    assert [half.score, half.false_positives] == pytest.approx([0.4, 0.5])
    assert half.sensitivity.value == pytest.approx(2 / 3)
    assert [one.score, one.false_positives] == pytest.approx([0.3, 1.0])


def test_one_box_over_two_lesions_finds_both() -> None:
    tally = LesionTally("hard_exudate")
    tally.add(mask((2, 2, 4, 4), (6, 6, 8, 8)), flat(0.1), [((0, 0, 10, 10), 0.5)])
    found = tally.measure()

    assert found.reported is not None
    assert found.reported.sensitivity.value == 1.0
    assert found.reported.false_positives == 0


def test_nothing_reported_is_measured_too() -> None:
    tally = LesionTally("soft_exudate")
    tally.add(mask((2, 2, 4, 4)), flat(0.1), [])
    found = tally.measure()

    assert (found.lesions, found.reported, found.froc) == (1, None, ())


def test_outlines_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="different sizes"):
        LesionTally("x").add(np.zeros((3, 3), np.bool_), flat(0.1), [])
