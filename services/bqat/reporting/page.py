"""The report as one HTML page: no script, font, picture or other address is in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Final

import numpy as np

from services.bqat.columns import Column
from services.bqat.reporting.comparison import comparison_section
from services.bqat.reporting.figures import (
    correlations,
    density,
    histogram,
    strongest_pairs,
    summarise,
)
from services.bqat.reporting.markup import card, listed, section, table, words
from services.bqat.reporting.plots import (
    bars_plot,
    density_plot,
    heat_plot,
    histogram_plot,
    missing_plot,
    short,
    strip,
)
from services.bqat.reporting.style import STYLE

_MOST_CARDS: Final = 80
_MOST_CORRELATED: Final = 30
_INTERACTIONS: Final = 6
_BLOCKS: Final = 100
#: Beginnings of the names of columns that say where something is in a picture.
_PLACES: Final = ("bbox_", "pupil_", "image_", "head_", "iris_center", "pupil_center")
#: Distances between the pupils that people ask about, in pixels.
_IPD_STEPS: Final = (60, 90, 120, 240)


@dataclass(frozen=True, slots=True)
class Report:
    """What a page is made of."""

    name: str
    modality: str | None
    rows: int
    shown: int
    """How many of the rows are in the columns; fewer where a share was asked for."""
    failed: int
    evidence: Mapping[str, int]
    failures: Mapping[str, int]
    columns: tuple[Column, ...]
    made_at: datetime

    def find(self, name: str) -> Column | None:
        """The measure of this name."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def numbers(self) -> list[Column]:
        """The measures that are figures and occur."""
        return [column for column in self.columns if column.is_number and len(column.present)]


