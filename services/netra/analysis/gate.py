"""Is this picture a colour fundus photograph at all? Rules, no learned weights.

A network answers whatever it is shown. These rules look at what every fundus photograph has: a
round lit field on a dark ground, the warm colours of a retina, and vessels that are dark in green
and hardly dark in red, because blood absorbs green light. The last rule tells a retina from an
orange, a planet or a ball, whose shadows are dark in every colour.

Measured by `tests/services/netra/analysis/test_gate_measured.py`; the figures stand there.
"""

from services.netra.analysis.appearance import Appearance
from services.netra.domain import FundusReason, FundusVerdict

MIN_SIDE_PX = 200
#: Median saturation below which a picture counts as grey, of 255.
MIN_SATURATION = 40
MIN_RED_OVER_GREEN = 1.2
#: Share of pixels with more red than green and not less green than blue.
MIN_WARM = 0.85
MIN_ROUNDNESS = 0.94
MAX_FILL = 0.95
#: Of the circle; less is no field of view but a detail.
MIN_VISIBLE = 0.3
MIN_VESSEL_DENSITY = 0.015
MAX_VESSEL_DENSITY = 0.3
#: Of the field's diameter: vessels are long, scratches and noise are not.
MIN_LONGEST_VESSEL = 0.25
MAX_ABSORPTION = 0.86


def judge_fundus(appearance: Appearance | None, width_px: int, height_px: int) -> FundusVerdict:
    """Decide whether a picture is a colour fundus photograph.

    Args:
        appearance: its figures; None where it has no lit part.
        width_px: of the picture as uploaded.
        height_px: of the picture as uploaded.

    Returns:
        Every reason that speaks against it, and how far it is from the nearest limit.
    """
    if min(width_px, height_px) < MIN_SIDE_PX:
        return FundusVerdict(False, 0.0, (FundusReason.TOO_SMALL,))
    if appearance is None:
        return FundusVerdict(False, 0.0, (FundusReason.NO_FIELD,))
    rules = _rules(appearance)
    reasons = dict.fromkeys(reason for reason, margin in rules if margin < 1)
    # The worst margin of all, so that 0.5 is the limit and 1 is far from every limit.
    score = min(1.0, max(0.0, min(margin for _, margin in rules) / 2))
    return FundusVerdict(not reasons, round(score, 4), tuple(reasons))


def _rules(seen: Appearance) -> list[tuple[FundusReason, float]]:
    """Each rule's margin: 1 at the limit, more on the side of a fundus."""
    colour = FundusReason.NO_COLOUR if seen.saturation < MIN_SATURATION else FundusReason.COLOURS
    return [
        (colour, seen.saturation / MIN_SATURATION),
        (colour, seen.red / max(seen.green, 1) / MIN_RED_OVER_GREEN * _WIDE - _WIDE + 1),
        (colour, (seen.warm - MIN_WARM) / (1 - MIN_WARM) + 1),
        (FundusReason.NO_FIELD, (seen.roundness - MIN_ROUNDNESS) / (0.98 - MIN_ROUNDNESS) + 1),
        (FundusReason.NO_FIELD, (MAX_FILL - seen.fill) / (MAX_FILL - 0.88) + 1),
        (FundusReason.NO_FIELD, seen.visible / MIN_VISIBLE),
        (FundusReason.NO_VESSELS, seen.vessel_density / MIN_VESSEL_DENSITY),
        (FundusReason.NO_VESSELS, seen.longest_vessel / MIN_LONGEST_VESSEL),
        (FundusReason.UNLIKE_A_FUNDUS, (MAX_VESSEL_DENSITY - seen.vessel_density) / 0.05 + 1),
        (FundusReason.UNLIKE_A_FUNDUS, (MAX_ABSORPTION - seen.absorption) / 0.1 + 1),
    ]


#: A ratio a third above its limit is far from it.
_WIDE = 3.0
