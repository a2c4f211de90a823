"""The 413 graded photographs of IDRiD, and which of them are outlined ones at another size."""

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from services.netra.training.lesion_data import PHOTOGRAPHS, read_rgb

#: Grades of the ICDR scale from which a patient is referred: moderate retinopathy.
REFERABLE_GRADE = 2
#: Two thumbnails that agree this much show one photograph, or two of one eye.
_SAME = 0.93
_THUMBNAIL = (96, 64)


@dataclass(frozen=True, slots=True)
class Graded:
    """One photograph and its grade, 0 to 4."""

    path: Path
    grade: int


def list_graded(assets: Path) -> list[Graded]:
    """All graded photographs, in the order of their names."""
    folder = assets / "idrid"
    with (folder / "grading.csv").open(encoding="utf-8", newline="") as table:
        rows = sorted(csv.DictReader(table), key=lambda row: row["file"])
    return [
        Graded(folder / "grading960" / row["file"], int(row["retinopathy_grade"])) for row in rows
    ]


def find_outlined(graded: list[Graded], assets: Path) -> list[int]:
    """For each graded photograph the number of the outlined one that shows the same, or 0."""
    outlined = np.stack(
        [
            _thumbnail(assets / "idrid" / "lesions" / f"IDRiD_{i:02d}.jpg")
            for i in range(1, PHOTOGRAPHS + 1)
        ]
    )
    likeness = np.stack([_thumbnail(photograph.path) for photograph in graded]) @ outlined.T
    best = likeness.argmax(axis=1)
    return [int(i) + 1 if row[i] >= _SAME else 0 for i, row in zip(best, likeness, strict=True)]


def _thumbnail(path: Path) -> NDArray[np.float32]:
    """Green detail of a picture as a vector of length 1."""
    small = cv2.resize(read_rgb(path), _THUMBNAIL, interpolation=cv2.INTER_AREA)
    green = small[..., 1].astype(np.float32)
    detail = green - cv2.GaussianBlur(green, (0, 0), 6)
    detail -= detail.mean()
    return np.asarray(detail.ravel() / np.linalg.norm(detail), np.float32)
