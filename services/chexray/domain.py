"""What a study is: one chest radiograph, what was found on it, and how far that can be trusted."""

import re
import string
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType
from uuid import UUID

from shared.random_digits import RandomDigits

StudyId = NewType("StudyId", UUID)
OwnerId = NewType("OwnerId", UUID)

#: Who owns the studies that nobody signed for; auth's first migration makes this account.
ANONYMOUS_OWNER = OwnerId(UUID("00000000-0000-7000-8000-000000000001"))

MAX_TITLE_CHARACTERS = 200
MAX_FILE_NAME_CHARACTERS = 100
MEDIA_TOKEN_CHARACTERS = 22
_MEDIA_TOKEN_ALPHABET = string.ascii_letters + string.digits
#: So many more than 131 bits that no letter is noticeably likelier than another.
_MEDIA_TOKEN_BYTES = 24
_NOT_IN_FILE_NAMES = re.compile(r"[^-\w.]")

_random_digits = RandomDigits()


class Pathology(StrEnum):
    """The five findings of the CheXpert competition, in its order."""

    ATELECTASIS = "atelectasis"
    CARDIOMEGALY = "cardiomegaly"
    CONSOLIDATION = "consolidation"
    EDEMA = "edema"
    PLEURAL_EFFUSION = "pleural_effusion"


class GateReason(StrEnum):
    """Why a picture is not taken for an upright frontal chest radiograph."""

    TOO_SMALL = "too-small"
    COLOUR = "colour"
    ASPECT = "aspect"
    LOW_CONTRAST = "low-contrast"
    CLIPPED = "clipped"
    FEW_GREY_LEVELS = "few-grey-levels"
    NOT_SMOOTH = "not-smooth"
    NO_LUNG_FIELDS = "no-lung-fields"
    INVERTED = "inverted"
    NOT_A_CHEST = "not-a-chest"
    NOT_A_RADIOGRAPH = "not-a-radiograph"
    NOT_FRONTAL = "not-frontal"


#: What a person is told beside the slug.
GATE_SENTENCES: Mapping[GateReason, str] = {
    GateReason.TOO_SMALL: "The picture has too few pixels to be read.",
    GateReason.COLOUR: "The picture has colours; a radiograph has none.",
    GateReason.ASPECT: "The picture is too long or too narrow for a chest radiograph.",
    GateReason.LOW_CONTRAST: "The picture has hardly any contrast.",
    GateReason.CLIPPED: "Large parts of the picture are pure black or pure white.",
    GateReason.FEW_GREY_LEVELS: "The picture has too few grey levels to be a radiograph.",
    GateReason.NOT_SMOOTH: "The picture is grainier or busier than a radiograph is.",
    GateReason.NO_LUNG_FIELDS: "Two dark lung fields beside a bright midline were not found.",
    GateReason.INVERTED: (
        "The picture looks like a negative (bone is dark); send it with bone bright."
    ),
    GateReason.NOT_A_CHEST: "The file says that it shows another part of the body.",
    GateReason.NOT_A_RADIOGRAPH: "The file says that it is not a radiograph.",
    GateReason.NOT_FRONTAL: "The file says that it is a lateral view.",
}


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """Whether the picture is a frontal chest radiograph, and what speaks against it."""

    reasons: tuple[GateReason, ...] = ()
    quarter_turns: int = 0
    """How often the picture had to be turned left by 90 degrees to stand upright."""

    @property
    def accepted(self) -> bool:
        """Whether the network may look at the picture."""
        return not self.reasons

    @property
    def sentences(self) -> tuple[str, ...]:
        """The reasons in words."""
        return tuple(GATE_SENTENCES[reason] for reason in self.reasons)


@dataclass(frozen=True, slots=True)
class Finding:
    """One pathology, how probable the network holds it, and whether that is enough to report it."""

    label: Pathology
    probability: float
    operating_point: float

    @property
    def positive(self) -> bool:
        """Whether the probability reaches the operating point."""
        return self.probability >= self.operating_point


def findings_from(
    probabilities: Sequence[float], operating_points: Sequence[float]
) -> tuple[Finding, ...]:
    """The findings, from one figure of each kind per pathology in CheXpert order."""
    return tuple(
        Finding(label, probability, operating_point)
        for label, probability, operating_point in zip(
            Pathology, probabilities, operating_points, strict=True
        )
    )


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which network answered, and what is known about its accuracy."""

    id: str
    version: str
    sha256: str
    evidence: str
    calibrated: bool


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """The uploaded file as it is kept."""

    sha256: str
    size_bytes: int
    format: str
    width_px: int
    height_px: int
    file_name: str
    """The client's name for it, without anything but letters, digits, `_`, `-` and dots."""


@dataclass(frozen=True, slots=True)
class ActivationMaps:
    """Where the network looked, one coarse map per pathology, as they are kept.

    `values` are `rows * columns` little-endian float16 per pathology, in CheXpert order: how much
    each place added to the logit. The maps cover `covers_xyxy` of the picture, in fractions of
    its width and height; parts beyond 0 and 1 are padding.
    """

    rows: int
    columns: int
    covers_xyxy: tuple[float, float, float, float]
    values: bytes


@dataclass(frozen=True, slots=True)
class Study:
    """One radiograph and what was found on it. `findings` is empty where the gate refused."""

    id: StudyId
    number: int
    """A short number, unique in this installation, for people and old clients."""
    owner: OwnerId
    title: str
    created_at: datetime
    image: ImageFacts
    media_token: str
    """The unguessable part of the picture's address for clients that cannot send a credential."""
    gate: GateVerdict
    findings: tuple[Finding, ...]
    model: ModelIdentity

    @property
    def most_probable(self) -> Pathology | None:
        """The pathology with the highest probability; None where the gate refused."""
        if not self.findings:
            return None
        return max(self.findings, key=lambda finding: finding.probability).label


def new_study_id() -> StudyId:
    """A UUID of version 7: 48 bits of time, 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    bits = (milliseconds << 80) | int(_random_digits.take(20), 16)
    bits &= ~(0xF << 76) & ~(0x3 << 62)
    return StudyId(UUID(int=bits | (0x7 << 76) | (0x2 << 62)))


def new_media_token() -> str:
    """22 random letters and digits: 131 bits."""
    number = int(_random_digits.take(2 * _MEDIA_TOKEN_BYTES), 16)
    letters = []
    for _ in range(MEDIA_TOKEN_CHARACTERS):
        number, letter = divmod(number, len(_MEDIA_TOKEN_ALPHABET))
        letters.append(_MEDIA_TOKEN_ALPHABET[letter])
    return "".join(letters)


def plain_file_name(name: str) -> str:
    """`name` without its folders and without anything but letters, digits, `_`, `-` and dots.

    Blanks become `_`, brackets and control characters go. The result is only ever shown, compared
    and sent: no path is built from it.
    """
    base = name.replace("\\", "/").rsplit("/", 1)[-1].strip().replace(" ", "_")
    return _NOT_IN_FILE_NAMES.sub("", base)[-MAX_FILE_NAME_CHARACTERS:]
