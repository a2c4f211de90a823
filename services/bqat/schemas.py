"""The modern API's wire types."""

import base64
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from services.bqat.domain import Detection, Detector, Kept, Modality, Outlier, Place, Task
from shared.jobs import JobStatus

ModalityName = Literal["face", "fingerprint", "iris", "speech"]
StatusName = Literal["queued", "running", "paused", "held", "completed", "failed", "cancelled"]


class SourceIn(BaseModel):
    """Where the samples are; exactly one of these."""

    model_config = ConfigDict(extra="forbid")

    folder: str | None = Field(default=None, description="A folder below the data folder.")
    files: list[str] | None = Field(
        default=None, max_length=10_000, description="Files below the data folder."
    )
    objects: str | None = Field(
        default=None, description="A prefix of the configured object store."
    )


class ScanIn(BaseModel):
    """A scan of samples that lie on the server."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"modality": "face", "source": {"folder": "enrolment/2026"}}},
    )

    modality: ModalityName
    engine: str | None = Field(default=None, max_length=20)
    options: dict[str, Any] = Field(default_factory=dict)
    source: SourceIn
    begin: bool = Field(default=True, description="False: it waits until it is resumed.")


class ProblemOut(BaseModel):
    """Why a scan has failed."""

    code: str
    detail: str


class ScanOut(BaseModel):
    """A scan."""

    id: UUID
    dataset: str | None
    status: StatusName
    modality: ModalityName | None
    engine: str | None
    options: dict[str, Any]
    source: str | None
    total: int | None
    done: int
    failed: int
    progress: float
    eta_s: float | None
    created_at: datetime
    finished_at: datetime | None
    error: ProblemOut | None
    profiles_url: str
    outliers_url: str
    report_url: str

    @classmethod
    def from_task(cls, task: Task) -> "ScanOut":
        """A scan as the modern API shows it."""
        here = f"/api/v2/bqat/scans/{task.id}"
        progress = task.progress
        is_running = task.status == JobStatus.RUNNING
        return cls(
            id=task.id,
            dataset=task.dataset_name,
            status=JobStatus(task.status).value,
            modality=None if task.modality is None else task.modality.value,
            engine=task.engine,
            options=dict(task.options),
            source=task.source.get("kind"),
            total=progress.total,
            done=progress.done,
            failed=progress.failed,
            progress=round(progress.fraction, 4),
            eta_s=None if progress.eta_s is None or not is_running else round(progress.eta_s, 1),
            created_at=task.created_at,
            finished_at=task.finished_at,
            error=None
            if task.error_code is None or task.status != JobStatus.FAILED
            else ProblemOut(code=task.error_code, detail=task.error or ""),
            profiles_url=f"{here}/profiles",
            outliers_url=f"{here}/outliers",
            report_url=f"{here}/report",
        )


class ScansOut(BaseModel):
    """A page of scans, newest first."""

    items: list[ScanOut]
    next_cursor: str | None


class ProfileOut(BaseModel):
    """The profile of one sample: its measures in the order of the engine."""

    profile: dict[str, Any]
    evidence: str

    @classmethod
    def from_kept(cls, kept: Kept) -> "ProfileOut":
        """A profile as the modern API shows it."""
        return cls(profile=dict(kept.profile), evidence=kept.evidence)


class ProfilesOut(BaseModel):
    """A page of profiles in the order of the files."""

    items: list[ProfileOut]
    next_cursor: str | None


class ContributionOut(BaseModel):
    """How much one column adds to a score."""

    column: str
    share: float


class OutlierOut(BaseModel):
    """A sample that stands out, and why."""

    file: str
    score: float
    contributions: list[ContributionOut]
    profile: dict[str, Any]

    @classmethod
    def from_outlier(cls, outlier: Outlier) -> "OutlierOut":
        """An outlier as the modern API shows it."""
        return cls(
            file=str(outlier.profile.get("file", "")),
            score=outlier.score,
            contributions=[
                ContributionOut(column=column, share=share)
                for column, share in outlier.contributions.items()
            ],
            profile=dict(outlier.profile),
        )


class OutliersIn(BaseModel):
    """How outliers are looked for."""

    model_config = ConfigDict(extra="forbid")

    detector: Detector = Detector.ECOD
    columns: list[str] | None = Field(default=None, max_length=50)
    contamination: float = Field(default=0.05, gt=0, le=0.5)


class OutliersOut(BaseModel):
    """The outliers of a scan, the furthest first; a score of -1 could not be judged."""

    detector: str
    columns: list[str]
    contamination: float
    threshold: float
    samples: int
    unusable: int
    items: list[OutlierOut]

    @classmethod
    def from_detection(cls, detection: Detection, outliers: list[Outlier]) -> "OutliersOut":
        """Outliers as the modern API shows them."""
        return cls(
            detector=detection.detector,
            columns=list(detection.columns),
            contamination=detection.contamination,
            threshold=detection.threshold,
            samples=detection.samples,
            unusable=detection.unusable,
            items=[OutlierOut.from_outlier(outlier) for outlier in outliers],
        )


class AssessmentOut(BaseModel):
    """One sample, assessed at once."""

    profile: dict[str, Any]
    evidence: str
    modality: Modality


def whole_schema(model: type[BaseModel]) -> dict[str, Any]:
    """A model's JSON schema without references, to stand inside another document."""
    schema = model.model_json_schema()
    parts = schema.pop("$defs", {})

    def put_in(value: Any) -> Any:
        if isinstance(value, list):
            return [put_in(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        name = str(value.get("$ref", "")).removeprefix("#/$defs/")
        if name in parts:
            return put_in(parts[name])
        return {key: put_in(entry) for key, entry in value.items()}

    whole: dict[str, Any] = put_in(schema)
    return whole


def to_cursor(place: Place) -> str:
    """A place as an opaque word."""
    return base64.urlsafe_b64encode(f"{place.task_number}.{place.position}".encode()).decode()


def from_cursor(text: str) -> Place | None:
    """The place that a word means, or None where it means none."""
    try:
        number, _, position = base64.urlsafe_b64decode(text.encode()).decode("ascii").partition(".")
        place = Place(int(number), int(position))
    except (ValueError, UnicodeError):
        return None
    sane = 0 <= place.task_number < 2**63 and 0 <= place.position < 2**31
    return place if sane else None
