"""Iris metrics on drawn eyes and at points that can be worked out by hand."""

import math

import numpy as np
import pytest

from services.bqat.engines import Unassessable
from services.bqat.engines.iris import assess_iris, iso_metrics
from services.bqat.engines.iris.biqt import biqt_quality, focus_response
from services.bqat.engines.iris.metrics import (
    Levels,
    boundary_circularity,
    concentricity,
    greyscale_utilisation,
    margin_adequacy,
    pupil_contrast,
    pupil_ratio,
    sclera_contrast,
    sharpness,
    usable_area,
)
from services.bqat.engines.iris.segmentation import Circle, Eye, segment
from services.bqat.engines.samples import Sample
from tests.services.bqat.engines.drawings import eye


def known(pupil: Circle, iris: Circle, side: int = 400) -> Eye:
    """An eye whose circles are given and which nothing covers."""
    return Eye(pupil, iris, np.full(256, pupil.radius), np.zeros((side, side), np.bool_))


def test_sclera_contrast_is_relative_to_the_pupil() -> None:
    assert sclera_contrast(Levels(pupil=20, iris=100, sclera=180, around=100)) == pytest.approx(
        100 * 80 / 240
    )
    assert sclera_contrast(Levels(pupil=20, iris=180, sclera=100, around=100)) == 0
    assert sclera_contrast(Levels(pupil=120, iris=100, sclera=180, around=100)) == 0


def test_pupil_contrast_bends_webers_ratio() -> None:
    """(95 - 20) / (20 + 20) is 1.875; of 1.875 + 0.75 that is 71.43 percent."""
    assert pupil_contrast(Levels(pupil=20, iris=0, sclera=0, around=95)) == pytest.approx(71.428571)
    assert pupil_contrast(Levels(pupil=95, iris=0, sclera=0, around=20)) == 0


def test_a_circle_is_circular_and_an_ellipse_less_so() -> None:
    """A wave of amplitude a adds 256 a² / 4: the half of its energy that is counted."""
    angles = np.arange(256) * 2 * np.pi / 256

    assert boundary_circularity(np.full(256, 7.0)) == pytest.approx(100)
    assert boundary_circularity(1 + 0.1 * np.cos(2 * angles)) == pytest.approx(100 - 256 * 0.0025)
    assert boundary_circularity(np.zeros(256)) == 0


def test_greyscale_utilisation_is_entropy() -> None:
    assert greyscale_utilisation(np.full(100, 3, np.uint8)) == 0
    assert greyscale_utilisation(np.arange(256, dtype=np.uint8)) == pytest.approx(8)
    assert greyscale_utilisation(np.repeat(np.array([1, 2, 3, 4], np.uint8), 5)) == pytest.approx(2)


def test_ratio_and_concentricity_are_shares_of_the_iris() -> None:
    found = known(Circle(203, 204, 40), Circle(200, 200, 100))

    assert pupil_ratio(found) == 40
    assert concentricity(found) == pytest.approx(95)


@pytest.mark.parametrize(
    ("centre", "iso", "compat"),
    [
        ((320, 240), 100, 100),
        ((130, 240), 50, 50),  # 30 px of the 60 that are wanted at the left
        ((510, 240), 50, 100),
        ((640, 240), 0, 100),  # cut by the right edge: the original's sign lets it pass
        ((320, 370), 50, 100),  # 10 px of the 20 that are wanted below
    ],
)
def test_margins_are_wanted_on_every_side(
    centre: tuple[float, float], iso: float, compat: float
) -> None:
    iris = Circle(*centre, 100)

    assert margin_adequacy(iris, 640, 480, compat=False) == pytest.approx(iso)
    assert margin_adequacy(iris, 640, 480, compat=True) == pytest.approx(compat)


def test_sharpness_is_the_bent_power_of_the_responses() -> None:
    """With one response in all, both modes agree."""
    picture = np.zeros((12, 12), np.uint8)
    picture[4, 4] = 255
    response = 40 * 255
    power = response**2 / 144

    expected = 100 * power**2 / (power**2 + 180_000**2)
    assert sharpness(picture, compat=False) == pytest.approx(expected)
    assert sharpness(picture, compat=True) == pytest.approx(expected)


def test_responses_of_opposite_sign_do_not_cancel() -> None:
    """The original squares their sum."""
    picture = np.full((12, 16), 128, np.uint8)
    picture[4, 4], picture[4, 8] = 255, 1

    assert sharpness(picture, compat=True) < 0.5 * sharpness(picture, compat=False)


def test_the_usable_area_leaves_out_what_is_covered() -> None:
    found = known(Circle(200, 200, 40), Circle(200, 200, 100))
    found.covered[:200] = True

    assert usable_area(found) == pytest.approx(50, abs=1)


def test_the_focus_kernel_sums_to_zero() -> None:
    assert focus_response(np.full((80, 80), 77, np.uint8)) == 0


