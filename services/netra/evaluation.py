"""`vedette evaluate netra`: the service's own pipeline, on folders that are arranged as IDRiD is.

Photographs may lie anywhere below the folder. A CSV table that names them and their grade tells
the truth about whole photographs; files called `<photograph>_MA`, `_HE`, `_EX` or `_SE` outline
their lesions. Both the original arrangement and flat copies are understood.
"""

import asyncio
import csv
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

import cv2
import numpy as np

from services.netra.analysing import open_analyser
from services.netra.domain import Analysis, FundusReason, LesionType, ModelIdentity
from services.netra.outlines import Outlines
from services.netra.settings import Settings
from services.netra.work import Analyser
from services.netra.worker import limits_of
from shared.evaluation.labels import LabelledPicture, LabelsInvalid, LabelTable, column_word
from shared.evaluation.lesions import LesionTally
from shared.evaluation.source import (
    EvaluatedModel,
    Evaluator,
    Layout,
    OutlinedPicture,
    PictureRefused,
)
from shared.imaging import Limits, Picture, decode
from shared.inference import PackageNotFound
from shared.inference.devices import usable_cores

RETINOPATHY: Final = "retinopathy"
REFERABLE: Final = "referable"
#: ICDR grades: 1 is the mildest retinopathy, 2 the mildest that is referred.
FIRST_GRADE: Final[Mapping[str, int]] = {RETINOPATHY: 1, REFERABLE: 2}
ALIASES: Final[Mapping[str, str]] = {
    "dr": RETINOPATHY,
    "any_dr": RETINOPATHY,
    "diabetic_retinopathy": RETINOPATHY,
    "rdr": REFERABLE,
    "referable_dr": REFERABLE,
    "referable_retinopathy": REFERABLE,
}
SUFFIXES: Final[Mapping[str, LesionType]] = {
    "MA": LesionType.MICROANEURYSM,
    "HE": LesionType.HAEMORRHAGE,
    "EX": LesionType.HARD_EXUDATE,
    "SE": LesionType.SOFT_EXUDATE,
}
_PICTURES: Final = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".dcm"})
_FILE_COLUMNS: Final = ("file", "image_name", "image", "filename", "id_code")
_GRADE_COLUMNS: Final = ("retinopathy_grade", "grade", "level", "diagnosis", "icdr")
_OUTLINE: Final = re.compile(r"(.+)_(MA|HE|EX|SE|OD)", re.IGNORECASE)
#: Words of IDRiD's folders that tell photographs of one name apart.
_PARTS: Final = ("train", "test")


class Outlining(Analyser, Protocol):
    """An analyser that says what it consists of, and how sure it is of every pixel."""

    @property
    def models(self) -> Sequence[ModelIdentity]:
        """The networks and rules that take part."""
        ...

    @property
    def operating_points(self) -> Mapping[str, float]:
        """The probability from which each verdict says yes."""
        ...

    def outline(self, picture: Picture) -> Outlines | None:
        """Where lesions are; None where the picture has no field of view."""
        ...


class FundusEvaluator:
    """See `LayoutEvaluator`: decoding, gate, quality, networks and verdicts of the service."""

    def __init__(self, analyser: Outlining, limits: Limits) -> None:
        self._analyser = analyser
        self._limits = limits
        self.at_once = max(1, usable_cores() // 2)
        self._threads = ThreadPoolExecutor(self.at_once)
        self.model = _identity(analyser.models)
        self.aliases = ALIASES
        self.operating_points = {label: analyser.operating_points[label] for label in FIRST_GRADE}
        self.lesion_labels = tuple(str(lesion) for lesion in LesionType)

    async def probabilities(self, image: bytes) -> Mapping[str, float]:
        """See `Evaluator`; abstentions are counted with the probability that they rest on."""
        found = await self._run(image)
        return {
            label: float("nan") if verdict.probability is None else verdict.probability
            for label, verdict in ((RETINOPATHY, found.retinopathy), (REFERABLE, found.referable))
        }

    async def _run(self, image: bytes) -> Analysis:
        def look() -> Analysis:
            return self._analyser.analyse(decode(image, self._limits))

        found = await asyncio.get_running_loop().run_in_executor(self._threads, look)
        reasons = (*found.fundus.reasons, *found.quality.reasons)
        if not (found.fundus.accepted and found.quality.gradable):
            raise PictureRefused(tuple(str(reason) for reason in reasons))
        return found

    def find_layout(self, folder: Path) -> Layout:
        """See `LayoutEvaluator`."""
        return find_layout(folder)

    async def add_outlined(
        self, picture: OutlinedPicture, tallies: Mapping[str, LesionTally]
    ) -> None:
        """See `LayoutEvaluator`."""

        def look() -> None:
            decoded = decode(picture.file.read_bytes(), self._limits)
            outlined = self._analyser.outline(decoded)
            if outlined is None:
                raise PictureRefused((str(FundusReason.NO_FIELD),))
            probability, lesions = outlined.probability, outlined.lesions
            for place, lesion in enumerate(LesionType):
                mask = picture.masks.get(lesion)
                truth = (
                    np.zeros(probability.shape[1:], np.bool_)
                    if mask is None
                    else decode(mask.read_bytes(), self._limits).to_gray() > 0
                )
                boxes = [(each.box_xyxy_px, each.score) for each in lesions if each.type is lesion]
                tallies[lesion].add(truth, probability[place], boxes)

        await asyncio.get_running_loop().run_in_executor(self._threads, look)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()


def find_layout(folder: Path) -> Layout:
    """What a folder that is arranged as IDRiD is holds.

    Raises:
        LabelsInvalid: a table is broken, or names photographs that cannot be told apart.
    """
    pictures: dict[str, list[Path]] = defaultdict(list)
    outlines: list[tuple[Path, str, LesionType]] = []
    tables: list[Path] = []
    for path in sorted(folder.rglob("*")):
        suffix = path.suffix.lower()
        if suffix == ".csv":
            tables.append(path)
        elif suffix in _PICTURES and path.is_file():
            outline = _OUTLINE.fullmatch(path.stem)
            if outline is None:
                pictures[path.stem].append(path)
            elif (kind := SUFFIXES.get(outline[2].upper())) is not None:
                outlines.append((path, outline[1], kind))
    masks: dict[Path, dict[str, Path]] = defaultdict(dict)
    for path, stem, kind in outlines:
        if stem in pictures:
            masks[_nearest(pictures[stem], path, folder)][str(kind)] = path
    graded = [found for path in tables if (found := _read_grades(path, folder, pictures))]
    if len(graded) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path, _ in graded)
        raise LabelsInvalid(f"there are several tables of grades: {names}; evaluate one part")
    return Layout(
        table=graded[0][1] if graded else None,
        table_file=graded[0][0] if graded else None,
        outlined=tuple(OutlinedPicture(path, found) for path, found in sorted(masks.items())),
    )


