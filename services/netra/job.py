"""An analysis as a job: who asked for it, of what, where it stands, and what came of it."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import NewType
from uuid import UUID

from services.netra.domain import Analysis, AnalysisId, AnalysisStatus, OwnerId, Verdict

ExaminationId = NewType("ExaminationId", UUID)

MAX_REFERENCE_CHARACTERS = 128
MAX_IMAGE_NAME_CHARACTERS = 255


class Eye(StrEnum):
    """Which eye a photograph shows, the patient's left or right."""

    LEFT = "left"
    RIGHT = "right"


@dataclass(frozen=True, slots=True)
class Patient:
    """Whose eye it is, as far as the client tells; nothing of it is looked at."""

    id: str = ""
    name: str = ""
    """DICOM's form: family name, `^`, given name."""
    birth_date: date | None = None
    sex: str = ""
    """`M`, `F`, `O` or nothing."""


@dataclass(frozen=True, slots=True)
class Examination:
    """One visit of one patient."""

    id: ExaminationId
    owner: OwnerId
    reference: str
    patient: Patient
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """The uploaded file as it is kept."""

    sha256: str
    size_bytes: int
    format: str
    width_px: int | None
    """Known once the picture has been decoded."""
    height_px: int | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided about an analysis that was held."""

    retinopathy: bool
    referable: bool
    note: str
    decided_by: UUID
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class AnalysisJob:
    """One photograph and its analysis."""

    id: AnalysisId
    token: str
    """Its name on the old wire."""
    owner: OwnerId
    username: str
    label: str
    image_name: str
    image: ImageFacts
    eye: Eye | None
    examination: Examination | None
    status: AnalysisStatus
    progress: float
    priority: int
    attempts: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error_code: str | None
    error: str | None
    found: Analysis | None
    """Without its masks, which are kept apart."""
    decision: Decision | None
    fence: int
    """Changes whenever somebody else has the job; makes answers tell apart."""

    @property
    def retinopathy(self) -> Verdict:
        """The verdict that counts: a person's, where there is one."""
        return _counting(
            None if self.found is None else self.found.retinopathy,
            None if self.decision is None else self.decision.retinopathy,
        )

    @property
    def referable(self) -> Verdict:
        """The verdict that counts: a person's, where there is one."""
        return _counting(
            None if self.found is None else self.found.referable,
            None if self.decision is None else self.decision.referable,
        )

    @property
    def abstained(self) -> bool:
        """Whether neither the networks nor a person have given a verdict."""
        return self.decision is None and (self.found is None or self.found.abstained)


def _counting(found: Verdict | None, decided: bool | None) -> Verdict:
    """A person states no probability, and a network's counts only beside its verdict."""
    if decided is not None:
        return Verdict(None, decided, None)
    return Verdict() if found is None or found.detected is None else found


@dataclass(frozen=True, slots=True)
class Combined:
    """What all photographs of one kind say together."""

    retinopathy: bool | None
    referable: bool | None
    complete: bool
    """Whether every photograph is done and has a verdict."""


def combine(jobs: "list[AnalysisJob]") -> Combined:
    """The worse finding counts; a clear finding needs a verdict on every photograph.

    Where one photograph has no verdict the others can say that there is disease, but not that
    there is none.
    """
    complete = bool(jobs) and all(
        job.status is AnalysisStatus.COMPLETED and not job.abstained for job in jobs
    )
    return Combined(
        retinopathy=_worst([job.retinopathy.detected for job in jobs], complete=complete),
        referable=_worst([job.referable.detected for job in jobs], complete=complete),
        complete=complete,
    )


def _worst(detected: "list[bool | None]", *, complete: bool) -> bool | None:
    if any(detected):
        return True
    return False if complete else None
