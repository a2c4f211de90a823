"""What a service brings to be evaluated: its own pipeline, without HTTP and database."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, runtime_checkable

from shared.evaluation.labels import LabelTable
from shared.evaluation.lesions import LesionTally

#: The entry points in which services name an `EvaluatorFactory`.
ENTRY_POINTS = "vedette.evaluations"


class PictureRefused(Exception):
    """The service's gate does not let the network see this picture; `reasons` says why."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__(", ".join(reasons))
        self.reasons = reasons


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """The network that answers."""

    id: str
    version: str
    sha256: str
    evidence: str
    calibrated: bool

    @property
    def name(self) -> str:
        """`id@version`."""
        return f"{self.id}@{self.version}"


class Evaluator(Protocol):
    """A service's pipeline from the bytes of a picture to probabilities."""

    @property
    def model(self) -> EvaluatedModel:
        """Which network answers."""
        ...

    @property
    def operating_points(self) -> Mapping[str, float]:
        """Every label that is answered, in order, with the probability that makes a finding."""
        ...

    @property
    def aliases(self) -> Mapping[str, str]:
        """Other names that tables use for labels, as `column_word` writes them."""
        ...

    @property
    def at_once(self) -> int:
        """How many pictures may be under way together."""
        ...

    async def probabilities(self, image: bytes) -> Mapping[str, float]:
        """The calibrated probability of every label.

        Raises:
            PictureRefused: the gate does not accept the picture.
            Problem: the bytes are no picture that is read here.
        """
        ...


@dataclass(frozen=True, slots=True)
class OutlinedPicture:
    """A picture of a folder whose lesions somebody has outlined."""

    file: Path
    masks: Mapping[str, Path]
    """Files that are not black where the lesions are, by type of lesion."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a folder holds, in an arrangement that the service knows."""

    table: LabelTable | None
    """The truth about whole pictures."""
    table_file: Path | None
    outlined: tuple[OutlinedPicture, ...]


@runtime_checkable
class LayoutEvaluator(Evaluator, Protocol):
    """A pipeline that finds the truth in the folder by itself, lesions included."""

    @property
    def lesion_labels(self) -> tuple[str, ...]:
        """The types of lesion that are outlined."""
        ...

    def find_layout(self, folder: Path) -> Layout:
        """What the folder holds; raises `LabelsInvalid` where that cannot be told."""
        ...

    async def add_outlined(
        self, picture: OutlinedPicture, tallies: Mapping[str, LesionTally]
    ) -> None:
        """Outline the lesions of one picture and count them by type.

        Raises:
            PictureRefused: the gate does not accept the picture.
            Problem: the bytes are no picture that is read here.
        """
        ...


class EvaluatorFactory(Protocol):
    """What a service names in its entry point."""

    def __call__(self, model: str | None) -> AbstractContextManager[Evaluator]:
        """Open the pipeline with an installed package; None for what the service runs."""
        ...


class NoEvaluator(LookupError):
    """No service of this name can be evaluated here."""


def evaluator_factory(service: str) -> EvaluatorFactory:
    """Find a service's evaluator by the service's name.

    Raises:
        NoEvaluator: there is none; those that exist are named.
    """
    points = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if service not in points:
        known = ", ".join(sorted(points)) or "none"
        raise NoEvaluator(f"{service!r} cannot be evaluated; what can: {known}")
    factory: EvaluatorFactory = points[service].load()
    return factory
