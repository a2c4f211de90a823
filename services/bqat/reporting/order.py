"""A report across the border of its process: what is asked, and the page that is answered."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.bqat.columns import Column, Table
from services.bqat.domain import Modality
from services.bqat.reporting.page import Report, to_html

#: Scatter plots and rank correlations of more rows look the same and take longer.
MOST_ROWS: Final = 200_000
_SEED: Final = 20_261_126


@dataclass(frozen=True, slots=True)
class Subject:
    """What a report is about."""

    name: str
    modality: Modality | None


def report_order(
    subject: Subject,
    table: Table,
    options: Mapping[str, Any],
    *,
    other: tuple[Subject, Table] | None = None,
) -> dict[str, Any]:
    """What the process is told beside the figures."""
    return {
        "at": datetime.now(UTC).isoformat(),
        "options": {
            "minimal": bool(options.get("minimal")),
            "downsample": options.get("downsample"),
        },
        "of": _described(subject, table),
        "other": None if other is None else _described(*other),
    }


def report_arrays(table: Table, *, other: Table | None = None) -> dict[str, NDArray[Any]]:
    """The figures that the process is given."""
    arrays = _figures(table, "of")
    return arrays if other is None else arrays | _figures(other, "other")


def report_from(head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """In the process: the page."""
    share = head["options"]["downsample"]
    report = _read(head, arrays, "of", share)
    other = None if head["other"] is None else _read(head, arrays, "other", share)
    return to_html(report, other, is_minimal=head["options"]["minimal"])


def _described(subject: Subject, table: Table) -> dict[str, Any]:
    return {
        "name": subject.name,
        "modality": subject.modality,
        "rows": table.rows,
        "failed": table.failed,
        "evidence": dict(table.evidence),
        "failures": dict(table.failures),
        "columns": [
            {"name": column.name, "words": dict(column.words), "is_flag": column.is_flag}
            for column in table.columns
        ],
    }


def _figures(table: Table, side: str) -> dict[str, NDArray[Any]]:
    return {
        f"{side}-{number}": column.values
        for number, column in enumerate(table.columns)
        if column.is_number
    }


def _read(
    head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], side: str, share: Any
) -> Report:
    told = head[side]
    rows = told["rows"]
    kept = rows
    if isinstance(share, int | float) and 0 < share < 1:
        kept = max(1, round(rows * share))
    chosen: NDArray[np.intp] | None = None
    if kept < rows:
        lot = np.random.default_rng(_SEED).choice(rows, kept, replace=False)
        chosen = np.sort(lot)
    columns = []
    for number, column in enumerate(told["columns"]):
        values = arrays.get(f"{side}-{number}")
        figures = np.full(rows, np.nan, np.float32) if values is None else values
        columns.append(
            Column(
                column["name"],
                figures if chosen is None else figures[chosen],
                column["words"],
                column["is_flag"],
            )
        )
    return Report(
        name=told["name"],
        modality=told["modality"],
        rows=rows,
        shown=kept,
        failed=told["failed"],
        evidence=told["evidence"],
        failures=told["failures"],
        columns=tuple(columns),
        made_at=datetime.fromisoformat(head["at"]),
    )
