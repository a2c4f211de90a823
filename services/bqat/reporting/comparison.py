"""Two datasets side by side: what has moved, and how far."""

from html import escape
from typing import TYPE_CHECKING

from services.bqat.reporting.figures import Drift, drift, histogram
from services.bqat.reporting.markup import card, section, table, words
from services.bqat.reporting.plots import histogram_plot, short

if TYPE_CHECKING:
    from services.bqat.reporting.page import Report

_MOST_CARDS = 12


def comparison_section(report: "Report", other: "Report") -> str:
    """The measures that both datasets have, the most moved ones first."""
    moved = []
    for column in report.numbers:
        second = other.find(column.name)
        if second is not None and (found := drift(column, second)) is not None:
            moved.append((found, column, second))
    if not moved:
        return section(
            "Comparison", '<p class="note">The two datasets share no measure with figures.</p>'
        )
    moved.sort(key=lambda entry: -entry[0].largest_gap)
    rows = [_row(found) for found, _, _ in moved]
    cards = []
    for found, column, second in moved[:_MOST_CARDS]:
        both = [*map(float, (column.present.min(), second.present.min()))]
        ends = [*map(float, (column.present.max(), second.present.max()))]
        span = (min(both), max(ends))
        first_bars = histogram(column, span=span)
        if first_bars is None:
            continue
        second_bars = histogram(second, edges=first_bars.edges)
        caption = f"{column.name} in both datasets"
        plot = histogram_plot(first_bars, caption, other=second_bars)
        cards.append(card(column.name, plot, f"D {found.largest_gap:.2f}"))
    legend = (
        f'<p class="legend"><span class="swatch together"></span>{escape(report.name)} '
        f'<span class="swatch against"></span>{escape(other.name)}, as shares of the samples</p>'
    )
    head = ("measure", "D", "stability index", "median moves by", "missing moves by")
    note = (
        '<p class="note">D is the largest gap of the two distribution functions (Kolmogorov and '
        "Smirnov), from 0 to 1. The population stability index is over the tenths of the first "
        "dataset; by custom, below 0.1 is called stable and above 0.25 a shift.</p>"
    )
    text = note + table(head, rows) + legend + f'<div class="cards">{"".join(cards)}</div>'
    return section("Comparison", text)


def _row(found: Drift) -> tuple[str, ...]:
    index = "–" if found.stability_index is None else f"{found.stability_index:.3f}"
    return (
        f"<th scope=row>{words(found.name)}</th>",
        f"<td>{found.largest_gap:.3f}</td>",
        f"<td>{index}</td>",
        f"<td>{'+' if found.median_shift > 0 else ''}{short(found.median_shift)}</td>",
        f"<td>{found.missing_shift:+.1%}</td>",
    )
