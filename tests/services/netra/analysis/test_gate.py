"""The gate on drawn pictures: a retina passes, what is merely round and red does not."""

from collections.abc import Callable

import numpy as np
import pytest

from services.netra.analysis.appearance import measure
from services.netra.analysis.gate import judge_fundus
from services.netra.domain import FundusReason, FundusVerdict
from tests.services.netra.analysis import drawn


def judged(pixels: drawn.Pixels) -> FundusVerdict:
    """What the gate says."""
    height_px, width_px = pixels.shape[:2]
    return judge_fundus(measure(pixels, width_px), width_px, height_px)


def test_a_drawn_retina_is_accepted(retina: drawn.Pixels) -> None:
    """Without this the refusals below would prove nothing."""
    verdict = judged(retina)

    assert verdict.accepted
    assert verdict.reasons == ()
    assert verdict.score > 0.5


@pytest.mark.parametrize("draw", drawn.NOT_FUNDUS, ids=lambda draw: draw.__name__)
def test_round_things_are_refused_with_reasons(
    draw: Callable[[np.random.Generator], drawn.Pixels],
) -> None:
    """Fruit, planets, plates, balls, noise and gratings have no vessels that blood runs through."""
    verdict = judged(draw(np.random.default_rng(1)))

    assert not verdict.accepted
    assert verdict.reasons
    assert verdict.score < 0.5


def test_a_grey_retina_is_refused_for_its_colour(retina: drawn.Pixels) -> None:
    """Angiograms and red-free pictures are read by other rules than colour photographs."""
    grey = np.repeat(retina[..., 1:2], 3, axis=2)

    assert FundusReason.NO_COLOUR in judged(grey).reasons


def test_a_retina_with_swapped_channels_is_refused(retina: drawn.Pixels) -> None:
    """BGR taken for RGB gives a blue retina: a mistake, not a photograph."""
    verdict = judged(np.ascontiguousarray(retina[..., ::-1]))

    assert FundusReason.COLOURS in verdict.reasons


def test_a_retina_without_vessels_is_refused(retina: drawn.Pixels) -> None:
    """Blurred until no vessel is left it is a red disc."""
    blurred = retina[::24, ::24].repeat(24, axis=0).repeat(24, axis=1)
    verdict = judged(np.ascontiguousarray(blurred))

    assert not verdict.accepted


def test_a_black_picture_has_no_field() -> None:
    """Nothing is lit, so nothing is measured."""
    assert judged(np.zeros((600, 600, 3), np.uint8)).reasons == (FundusReason.NO_FIELD,)


def test_a_tiny_picture_is_too_small(retina: drawn.Pixels) -> None:
    """Thumbnails show a retina and no lesion."""
    assert judged(np.ascontiguousarray(retina[::8, ::8])).reasons == (FundusReason.TOO_SMALL,)
