"""Gradability moves the right way when a photograph is made worse."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from services.netra.analysis.appearance import Appearance, measure
from services.netra.analysis.quality import judge_quality
from services.netra.domain import QualityReason
from tests.services.netra.analysis import drawn


def seen(pixels: drawn.Pixels, width_px: int | None = None) -> Appearance:
    """The figures of a picture that has a field of view."""
    appearance = measure(np.ascontiguousarray(pixels), width_px or pixels.shape[1])
    assert appearance is not None
    return appearance


def blurred(pixels: drawn.Pixels, sigma: float) -> drawn.Pixels:
    """Out of focus."""
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8)


def scaled(pixels: drawn.Pixels, gain: float) -> drawn.Pixels:
    """Exposed for more or less time."""
    return np.asarray(np.clip(pixels.astype(np.float32) * gain, 0, 255), np.uint8)


def shadowed(pixels: drawn.Pixels) -> drawn.Pixels:
    """A lid over the upper third."""
    light = np.ones(pixels.shape[0], np.float32)
    light[: int(0.42 * pixels.shape[0])] = 0.22
    return np.asarray(pixels * light[:, None, None], np.uint8)


def glaring(pixels: drawn.Pixels) -> drawn.Pixels:
    """A white reflection."""
    with_glare = pixels.copy()
    cv2.circle(with_glare, (400, 560), 110, (255, 255, 255), -1)
    return with_glare


def test_a_drawn_retina_is_gradable(retina: drawn.Pixels) -> None:
    """Without this the refusals below would prove nothing."""
    verdict = judge_quality(seen(retina))

    assert verdict.gradable
    assert verdict.reasons == ()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda p: blurred(p, 9), QualityReason.FOCUS),
        (lambda p: scaled(p, 0.2), QualityReason.UNDEREXPOSED),
        (lambda p: scaled(p, 4.0), QualityReason.OVEREXPOSED),
        (shadowed, QualityReason.UNEVEN),
        (glaring, QualityReason.ARTEFACT),
        (lambda p: p[:, :520], QualityReason.FIELD),
    ],
    ids=["blur", "darkness", "overexposure", "shadow", "glare", "cropping"],
)
def test_a_spoiled_photograph_is_refused_for_what_spoils_it(
    retina: drawn.Pixels, spoil: Callable[[drawn.Pixels], drawn.Pixels], reason: QualityReason
) -> None:
    """The reason is what the photographer reads before the next try."""
    verdict = judge_quality(seen(spoil(retina)))

    assert not verdict.gradable
    assert reason in verdict.reasons


def test_a_small_photograph_lacks_resolution(retina: drawn.Pixels) -> None:
    """Microaneurysms are not there to be found in it."""
    small = np.asarray(cv2.resize(retina, (420, 420), interpolation=cv2.INTER_AREA), np.uint8)

    assert QualityReason.RESOLUTION in judge_quality(seen(small)).reasons


def test_sharpness_falls_with_every_step_of_blur(retina: drawn.Pixels) -> None:
    """Mild blur moves it too, where vessels are still seen."""
    sharpness = [seen(blurred(retina, sigma)).sharpness for sigma in (1.0, 2.0, 3.5, 6.0)]

    assert sharpness == sorted(sharpness, reverse=True)
    assert sharpness[0] > sharpness[-1] + 0.15


def test_noise_does_not_pass_for_sharpness(retina: drawn.Pixels) -> None:
    """A Laplacian would call the noisy blur sharper than the original."""
    noise = np.random.default_rng(3).normal(0, 6, retina.shape)
    soft = blurred(retina, 6)
    noisy = np.asarray(np.clip(soft + noise, 0, 255), np.uint8)

    assert seen(noisy).sharpness < seen(retina).sharpness - 0.1


def test_darkness_does_not_pass_for_sharpness(retina: drawn.Pixels) -> None:
    """Sharpness is a ratio; a third of the light changes it little."""
    assert seen(scaled(retina, 0.35)).sharpness == pytest.approx(seen(retina).sharpness, abs=0.12)
