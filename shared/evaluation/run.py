"""Lets a service read every labelled picture of a folder."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from shared.evaluation.labels import LabelledPicture
from shared.evaluation.lesions import LesionMeasure, LesionTally
from shared.evaluation.source import (
    Evaluator,
    LayoutEvaluator,
    OutlinedPicture,
    PictureRefused,
)
from shared.problems import Problem

#: The largest file that is read into memory; services have limits of their own below it.
MAX_FILE_BYTES = 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Case:
    """A picture that the network answered."""

    picture: LabelledPicture
    probability_of: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Excluded:
    """A picture without an answer, and why."""

    file: str
    kind: str
    """`missing`, `unreadable`, `refused` by the gate, or `unanswered` by the network."""
    why: str


@dataclass(frozen=True, slots=True)
class Answers:
    """What came of a folder, in the order of the table."""

    cases: tuple[Case, ...]
    excluded: tuple[Excluded, ...]

    @property
    def excluded_counts(self) -> Mapping[str, int]:
        """How many pictures of each kind have no answer."""
        return dict(sorted(Counter(each.kind for each in self.excluded).items()))


async def read_pictures(
    evaluator: Evaluator,
    folder: Path,
    pictures: Sequence[LabelledPicture],
    on_read: Callable[[], None],
) -> Answers:
    """Read all pictures, a few at once; a picture that cannot be read is noted and passed over.

    Args:
        evaluator: the service's pipeline.
        folder: where the pictures lie; names that lead out of it are not followed.
        pictures: the rows of the table.
        on_read: called after each picture.
    """
    found: list[Case | Excluded | None] = [None] * len(pictures)
    waiting = iter(enumerate(pictures))

    async def take_turns() -> None:
        for place, picture in waiting:
            found[place] = await _read(evaluator, folder, picture)
            on_read()

    await asyncio.gather(*(take_turns() for _ in range(max(1, evaluator.at_once))))
    return Answers(
        tuple(each for each in found if isinstance(each, Case)),
        tuple(each for each in found if isinstance(each, Excluded)),
    )


async def outline_pictures(
    evaluator: LayoutEvaluator, outlined: Sequence[OutlinedPicture], on_read: Callable[[], None]
) -> tuple[tuple[LesionMeasure, ...], tuple[Excluded, ...]]:
    """Let a service outline the lesions of every picture whose outlines are known.

    Args:
        evaluator: the service's pipeline.
        outlined: the pictures.
        on_read: called after each picture.

    Returns:
        The measures by type of lesion, and the pictures that are in none of them.
    """
    tallies = {label: LesionTally(label) for label in evaluator.lesion_labels}
    excluded = []
    for picture in outlined:
        try:
            await evaluator.add_outlined(picture, tallies)
        except PictureRefused as refused:
            excluded.append(Excluded(picture.file.name, "refused", ", ".join(refused.reasons)))
        except Problem as problem:
            if problem.status >= 500:
                raise
            excluded.append(Excluded(picture.file.name, "unreadable", problem.detail))
        except (OSError, ValueError) as error:
            excluded.append(Excluded(picture.file.name, "unreadable", _reason(error)))
        on_read()
    measured = tuple(tally.measure() for tally in tallies.values()) if outlined else ()
    return measured, tuple(excluded)


async def _read(evaluator: Evaluator, folder: Path, picture: LabelledPicture) -> Case | Excluded:
    try:
        image = await asyncio.to_thread(_file_bytes, folder, picture.file)
    except FileNotFoundError:
        return Excluded(picture.file, "missing", "the folder has no such file")
    except (OSError, ValueError) as error:
        return Excluded(picture.file, "unreadable", _reason(error))
    try:
        probability_of = dict(await evaluator.probabilities(image))
    except PictureRefused as refused:
        return Excluded(picture.file, "refused", ", ".join(refused.reasons))
    except Problem as problem:
        # A busy or stopping engine says nothing about the picture.
        if problem.status >= 500:
            raise
        return Excluded(picture.file, "unreadable", problem.detail)
    if not all(math.isfinite(probability) for probability in probability_of.values()):
        return Excluded(picture.file, "unanswered", "the network's answer is not a number")
    return Case(picture, probability_of)


def _file_bytes(folder: Path, name: str) -> bytes:
    # Links that lie in the folder are its owner's and may lead anywhere.
    relative = PurePath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise ValueError("the name leads out of the folder")
    path = folder / relative
    if not path.exists():
        raise FileNotFoundError(name)
    if not path.is_file():
        raise ValueError("it is no file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"it is larger than {MAX_FILE_BYTES} bytes")
    return path.read_bytes()


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return (error.strerror or type(error).__name__).lower()
    return str(error)