def _read_grades(
    path: Path, folder: Path, pictures: Mapping[str, Sequence[Path]]
) -> tuple[Path, LabelTable] | None:
    """The table's rows, if it is one of grades at all."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        columns = {column_word(name): place for place, name in enumerate(next(rows, []))}
        file_at = next((columns[name] for name in _FILE_COLUMNS if name in columns), None)
        grade_at = next((columns[name] for name in _GRADE_COLUMNS if name in columns), None)
        if file_at is None or grade_at is None:
            return None
        found = [
            _labelled(row[file_at].strip(), row[grade_at].strip(), path, folder, pictures, line)
            for line, row in enumerate(rows, start=2)
            if len(row) > max(file_at, grade_at) and row[file_at].strip()
        ]
    if not found:
        raise LabelsInvalid(f"{path.name} has no rows")
    return path, LabelTable(tuple(found), tuple(FIRST_GRADE), (), has_patients=False)


def _labelled(
    name: str,
    grade: str,
    table: Path,
    folder: Path,
    pictures: Mapping[str, Sequence[Path]],
    line: int,
) -> LabelledPicture:
    stem = Path(name).stem if Path(name).suffix.lower() in _PICTURES else name
    known = pictures.get(stem)
    file = str(_nearest(known, table, folder).relative_to(folder)) if known else name
    if not re.fullmatch(r"[0-4]?", grade):
        raise LabelsInvalid(f"line {line} of {table.name} says {grade[:20]!r}; grades are 0 to 4")
    truth = {
        label: None if grade == "" else int(grade) >= first for label, first in FIRST_GRADE.items()
    }
    return LabelledPicture(file, truth, {}, None)


def _nearest(candidates: Sequence[Path], to: Path, folder: Path) -> Path:
    """The photograph that a table or an outline means, of several with one name."""
    if len(candidates) == 1:
        return candidates[0]
    for part in _PARTS:
        if _is_of(to, part, folder):
            named = [path for path in candidates if _is_of(path, part, folder)]
            if len(named) == 1:
                return named[0]
    beside = [path for path in candidates if path.parent == to.parent]
    if len(beside) == 1:
        return beside[0]
    raise LabelsInvalid(f"{candidates[0].name} lies in several folders; evaluate one of them")


def _is_of(path: Path, part: str, folder: Path) -> bool:
    """Whether a file's name or folders say that it is of this part of the data."""
    return part in str(path.relative_to(folder)).lower()


@contextmanager
def open_evaluator(model: str | None) -> Iterator[Evaluator]:
    """The pipeline with what the service runs.

    Raises:
        PackageNotFound: another package is asked for; netra's networks belong together.
    """
    if model is not None:
        raise PackageNotFound("netra's networks belong together; --model cannot change one of them")
    settings = Settings()
    cv2.setNumThreads(1)
    with open_analyser(settings) as analyser:
        evaluator = FundusEvaluator(analyser, limits_of(settings))
        try:
            yield evaluator
        finally:
            evaluator.close()


def _identity(models: Sequence[ModelIdentity]) -> EvaluatedModel:
    """The model that the figures speak of: the one that gives the verdicts."""
    model = next((each for each in models if each.task == RETINOPATHY), models[0])
    return EvaluatedModel(model.id, model.version, model.sha256, model.evidence, model.calibrated)
