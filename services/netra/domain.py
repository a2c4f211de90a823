"""What an analysis is: one fundus photograph, what was found on it, and how far to trust that."""

import secrets
import string
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NewType
from uuid import UUID

AnalysisId = NewType("AnalysisId", UUID)
OwnerId = NewType("OwnerId", UUID)

MAX_LABEL_CHARACTERS: Final = 200
JOB_ID_CHARACTERS: Final = 70
_JOB_ID_ALPHABET: Final = string.ascii_letters + string.digits


class AnalysisStatus(StrEnum):
    """Where an analysis stands."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    HELD = "held"
    """Done, and a person has to decide."""
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether no worker will touch the analysis any more."""
        return self not in (AnalysisStatus.QUEUED, AnalysisStatus.RUNNING)


class LesionType(StrEnum):
    """The lesions of retinopathy that IDRiD outlines."""

    MICROANEURYSM = "microaneurysm"
    HAEMORRHAGE = "haemorrhage"
    HARD_EXUDATE = "hard_exudate"
    SOFT_EXUDATE = "soft_exudate"


class FundusReason(StrEnum):
    """Why a picture is not taken for a fundus photograph."""

    TOO_SMALL = "too-small"
    NO_COLOUR = "no-colour"
    COLOURS = "colours"
    NO_FIELD = "no-field"
    NO_VESSELS = "no-vessels"
    UNLIKE_A_FUNDUS = "unlike-a-fundus"


class QualityReason(StrEnum):
    """Why a fundus photograph cannot be graded."""

    RESOLUTION = "resolution"
    FOCUS = "focus"
    UNDEREXPOSED = "underexposed"
    OVEREXPOSED = "overexposed"
    UNEVEN = "uneven-illumination"
    FIELD = "field"
    ARTEFACT = "artefact"


class AbstainReason(StrEnum):
    """Why there is no verdict on retinopathy."""

    NOT_A_FUNDUS = "not-a-fundus"
    UNGRADABLE = "ungradable"
    NO_NETWORK = "no-network"
    """No network is installed that could tell; nothing is invented in its place."""
    UNCERTAIN = "uncertain"
    """The probability lies in the zone around the operating point."""
    LESIONS_WITHOUT_RETINOPATHY = "lesions-without-retinopathy"
    """Lesions are outlined and the whole picture is called healthy."""
    RETINOPATHY_WITHOUT_LESIONS = "retinopathy-without-lesions"
    """The whole picture is called diseased and no lesion is outlined."""
    REFERABLE_WITHOUT_RETINOPATHY = "referable-without-retinopathy"
    """The two verdicts on the whole picture contradict each other."""


#: Abstentions that no retake and no installation mends: a person has to look.
FOR_A_PERSON: Final = frozenset(
    {
        AbstainReason.NO_NETWORK,
        AbstainReason.UNCERTAIN,
        AbstainReason.LESIONS_WITHOUT_RETINOPATHY,
        AbstainReason.RETINOPATHY_WITHOUT_LESIONS,
        AbstainReason.REFERABLE_WITHOUT_RETINOPATHY,
    }
)

