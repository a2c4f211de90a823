"""Scans of biometric datasets: what they are and the rules they obey; standard library only."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NewType
from uuid import UUID

TaskId = NewType("TaskId", UUID)
DatasetId = NewType("DatasetId", UUID)
Tenant = NewType("Tenant", str)

#: Whoever comes without a credential, where the operator allows that on loopback.
ANONYMOUS_TENANT: Final = Tenant("anonymous")

Profile = Mapping[str, Any]


class Modality(StrEnum):
    """What a sample is a sample of."""

    FACE = "face"
    FINGERPRINT = "fingerprint"
    IRIS = "iris"
    SPEECH = "speech"


class Kind(StrEnum):
    """What a task does."""

    SCAN = "scan"
    OUTLIERS = "outlier"
    REPORT = "report"
    PREPROCESSING = "preprocessing"


class SourceKind(StrEnum):
    """Where a scan's samples come from."""

    UPLOAD = "upload"
    """They came with the request; the chunks hold them already."""
    FOLDER = "folder"
    """A folder below the data root."""
    FILES = "files"
    """Files below the data root, by name."""
    OBJECTS = "objects"
    """Everything below a prefix of a configured object store."""


class Detector(StrEnum):
    """How outliers are found."""

    ECOD = "ECOD"
    CBLOF = "CBLOF"
    IFOREST = "IForest"
    KNN = "KNN"
    COPOD = "COPOD"
    PCA = "PCA"


#: What a file's name may end in, by modality; `source` of a scan's options narrows it.
EXTENSIONS: Final[Mapping[Modality, tuple[str, ...]]] = {
    Modality.FACE: ("jpg", "jpeg", "png", "bmp", "jp2"),
    Modality.FINGERPRINT: ("jpg", "jpeg", "png", "bmp", "jp2", "wsq"),
    Modality.IRIS: ("jpg", "jpeg", "png", "bmp", "jp2"),
    Modality.SPEECH: ("wav",),
}
ALL_EXTENSIONS: Final = ("jpg", "jpeg", "png", "bmp", "wsq", "jp2", "wav")

#: What outliers are looked for in, unless the caller says; both spellings of the old server.
DEFAULT_COLUMNS: Final[Mapping[Modality, tuple[str, ...]]] = {
    Modality.FACE: ("confidence", "ipd", "yaw_degree", "pitch_degree", "roll_degree"),
    Modality.FINGERPRINT: (
        "NFIQ2",
        "uniform_image",
        "empty_image_or_contrast_too_low",
        "sufficient_fingerprint_foreground",
        "edge_std",
    ),
    Modality.IRIS: (
        "iso_overall_quality",
        "iso_sharpness",
        "iso_iris_sclera_contrast",
        "iso_iris_pupil_contrast",
        "iso_iris_pupil_concentricity",
    ),
    Modality.SPEECH: (),
}

#: A column that an old client names, and what it is called here.
COLUMN_ALIASES: Final[Mapping[str, str]] = {
    "face_detection": "confidence",
    "UniformImage": "uniform_image",
    "EmptyImageOrContrastTooLow": "empty_image_or_contrast_too_low",
    "FingerprintImageWithMinutiae": "fingerprint_image_with_minutiae",
    "SufficientFingerprintForeground": "sufficient_fingerprint_foreground",
    "EdgeStd": "edge_std",
    "bbox_bottom": "bbox_lower",
}

_FINGER: Final = "finger"
_MOST_PATTERN_CHARACTERS: Final = 200


def read_modality(text: str) -> Modality | None:
    """The modality that a client names; the old command line said `finger`."""
    text = text.strip().lower()
    if text == _FINGER:
        return Modality.FINGERPRINT
    return Modality(text) if text in set(Modality) else None


