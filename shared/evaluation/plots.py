"""Plots as inline SVG, coloured by the page's style sheet: ROC, reliability, intervals.

Everything is drawn in units of the view box; classes carry the colours, so that light, dark and
print need no second picture. Each plot names itself to those who do not see it.
"""

import math
from collections.abc import Sequence

from shared.evaluation.calibration import ReliabilityBin
from shared.evaluation.proportions import Proportion
from shared.evaluation.ranking import Area, RocCurve
from shared.evaluation.thresholds import OperatingPoint

_SIDE = 200.0
_LEFT, _TOP, _RIGHT, _BOTTOM = 38.0, 8.0, 10.0, 36.0
_WIDTH, _HEIGHT = _LEFT + _SIDE + _RIGHT, _TOP + _SIDE + _BOTTOM
_STRIP_WIDTH, _STRIP_HEIGHT = 140.0, 14.0


def roc_plot(
    curve: RocCurve, point: OperatingPoint, fitted: OperatingPoint | None, title: str
) -> str:
    """A ROC curve with the operating point, the fitted one and their intervals.

    Args:
        curve: from (0, 0) to (1, 1).
        point: drawn as a full disc.
        fitted: drawn as a ring.
        title: plain text without markup; what a screen reader says.
    """
    frame = _Frame(1.0)
    corners = list(zip(curve.false_positive_rate, curve.true_positive_rate, strict=True))
    line = " ".join(frame.at(x, y) for x, y in corners)
    parts = [
        f'<polygon class="under" points="{line} {frame.at(1, 0)}"/>',
        frame.diagonal(),
        f'<polyline class="curve" points="{line}"/>',
    ]
    if fitted is not None:
        parts.append(_marker(frame, fitted, "fitted"))
    parts.append(_marker(frame, point, "point"))
    return frame.drawn(parts, title, "1 - specificity", "sensitivity")


def reliability_plot(bins: Sequence[ReliabilityBin], title: str) -> str:
    """What was said against what was so, with the interval of each bin.

    Both axes end at the same round figure that holds every bin and its interval.
    """
    highest = max(max(each.mean_probability, each.observed.high) for each in bins)
    frame = _Frame(_round_end(highest))
    parts = [frame.diagonal()]
    centres = [(each.mean_probability, each.observed.value or 0.0) for each in bins]
    for each, (x, y) in zip(bins, centres, strict=True):
        parts.append(frame.vertical(x, each.observed.low, each.observed.high))
        parts.append(frame.disc(x, y, 3.2, "point"))
    line = " ".join(frame.at(x, y) for x, y in centres)
    parts.insert(1, f'<polyline class="joint" points="{line}"/>')
    return frame.drawn(parts, title, "probability given", "share with the finding")


def area_strip(area: Area | None) -> str:
    """One area and its interval on a line from 0 to 1 with 0.5 marked."""
    height = _STRIP_HEIGHT
    half = height / 2
    parts = [
        f'<line class="axis" x1="0" x2="{_STRIP_WIDTH:g}" y1="{half:g}" y2="{half:g}"/>',
        f'<line class="chance" x1="{_STRIP_WIDTH / 2:g}" x2="{_STRIP_WIDTH / 2:g}" '
        f'y1="0" y2="{height:g}"/>',
    ]
    if area is not None:
        x = area.value * _STRIP_WIDTH
        if area.low is not None and area.high is not None:
            low, high = area.low * _STRIP_WIDTH, area.high * _STRIP_WIDTH
            parts.append(
                f'<line class="interval" x1="{low:.2f}" x2="{high:.2f}" '
                f'y1="{half:g}" y2="{half:g}"/>'
            )
        parts.append(f'<circle class="point" cx="{x:.2f}" cy="{half:g}" r="3.6"/>')
    return (
        f'<svg class="strip" viewBox="-4 0 {_STRIP_WIDTH + 8:g} {height:g}" '
        f'aria-hidden="true">{"".join(parts)}</svg>'
    )


