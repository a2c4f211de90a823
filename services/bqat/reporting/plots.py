"""The drawings of a report, as SVG that stands inside the page and takes its colours from it."""

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.bqat.reporting.figures import Histogram

_WIDTH: Final = 460
_HEIGHT: Final = 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 10, 30
_CELL: Final = 22


def short(value: float) -> str:
    """A figure that a person can read."""
    if value == 0:
        return "0"
    if abs(value) >= 10_000 or abs(value) < 0.001:
        return f"{value:.1e}"
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"


def histogram_plot(
    found: Histogram,
    caption: str,
    *,
    marks: Sequence[tuple[float, str]] = (),
    other: Histogram | None = None,
) -> str:
    """Bars over a labelled axis; of two datasets the second as a line, both as shares."""
    low, high = float(found.edges[0]), float(found.edges[-1])
    counts = found.counts
    second = None if other is None else other.counts / max(1.0, other.counts.sum())
    if second is not None:
        counts = counts / max(1.0, counts.sum())
    top = float(max(counts.max(), second.max() if second is not None else 0)) or 1.0
    wide = _WIDTH - _LEFT - _RIGHT
    tall = _HEIGHT - _TOP - _BOTTOM

    def x(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * wide

    def y(value: float) -> float:
        return _TOP + tall - value / top * tall

    parts = [_axis_y(top, y, is_share=second is not None)]
    for number, count in enumerate(counts):
        if count:
            left, right = x(float(found.edges[number])), x(float(found.edges[number + 1]))
            parts.append(
                f'<rect class="bar" x="{left + 0.5:.1f}" y="{y(float(count)):.1f}" '
                f'width="{max(0.8, right - left - 1):.1f}" '
                f'height="{_TOP + tall - y(float(count)):.1f}"/>'
            )
    if second is not None and other is not None:
        points = " ".join(
            f"{x((float(other.edges[n]) + float(other.edges[n + 1])) / 2):.1f},{y(float(v)):.1f}"
            for n, v in enumerate(second)
        )
        parts.append(f'<polyline class="second" points="{points}"/>')
    for value, name in marks:
        if low <= value <= high:
            parts.append(
                f'<line class="mark-line" x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{_TOP}" '
                f'y2="{_TOP + tall}"/><text class="mark-name" x="{x(value) + 3:.1f}" '
                f'y="{_TOP + 9}">{escape(name)}</text>'
            )
    for value in np.linspace(low, high, 5):
        anchor = "start" if value == low else "end" if value == high else "middle"
        parts.append(
            f'<text class="tick" x="{x(float(value)):.1f}" y="{_HEIGHT - 10}" '
            f'text-anchor="{anchor}">{short(float(value))}</text>'
        )
    return _svg(_WIDTH, _HEIGHT, caption, parts)


def bars_plot(counts: Sequence[tuple[str, int]], caption: str) -> str:
    """A horizontal bar for each word."""
    row, left = 24, 150
    height = row * len(counts) + 8
    top = max((count for _, count in counts), default=1) or 1
    parts = []
    for number, (name, count) in enumerate(counts):
        middle = number * row + 16
        length = (_WIDTH - left - 70) * count / top
        parts.append(
            f'<text class="word" x="{left - 8}" y="{middle + 4}" text-anchor="end">'
            f"{escape(name[:22])}</text>"
            f'<rect class="bar" x="{left}" y="{middle - 8}" width="{max(1, length):.1f}" '
            f'height="16"/><text class="tick" x="{left + length + 6:.1f}" y="{middle + 4}">'
            f"{count:,}</text>"
        )
    return _svg(_WIDTH, height, caption, parts)


def density_plot(
    counts: NDArray[np.float64],
    across: NDArray[np.float64],
    upward: NDArray[np.float64],
    names: tuple[str, str],
    caption: str,
) -> str:
    """A grid whose cells are the darker the more samples they hold."""
    side = 260
    left, top = 52, 10
    width, height = left + side + 12, top + side + 42
    cell = side / len(counts)
    most = float(counts.max()) or 1.0
    parts = [f'<rect class="ground" x="{left}" y="{top}" width="{side}" height="{side}"/>']
    for column, row in zip(*np.nonzero(counts), strict=True):
        shade = 0.15 + 0.85 * float(np.sqrt(counts[column, row] / most))
        parts.append(
            f'<rect class="cell" x="{left + column * cell:.1f}" '
            f'y="{top + side - (row + 1) * cell:.1f}" width="{cell:.1f}" height="{cell:.1f}" '
            f'fill-opacity="{shade:.2f}"/>'
        )
    for edge, at, anchor in ((across[0], left, "start"), (across[-1], left + side, "end")):
        parts.append(
            f'<text class="tick" x="{at}" y="{top + side + 15}" text-anchor="{anchor}">'
            f"{short(float(edge))}</text>"
        )
    for edge, at in ((upward[0], top + side), (upward[-1], top + 9)):
        parts.append(
            f'<text class="tick" x="{left - 6}" y="{at}" text-anchor="end">'
            f"{short(float(edge))}</text>"
        )
    parts.append(
        f'<text class="word" x="{left + side / 2}" y="{top + side + 34}" text-anchor="middle">'
        f"{escape(names[0])}</text>"
        f'<text class="word" transform="translate(12 {top + side / 2}) rotate(-90)" '
        f'text-anchor="middle">{escape(names[1])}</text>'
    )
    return _svg(width, height, caption, parts)


def heat_plot(matrix: NDArray[np.float64], names: Sequence[str], caption: str) -> str:
    """A square of coefficients from -1 to 1: one colour for together, one for against."""
    left, top = 170, 8
    size = len(names)
    width = left + size * _CELL + 8
    height = top + size * _CELL + 150
    parts = []
    for row, name in enumerate(names):
        middle = top + row * _CELL + _CELL / 2 + 4
        parts.append(
            f'<text class="word" x="{left - 6}" y="{middle:.0f}" text-anchor="end">'
            f"{escape(name[:26])}</text>"
        )
        x = left + row * _CELL + _CELL / 2 + 4
        parts.append(
            f'<text class="word" transform="translate({x:.0f} {top + size * _CELL + 8}) '
            f'rotate(-90)" text-anchor="end">{escape(name[:22])}</text>'
        )
        for column in range(size):
            value = matrix[row, column]
            if np.isnan(value):
                continue
            kind = "together" if value >= 0 else "against"
            at = f'x="{left + column * _CELL}" y="{top + row * _CELL}"'
            parts.append(
                f'<rect class="{kind}" {at} width="{_CELL - 1}" height="{_CELL - 1}" '
                f'fill-opacity="{abs(float(value)):.2f}"><title>{escape(name)} and '
                f"{escape(names[column])}: {float(value):.2f}</title></rect>"
            )
    return _svg(width, height, caption, parts)


def missing_plot(shares: Sequence[tuple[str, NDArray[np.float64]]], caption: str) -> str:
    """A line for each measure from the first sample to the last; light where it is missing."""
    left, row = 190, 18
    wide = 560
    parts = []
    for number, (name, missing) in enumerate(shares):
        y = number * row + 4
        parts.append(
            f'<text class="word" x="{left - 8}" y="{y + 12}" text-anchor="end">'
            f"{escape(name[:28])}</text>"
        )
        step = wide / len(missing)
        ends = [0, *(np.flatnonzero(np.diff(missing)) + 1), len(missing)]
        for first, last in pairwise(ends):
            if missing[first] < 1:
                parts.append(
                    f'<rect class="bar" x="{left + first * step:.1f}" y="{y}" '
                    f'width="{(last - first) * step:.1f}" height="{row - 4}" '
                    f'fill-opacity="{1 - missing[first]:.2f}"/>'
                )
    return _svg(left + wide + 8, len(shares) * row + 8, caption, parts)


def strip(found: Histogram) -> str:
    """A histogram so small that it stands in a line of a table."""
    width, height = 120, 22
    top = float(found.counts.max()) or 1.0
    step = width / len(found.counts)
    parts = [
        f'<rect class="bar" x="{number * step:.1f}" y="{height - count / top * height:.1f}" '
        f'width="{max(0.7, step - 0.4):.1f}" height="{count / top * height:.1f}"/>'
        for number, count in enumerate(found.counts)
        if count
    ]
    return (
        f'<svg class="strip" viewBox="0 0 {width} {height}" aria-hidden="true">'
        f"{''.join(parts)}</svg>"
    )


def _axis_y(top: float, y: object, *, is_share: bool) -> str:
    assert callable(y)
    name = f"{top:.0%}" if is_share else short(top)
    return (
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(0):.1f}" '
        f'y2="{y(0):.1f}"/><text class="tick" x="{_LEFT - 6}" y="{y(top) + 8:.1f}" '
        f'text-anchor="end">{name}</text><text class="tick" x="{_LEFT - 6}" y="{y(0):.1f}" '
        'text-anchor="end">0</text>'
    )


def _svg(width: float, height: float, caption: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="plot" viewBox="0 0 {width:g} {height:g}" style="max-width:{width:g}px" '
        f'role="img" aria-label="{escape(caption)}">{"".join(parts)}</svg>'
    )
