"""Outliers across the border of their process: what is asked, and what is answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.bqat.domain import Detector
from services.bqat.outliers import find_outliers


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a detector said of a dataset: the rows that stand out, and those it could not judge."""

    threshold: float
    outliers: tuple[tuple[int, float, Mapping[str, float]], ...]
    """Row, score, contributions."""
    unusable: tuple[int, ...]


def outliers_order(
    names: Sequence[str], detector: Detector, contamination: float
) -> dict[str, Any]:
    """What the process is told."""
    return {"names": list(names), "detector": detector.value, "contamination": contamination}


def outliers_from(head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """In the process: judge `arrays["matrix"]`."""
    matrix = arrays["matrix"]
    found = find_outliers(
        matrix, head["names"], Detector(head["detector"]), contamination=head["contamination"]
    )
    return {
        "threshold": found.threshold,
        "outliers": [
            [row, float(found.scores[row]), dict(contributions)]
            for row, contributions in zip(found.outliers, found.contributions, strict=True)
        ],
        "unusable": [int(row) for row in np.flatnonzero(np.isnan(matrix).any(axis=1))],
    }


def verdict_from(answer: Mapping[str, Any]) -> Verdict:
    """What the process answered."""
    return Verdict(
        float(answer["threshold"]),
        tuple((int(row), float(score), dict(why)) for row, score, why in answer["outliers"]),
        tuple(int(row) for row in answer["unusable"]),
    )
