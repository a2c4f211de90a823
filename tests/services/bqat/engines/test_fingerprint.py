"""NFIQ 2's native measures on drawn ridges whose measures are known."""

import math
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from services.bqat.engines.fingerprint import assess_fingerprint
from services.bqat.engines.fingerprint.blocks import (
    BLOCK_PX,
    orientation_of,
    regions,
    ridge_mask,
    without_white_frame,
)
from services.bqat.engines.fingerprint.executable import Nfiq2, parse_answer
from services.bqat.engines.fingerprint.foreground import (
    block_coherence,
    coherence,
    find_foreground,
)
from services.bqat.engines.fingerprint.measures import (
    contrast,
    frequency_strength,
    local_clarity,
    orientation_certainties,
    orientation_certainty,
    orientation_flow,
    profile_across,
    ridge_valley_ratios,
    summarise,
)
from services.bqat.engines.fingerprint.minutiae import (
    Minutia,
    crossing_numbers,
    find_minutiae,
    minutiae_measures,
    thin,
)
from services.bqat.engines.samples import Sample, read_sample
from tests.services.bqat.engines.drawings import finger, stripes, to_bytes


def bars(widths: list[int], rows: int = 16) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Upright ridges and valleys of these widths in turn, the first a ridge."""
    line = np.concatenate(
        [np.full(width, 40 if place % 2 == 0 else 220) for place, width in enumerate(widths)]
    )
    return np.tile(line.astype(np.uint8), (rows, 1))


def test_parallel_ridges_have_one_direction() -> None:
    assert orientation_certainty(stripes(BLOCK_PX, BLOCK_PX, 8)) == pytest.approx(1, abs=1e-9)


def test_noise_has_no_direction() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (BLOCK_PX, BLOCK_PX)).astype(np.uint8)

    certainty = orientation_certainty(noise)

    assert certainty is not None
    assert certainty < 0.3


def test_a_block_of_one_gray_has_no_certainty_and_is_left_out() -> None:
    flat = np.full((BLOCK_PX, 2 * BLOCK_PX), 90, np.uint8)
    flat[:, BLOCK_PX:] = stripes(BLOCK_PX, BLOCK_PX, 8)

    assert orientation_certainties(flat) == pytest.approx([1.0])


@pytest.mark.parametrize(("angle_deg", "expected_deg"), [(0, 0), (90, 90), (45, 45)])
def test_the_orientation_is_that_of_the_normal(angle_deg: float, expected_deg: float) -> None:
    block = stripes(BLOCK_PX, BLOCK_PX, 9, math.radians(angle_deg))

    assert abs(math.degrees(orientation_of(block))) == pytest.approx(expected_deg, abs=2)


def test_a_profile_is_divided_at_its_own_line() -> None:
    """Four ridges of four pixels on a ground that gets brighter from left to right."""
    strip = bars([4] * 8)[:, :32].astype(np.int32) // 2 + np.arange(32)

    profile = profile_across(strip.astype(np.uint8))

    assert profile.is_ridge.tolist() == ([True] * 4 + [False] * 4) * 4


def test_clear_ridges_have_full_clarity() -> None:
    assert local_clarity(bars([4] * 8)) == 1


def test_clarity_falls_by_half_the_share_of_wrong_pixels() -> None:
    """One of four valleys is half as dark as a ridge: a valley pixel in eight is wrong."""
    strip = bars([4] * 8)
    strip[:8, 4:8] = 40

    assert local_clarity(strip) == pytest.approx(1 - 0.125 / 2, abs=1e-9)


def test_ridges_too_wide_for_a_finger_have_no_clarity() -> None:
    assert local_clarity(bars([16, 16])) == 0


def test_a_block_without_ridges_has_no_clarity() -> None:
    assert local_clarity(np.full((16, 32), 128, np.uint8)) == 0


def test_equal_ridges_and_valleys_have_a_ratio_of_one() -> None:
    ratios = ridge_valley_ratios(bars([4] * 8))

    assert ratios
    assert set(ratios) == {1.0}


def test_ridges_twice_as_wide_as_valleys_have_a_ratio_of_two() -> None:
    ratios = ridge_valley_ratios(bars([6, 3, 6, 3, 6, 3, 5]))

    assert ratios
    assert set(ratios) == {2.0}


def test_a_pure_wave_is_all_in_one_frequency() -> None:
    """Four periods in 32 rows: the peak holds all of the half spectrum."""
    lying = stripes(16, 32, 8).T

    assert frequency_strength(lying) == pytest.approx(1, abs=0.02)


def test_parallel_ridges_flow_and_crossed_ones_do_not() -> None:
    """A quarter turn counts 90 degrees of the 90 that are most."""
    straight = stripes(200, 200, 8)
    crossed = straight.copy()
    crossed[:, 100:] = stripes(200, 100, 8, np.pi / 2)

    flow = orientation_flow(list(regions(straight, ridge_mask(straight))))
    broken = orientation_flow(list(regions(crossed, ridge_mask(crossed))))

    assert sum(flow) < 0.05 * max(1, len(flow))
    assert max(broken) > 0.3


def test_means_of_blocks_weigh_each_block_the_same() -> None:
    """A narrow strip at the edge is a block like the others."""
    image = np.zeros((32, 40), np.uint8)
    image[:, 32:] = 200

    found = contrast(image)

    assert found == {"MMB": 100.0, "Mu": 40.0}


def test_figures_on_a_bound_belong_to_the_bin_above() -> None:
    found = summarise("RVUP", [0.4, 0.5, 1.0, 1.0, 40.0])

    assert [found[f"RVUP_Bin10_{place}"] for place in range(10)] == [1, 1, 0, 0, 2, 0, 0, 0, 0, 1]
    assert found["RVUP_Bin10_Mean"] == pytest.approx(8.58)


def test_coherence_is_one_on_parallel_ridges() -> None:
    assert block_coherence(stripes(32, 32, 8)) == pytest.approx(1, abs=1e-9)
    assert block_coherence(np.full((32, 32), 7, np.uint8)) == 0


def test_the_foreground_is_the_finger() -> None:
    """The ellipse has half axes of 170 and 210 pixels."""
    image = finger()

    foreground = find_foreground(image)

    assert foreground.pixels == pytest.approx(math.pi * 170 * 210, rel=0.06)
    assert foreground.mean == pytest.approx(127, abs=6)
    assert 0.7 < coherence(image, foreground)["OrientationMap_ROIFilter_CoherenceRel"] <= 1


def test_a_thinned_fork_has_three_arms() -> None:
    fork = np.zeros((40, 40), np.bool_)
    fork[18:22, 2:20] = True
    for step in range(16):
        fork[16 - step : 20 - step, 18 + step : 22 + step] = True
        fork[20 + step : 24 + step, 18 + step : 22 + step] = True

    skeleton = thin(fork)
    crossings = crossing_numbers(skeleton)

    assert 0 < skeleton.sum() < 70
    assert int(((crossings == 3) & skeleton).sum()) >= 1
    assert int(((crossings == 1) & skeleton).sum()) >= 3


def test_a_ridge_that_ends_is_a_minutia() -> None:
    image = stripes(200, 200, 10)
    image[:100, 91:100] = 227
    mask = np.ones(image.shape, np.bool_)

    found = find_minutiae(image, mask)

    assert any(abs(each.x - 95) < 8 and abs(each.y - 100) < 12 for each in found)
    assert len(found) <= 4


def test_unbroken_ridges_have_no_minutiae() -> None:
    image = stripes(200, 200, 10)

    assert find_minutiae(image, np.ones(image.shape, np.bool_)) == []


def test_minutiae_are_counted_around_their_middle() -> None:
    image = stripes(400, 400, 9)
    minutiae = [Minutia(200, 200, True), Minutia(210, 190, False), Minutia(395, 395, True)]

    found = minutiae_measures(image, minutiae)

    assert found["FingerJetFX_MinutiaeCount"] == 3
    assert found["FingerJetFX_MinCount_COMMinRect200x200"] == 2
    assert found["FJFXPos_OCL_MinutiaeQuality_80"] == 1


def test_the_white_frame_goes() -> None:
    image = np.full((100, 100), 255, np.uint8)
    image[20:60, 30:80] = 100

    cropped = without_white_frame(image)

    assert cropped is not None
    assert cropped.shape == (40, 50)
    assert without_white_frame(np.full((50, 50), 255, np.uint8)) is None


def test_a_finger_has_a_whole_profile_without_a_score() -> None:
    """Nothing imitates the forest: without the program there is no NFIQ2."""
    found = assess_fingerprint(read_sample(to_bytes(finger())), None)

    assert list(found.profile)[:10] == [
        "NFIQ2",
        "uniform_image",
        "empty_image_or_contrast_too_low",
        "fingerprint_image_with_minutiae",
        "sufficient_fingerprint_foreground",
        "quantized",
        "resampled",
        "edge_std",
        "image_width",
        "image_height",
    ]
    assert found.profile["NFIQ2"] is None
    assert found.profile["edge_std"] == 0
    assert sum(name.startswith("QB_") for name in found.profile) >= 17
    assert "fingerprint_image_with_minutiae" in str(found.profile["approx"])
    assert found.evidence == "rules"
    assert found.errors == ()


@pytest.mark.parametrize(
    ("pixels", "word"),
    [
        (np.full((300, 300), 255, np.uint8), "empty"),
        (np.full((300, 300), 90, np.uint8), "one gray"),
        (np.tile(np.arange(0, 250, dtype=np.uint8), (1100, 4)), "1000"),
        (stripes(60, 60, 8), "more blocks"),
    ],
)
def test_what_cannot_be_measured_is_said(
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], word: str
) -> None:
    """The flags are there all the same: they say what is wrong with the picture."""
    found = assess_fingerprint(Sample(pixels, "png"), None)

    assert any(word in error for error in found.errors)
    assert "uniform_image" in found.profile
    assert all(math.isfinite(value) for value in found.profile.values() if isinstance(value, float))


def test_blur_lowers_clarity_and_noise_lowers_certainty() -> None:
    clean = assess_fingerprint(Sample(finger(noise=2), "png"), None).profile
    noisy = assess_fingerprint(Sample(finger(noise=70), "png"), None).profile

    for name in ("OCL_Bin10_Mean", "LCS_Bin10_Mean", "OrientationMap_ROIFilter_CoherenceRel"):
        assert float(noisy[name] or 0) < float(clean[name] or 0)


@pytest.mark.parametrize("kind", [".png", ".bmp", ".jp2"])
def test_lossless_formats_have_one_profile(kind: str) -> None:
    if kind == ".jp2":
        pytest.importorskip("PIL.Jpeg2KImagePlugin")
    image = finger()

    found = assess_fingerprint(read_sample(to_bytes(image, kind)), None)

    tolerance = 0.05 if kind == ".jp2" else 1e-9
    plain = assess_fingerprint(Sample(image, "png"), None)
    assert float(found.profile["OCL_Bin10_Mean"] or 0) == pytest.approx(
        float(plain.profile["OCL_Bin10_Mean"] or 0), abs=tolerance
    )
    assert ("converted: jp2 -> png" in found.errors) == (kind == ".jp2")


@pytest.mark.parametrize(
    ("answer", "score", "error"),
    [
        ("63\n", 63, None),
        ("Filename,FingerCode,QualityScore,OptionalError\na.png,0,12,NA\n", 12, None),
        (
            'Filename,FingerCode,QualityScore,OptionalError\na.png,0,NA,"Error: too small"\n',
            None,
            "too small",
        ),
        ("Filename,QualityScore\na.png,255\n", None, "the program said 255, which is no score"),
        ("", None, "the program gave no score"),
    ],
)
def test_the_programs_answer_is_read(answer: str, score: int | None, error: str | None) -> None:
    found = parse_answer(answer)

    assert (found.score, found.error) == (score, error)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """An executable that answers as `nfiq2` does, for a picture that it could open."""
    path = tmp_path / "nfiq2"
    path.write_text('#!/bin/sh\nfor last; do :; done\n[ -s "$last" ] && echo 77\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for the program is a shell script")
def test_the_score_is_the_programs_where_it_is_installed(program: Path) -> None:
    found = assess_fingerprint(Sample(finger(), "png"), Nfiq2(str(program)))

    assert found.profile["NFIQ2"] == 77
    assert found.errors == ()


def test_a_program_that_cannot_run_is_said(tmp_path: Path) -> None:
    found = assess_fingerprint(Sample(finger(), "png"), Nfiq2(str(tmp_path / "gone")))

    assert found.profile["NFIQ2"] is None
    assert found.errors == ("nfiq2: the program gave no answer (FileNotFoundError)",)
