"""What the modern API says, on the wire."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from services.netra.domain import (
    AbstainReason,
    AnalysisId,
    AnalysisStatus,
    FundusReason,
    LesionType,
    ModelIdentity,
    QualityReason,
    Verdict,
    sentences_for,
)
from services.netra.errors import InvalidCursor
from services.netra.job import AnalysisJob, Eye
from services.netra.repositories.analyses import Place

ROOT = "/api/v2/netra"
PREFIX = f"{ROOT}/analyses"


class FundusOut(BaseModel):
    """Whether the picture is a colour fundus photograph, and what speaks against it."""

    accepted: bool
    score: float
    reasons: list[FundusReason]
    explanations: list[str]


class QualityOut(BaseModel):
    """Whether the photograph can be graded; the explanations advise on the next one."""

    gradable: bool
    score: float
    reasons: list[QualityReason]
    explanations: list[str]


class VerdictOut(BaseModel):
    """One question about the whole photograph; null where there is no answer."""

    detected: bool | None
    probability: float | None
    operating_point: float | None

    @classmethod
    def of(cls, verdict: Verdict) -> Self:
        """`verdict` as clients see it."""
        return cls(
            detected=verdict.detected,
            probability=verdict.probability,
            operating_point=verdict.operating_point,
        )


class LesionOut(BaseModel):
    """One lesion; the box is in pixels of the uploaded picture, turned by its EXIF orientation."""

    type: LesionType
    box_xyxy_px: tuple[int, int, int, int]
    score: float


class ModelOut(BaseModel):
    """A network or a set of rules that took part."""

    model_config = ConfigDict(protected_namespaces=())

    id: str
    version: str
    sha256: str
    evidence: str
    calibrated: bool
    task: str

    @classmethod
    def of(cls, model: ModelIdentity) -> Self:
        """`model` as clients see it."""
        return cls(
            id=model.id,
            version=model.version,
            sha256=model.sha256,
            evidence=model.evidence,
            calibrated=model.calibrated,
            task=model.task,
        )


class ImageOut(BaseModel):
    """The uploaded file; its size in pixels is known once it has been decoded."""

    name: str
    format: str
    width_px: int | None
    height_px: int | None
    size_bytes: int


class DecisionOut(BaseModel):
    """What a person decided about an analysis that was held."""

    retinopathy: bool
    referable: bool
    note: str
    decided_by: UUID
    decided_at: datetime


class ErrorOut(BaseModel):
    """Why an analysis has failed."""

    code: str
    detail: str


_EXAMPLE_ID = "01a1f899-d79c-7899-8174-8022608a643f"
_EXAMPLE: dict[str, Any] = {
    "id": _EXAMPLE_ID,
    "status": "completed",
    "label": "camp 7",
    "created_at": "2026-11-20T06:20:43.134088Z",
    "started_at": "2026-11-20T06:20:43.140215Z",
    "finished_at": "2026-11-20T06:20:44.902741Z",
    "progress": 1.0,
    "priority": 0,
    "eye": "left",
    "examination": "visit-4711",
    "image": {
        "name": "left.jpg",
        "format": "jpeg",
        "width_px": 4288,
        "height_px": 2848,
        "size_bytes": 1048576,
    },
    "image_url": f"{PREFIX}/{_EXAMPLE_ID}/image",
    "annotated_url": f"{PREFIX}/{_EXAMPLE_ID}/annotated",
    "report_url": f"{PREFIX}/{_EXAMPLE_ID}/report.dcm",
    "fhir_url": f"{PREFIX}/{_EXAMPLE_ID}/fhir",
    "mask_urls": {"hard_exudate": f"{PREFIX}/{_EXAMPLE_ID}/masks/hard_exudate"},
    "fundus": {"accepted": True, "score": 0.99, "reasons": [], "explanations": []},
    "quality": {"gradable": True, "score": 0.91, "reasons": [], "explanations": []},
    "retinopathy": {"detected": True, "probability": 0.875, "operating_point": 0.5},
    "referable": {"detected": True, "probability": 0.75, "operating_point": 0.5},
    "lesions": [{"type": "hard_exudate", "box_xyxy_px": [795, 850, 870, 932], "score": 0.8}],
    "model": {
        "id": "netra-retinopathy",
        "version": "1.0.0",
        "sha256": "0" * 64,
        "evidence": "research",
        "calibrated": True,
        "task": "retinopathy",
    },
    "models": [],
    "evidence": "research",
    "abstained": False,
    "abstain_reasons": [],
    "abstain_explanations": [],
    "notes": [],
    "decision": None,
    "error": None,
    "withheld": False,
}


class AnalysisOut(BaseModel):
    """One analysis; what was found is null until it is done."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]}, protected_namespaces=())

    id: UUID
    status: AnalysisStatus
    label: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: float
    priority: int
    eye: Eye | None
    examination: str | None
    image: ImageOut
    image_url: str
    annotated_url: str | None
    report_url: str | None
    fhir_url: str | None
    mask_urls: dict[LesionType, str]
    fundus: FundusOut | None
    quality: QualityOut | None
    retinopathy: VerdictOut | None
    referable: VerdictOut | None
    lesions: list[LesionOut] | None
    model: ModelOut | None
    models: list[ModelOut]
    evidence: str | None
    abstained: bool | None
    abstain_reasons: list[AbstainReason]
    abstain_explanations: list[str]
    notes: list[str]
    decision: DecisionOut | None
    error: ErrorOut | None
    withheld: bool

    @classmethod
    def of(cls, job: AnalysisJob, *, withheld: bool = False) -> Self:
        """`job` as clients see it, without what was found where that is withheld."""
        url = f"{PREFIX}/{job.id}"
        found = None if withheld else job.found
        decision = None if withheld else job.decision
        models = [] if found is None else [ModelOut.of(model) for model in found.models]
        lesions = None if found is None else found.lesions
        outlined = dict.fromkeys(lesion.type for lesion in lesions or ())
        return cls(
            id=job.id,
            status=job.status,
            label=job.label,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            progress=job.progress,
            priority=job.priority,
            eye=job.eye,
            examination=None if job.examination is None else job.examination.reference,
            image=ImageOut(
                name=job.image_name,
                format=job.image.format,
                width_px=job.image.width_px,
                height_px=job.image.height_px,
                size_bytes=job.image.size_bytes,
            ),
            image_url=f"{url}/image",
            annotated_url=None if found is None else f"{url}/annotated",
            report_url=None if found is None else f"{url}/report.dcm",
            fhir_url=None if found is None else f"{url}/fhir",
            mask_urls={type_: f"{url}/masks/{type_}" for type_ in outlined},
            fundus=None
            if found is None
            else FundusOut(
                accepted=found.fundus.accepted,
                score=found.fundus.score,
                reasons=list(found.fundus.reasons),
                explanations=sentences_for(found.fundus.reasons),
            ),
            quality=None
            if found is None
            else QualityOut(
                gradable=found.quality.gradable,
                score=found.quality.score,
                reasons=list(found.quality.reasons),
                explanations=sentences_for(found.quality.reasons),
            ),
            retinopathy=None if found is None else VerdictOut.of(job.retinopathy),
            referable=None if found is None else VerdictOut.of(job.referable),
            lesions=None
            if lesions is None
            else [
                LesionOut(type=each.type, box_xyxy_px=each.box_xyxy_px, score=each.score)
                for each in lesions
            ],
            model=next((model for model in models if model.task == "retinopathy"), None)
            or next(iter(models), None),
            models=models,
            evidence=None if found is None else found.evidence,
            abstained=None if found is None else job.abstained,
            abstain_reasons=[] if found is None else list(found.reasons),
            abstain_explanations=[] if found is None else sentences_for(found.reasons),
            notes=[] if found is None else list(found.notes),
            decision=None
            if decision is None
            else DecisionOut(
                retinopathy=decision.retinopathy,
                referable=decision.referable,
                note=decision.note,
                decided_by=decision.decided_by,
                decided_at=decision.decided_at,
            ),
            error=ErrorOut(code=job.error_code or "failed", detail=job.error or "")
            if job.status is AnalysisStatus.FAILED
            else None,
            withheld=withheld and job.found is not None,
        )


