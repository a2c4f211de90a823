"""The wire types of slides."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator

from services.scancer.schemas import ModelOut
from services.scancer.slides.domain import MAX_TITLE_CHARACTERS, Order, SlideId, SlideJob
from services.scancer.slides.errors import InvalidCursor
from services.scancer.slides.geometry import Region
from services.scancer.slides.repository import Place
from shared.idempotency import PARAMETER

PREFIX = "/api/v2/scancer/slides"
HeatmapStyle = Literal["overlay", "colours", "figures"]


class SlideIn(BaseModel):
    """What may be said of a slide that is sent: form fields, or parameters of the address."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Annotated[str, Field(max_length=MAX_TITLE_CHARACTERS)] = ""
    model: Annotated[str, Field(max_length=128)] = "pcam-classification"
    version: Annotated[str | None, Field(max_length=32)] = None
    mpp: Annotated[float | None, Field(ge=0.02, le=20, allow_inf_nan=False)] = None
    """Micrometres per pixel, where the file does not say or is wrong."""
    region: tuple[int, int, int, int] | None = None
    """`x,y,width,height` in pixels of the finest level."""
    stride: Annotated[int, Field(ge=8, le=256)] = 32
    """A cell's side in pixels of the network."""
    priority: Annotated[int, Field(ge=-9, le=9)] = 0

    @field_validator("region", mode="before")
    @classmethod
    def _from_text(cls, region: object) -> object:
        return region.split(",") if isinstance(region, str) else region

    @field_validator("region")
    @classmethod
    def _is_small(cls, region: tuple[int, int, int, int] | None) -> object:
        if region is not None and max(map(abs, region)) > 2**31 - 1:
            raise ValueError("a number is beyond every slide")
        return region

    @field_validator("title")
    @classmethod
    def _is_storable(cls, title: str) -> str:
        return title.replace("\0", "")

    def to_order(self) -> Order:
        """As the service knows it."""
        return Order(
            title=self.title,
            model=self.model,
            version=self.version,
            mpp_um=self.mpp,
            region=None if self.region is None else Region(*self.region),
            stride_px=self.stride,
            priority=self.priority,
        )


class RegionOut(BaseModel):
    """A rectangle in pixels of the slide's finest level."""

    x_px: int
    y_px: int
    width_px: int
    height_px: int


class FileOut(BaseModel):
    """What the file is, as far as its header says."""

    sha256: str
    bytes: int
    format: str
    width_px: int
    height_px: int
    levels: int
    mpp_um: float
    mpp_source: Literal["file", "request"]


class GridOut(BaseModel):
    """How the heatmap lies on the slide.

    Cell (row, column) begins at `region.y_px + row * cell_px`, `region.x_px + column * cell_px`.
    """

    rows: int
    columns: int
    cell_px: float
    """A cell's side in pixels of the slide's finest level."""
    stride_px: int
    """The same in pixels of the network."""


class SuspicionOut(BaseModel):
    """Neighbouring cells that reach the operating point."""

    box_xyxy_px: tuple[int, int, int, int]
    cells: int
    area_mm2: float
    highest: float
    mean: float


class FindingsOut(BaseModel):
    """What was found once every cell has been looked at."""

    judged: int
    """Cells with a probability."""
    glass: int
    refused: int
    """Cells that the gate refused: out of focus, or another stain."""
    positive: int
    highest: float | None
    tissue_mm2: float
    positive_mm2: float
    regions: list[SuspicionOut]
    """The largest first, at most 50."""


class SlideOut(BaseModel):
    """One slide, and where the job of looking at it stands."""

    id: UUID
    title: str
    status: str
    """`queued`, `running`, `completed`, `failed`, `held`, `paused` or `cancelled`."""
    progress: float
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    file: FileOut
    region: RegionOut
    grid: GridOut
    operating_point: float
    findings: FindingsOut | None
    error: str | None
    error_code: str | None
    heatmap_url: str | None
    """Null until there is something to see; while the job runs it shows what is done."""
    model: ModelOut
    evidence: str
    calibrated: bool

    @classmethod
    def of(cls, job: SlideJob) -> Self:
        """A slide as its owner sees it."""
        file, facts, plan, looker = job.file, job.file.facts, job.plan, job.looker
        region = job.region
        return cls(
            id=job.id,
            title=job.title,
            status=job.status,
            progress=round(job.progress, 4),
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            file=FileOut(
                sha256=file.sha256,
                bytes=file.size_bytes,
                format=facts.format,
                width_px=facts.width_px,
                height_px=facts.height_px,
                levels=len(facts.levels),
                mpp_um=job.mpp_um,
                mpp_source="request" if job.mpp_is_stated else "file",
            ),
            region=RegionOut(
                x_px=region.x_px,
                y_px=region.y_px,
                width_px=region.width_px,
                height_px=region.height_px,
            ),
            grid=GridOut(
                rows=plan.rows,
                columns=plan.columns,
                cell_px=plan.cell_px,
                stride_px=plan.stride_px,
            ),
            operating_point=looker.operating_point,
            findings=None if job.result is None else FindingsOut.model_validate(job.result),
            error=job.error,
            error_code=job.error_code,
            heatmap_url=f"{PREFIX}/{job.id}/heatmap" if job.has_heatmap else None,
            model=ModelOut(id=looker.id, version=looker.version, sha256=looker.sha256),
            evidence=looker.evidence,
            calibrated=looker.calibrated,
        )


class SlidePageOut(BaseModel):
    """Some slides, newest first."""

    items: list[SlideOut]
    next_cursor: str | None


def to_cursor(job: SlideJob) -> str:
    """The place of a slide in its list, as clients carry it."""
    text = f"{job.created_at.isoformat()} {job.id.hex}"
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def from_cursor(cursor: str) -> Place:
    """The place that a cursor stands for.

    Raises:
        InvalidCursor: no list has given it out.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        created_at, slide_id = urlsafe_b64decode(padded.encode("ascii")).decode("ascii").split(" ")
        at = datetime.fromisoformat(created_at)
        if at.tzinfo is None:
            raise ValueError("without a time zone")
        return Place(at.astimezone(UTC), SlideId(UUID(slide_id)))
    except (ValueError, OverflowError) as error:
        raise InvalidCursor("The cursor is not one that this list gave out.") from error


def upload_schema() -> dict[str, Any]:
    """How the request body is described: raw bytes, or a form with the part `slide`."""
    binary = {"type": "string", "format": "binary"}
    fields = SlideIn.model_json_schema()["properties"]
    fields["region"] = {"type": "string", "examples": ["0,0,20000,15000"]}
    return {
        "parameters": [
            PARAMETER,
            *(
                {"name": name, "in": "query", "required": False, "schema": schema}
                for name, schema in fields.items()
            ),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": binary},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["slide"],
                        "properties": {"slide": binary} | fields,
                    }
                },
            },
        },
    }
