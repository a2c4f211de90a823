"""Outliers of a table of figures, by PyOD's detectors, and why each of them is one.

ECOD, which is used unless another is asked for, and COPOD are a few lines of NumPy each and are
computed here with PyOD's results; loading PyOD takes longer than either needs for a million rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.bqat.domain import Detector

Matrix = NDArray[np.float64]

#: Beyond this PyOD's neighbours take minutes; what is beyond is judged by a sample that is not.
MOST_FITTED: Final = 50_000
FEWEST_SAMPLES: Final = 10
_SEED: Final = 20_261_126


class TooFewSamples(Exception):
    """There is nothing to be outside of."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a detector said.

    Attributes:
        scores: one a row; the larger the further out. Rows that lack a figure have NaN.
        threshold: a row beyond it is an outlier.
        outliers: rows, the furthest first.
        contributions: for each outlier, how much each column adds; they sum to 1.
    """

    scores: Matrix
    threshold: float
    outliers: tuple[int, ...]
    contributions: tuple[Mapping[str, float], ...]


def find_outliers(
    matrix: NDArray[Any],
    names: Sequence[str],
    detector: Detector = Detector.ECOD,
    *,
    contamination: float = 0.05,
) -> Found:
    """Judge every row that is complete.

    Args:
        matrix: `(samples, columns)`; NaN where a figure is missing.
        names: of the columns.
        detector: which of PyOD's.
        contamination: the share of the rows that are taken for outliers, above 0 and at most 0.5.

    Raises:
        TooFewSamples: fewer than ten rows are complete, or no column differs.

    Source:
        Contributions of ECOD and COPOD are their own, dimension by dimension (Li et al. 2022,
        arXiv:2201.00382; Li et al. 2020, arXiv:2009.09463). Of the others they are what the score
        loses when a column is set to its median.
    """
    figures = np.asarray(matrix, np.float64)
    whole = ~np.isnan(figures).any(axis=1)
    differing = [
        index
        for index in range(figures.shape[1])
        if whole.any() and np.ptp(figures[whole, index]) > 0
    ]
    if whole.sum() < FEWEST_SAMPLES or not differing:
        raise TooFewSamples
    used = figures[whole][:, differing]
    # Detectors that measure distances would otherwise hear only the column with the largest unit.
    scaled = (used - np.median(used, axis=0)) / _spread(used)
    if detector in (Detector.ECOD, Detector.COPOD):
        parts = tail_parts(used, detector)
        judged = parts.sum(axis=1)
        threshold = float(np.percentile(judged, 100 * (1 - contamination)))
    else:
        model = _create(detector, contamination, len(scaled))
        fitted = scaled
        if len(scaled) > MOST_FITTED:
            lot = np.random.default_rng(_SEED)
            fitted = scaled[lot.choice(len(scaled), MOST_FITTED, replace=False)]
        model.fit(fitted)
        raw = model.decision_scores_ if fitted is scaled else model.decision_function(scaled)
        judged = np.asarray(raw, np.float64)
        threshold = float(model.threshold_)
    scores = np.full(len(figures), np.nan)
    scores[whole] = judged
    rows = np.flatnonzero(whole)
    beyond = np.flatnonzero(judged > threshold)
    order = beyond[np.argsort(-judged[beyond], kind="stable")]
    if detector in (Detector.ECOD, Detector.COPOD):
        shares = _shares(parts[order])
    else:
        shares = _shares(_losses(model, scaled, judged, order))
    return Found(
        scores,
        threshold,
        tuple(int(row) for row in rows[order]),
        tuple(
            {
                names[differing[place]]: round(float(share[place]), 4)
                for place in np.argsort(-share, kind="stable")
            }
            for share in shares
        ),
    )


def tail_parts(figures: Matrix, detector: Detector) -> Matrix:
    """What each column adds to the scores of ECOD and COPOD: how far out in its tail a figure is.

    Args:
        figures: `(rows, columns)`, complete.
        detector: which of the two.

    Returns:
        `(rows, columns)`; a row's sum is its score.
    """
    left, right = -np.log(_shares_up_to(figures)), -np.log(_shares_up_to(-figures))
    centred = figures - figures.mean(axis=0)
    # The sign of the third moment says on which side the tail is.
    side = np.sign((centred**3).mean(axis=0))
    skewed = left * -np.sign(side - 1) + right * np.sign(side + 1)
    plain = np.maximum(left, right) if detector is Detector.ECOD else (left + right) / 2
    return np.asarray(np.maximum(skewed, plain), np.float64)


def _shares_up_to(figures: Matrix) -> Matrix:
    """For each figure the share of its column that is not larger."""
    columns = [
        np.searchsorted(np.sort(column), column, side="right") / len(column) for column in figures.T
    ]
    return np.column_stack(columns)


def _create(detector: Detector, contamination: float, rows: int) -> Any:
    """PyOD's detector with upstream's settings; what is drawn by lot is the same every time."""
    if detector is Detector.KNN:
        from pyod.models.knn import KNN

        return KNN(contamination=contamination, n_neighbors=min(5, rows - 1))
    if detector is Detector.IFOREST:
        from pyod.models.iforest import IForest

        return IForest(contamination=contamination, random_state=_SEED)
    if detector is Detector.CBLOF:
        from pyod.models.cblof import CBLOF

        clusters = max(2, min(8, rows // 10))
        return CBLOF(contamination=contamination, n_clusters=clusters, random_state=_SEED)
    from pyod.models.pca import PCA

    return PCA(contamination=contamination, random_state=_SEED)


def _spread(figures: Matrix) -> Matrix:
    """The interquartile range of each column, or its standard deviation where that is nothing."""
    low, high = np.percentile(figures, [25, 75], axis=0)
    spread = high - low
    return np.asarray(np.where(spread > 0, spread, figures.std(axis=0)))


def _losses(model: Any, scaled: Matrix, judged: Matrix, rows: NDArray[np.intp]) -> Matrix:
    """`(outliers, columns)`: what each score loses when the column is set to its median."""
    losses = np.zeros((len(rows), scaled.shape[1]))
    for column in range(scaled.shape[1] if len(rows) else 0):
        without = scaled[rows].copy()
        without[:, column] = 0.0
        losses[:, column] = judged[rows] - model.decision_function(without)
    return losses


def _shares(parts: Matrix) -> Matrix:
    """Rows that sum to 1; equal shares where nothing says otherwise."""
    parts = np.clip(parts, 0, None)
    sums = parts.sum(axis=1, keepdims=True)
    equal = 1 / max(1, parts.shape[1])
    return np.asarray(np.where(sums > 0, parts / np.where(sums > 0, sums, 1), equal))
