"""Can this fundus photograph be graded? Rules with reasons, so that it can be taken again better.

Sharpness alone is fooled by noise and by darkness, so vessels come first: they must be visible,
and fine along their edges by more than what noise adds.
Checked by `tests/services/netra/analysis/test_quality.py` against drawn blur, darkness, glare,
shadow and cropping, and measured beside the gate on photographs.
"""

from services.netra.analysis.appearance import Appearance
from services.netra.domain import QualityReason, QualityVerdict

MIN_DIAMETER_PX = 600
MIN_SHARPNESS = 0.38
GOOD_SHARPNESS = 0.55
MIN_VESSEL_DENSITY = 0.02
GOOD_VESSEL_DENSITY = 0.05
#: Medians of red and green, 0 to 255.
MIN_RED, MIN_GREEN = 55, 18
MAX_GREEN = 175
#: Shares of the field.
MAX_DARK = 0.2
MAX_BLOWN = 0.1
MAX_SHADOW = 0.12
MAX_GLARE = 0.03
MIN_VISIBLE = 0.75
#: Of the longer side of the picture: a smaller field was photographed from too far away.
MIN_PICTURE_SHARE = 0.4


def judge_quality(seen: Appearance) -> QualityVerdict:
    """Decide whether a fundus photograph is good enough.

    Returns:
        Every reason that speaks against it; the score is 0.5 at the nearest limit, and falls with
        every further fault.
    """
    margins = [
        (QualityReason.RESOLUTION, _at_least(seen.diameter_px, MIN_DIAMETER_PX, 900)),
        (QualityReason.FOCUS, _at_least(seen.sharpness, MIN_SHARPNESS, GOOD_SHARPNESS)),
        (
            QualityReason.FOCUS,
            _at_least(seen.vessel_density, MIN_VESSEL_DENSITY, GOOD_VESSEL_DENSITY),
        ),
        (QualityReason.UNDEREXPOSED, _at_least(seen.red, MIN_RED, 80)),
        (QualityReason.UNDEREXPOSED, _at_least(seen.green, MIN_GREEN, 30)),
        (QualityReason.UNDEREXPOSED, _at_most(seen.dark, MAX_DARK)),
        (QualityReason.OVEREXPOSED, _at_most(seen.blown, MAX_BLOWN)),
        (QualityReason.OVEREXPOSED, _at_most(seen.green / 255, MAX_GREEN / 255, 130 / 255)),
        (QualityReason.UNEVEN, _at_most(seen.shadow, MAX_SHADOW)),
        (QualityReason.ARTEFACT, _at_most(seen.glare, MAX_GLARE)),
        (QualityReason.FIELD, _at_least(seen.visible, MIN_VISIBLE, 0.9)),
        (QualityReason.FIELD, _at_least(seen.picture_share, MIN_PICTURE_SHARE, 0.6)),
    ]
    reasons = dict.fromkeys(reason for reason, margin in margins if margin < 0)
    score = 1.0
    for _, margin in margins:
        score *= min(1.0, max(0.0, 0.5 + margin / 2))
    return QualityVerdict(not reasons, round(score, 4), tuple(reasons))


def _at_least(value: float, limit: float, good: float) -> float:
    """0 at the limit, 1 where it is good, below 0 on the wrong side."""
    return (value - limit) / (good - limit)


def _at_most(value: float, limit: float, good: float = 0.0) -> float:
    """The same for what must not be too large."""
    return (limit - value) / (limit - good)
