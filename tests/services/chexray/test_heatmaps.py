"""Maps from the network to the picture as it was uploaded."""

import io

import numpy as np
import pytest
from PIL import Image

from services.chexray.domain import ActivationMaps, Pathology
from services.chexray.heatmaps import draw_heatmap, heat_of, spread
from services.chexray.inference import MAX_MAP_SIDE, covered_part, to_activation_maps
from shared.imaging import decode
from shared.inference.manifest import InputSpec
from shared.inference.preprocess import compile_preprocess
from tests.services.chexray.support import picture


def spec(resize: str) -> InputSpec:
    """A square input of 100 px."""
    return InputSpec.model_validate(
        {
            "name": "image",
            "colour": "GRAY",
            "size": [100, 100],
            "resize": resize,
            "scale": 1.0,
            "mean": [0.0],
            "std": [1.0],
        }
    )


@pytest.mark.parametrize(
    ("resize", "turns", "expected"),
    [
        ("stretch", 0, (0, 0, 1, 1)),
        ("stretch", 1, (0, 0, 1, 1)),
        ("crop", 0, (0.25, 0, 0.75, 1)),
        ("fit", 0, (0, -0.5, 1, 1.5)),
        ("crop", 1, (0, 0.25, 1, 0.75)),
        ("crop", 3, (0, 0.25, 1, 0.75)),
        ("fit", 3, (-0.5, 0, 1.5, 1)),
    ],
)
def test_the_part_that_the_network_saw_is_known(
    resize: str, turns: int, expected: tuple[float, ...]
) -> None:
    """Of an upright picture of 200 x 100 px, in fractions of what was uploaded."""
    covers = covered_part(compile_preprocess(spec(resize)), (100, 200), turns)

    np.testing.assert_allclose(covers, expected, atol=1e-9)


def test_a_turned_maps_peak_lies_where_the_picture_has_it() -> None:
    """What was turned left for the network is turned right again for people."""
    lying = np.zeros((4, 4))
    lying[0, 3] = 1
    upright = np.rot90(lying, 1)
    back = np.rot90(upright[np.newaxis], -1, axes=(1, 2))[0]

    np.testing.assert_array_equal(back, lying)


def maps_with_peak(row: int, column: int) -> ActivationMaps:
    """Five maps of 8 x 8, all with one peak."""
    values = np.full((5, 8, 8), -1.0, np.float32)
    values[:, row, column] = 4.0
    return to_activation_maps(values, (0.0, 0.0, 1.0, 1.0))


def test_what_speaks_against_a_finding_is_cold() -> None:
    """Only what adds to the logit is shown; the peak is 1."""
    heat = heat_of(maps_with_peak(2, 5), Pathology.EDEMA)

    assert heat.max() == heat[2, 5] == 1
    assert np.count_nonzero(heat) == 1


def test_the_peak_stays_in_its_place() -> None:
    """Pixel centres are mapped to pixel centres."""
    heat = heat_of(maps_with_peak(2, 5), Pathology.EDEMA)
    spread_out = spread(heat, (0, 0, 1, 1), 160, 80)
    row, column = divmod(int(spread_out.argmax()), spread_out.shape[1])

    assert (row // 10, column // 20) == (2, 5)


def test_what_the_network_did_not_see_is_cold() -> None:
    """The sides of a cropped picture."""
    heat = np.ones((8, 8), np.float32)
    spread_out = spread(heat, (0.25, 0, 0.75, 1), 200, 100)

    assert spread_out[:, :50].max() == spread_out[:, 150:].max() == 0
    np.testing.assert_allclose(spread_out[:, 52:148], 1, atol=1e-6)


def test_padding_is_left_out() -> None:
    """A map that covers more than the picture is cut to it."""
    heat = np.zeros((8, 8), np.float32)
    heat[:2] = 1.0
    spread_out = spread(heat, (0, -0.5, 1, 1.5), 80, 80)

    assert spread_out.max() < 0.5
    assert spread_out[20:].max() == 0


def test_large_maps_are_averaged_and_odd_numbers_tamed() -> None:
    """What is kept is bounded and finite, whatever the network says."""
    values = np.full((5, 100, 64), np.nan, np.float32)
    values[:, 50:, :] = np.inf
    maps = to_activation_maps(values, (0, 0, 1, 1))

    assert (maps.rows, maps.columns) == (MAX_MAP_SIDE, MAX_MAP_SIDE)
    assert np.isfinite(np.frombuffer(maps.values, "<f2")).all()
    assert len(maps.values) == 5 * MAX_MAP_SIDE**2 * 2


@pytest.mark.parametrize(
    ("size_px", "expected"),
    [((300, 200), (300, 200)), ((2000, 1000), (1024, 512)), ((1000, 2000), (512, 1024))],
)
def test_the_overlay_has_the_pictures_aspect(
    size_px: tuple[int, int], expected: tuple[int, int]
) -> None:
    """Its longest side is at most 1,024 px; small pictures are not enlarged."""
    drawn = draw_heatmap(
        decode(picture("PNG", size_px)), maps_with_peak(1, 1), Pathology.EDEMA, "png"
    )

    assert Image.open(io.BytesIO(drawn)).size == expected


def test_the_overlay_is_coloured_where_it_is_hot_alone() -> None:
    """The anatomy elsewhere stays gray."""
    drawn = draw_heatmap(
        decode(picture("PNG", (160, 160))), maps_with_peak(0, 0), Pathology.EDEMA, "png"
    )
    pixels = np.asarray(Image.open(io.BytesIO(drawn)).convert("RGB")).astype(int)
    chroma = pixels.max(axis=2) - pixels.min(axis=2)

    assert chroma[10, 10] > 30
    assert chroma[100:, 100:].max() == 0