class AnalysisPageOut(BaseModel):
    """A page of the caller's analyses, newest first."""

    items: list[AnalysisOut]
    next_cursor: str | None


class EyeOut(BaseModel):
    """What the photographs of one eye say together."""

    retinopathy: bool | None
    referable: bool | None
    complete: Annotated[
        bool, Field(description="Whether every photograph is done and has a verdict.")
    ]
    analyses: list[UUID]


class ExaminationOut(BaseModel):
    """One visit of one patient: each eye, and both together."""

    reference: str
    patient_id: str
    created_at: datetime
    retinopathy: Annotated[bool | None, Field(description="In any eye.")]
    referable: Annotated[bool | None, Field(description="In any eye.")]
    complete: bool
    eyes: dict[Literal["left", "right", "unknown"], EyeOut]
    evidence: str | None


class DecisionIn(BaseModel):
    """What a person saw on a photograph that was held."""

    model_config = ConfigDict(extra="forbid")

    retinopathy: bool
    referable: bool
    note: Annotated[str, Field(max_length=2000, pattern=r"^[^\x00]*$")] = ""


class AccountOut(BaseModel):
    """How many analyses an account may still ask for."""

    user_id: UUID
    credits: int


class CreditsIn(BaseModel):
    """How many analyses an account may ask for from now on."""

    model_config = ConfigDict(extra="forbid")

    credits: Annotated[int, Field(ge=0, le=1_000_000_000, strict=True)]


class MovementOut(BaseModel):
    """One movement of an account's credits."""

    number: int
    kind: Literal["grant", "charge", "refund"]
    amount: int
    analysis_id: UUID | None
    at: datetime


class LedgerOut(BaseModel):
    """A page of an account's movements, newest first; all of them add up to the credits."""

    credits: int
    items: list[MovementOut]
    next_before: int | None


def to_cursor(job: AnalysisJob) -> str:
    """The place of `job` in its list, as clients carry it."""
    text = f"{job.created_at.isoformat()} {job.id.hex}"
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def from_cursor(cursor: str) -> Place:
    """The place that a cursor stands for.

    Raises:
        InvalidCursor: no list has given it out.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        created_at, analysis_id = (
            urlsafe_b64decode(padded.encode("ascii")).decode("ascii").split(" ")
        )
        at = datetime.fromisoformat(created_at)
        if at.tzinfo is None:
            raise ValueError("without a time zone")
        return Place(at.astimezone(UTC), AnalysisId(UUID(analysis_id)))
    except (ValueError, OverflowError) as error:
        raise InvalidCursor("The cursor is not one that this list gave out.") from error