#: What a person is told beside the slug; for quality with advice for the next photograph.
SENTENCES: Final[Mapping[StrEnum, str]] = {
    FundusReason.TOO_SMALL: "The picture has too few pixels to be read.",
    FundusReason.NO_COLOUR: "The picture is grey; a colour fundus photograph is needed.",
    FundusReason.COLOURS: "The picture has not the colours of a retina.",
    FundusReason.NO_FIELD: "A round, lit field of view was not found.",
    FundusReason.NO_VESSELS: "Vessels as a retina has them are not visible.",
    FundusReason.UNLIKE_A_FUNDUS: "The picture does not look like a fundus photograph.",
    QualityReason.RESOLUTION: "The field of view has too few pixels; use 1280 x 1024 or more.",
    QualityReason.FOCUS: "The retina is out of focus; refocus and take it again.",
    QualityReason.UNDEREXPOSED: "The picture is too dark; use more flash or dilate the pupil.",
    QualityReason.OVEREXPOSED: "Large parts are blown out; use less flash.",
    QualityReason.UNEVEN: "The light is uneven; centre the pupil and keep the lids open.",
    QualityReason.FIELD: "The field of view is cut off or too small; centre the macula.",
    QualityReason.ARTEFACT: "Reflections or dirt cover the retina; clean the lens.",
    AbstainReason.NOT_A_FUNDUS: "The picture is not a fundus photograph.",
    AbstainReason.UNGRADABLE: "The photograph is not good enough to be graded.",
    AbstainReason.NO_NETWORK: "No network that grades retinopathy is installed.",
    AbstainReason.UNCERTAIN: "The network is not sure enough either way.",
    AbstainReason.LESIONS_WITHOUT_RETINOPATHY: (
        "Lesions were outlined, but the picture as a whole looks healthy."
    ),
    AbstainReason.RETINOPATHY_WITHOUT_LESIONS: (
        "The picture as a whole looks diseased, but no lesion was outlined."
    ),
    AbstainReason.REFERABLE_WITHOUT_RETINOPATHY: (
        "The picture looks referable, but not diseased; the verdicts contradict each other."
    ),
}


def sentences_for(reasons: Iterable[StrEnum]) -> list[str]:
    """The reasons in words."""
    return [SENTENCES[reason] for reason in reasons]


@dataclass(frozen=True, slots=True)
class FundusVerdict:
    """Whether the picture is a colour fundus photograph."""

    accepted: bool
    score: float
    """0 to 1; how much the picture looks like one."""
    reasons: tuple[FundusReason, ...] = ()


@dataclass(frozen=True, slots=True)
class QualityVerdict:
    """Whether the photograph is good enough to be graded."""

    gradable: bool
    score: float
    """0 to 1."""
    reasons: tuple[QualityReason, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """One question about the whole photograph; all None where there is no answer."""

    probability: float | None = None
    detected: bool | None = None
    operating_point: float | None = None


@dataclass(frozen=True, slots=True)
class Lesion:
    """One lesion as a box in pixels of the upright picture as uploaded."""

    type: LesionType
    box_xyxy_px: tuple[int, int, int, int]
    """Left, top, right, bottom; right and bottom are just outside."""
    score: float
    """The network's mean probability inside the lesion, 0 to 1."""


@dataclass(frozen=True, slots=True)
class LesionMask:
    """Where lesions of one type are, over the whole picture at a reduced size.

    `bits` are `rows * columns` bits, row by row without padding, the first in the highest bit
    (`numpy.packbits` of the flattened mask).
    """

    rows: int
    columns: int
    bits: bytes


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """A network or rule set that took part, and what is known about its accuracy."""

    id: str
    version: str
    sha256: str
    evidence: str
    calibrated: bool
    task: str
    """What it answered: `gate`, `quality`, `retinopathy`, `lesions`."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """What was found on one photograph."""

    fundus: FundusVerdict
    quality: QualityVerdict
    retinopathy: Verdict
    referable: Verdict
    lesions: tuple[Lesion, ...]
    masks: Mapping[LesionType, LesionMask]
    abstained: bool
    """Whether there is no verdict on retinopathy."""
    reasons: tuple[AbstainReason, ...]
    """Why it abstained; empty where it did not."""
    models: tuple[ModelIdentity, ...]
    evidence: str
    """The weakest evidence level among `models`."""
    notes: tuple[str, ...] = field(default=())
    """What a reader of the result should know, in plain sentences."""

    @property
    def needs_a_person(self) -> bool:
        """Whether a person has to decide what the networks could not."""
        return self.abstained and any(reason in FOR_A_PERSON for reason in self.reasons)


def new_analysis_id() -> AnalysisId:
    """A UUID of version 7: 48 bits of time, 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    bits = (milliseconds << 80) | secrets.randbits(80)
    bits &= ~(0xF << 76) & ~(0x3 << 62)
    return AnalysisId(UUID(int=bits | (0x7 << 76) | (0x2 << 62)))


def new_job_id() -> str:
    """The old API's name of a job: 70 letters and digits, 416 random bits."""
    return "".join(secrets.choice(_JOB_ID_ALPHABET) for _ in range(JOB_ID_CHARACTERS))
