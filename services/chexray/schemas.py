"""What the modern API says, on the wire."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from services.chexray.domain import GateReason, Pathology, Study, StudyId
from services.chexray.errors import InvalidCursor
from services.chexray.repository import Place

PREFIX = "/api/v2/chexray/studies"


class FindingOut(BaseModel):
    """One of the five findings."""

    label: Pathology
    probability: float
    operating_point: float
    positive: bool


class GateOut(BaseModel):
    """Whether the picture is a frontal chest radiograph, and what speaks against it."""

    accepted: bool
    reasons: list[GateReason]
    explanations: list[str]
    method: Literal["rules"]
    turned_left_deg: int


class ModelOut(BaseModel):
    """The network that answered."""

    model_config = ConfigDict(protected_namespaces=())

    id: str
    version: str
    sha256: str


class ImageOut(BaseModel):
    """The uploaded file."""

    format: str
    width_px: int
    height_px: int
    size_bytes: int


_EXAMPLE_ID = "01a1f899-d79c-7899-8174-8022608a643f"
_EXAMPLE_URL = f"{PREFIX}/{_EXAMPLE_ID}"
_EXAMPLE: dict[str, Any] = {
    "id": _EXAMPLE_ID,
    "title": "Chest, upright",
    "created_at": "2026-11-20T06:20:43.134088Z",
    "image_url": f"{_EXAMPLE_URL}/image",
    "heatmap_url": f"{_EXAMPLE_URL}/heatmap",
    "report_url": f"{_EXAMPLE_URL}/report.dcm",
    "image": {"format": "png", "width_px": 1024, "height_px": 1024, "size_bytes": 524288},
    "findings": [
        {
            "label": label,
            "probability": probability,
            "operating_point": 0.5,
            "positive": probability >= 0.5,
        }
        for label, probability in zip(Pathology, (0.125, 0.75, 0.25, 0.375, 0.875), strict=True)
    ],
    "gate": {
        "accepted": True,
        "reasons": [],
        "explanations": [],
        "method": "rules",
        "turned_left_deg": 0,
    },
    "model": {"id": "chexray-mobilenet", "version": "1.0.0", "sha256": "0" * 64},
    "evidence": "demo",
    "calibrated": True,
    "withheld": False,
}


class StudyOut(BaseModel):
    """One study."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: UUID
    title: str
    created_at: datetime
    image_url: str
    heatmap_url: str | None
    report_url: str | None
    image: ImageOut
    findings: list[FindingOut]
    gate: GateOut
    model: ModelOut
    evidence: str
    calibrated: bool
    withheld: bool

    @classmethod
    def of(cls, study: Study, *, withheld: bool = False) -> Self:
        """`study` as clients see it, without its findings where they are withheld."""
        url = f"{PREFIX}/{study.id}"
        is_read = bool(study.findings)
        return cls(
            id=study.id,
            title=study.title,
            created_at=study.created_at,
            image_url=f"{url}/image",
            heatmap_url=f"{url}/heatmap" if is_read else None,
            report_url=f"{url}/report.dcm" if is_read else None,
            image=ImageOut(
                format=study.image.format,
                width_px=study.image.width_px,
                height_px=study.image.height_px,
                size_bytes=study.image.size_bytes,
            ),
            findings=[
                FindingOut(
                    label=finding.label,
                    probability=finding.probability,
                    operating_point=finding.operating_point,
                    positive=finding.positive,
                )
                for finding in (() if withheld else study.findings)
            ],
            gate=GateOut(
                accepted=study.gate.accepted,
                reasons=list(study.gate.reasons),
                explanations=list(study.gate.sentences),
                method="rules",
                turned_left_deg=90 * study.gate.quarter_turns,
            ),
            model=ModelOut(
                id=study.model.id, version=study.model.version, sha256=study.model.sha256
            ),
            evidence=study.model.evidence,
            calibrated=study.model.calibrated,
            withheld=withheld and is_read,
        )


class StudyPageOut(BaseModel):
    """A page of the caller's studies, newest first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"items": [_EXAMPLE], "next_cursor": "MjAyNi0xMS0yMFQwNjoyMDo0MyswMDowMCAw"}
            ]
        }
    )

    items: list[StudyOut]
    next_cursor: str | None


def to_cursor(study: Study) -> str:
    """The place of `study` in its list, as clients carry it."""
    text = f"{study.created_at.isoformat()} {study.id.hex}"
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def from_cursor(cursor: str) -> Place:
    """The place that a cursor stands for.

    Raises:
        InvalidCursor: no list has given it out.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        created_at, study_id = urlsafe_b64decode(padded.encode("ascii")).decode("ascii").split(" ")
        at = datetime.fromisoformat(created_at)
        if at.tzinfo is None:
            raise ValueError("without a time zone")
        return Place(at.astimezone(UTC), StudyId(UUID(study_id)))
    except (ValueError, OverflowError) as error:
        raise InvalidCursor("The cursor is not one that this list gave out.") from error
