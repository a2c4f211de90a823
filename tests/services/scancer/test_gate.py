"""The gate on pictures that are made here."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.scancer.gate import GATE_SENTENCES, GateReason, check_patch, tissue_mask
from services.scancer.training.phantom import draw_glass, draw_tissue

SIDE_PX = 96


@pytest.mark.parametrize("seed", range(5))
def test_a_drawing_of_stained_tissue_is_accepted(seed: int) -> None:
    """Pink tissue, blue nuclei, in focus."""
    assert check_patch(draw_tissue(SIDE_PX, SIDE_PX, seed)).reasons == ()


def test_bare_glass_has_no_tissue() -> None:
    """And nothing is said about its stain or focus, which it cannot have."""
    assert check_patch(draw_glass(SIDE_PX, SIDE_PX)).reasons == (GateReason.NO_TISSUE,)


@pytest.mark.parametrize("sigma_px", [1.0, 1.5, 2.0, 4.0])
def test_a_blurred_patch_is_out_of_focus(sigma_px: float) -> None:
    """From a blur of one pixel on."""
    blurred = cv2.GaussianBlur(draw_tissue(SIDE_PX, SIDE_PX), (0, 0), sigma_px)

    assert GateReason.OUT_OF_FOCUS in check_patch(np.asarray(blurred, np.uint8)).reasons


def test_a_cameras_noise_on_a_blurred_patch_does_not_hide_the_blur() -> None:
    """A sum of squared differences would take noise for sharpness."""
    blurred = cv2.GaussianBlur(draw_tissue(SIDE_PX, SIDE_PX), (0, 0), 3.0).astype(np.float64)
    noise = np.random.default_rng(0).normal(0, 4, (SIDE_PX, SIDE_PX, 1))
    grainy = np.asarray((blurred + noise).clip(0, 255), np.uint8)

    assert not check_patch(grainy).accepted


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2, 1), (1, 1, 1)])
def test_other_colours_are_another_stain(order: tuple[int, int, int]) -> None:
    """Channels that were lost, or changed places with green, are found."""
    swapped = draw_tissue(SIDE_PX, SIDE_PX)[:, :, order]

    assert not check_patch(np.ascontiguousarray(swapped)).accepted


def test_a_negative_is_refused() -> None:
    """Green where it should be pink."""
    assert GateReason.NOT_HE_STAIN in check_patch(255 - draw_tissue(SIDE_PX, SIDE_PX)).reasons


@given(colour=st.tuples(*[st.integers(0, 255)] * 3))
@settings(max_examples=60, deadline=None)
def test_one_colour_is_never_accepted(colour: tuple[int, int, int]) -> None:
    """Not even that of the dyes."""
    assert not check_patch(np.full((SIDE_PX, SIDE_PX, 3), colour, np.uint8)).accepted


@given(seed=st.integers(0, 2**32 - 1), spread=st.floats(1, 80))
@settings(max_examples=60, deadline=None)
def test_noise_around_a_colour_is_never_accepted(seed: int, spread: float) -> None:
    """Noise has detail of every size but no structure."""
    random = np.random.default_rng(seed)
    noise = random.normal(random.integers(0, 256, 3), spread, (SIDE_PX, SIDE_PX, 3))

    assert not check_patch(np.asarray(noise.clip(0, 255), np.uint8)).accepted


def test_colourless_tissue_is_refused() -> None:
    """The network reads colours."""
    gray = cv2.cvtColor(draw_tissue(SIDE_PX, SIDE_PX), cv2.COLOR_RGB2GRAY)
    patch: NDArray[np.uint8] = np.repeat(gray[:, :, None], 3, axis=2)

    assert GateReason.NOT_HE_STAIN in check_patch(patch).reasons


@pytest.mark.parametrize("side_px", [1, 10, 47])
def test_a_few_pixels_are_no_patch(side_px: int) -> None:
    """Half the network's side is the least."""
    assert check_patch(draw_tissue(side_px, 96)).reasons == (GateReason.TOO_SMALL,)


def test_a_strip_is_no_patch() -> None:
    """Stretching it to a square would change what nuclei look like."""
    assert GateReason.ASPECT in check_patch(draw_tissue(96, 300)).reasons


def test_a_larger_picture_is_judged_at_the_size_that_the_network_sees() -> None:
    """A patch scanned at a quarter of a micrometre per pixel."""
    large = cv2.resize(draw_tissue(SIDE_PX, SIDE_PX), (384, 384), interpolation=cv2.INTER_CUBIC)

    assert check_patch(np.asarray(large, np.uint8)).accepted


def test_tissue_is_told_from_glass_and_from_what_was_not_scanned() -> None:
    """Scanners fill what they did not scan with black or white."""
    half = np.hstack([draw_tissue(64, 64), draw_glass(64, 64), np.zeros((64, 64, 3), np.uint8)])
    mask = tissue_mask(np.asarray(cv2.GaussianBlur(half, (0, 0), 1.0), np.uint8))

    assert mask[:, 4:60].mean() > 0.9
    assert not mask[:, 70:].any()


def test_every_reason_has_a_sentence() -> None:
    """For the person who sent the picture."""
    assert set(GATE_SENTENCES) == set(GateReason)
    assert all(sentence.endswith(".") for sentence in GATE_SENTENCES.values())
