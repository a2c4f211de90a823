"""Everything that is measured on a labelled folder, as one value."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from shared.evaluation.calibration import (
    ReliabilityBin,
    brier_of_prevalence,
    brier_score,
    calibration_error,
    reliability,
)
from shared.evaluation.labels import LabelTable
from shared.evaluation.lesions import LesionMeasure
from shared.evaluation.ranking import (
    Area,
    RocCurve,
    Scores,
    Targets,
    average_precision,
    bootstrap_area,
    delong_area,
    mean_area,
    roc_curve,
)
from shared.evaluation.run import Answers, Case, Excluded
from shared.evaluation.source import EvaluatedModel
from shared.evaluation.thresholds import OperatingPoint, fit_point, measure_point

FORMAT = "vedette-evaluation/1"


class NothingToMeasure(ValueError):
    """No picture has both an answer and a label."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """What was measured on."""

    name: str
    labels_sha256: str
    """The hash of the table's file."""
    rows: int
    answered: int
    patients: int | None
    """How many patients the answered pictures show; None where the table does not say."""
    patients_repeat: bool
    excluded: Mapping[str, int]
    """How many pictures have no answer, by kind."""


@dataclass(frozen=True, slots=True)
class LabelMeasure:
    """What was found out about one label."""

    label: str
    n: int
    positives: int
    unknown: int
    """Pictures whose truth the table does not say; they are left out of this label."""
    area: Area | None
    """None, as the next two, where all cases are of one class."""
    average_precision: float | None
    roc: RocCurve | None
    brier: float
    brier_of_prevalence: float
    mean_probability: float
    calibration_error: float
    reliability: tuple[ReliabilityBin, ...]
    point: OperatingPoint
    """At the operating point that the package states."""
    fitted: OperatingPoint | None
    """At the cut that reaches the target sensitivity on these same cases."""


@dataclass(frozen=True, slots=True)
class GroupMeasure:
    """What was found out about one label in one group."""

    by: str
    group: str
    label: str
    n: int
    positives: int
    area: Area | None
    point: OperatingPoint


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A whole evaluation."""

    format: str
    evaluated_at: datetime
    service: str
    model: EvaluatedModel
    dataset: Dataset
    target_sensitivity: float
    mean_area: Area | None
    """Of the labels that have both classes, where there are two or more."""
    labels: tuple[LabelMeasure, ...]
    without_column: tuple[str, ...]
    """Labels that the network answers and the table does not know."""
    groups: tuple[GroupMeasure, ...]
    excluded: tuple[Excluded, ...]
    lesions: tuple[LesionMeasure, ...] = ()
    """Of services that outline lesions, on folders that hold outlines."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is evaluated, on what, when, and for which sensitivity cuts are fitted."""

    service: str
    model: EvaluatedModel
    operating_points: Mapping[str, float]
    dataset_name: str
    labels_sha256: str
    target_sensitivity: float
    evaluated_at: datetime


def measure_lesions_alone(
    subject: Subject, lesions: tuple[LesionMeasure, ...], pictures: int
) -> Evaluation:
    """An evaluation of outlines where nothing is known of whole pictures."""
    return Evaluation(
        format=FORMAT,
        evaluated_at=subject.evaluated_at,
        service=subject.service,
        model=subject.model,
        dataset=Dataset(
            name=subject.dataset_name,
            labels_sha256=subject.labels_sha256,
            rows=pictures,
            answered=max((each.pictures for each in lesions), default=0),
            patients=None,
            patients_repeat=False,
            excluded={},
        ),
        target_sensitivity=subject.target_sensitivity,
        mean_area=None,
        labels=(),
        without_column=(),
        groups=(),
        excluded=(),
        lesions=lesions,
    )


