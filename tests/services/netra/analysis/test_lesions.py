"""From maps to boxes in pixels of the uploaded picture, and to masks over it."""

import numpy as np
import pytest

from services.netra.analysis.field import Field
from services.netra.analysis.lesion_features import FEATURE_NAMES, lesion_features
from services.netra.analysis.lesions import LesionMaps, to_picture
from services.netra.domain import Lesion, LesionType


def maps_with(spot: tuple[slice, slice], field: Field, picture: tuple[int, int]) -> LesionMaps:
    """Maps of 400 x 500 with one certain haemorrhage."""
    probability = np.zeros((4, 400, 500), np.float32)
    probability[1, *spot] = 0.95
    return LesionMaps(probability, field, picture)


def test_a_box_lands_where_the_field_lies_in_the_uploaded_picture() -> None:
    """The network saw a cut and shrunken field of a picture that the decoder had halved."""
    maps = maps_with((slice(100, 110), slice(200, 220)), Field(100, 50, 1100, 850), (1000, 1200))
    spot = Lesion(LesionType.HAEMORRHAGE, (200, 100, 220, 110), 0.95)

    box = to_picture(spot, maps, width_px=2400, height_px=2000).box_xyxy_px

    # The field is 2 px per map pixel in the halved picture, so 4 in the uploaded one.
    assert box == (200 + 4 * 200, 100 + 4 * 100, 200 + 4 * 220, 100 + 4 * 110)


def test_a_box_never_leaves_the_picture() -> None:
    """Rounding at the rim must not point outside."""
    maps = maps_with((slice(0, 9), slice(0, 9)), Field(0, 0, 1001, 801), (801, 1001))
    spot = Lesion(LesionType.HAEMORRHAGE, (490, 390, 500, 400), 0.95)

    left, top, right, bottom = to_picture(spot, maps, 1001, 801).box_xyxy_px

    assert 0 <= left < right <= 1001
    assert 0 <= top < bottom <= 801


def test_maps_laid_over_a_picture_lie_inside_the_field_of_view() -> None:
    """What surrounds the retina holds no lesion."""
    maps = maps_with((slice(0, 400), slice(0, 500)), Field(20, 10, 80, 58), (100, 100))

    laid = maps.over_picture(200, 200)[1]

    assert laid[20:116, 40:160].min() == pytest.approx(0.95, abs=1e-3)
    assert laid.sum() == pytest.approx(0.95 * 96 * 120, rel=1e-3)


def test_features_grow_with_lesions() -> None:
    """The verdict's weights are of these figures; more lesion must mean more of each."""
    few, many = np.full((2, 4, 200, 200), 0.01, np.float32)
    few[:, 10:16, 10:16] = 0.9
    for start in range(10, 190, 30):
        many[:, start : start + 8, start : start + 8] = 0.9
    features = lesion_features(few), lesion_features(many)

    assert len(features[0]) == len(FEATURE_NAMES)
    assert (features[1] >= features[0]).all()
    assert (features[1] > features[0]).sum() >= len(FEATURE_NAMES) // 2