def test_the_originals_quality_is_a_product_bent_at_eight_tenths() -> None:
    own = dict.fromkeys(
        (
            "normalized_contrast",
            "normalized_sharpness",
            "normalized_iris_diameter",
            "normalized_iris_sclera_gs",
            "normalized_percent_visible_iris",
            "normalized_iris_pupil_gs",
        ),
        1.0,
    )

    assert biqt_quality(own, {"iris_pupil_ratio": 40, "margin_adequacy": 100}) == 100
    assert biqt_quality(own, {"iris_pupil_ratio": 40, "margin_adequacy": 90}) == pytest.approx(90)
    assert biqt_quality(own, {"iris_pupil_ratio": 40, "margin_adequacy": 40}) == pytest.approx(40)
    assert biqt_quality(own, {"iris_pupil_ratio": 65, "margin_adequacy": 100}) == 0


@pytest.mark.parametrize(
    ("drawn", "pupil", "iris"),
    [
        ({}, Circle(320, 240, 45), Circle(320, 240, 110)),
        ({"pupil_radius": 80}, Circle(320, 240, 80), Circle(320, 240, 110)),
        (
            {"centre": (250, 200), "iris_radius": 130, "pupil_radius": 40, "pupil_shift": (5, -4)},
            Circle(255, 196, 40),
            Circle(250, 200, 130),
        ),
        (
            {"centre": (400, 240), "iris_radius": 90, "pupil_radius": 25},
            Circle(400, 240, 25),
            Circle(400, 240, 90),
        ),
        (
            {
                "width": 320,
                "height": 240,
                "centre": (160, 120),
                "iris_radius": 60,
                "pupil_radius": 22,
            },
            Circle(160, 120, 22),
            Circle(160, 120, 60),
        ),
    ],
)
def test_drawn_circles_are_found(drawn: dict[str, float], pupil: Circle, iris: Circle) -> None:
    found = segment(eye(**drawn))  # type: ignore[arg-type]  # the table holds numbers and pairs

    assert found is not None
    for measured, true, tolerance in ((found.pupil, pupil, 2), (found.iris, iris, 5)):
        assert math.hypot(measured.x - true.x, measured.y - true.y) < tolerance
        assert measured.radius == pytest.approx(true.radius, abs=tolerance)


def test_a_lid_makes_less_of_the_iris_usable() -> None:
    free, lidded = segment(eye()), segment(eye(lid_px=60))

    assert free is not None
    assert lidded is not None
    assert usable_area(free) > 95
    assert usable_area(lidded) < 85


def test_blur_lowers_sharpness() -> None:
    clear, blurred = eye(), eye(blur=4)
    found = segment(clear)

    assert found is not None
    assert (
        iso_metrics(blurred, found, compat=False)["sharpness"]
        < iso_metrics(clear, found, compat=False)["sharpness"]
    )


def test_a_paler_sclera_raises_its_contrast() -> None:
    contrasts = []
    for gray in (140, 185):
        picture = eye(sclera_gray=gray)
        found = segment(picture)
        assert found is not None
        contrasts.append(iso_metrics(picture, found, compat=False)["iris_sclera_contrast"])

    assert contrasts[0] < contrasts[1]


def test_the_profile_holds_the_old_wires_keys_in_their_order() -> None:
    found = assess_iris(Sample(eye(), "png"), engine=None, options={})
    names = list(found.profile)

    assert names[:3] == ["quality", "contrast", "sharpness"]
    assert sum(name.startswith("iso_") for name in names) == 10
    assert names[-2:] == ["image_width", "image_height"]
    assert all(type(value) is float for value in found.profile.values())
    assert found.evidence == "rules"


def test_an_iris_cut_by_the_right_edge_has_a_margin_only_in_the_originals_eyes() -> None:
    sample = Sample(eye(centre=(560, 240)), "png")

    iso = assess_iris(sample, engine="iso", options={})
    compat = assess_iris(sample, engine=None, options={"iris_mode": "biqt-compat"})

    assert iso.profile["iso_margin_adequacy"] == 0
    assert compat.profile["iso_margin_adequacy"] == 100
    assert compat.profile["approx"] == "quality,pupil_circularity_avg_deviation"


def test_no_iris_is_said() -> None:
    found = assess_iris(Sample(np.zeros((480, 640), np.uint8), "png"), engine=None, options={})

    assert found.errors == ("segmentation: no iris found",)
    assert found.profile["quality"] == 0
    assert "iso_sharpness" not in found.profile


@pytest.mark.parametrize("size", [(20, 20), (100, 3000)])
def test_sizes_that_are_no_iris_picture_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(Unassessable, match="px"):
        assess_iris(Sample(np.zeros(size, np.uint8), "png"), engine=None, options={})


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(Unassessable, match="ofiq"):
        assess_iris(Sample(eye(), "png"), engine="ofiq", options={})