def tag_of(file: str) -> str:
    """How the old server names one profile: the SHA-1 of its file's name."""
    return hashlib.sha1(file.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which files of a folder belong to a scan."""

    extensions: frozenset[str]
    pattern: re.Pattern[str] | None = None

    def takes(self, name: str) -> bool:
        """Whether a file of this name belongs to it."""
        ending = name.rpartition(".")[2].lower()
        if ending not in self.extensions:
            return False
        return self.pattern is None or self.pattern.search(name) is not None


class OptionsRefused(ValueError):
    """A scan's options cannot be followed; the text says which."""


def wanted_files(modality: Modality, options: Mapping[str, Any]) -> Wanted:
    """What the options `source` and `pattern` say about files.

    Raises:
        OptionsRefused: they say nothing that can be followed.
    """
    source = options.get("source")
    if source is None:
        extensions = frozenset(EXTENSIONS[modality])
    elif isinstance(source, Sequence) and not isinstance(source, str):
        extensions = frozenset(str(entry).lower() for entry in source)
        if not extensions <= set(ALL_EXTENSIONS):
            raise OptionsRefused("source: a format that is not read here")
    else:
        raise OptionsRefused("source: a list of formats")
    pattern = options.get("pattern")
    if pattern is None or pattern == "":
        return Wanted(extensions)
    if not isinstance(pattern, str) or len(pattern) > _MOST_PATTERN_CHARACTERS:
        raise OptionsRefused("pattern: a regular expression of at most 200 characters")
    if _may_explode(pattern):
        raise OptionsRefused("pattern: a repetition within a repetition")
    try:
        return Wanted(extensions, re.compile(pattern))
    except (re.error, OverflowError, RecursionError) as error:
        raise OptionsRefused("pattern: no regular expression") from error


def _may_explode(pattern: str) -> bool:
    """Whether matching could take time that grows with the power of the name's length.

    A group that holds a repetition or an alternative and is itself repeated, or a back reference.
    """
    return bool(
        re.search(r"[*+}?|][^()]*\)[*+{]", pattern)
        or re.search(r"\)\)+[*+{]", pattern)
        or re.search(r"\\[1-9]|\(\?P=", pattern)
    )


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a scan is."""

    total: int | None
    """None while the files are being counted."""
    done: int
    failed: int
    """Files without a profile, which `done` includes."""
    elapsed_s: float

    @property
    def fraction(self) -> float:
        """From 0 to 1."""
        return self.done / self.total if self.total else 0.0

    @property
    def eta_s(self) -> float | None:
        """How long it will take at the pace so far."""
        if not self.total or not self.done or self.elapsed_s <= 0:
            return None
        return (self.total - self.done) * self.elapsed_s / self.done


@dataclass(frozen=True, slots=True)
class Dataset:
    """Profiles that belong together; the old API calls it a collection."""

    id: DatasetId
    tenant: Tenant
    name: str
    modality: Modality | None
    options: Mapping[str, Any]
    created_at: datetime
    modified_at: datetime
    samples: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """A scan, or something that is made of its profiles."""

    id: TaskId
    number: int
    kind: Kind
    tenant: Tenant
    dataset_id: DatasetId | None
    dataset_name: str | None
    modality: Modality | None
    engine: str | None
    options: Mapping[str, Any]
    source: Mapping[str, Any]
    status: str
    progress: Progress
    pause_requested: bool
    cancel_requested: bool
    error_code: str | None
    error: str | None
    result: Mapping[str, Any] | None
    created_at: datetime
    modified_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Sample:
    """One file of a scan."""

    position: int
    """Its place in the scan, from 0."""
    file: str
    """What its profile calls it."""
    key: str
    """Where its bytes are: a path below the data root, or an object's name."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What became of one sample."""

    sample: Sample
    profile: Mapping[str, Any]
    """Without the file's name."""
    evidence: str
    errors: tuple[str, ...] = ()
    """What was decided or went wrong on the way, each `step: what`."""
    failure: str | None = None
    """Why there is no profile."""

    def to_document(self) -> dict[str, Any]:
        """The profile as it is kept and shown: the file first, what went wrong last."""
        document: dict[str, Any] = {"file": self.sample.file, **self.profile}
        if self.errors:
            document["log"] = [_log_entry(error) for error in self.errors]
        if self.failure is not None:
            document["error"] = [self.failure]
        document["tag"] = tag_of(self.sample.file)
        return document

    def to_json(self) -> str:
        """`to_document` as text; JSON knows no infinity, and nothing here is infinite."""
        return json.dumps(self.to_document(), allow_nan=False)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in a dataset's profiles, in the order of scans and files."""

    task_number: int
    position: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A profile with its place."""

    place: Place
    profile: Profile
    evidence: str


@dataclass(frozen=True, slots=True)
class Outlier:
    """A profile that stands out; the score is -1 for one that could not be judged."""

    place: Place
    score: float
    contributions: Mapping[str, float]
    """How much each column adds, most first; they sum to the score or, for some detectors, to 1."""
    profile: Profile


@dataclass(frozen=True, slots=True)
class Detection:
    """How outliers were found, and how many."""

    detector: str
    columns: tuple[str, ...]
    contamination: float
    threshold: float
    samples: int
    unusable: int


def _log_entry(error: str) -> dict[str, str]:
    step, separator, what = error.partition(": ")
    return {step: what} if separator else {"note": error}


def unique_names(names: Sequence[str]) -> list[str]:
    """The names with a number added to those that came before: `a.jpg`, `a-2.jpg`."""
    seen: dict[str, int] = {}
    taken = set(names)
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        chosen = name
        while seen[name] > 1 and chosen in taken:
            stem, dot, ending = name.rpartition(".")
            chosen = f"{stem}-{seen[name]}{dot}{ending}" if dot else f"{name}-{seen[name]}"
            seen[name] += chosen in taken
        taken.add(chosen)
        unique.append(chosen)
    return unique


def safe_file_name(name: str) -> str:
    """The last part of what a client calls a file, without anything that is not for eyes.

    It is shown and never opened.
    """
    last = re.split(r"[/\\]", name)[-1]
    last = "".join(character for character in last if character.isprintable()).strip()
    return last[:200] or "unnamed"
