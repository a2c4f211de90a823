"""Every query about slides."""

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, func, select, tuple_
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.ext.asyncio import AsyncSession

from services.scancer.slides.domain import Looker, SlideId, SlideJob, Upload
from services.scancer.slides.errors import SlideNotFound
from services.scancer.slides.geometry import Level, Region, SlideFacts
from services.scancer.slides.tables import SlideRow


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a list, newest first."""

    created_at: datetime
    id: SlideId


@dataclass(frozen=True, slots=True)
class Kept:
    """How much somebody keeps."""

    slides: int
    bytes: int


class SlideRepository:
    """Slides in the database."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, slide_id: SlideId, owner: str | None) -> SlideJob:
        """A slide of `owner`, of anybody where that is None.

        Raises:
            SlideNotFound: there is none.
        """
        query = select(SlideRow).where(SlideRow.id == slide_id)
        if owner is not None:
            query = query.where(SlideRow.owner == owner)
        row = (await self._session.execute(query)).scalar_one_or_none()
        if row is None:
            raise SlideNotFound
        return to_job(row)

    async def list_of(
        self, owner: str | None, *, after: Place | None, limit: int
    ) -> Sequence[SlideJob]:
        """Slides, newest first, behind a place."""
        query = select(SlideRow).order_by(SlideRow.created_at.desc(), SlideRow.id.desc())
        if owner is not None:
            query = query.where(SlideRow.owner == owner)
        if after is not None:
            query = query.where(
                tuple_(SlideRow.created_at, SlideRow.id) < (after.created_at, after.id)
            )
        rows = (await self._session.execute(query.limit(limit))).scalars()
        return [to_job(row) for row in rows]

    async def kept_by(self, owner: str) -> Kept:
        """How many slides and bytes somebody keeps; others of the same person wait meanwhile."""
        await self._session.execute(select(func.pg_advisory_xact_lock(func.hashtext(owner))))
        query = select(func.count(), func.coalesce(func.sum(SlideRow.file_bytes), 0)).where(
            SlideRow.owner == owner
        )
        count, size = (await self._session.execute(query)).one()
        return Kept(int(count), int(size))

    async def grid_of(self, job: SlideJob) -> NDArray[np.uint8] | None:
        """The grid as far as it has come."""
        query = select(SlideRow.grid).where(SlideRow.id == job.id)
        packed = (await self._session.execute(query)).scalar_one_or_none()
        return None if packed is None else unpack_grid(packed, job.plan.rows, job.plan.columns)

    async def delete(self, slide_id: SlideId) -> None:
        """Forget a slide; its worker, if it has one, finds that its claim is lost."""
        await self._session.execute(delete(SlideRow).where(SlideRow.id == slide_id))

    async def referenced(self, sha256s: Sequence[str]) -> set[str]:
        """Which of these objects a slide needs."""
        found: set[str] = set()
        for column in (SlideRow.file_sha256, SlideRow.view_sha256):
            query = select(column).where(column == func.any(array(list(sha256s)))).distinct()
            found.update(each for each in (await self._session.execute(query)).scalars() if each)
        return found


def pack_grid(grid: NDArray[np.uint8]) -> bytes:
    """A grid as it is kept."""
    return zlib.compress(grid.tobytes(), 6)


def unpack_grid(packed: bytes, rows: int, columns: int) -> NDArray[np.uint8]:
    """What `pack_grid` was given."""
    return np.frombuffer(zlib.decompress(packed), np.uint8).reshape(rows, columns).copy()


def from_facts(facts: SlideFacts) -> dict[str, Any]:
    """Facts as JSON keeps them."""
    return asdict(facts)


def to_job(row: SlideRow) -> SlideJob:
    """A row as the domain knows it."""
    facts = row.facts
    levels = tuple(Level(**level) for level in facts["levels"])
    return SlideJob(
        id=SlideId(row.id),
        owner=row.owner,
        title=row.title,
        status=row.status,
        progress=row.progress,
        file=Upload(row.file_sha256, row.file_bytes, SlideFacts(**{**facts, "levels": levels})),
        mpp_um=row.mpp_um,
        mpp_is_stated=row.mpp_is_stated,
        region=Region(*row.region),
        stride_px=row.stride_px,
        looker=Looker(**row.model),
        blocks_done=row.blocks_done,
        view_sha256=row.view_sha256,
        has_grid=row.blocks_done > 0,
        result=row.result,
        error_code=row.error_code,
        error=row.error,
        attempts=row.attempts,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
