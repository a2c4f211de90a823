"""A service whose pictures are text: `0.75` is a picture with that probability."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from shared.evaluation.labels import LabelledPicture, LabelTable
from shared.evaluation.measure import Evaluation, Subject, measure
from shared.evaluation.run import Answers, Case, Excluded
from shared.evaluation.source import EvaluatedModel, PictureRefused
from shared.problems import InvalidRequest, Unavailable

MODEL = EvaluatedModel("stub", "1.0", "a" * 64, "demo", True)
AT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


@dataclass
class StubEvaluator:
    """See `Evaluator`; answers what the file says."""

    model: EvaluatedModel = MODEL
    operating_points: Mapping[str, float] = field(
        default_factory=lambda: {"edema": 0.5, "pleural_effusion": 0.5}
    )
    aliases: Mapping[str, str] = field(default_factory=lambda: {"effusion": "pleural_effusion"})
    at_once: int = 3

    async def probabilities(self, image: bytes) -> Mapping[str, float]:
        """One probability for all labels."""
        text = image.decode("ascii")
        if text == "sideways":
            raise PictureRefused(("not-upright", "colour"))
        if text == "overload":
            raise Unavailable("The engine is busy.")
        if text == "nothing":
            return dict.fromkeys(self.operating_points, math.nan)
        try:
            return dict.fromkeys(self.operating_points, float(text))
        except ValueError as error:
            raise InvalidRequest("The picture is damaged.") from error


def subject(target_sensitivity: float = 0.9, dataset_name: str = "ward 3") -> Subject:
    """What is evaluated."""
    return Subject(
        service="stub",
        model=MODEL,
        operating_points={"edema": 0.5, "pleural_effusion": 0.3},
        dataset_name=dataset_name,
        labels_sha256="b" * 64,
        target_sensitivity=target_sensitivity,
        evaluated_at=AT,
    )


def answered(
    file: str,
    probability: float,
    truth: Mapping[str, bool | None],
    *,
    patient: str | None = None,
    **groups: str,
) -> Case:
    """A picture with its answer; the same probability for every label."""
    picture = LabelledPicture(file, truth, groups, patient)
    return Case(picture, dict.fromkeys(truth, probability))


def measured(
    cases: list[Case],
    *,
    by: tuple[str, ...] = (),
    excluded: tuple[Excluded, ...] = (),
    dataset_name: str = "ward 3",
) -> Evaluation:
    """The evaluation of these cases."""
    pictures = tuple(case.picture for case in cases)
    labels = tuple(pictures[0].truth) if pictures else ("edema",)
    has_patients = any(picture.patient is not None for picture in pictures)
    table = LabelTable(pictures, labels, by, has_patients)
    return measure(subject(dataset_name=dataset_name), table, Answers(tuple(cases), excluded))


def sample(n: int = 60) -> list[Case]:
    """Cases of two labels with some skill, in two groups."""
    random = np.random.default_rng(0)
    cases = []
    for place in range(n):
        present = place % 3 == 0
        probability = float(np.clip(random.normal(0.55 if present else 0.35, 0.15), 0, 1))
        truth: dict[str, bool | None] = {"edema": present, "pleural_effusion": place % 4 == 0}
        cases.append(answered(f"{place}.png", probability, truth, view="AP" if place % 2 else "PA"))
    return cases


def write_folder(folder: Path, pictures: Mapping[str, str]) -> None:
    """Put the stub's pictures into a folder."""
    folder.mkdir(exist_ok=True)
    for name, text in pictures.items():
        (folder / name).write_text(text, encoding="ascii")
