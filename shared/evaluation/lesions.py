"""How well lesions are outlined: precision against recall by pixel, and FROC by lesion."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.evaluation.proportions import Proportion, proportion
from shared.evaluation.ranking import Area

#: Steps of the probability; IDRiD's challenge used 33.
BINS = 1000
RESAMPLES = 1000
#: False positives per picture at which FROC curves are usually read.
FALSE_POSITIVES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)

Box = tuple[int, int, int, int]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FrocPoint:
    """What reporting every lesion from a score on does."""

    score: float
    false_positives: float
    """Reported boxes that hold no pixel of a lesion, per picture."""
    sensitivity: Proportion
    """Of the lesions, those with a pixel in a reported box."""


@dataclass(frozen=True, slots=True)
class LesionMeasure:
    """What was found out about one type of lesion."""

    label: str
    pictures: int
    pictures_with_it: int
    lesions: int
    """Connected parts of the outlines."""
    area: Area | None
    """Under precision against recall over all pixels; its interval by resampled pictures."""
    reported: FrocPoint | None
    """Everything that the service reports."""
    froc: tuple[FrocPoint, ...]
    """At `FALSE_POSITIVES`, as far as the service's reports reach."""


@dataclass(slots=True)
class LesionTally:
    """Gathers one type of lesion picture by picture."""

    label: str
    _counts: list[Counts] = field(default_factory=list)
    _best: list[float] = field(default_factory=list)
    """For each lesion the highest score of a box that holds some of it; else below every score."""
    _false: list[float] = field(default_factory=list)
    _pictures_with_it: int = 0

    def add(
        self,
        truth: NDArray[np.bool_],
        probability: NDArray[np.float32],
        boxes: Sequence[tuple[Box, float]],
    ) -> None:
        """Count one picture.

        Args:
            truth: `(H, W)`, where the lesions are.
            probability: `(H, W)`, 0 to 1.
            boxes: what is reported, `(left, top, right, bottom)` in pixels, with its score.

        Raises:
            ValueError: the two have different sizes.
        """
        if truth.shape != probability.shape:
            raise ValueError("the outlines and the picture have different sizes")
        self._counts.append(pixel_counts(truth, probability))
        self._pictures_with_it += bool(truth.any())
        number, parts = cv2.connectedComponents(truth.astype(np.uint8), connectivity=8)
        best = np.full(number, -np.inf)
        for (left, top, right, bottom), score in boxes:
            inside = np.unique(parts[top:bottom, left:right])
            inside = inside[inside > 0]
            best[inside] = np.maximum(best[inside], score)
            if inside.size == 0:
                self._false.append(score)
        self._best += best[1:].tolist()

    def measure(self) -> LesionMeasure:
        """What was gathered."""
        best, false = np.array(self._best), np.sort(self._false)[::-1]
        pictures = len(self._counts)
        scores = np.unique(np.concatenate([best[np.isfinite(best)], false]))

        def point(score: float) -> FrocPoint:
            return FrocPoint(
                float(score),
                float((false >= score).sum() / pictures),
                proportion(int((best >= score).sum()), best.size),
            )

        froc = []
        if best.size and scores.size:
            # A lower score reports more of both, so the lowest within the budget finds the most.
            rates = np.array([(false >= score).sum() / pictures for score in scores])
            for budget in FALSE_POSITIVES:
                within = scores[rates <= budget]
                if within.size and rates.max() >= budget:
                    froc.append(point(within.min()))
        return LesionMeasure(
            label=self.label,
            pictures=pictures,
            pictures_with_it=self._pictures_with_it,
            lesions=best.size,
            area=precision_recall_area(self._counts),
            reported=point(scores.min()) if best.size and scores.size else None,
            froc=tuple(froc),
        )


def pixel_counts(truth: NDArray[np.bool_], probability: NDArray[np.float32]) -> Counts:
    """Pixels by probability: `(2, BINS)`, those inside lesions first."""
    bins = np.clip((probability * BINS).astype(np.int64), 0, BINS - 1)
    inside = np.bincount(bins[truth], minlength=BINS)
    return np.stack([inside, np.bincount(bins.ravel(), minlength=BINS) - inside])


def precision_recall_area(counts: Sequence[Counts], *, seed: int = 0) -> Area | None:
    """The area under precision against recall of pooled pixels; None where there is no lesion.

    Args:
        counts: `pixel_counts` of each picture.
        seed: of the resampling; the same data give the same interval.

    Source:
        Porwal et al., "IDRiD: Diabetic Retinopathy - Segmentation and Grading Challenge", Medical
        Image Analysis 59 (2020): the area over all pixels of all pictures ranks the entries.
    """
    stacked = np.stack(counts) if counts else np.zeros((0, 2, BINS), np.int64)
    if not stacked[:, 0].any():
        return None
    value = _area(stacked.sum(axis=0))
    if len(stacked) < 2:
        # Resamples of one picture are that picture.
        return Area(value, None, None, "bootstrap")
    random = np.random.default_rng(seed)
    draws = []
    for _ in range(RESAMPLES):
        weights = np.bincount(
            random.integers(len(stacked), size=len(stacked)), minlength=len(stacked)
        )
        pooled = np.tensordot(weights, stacked, axes=1)
        if pooled[0].any():
            draws.append(_area(pooled))
    low, high = np.percentile(draws, [2.5, 97.5])
    return Area(value, float(low), float(high), "bootstrap")


def _area(counts: Counts) -> float:
    """Steps of recall times the precision that they are reached with, from the surest pixels on."""
    inside = np.cumsum(counts[0, ::-1], dtype=np.float64)
    named = np.cumsum(counts.sum(axis=0)[::-1], dtype=np.float64)
    precision = inside / np.maximum(named, 1.0)
    return float((precision * np.diff(inside, prepend=0.0)).sum() / inside[-1])