def to_html(report: Report, other: Report | None = None, *, is_minimal: bool = False) -> str:
    """The whole page; every text that comes from files or clients is escaped."""
    sections = [
        _head(report, other),
        "" if other is None else comparison_section(report, other),
        _overview(report),
        _distributions(report),
        _ipd(report),
        _eyes(report),
        "" if is_minimal else _interactions(report),
        _missing(report),
        _failures(report),
        _methods(report),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>Biometric quality of {escape(report.name)}</title>\n<style>{STYLE}</style>\n"
        "</head>\n<body>\n<main>\n"
        + "\n".join(part for part in sections if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _head(report: Report, other: Report | None) -> str:
    facts = [
        ("modality", words(report.modality or "unknown")),
        ("samples", f"{report.rows:,}"),
        ("without a profile", f"{report.failed:,}"),
        ("measures", f"{len(report.columns):,}"),
        ("evidence", ", ".join(f"{escape(k)} ({n:,})" for k, n in report.evidence.items())),
        ("made", escape(f"{report.made_at:%d %B %Y, %H:%M} UTC")),
    ]
    if report.shown != report.rows:
        facts.insert(2, ("drawn for this report", f"{report.shown:,}"))
    return (
        '<header>\n<p class="kind">Biometric quality report</p>\n'
        f"<h1>{escape(report.name)}</h1>\n"
        + (f'<p class="on">compared with {escape(other.name)}</p>\n' if other else "")
        + f'<dl class="facts">{listed(facts)}</dl>\n'
        '<nav><a href="#overview">Overview</a> <a href="#distributions">Distributions</a> '
        '<a href="#missing">Missing values</a> <a href="#method">How it was made</a></nav>\n'
        "</header>"
    )


def _overview(report: Report) -> str:
    rows = []
    for column in report.numbers:
        found, bars = summarise(column), histogram(column)
        if found is None or bars is None:
            continue
        figures = (found.mean, found.deviation, found.low, found.fifth, found.median)
        rows.append(
            (
                f"<th scope=row>{words(column.name)}</th>",
                f"<td>{found.count:,}</td>",
                f"<td>{column.missing / max(1, len(column.values)):.1%}</td>",
                *(f"<td>{short(value)}</td>" for value in figures),
                f"<td>{short(found.ninety_fifth)}</td>",
                f"<td>{short(found.high)}</td>",
                f"<td>{strip(bars)}</td>",
            )
        )
    head = ("measure", "n", "missing", "mean", "std. dev.", "least", "5 %", "median", "95 %",
            "most", "")  # fmt: skip
    text = table(head, rows) if rows else '<p class="note">No measure has a figure.</p>'
    return section("Overview", text, "overview")


def _distributions(report: Report) -> str:
    cards = []
    for column in report.columns[:_MOST_CARDS]:
        if column.words:
            counts = sorted(column.words.items(), key=lambda item: -item[1])[:12]
            cards.append(card(column.name, bars_plot(counts, f"Values of {column.name}")))
        elif column.is_flag and len(column.present):
            yes = int(column.present.sum())
            counts = [("yes", yes), ("no", len(column.present) - yes)]
            cards.append(card(column.name, bars_plot(counts, f"Values of {column.name}")))
        elif (bars := histogram(column)) is not None:
            plot = histogram_plot(bars, f"Distribution of {column.name}")
            cards.append(card(column.name, plot))
    return section("Distributions", f'<div class="cards">{"".join(cards)}</div>', "distributions")


def _ipd(report: Report) -> str:
    column = report.find("ipd")
    if column is None or (bars := histogram(column)) is None:
        return ""
    values = column.present
    rows = [
        (
            f"<th scope=row>below {step} px</th>",
            f"<td>{int((values < step).sum()):,}</td>",
            f"<td>{float((values < step).mean()):.1%}</td>",
        )
        for step in _IPD_STEPS
    ]
    marks = [(float(np.median(values)), f"median {short(float(np.median(values)))} px")]
    plot = histogram_plot(bars, "Distribution of the distance between the pupils", marks=marks)
    return section(
        "Distance between the pupils",
        f'<div class="pair">{plot}{table(("", "samples", "share"), rows)}</div>',
    )


def _eyes(report: Report) -> str:
    left, right = report.find("eye_closed_left"), report.find("eye_closed_right")
    if left is None or right is None:
        return ""
    both = np.column_stack([left.values, right.values])
    both = both[~np.isnan(both).any(axis=1)]
    if not len(both):
        return ""
    counts = [
        ("both open", int(((both[:, 0] == 0) & (both[:, 1] == 0)).sum())),
        ("left closed", int(((both[:, 0] == 1) & (both[:, 1] == 0)).sum())),
        ("right closed", int(((both[:, 0] == 0) & (both[:, 1] == 1)).sum())),
        ("both closed", int(((both[:, 0] == 1) & (both[:, 1] == 1)).sum())),
    ]
    return section(
        "Eyes closed",
        f'<div class="pair">{bars_plot(counts, "Open and closed eyes")}</div>'
        f'<p class="note">Of {len(both):,} samples with both eyes measured.</p>',
    )


def _interactions(report: Report) -> str:
    columns = [column for column in report.numbers if np.ptp(column.present) > 0]
    columns = columns[:_MOST_CORRELATED]
    matrices = correlations(columns)
    if not matrices:
        return ""
    pairs = strongest_pairs(columns, matrices["Spearman"], len(columns) ** 2)
    # Where things are in a picture goes together by itself.
    pairs = [
        (one, other)
        for one, other in pairs
        if not any(columns[each].name.startswith(_PLACES) for each in (one, other))
    ][:_INTERACTIONS]
    cards = []
    for one, other in pairs:
        found = density(columns[one], columns[other])
        if found is None:
            continue
        names = (columns[one].name, columns[other].name)
        caption = f"{names[0]} and {names[1]}"
        value = f"Spearman {matrices['Spearman'][one, other]:.2f}"
        cards.append(card(caption, density_plot(*found, names, caption), value))
    names_of_all = [column.name for column in columns]
    heats = "".join(
        card(name, heat_plot(matrix, names_of_all, f"{name} correlations"))
        for name, matrix in matrices.items()
    )
    legend = (
        '<p class="legend"><span class="swatch together"></span>rise together '
        '<span class="swatch against"></span>one falls when the other rises; paler is weaker</p>'
    )
    return section(
        "Interactions",
        '<p class="note">The pairs of measures that go together most.</p>'
        f'<div class="cards">{"".join(cards)}</div>',
    ) + section("Correlations", f'{legend}<div class="cards wide">{heats}</div>')


def _missing(report: Report) -> str:
    lacking = [column for column in report.columns if column.missing]
    if not lacking:
        return section(
            "Missing values", '<p class="note">Every sample has every measure.</p>', "missing"
        )
    rows = [
        (
            f"<th scope=row>{words(column.name)}</th>",
            f"<td>{column.missing:,}</td>",
            f"<td>{column.missing / max(1, len(column.values)):.1%}</td>",
        )
        for column in sorted(lacking, key=lambda column: -column.missing)[:_MOST_CARDS]
    ]
    shares = [(column.name, _holes(column)) for column in lacking if column.is_number][:_MOST_CARDS]
    plot = missing_plot(shares, "Where measures are missing") if shares else ""
    text = table(("measure", "missing", "share"), rows)
    if plot:
        text += f'<h3>From the first sample to the last</h3><div class="scroll">{plot}</div>'
    return section("Missing values", text, "missing")


def _holes(column: Column) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The missing share of each of a hundred stretches of samples."""
    blocks = np.array_split(np.isnan(column.values), min(_BLOCKS, max(1, len(column.values))))
    return np.asarray([float(block.mean()) for block in blocks])


def _failures(report: Report) -> str:
    if not report.failures and not report.failed:
        return ""
    counts = sorted(report.failures.items(), key=lambda item: -item[1])[:20]
    text = (
        f'<p class="note">{report.failed:,} of {report.rows:,} samples could not be read or '
        "assessed; the others below have a profile with a remark.</p>"
    )
    if counts:
        text += bars_plot(counts, "Remarks by step")
    return section("Remarks", text)


def _methods(report: Report) -> str:
    entries: Sequence[str] = (
        "Percentiles are over the samples that have the measure.",
        "Histograms have bins of equal width; whole numbers are never split.",
        "Pearson's coefficient is of all samples that have both measures, Spearman's of at most "
        "50,000 and Kendall's tau-b of at most 800, drawn by lot, the same lot every time.",
        "A measure of evidence `rules` comes from image processing alone; `approx` in a profile "
        "names measures for which a stand-in of the standard's method was used.",
        "Remarks are counted by the step they belong to.",
    )
    return section(
        "How it was made",
        "<ul>" + "".join(f"<li>{escape(e)}</li>" for e in entries) + "</ul>",
        "method",
    )