def measure(subject: Subject, table: LabelTable, answers: Answers) -> Evaluation:
    """Measure the answers against the table.

    Raises:
        NothingToMeasure: no answered picture has a known label.
    """
    cases = answers.cases
    clusters = np.array([case.picture.patient or f"\0{case.picture.file}" for case in cases])
    repeat = bool(cases) and max(Counter(clusters.tolist()).values()) > 1
    columns = [_Column(label, cases, clusters, repeat) for label in table.labels]
    if not any(column.known.any() for column in columns):
        raise NothingToMeasure("no picture has both an answer and a known label")
    everything = np.ones(len(cases), np.bool_)
    return Evaluation(
        format=FORMAT,
        evaluated_at=subject.evaluated_at,
        service=subject.service,
        model=subject.model,
        dataset=Dataset(
            name=subject.dataset_name,
            labels_sha256=subject.labels_sha256,
            rows=len(table.pictures),
            answered=len(cases),
            patients=len(set(clusters.tolist())) if table.has_patients else None,
            patients_repeat=repeat,
            excluded=answers.excluded_counts,
        ),
        target_sensitivity=subject.target_sensitivity,
        mean_area=_mean_area(columns, clusters),
        labels=tuple(
            _label(column.of(everything), subject) for column in columns if column.known.any()
        ),
        without_column=tuple(
            label for label in subject.operating_points if label not in table.labels
        ),
        groups=tuple(_groups(columns, cases, table.by, subject)),
        excluded=answers.excluded,
    )


@dataclass(frozen=True, slots=True)
class _Cases:
    """The cases of one label whose truth is known, of everyone or of one group."""

    label: str
    target: Targets
    probability: Scores
    clusters: NDArray[np.str_]
    patients_repeat: bool
    unknown: int

    @property
    def area(self) -> Area | None:
        """The area under the ROC curve; by patients where they repeat."""
        if self.target.all() or not self.target.any():
            return None
        if self.patients_repeat:
            return bootstrap_area(self.target, self.probability, self.clusters.tolist())
        return delong_area(self.target, self.probability)


class _Column:
    """All answers to one label."""

    def __init__(
        self, label: str, cases: Sequence[Case], clusters: NDArray[np.str_], repeat: bool
    ) -> None:
        truth = [case.picture.truth[label] for case in cases]
        self.label = label
        self.known = np.array([each is not None for each in truth], np.bool_)
        self.target = np.array([bool(each) for each in truth], np.bool_)
        self.probability = np.array([case.probability_of[label] for case in cases], np.float64)
        self._clusters = clusters
        self._repeat = repeat

    @property
    def has_both(self) -> bool:
        """Whether cases with and without the finding are known."""
        target = self.target[self.known]
        return bool(target.any() and not target.all())

    def of(self, rows: NDArray[np.bool_]) -> _Cases:
        """The known cases among `rows`."""
        kept = rows & self.known
        return _Cases(
            self.label,
            self.target[kept],
            self.probability[kept],
            self._clusters[kept],
            self._repeat,
            int((rows & ~self.known).sum()),
        )


def _label(cases: _Cases, subject: Subject) -> LabelMeasure:
    target, probability = cases.target, cases.probability
    area = cases.area
    bins = reliability(target, probability)
    return LabelMeasure(
        label=cases.label,
        n=target.size,
        positives=int(target.sum()),
        unknown=cases.unknown,
        area=area,
        average_precision=None if area is None else average_precision(target, probability),
        roc=None if area is None else roc_curve(target, probability),
        brier=brier_score(target, probability),
        brier_of_prevalence=brier_of_prevalence(target),
        mean_probability=float(probability.mean()),
        calibration_error=calibration_error(bins),
        reliability=bins,
        point=measure_point(target, probability, subject.operating_points[cases.label]),
        fitted=fit_point(target, probability, subject.target_sensitivity) if target.any() else None,
    )


def _groups(
    columns: Sequence[_Column], cases: Sequence[Case], by: Sequence[str], subject: Subject
) -> list[GroupMeasure]:
    found = []
    for name in by:
        groups = np.array([case.picture.groups[name] for case in cases])
        for group in sorted(set(groups.tolist()), key=_by_number):
            for column in columns:
                inside = column.of(groups == group)
                if inside.target.size == 0:
                    continue
                point = subject.operating_points[column.label]
                found.append(
                    GroupMeasure(
                        by=name,
                        group=group,
                        label=column.label,
                        n=inside.target.size,
                        positives=int(inside.target.sum()),
                        area=inside.area,
                        point=measure_point(inside.target, inside.probability, point),
                    )
                )
    return found


def _by_number(group: str) -> tuple[float, str]:
    """Sorts bands such as `9 to 30` by their number, and words after them."""
    first = group.split(" ")[0]
    return (float(first) if first.lstrip("-").replace(".", "", 1).isdigit() else np.inf, group)


def _mean_area(columns: Sequence[_Column], clusters: NDArray[np.str_]) -> Area | None:
    ranked = [
        (column.target, np.where(column.known, column.probability, np.nan))
        for column in columns
        if column.has_both
    ]
    return mean_area(ranked, clusters.tolist()) if len(ranked) > 1 else None