class _Frame:
    """A square plot whose axes run from 0 to `end`."""

    def __init__(self, end: float) -> None:
        self._end = end

    def x(self, value: float) -> float:
        """Where a value lies from the left."""
        return _LEFT + value / self._end * _SIDE

    def y(self, value: float) -> float:
        """Where a value lies from the top."""
        return _TOP + _SIDE - value / self._end * _SIDE

    def at(self, x: float, y: float) -> str:
        """A point of a polyline."""
        return f"{self.x(x):.2f},{self.y(y):.2f}"

    def diagonal(self) -> str:
        """From corner to corner."""
        return self._line(0, 0, self._end, self._end, "chance")

    def vertical(self, x: float, low: float, high: float) -> str:
        """An interval of what the upward axis shows."""
        return self._line(x, low, x, high, "interval")

    def horizontal(self, y: float, low: float, high: float) -> str:
        """An interval of what the sideward axis shows."""
        return self._line(low, y, high, y, "interval")

    def disc(self, x: float, y: float, radius: float, kind: str) -> str:
        """A marker."""
        return f'<circle class="{kind}" cx="{self.x(x):.2f}" cy="{self.y(y):.2f}" r="{radius:g}"/>'

    def drawn(self, parts: Sequence[str], title: str, x_label: str, y_label: str) -> str:
        """The whole plot."""
        ticks = [self._end * step / 4 for step in range(5)]
        middle = _TOP + _SIDE / 2
        grid = [
            f'<line class="grid" x1="{self.x(tick):.2f}" x2="{self.x(tick):.2f}" '
            f'y1="{_TOP:g}" y2="{_TOP + _SIDE:g}"/>'
            f'<line class="grid" x1="{_LEFT:g}" x2="{_LEFT + _SIDE:g}" '
            f'y1="{self.y(tick):.2f}" y2="{self.y(tick):.2f}"/>'
            f'<text x="{self.x(tick):.2f}" y="{_TOP + _SIDE + 13:g}" '
            f'text-anchor="middle">{tick:g}</text>'
            f'<text x="{_LEFT - 5:g}" y="{self.y(tick) + 3:.2f}" text-anchor="end">{tick:g}</text>'
            for tick in ticks
        ]
        labels = (
            f'<text class="label" x="{_LEFT + _SIDE / 2:g}" y="{_HEIGHT - 6:g}" '
            f'text-anchor="middle">{x_label}</text>'
            f'<text class="label" transform="translate(9 {middle:g}) rotate(-90)" '
            f'text-anchor="middle">{y_label}</text>'
        )
        return (
            f'<svg class="plot" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" '
            f'aria-label="{title}">{"".join(grid)}{"".join(parts)}{labels}</svg>'
        )

    def _line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
        return (
            f'<line class="{kind}" x1="{self.x(x1):.2f}" y1="{self.y(y1):.2f}" '
            f'x2="{self.x(x2):.2f}" y2="{self.y(y2):.2f}"/>'
        )


def _marker(frame: _Frame, point: OperatingPoint, kind: str) -> str:
    sensitivity, specificity = point.sensitivity, point.specificity
    x, y = 1.0 - _value(specificity), _value(sensitivity)
    return (
        frame.vertical(x, sensitivity.low, sensitivity.high)
        + frame.horizontal(y, 1.0 - specificity.high, 1.0 - specificity.low)
        + frame.disc(x, y, 4.0, kind)
    )


def _value(share: Proportion) -> float:
    return 0.0 if share.value is None else share.value


def _round_end(highest: float) -> float:
    """The smallest of 0.04, 0.1, 0.2, 0.4, 0.6, 0.8 and 1 that is not below `highest`."""
    ends = (0.04, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
    return next((end for end in ends if highest <= end or math.isclose(highest, end)), 1.0)
