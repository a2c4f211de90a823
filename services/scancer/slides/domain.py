"""A slide that somebody has sent, and what is to be done with it; standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NewType
from uuid import UUID

from services.scancer.slides.geometry import Plan, Region, SlideFacts

SlideId = NewType("SlideId", UUID)

MAX_TITLE_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Looker:
    """The network that looks at a slide, as it was when the slide came in."""

    name: str
    """Under which it is registered."""
    id: str
    version: str
    registered_version: str
    """What it is registered as."""
    sha256: str
    evidence: str
    patch_px: int
    mpp_um: float
    operating_point: float
    calibrated: bool


@dataclass(frozen=True, slots=True)
class Order:
    """What a request asks for."""

    title: str
    model: str
    version: str | None
    mpp_um: float | None
    region: Region | None
    stride_px: int
    priority: int


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that has been received, and checked as far as its header goes."""

    sha256: str
    size_bytes: int
    facts: SlideFacts


@dataclass(frozen=True, slots=True)
class SlideJob:
    """One slide and where its job stands."""

    id: SlideId
    owner: str
    title: str
    status: str
    progress: float
    file: Upload
    mpp_um: float
    mpp_is_stated: bool
    region: Region
    stride_px: int
    looker: Looker
    blocks_done: int
    view_sha256: str | None
    has_grid: bool
    """Whether something has been written down of what was seen."""
    result: Mapping[str, Any] | None
    error_code: str | None
    error: str | None
    attempts: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def has_heatmap(self) -> bool:
        """Whether some of it has been seen."""
        return self.view_sha256 is not None and self.has_grid

    @property
    def plan(self) -> Plan:
        """How the region is divided."""
        return plan_of(self.file.facts, self.region, self.mpp_um, self.stride_px, self.looker)


def plan_of(
    facts: SlideFacts, region: Region, mpp_um: float, stride_px: int, looker: Looker
) -> Plan:
    """How a region of a slide is divided for a network."""
    scale = looker.mpp_um / mpp_um
    return Plan(region, scale, looker.patch_px, stride_px, facts.levels)
