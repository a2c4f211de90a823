"""Analyses: found, listed, changed. What belongs to one owner is asked for with that owner."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Row, Select, delete, func, literal, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.netra.domain import (
    Analysis,
    AnalysisId,
    AnalysisStatus,
    LesionMask,
    LesionType,
    OwnerId,
)
from services.netra.errors import AnalysisNotFound
from services.netra.job import AnalysisJob, Decision, Eye, ImageFacts
from services.netra.repositories.examinations import to_examination
from services.netra.stored import decision_from_json, decision_to_json, from_json
from services.netra.tables import AnalysisRow, ExaminationRow, MaskRow

#: Mostly empty bits: the fastest level leaves a hundredth of them.
_LEVEL = 1


@dataclass(frozen=True, slots=True)
class Place:
    """A place in an owner's list of analyses, newest first."""

    created_at: datetime
    id: AnalysisId


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which analyses a list is to hold."""

    label: str | None = None
    status: AnalysisStatus | None = None
    examination: UUID | None = None


class AnalysisRepository:
    """The analyses of everybody."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, analysis_id: AnalysisId, owner: OwnerId) -> AnalysisJob:
        """The owner's analysis; raises `AnalysisNotFound` for a foreign as for an unknown one."""
        query = _jobs().where(AnalysisRow.id == analysis_id, AnalysisRow.owner == owner)
        return await self._get(query)

    async def get_by_token(self, token: str, owner: OwnerId) -> AnalysisJob:
        """The owner's analysis by its name on the old wire; raises `AnalysisNotFound`."""
        query = _jobs().where(AnalysisRow.job_token == token, AnalysisRow.owner == owner)
        return await self._get(query)

    async def lock(self, analysis_id: AnalysisId, owner: OwnerId) -> AnalysisJob:
        """The owner's analysis, unchanged by others until this transaction ends."""
        query = _jobs().where(AnalysisRow.id == analysis_id, AnalysisRow.owner == owner)
        return await self._get(query.with_for_update(of=AnalysisRow))

    async def get_for_worker(self, analysis_id: AnalysisId) -> AnalysisJob:
        """The analysis, whoever owns it; raises `AnalysisNotFound`."""
        return await self._get(_jobs().where(AnalysisRow.id == analysis_id))

    async def list_of(
        self, owner: OwnerId, wanted: Wanted, *, after: Place | None, limit: int
    ) -> list[AnalysisJob]:
        """The owner's analyses, newest first, beginning behind `after`."""
        query = _jobs().where(AnalysisRow.owner == owner)
        if wanted.label is not None:
            query = query.where(AnalysisRow.label == wanted.label)
        if wanted.status is not None:
            query = query.where(AnalysisRow.status == wanted.status)
        if wanted.examination is not None:
            query = query.where(AnalysisRow.examination_id == wanted.examination)
        if after is not None:
            place = tuple_(literal(after.created_at), literal(UUID(str(after.id))))
            query = query.where(tuple_(AnalysisRow.created_at, AnalysisRow.id) < place)
        query = query.order_by(AnalysisRow.created_at.desc(), AnalysisRow.id.desc()).limit(limit)
        return [_to_job(row) for row in await self._session.execute(query)]

    async def keep_masks(self, analysis_id: AnalysisId, analysis: Analysis) -> None:
        """Keep the masks of what was found; they replace those of an earlier attempt."""
        await self._session.execute(delete(MaskRow).where(MaskRow.analysis_id == analysis_id))
        for type_, mask in analysis.masks.items():
            self._session.add(
                MaskRow(
                    analysis_id=analysis_id,
                    type=type_,
                    rows=mask.rows,
                    columns=mask.columns,
                    bits=zlib.compress(mask.bits, _LEVEL),
                )
            )

    async def find_mask(self, analysis_id: AnalysisId, type_: LesionType) -> LesionMask | None:
        """Where the lesions of one type are; None where none was outlined."""
        row = await self._session.get(MaskRow, (analysis_id, type_))
        if row is None:
            return None
        return LesionMask(row.rows, row.columns, zlib.decompress(row.bits))

    async def decide(self, analysis_id: AnalysisId, decision: Decision) -> None:
        """Complete a held analysis with what a person decided."""
        await self._session.execute(
            update(AnalysisRow)
            .where(AnalysisRow.id == analysis_id, AnalysisRow.status == AnalysisStatus.HELD)
            .values(
                status=AnalysisStatus.COMPLETED,
                decision=decision_to_json(decision),
                finished_at=func.now(),
                fence=AnalysisRow.fence + 1,
            )
        )

    async def remove(self, analysis_id: AnalysisId) -> None:
        """Forget an analysis and its masks."""
        await self._session.execute(delete(AnalysisRow).where(AnalysisRow.id == analysis_id))

    async def referenced_images(self, sha256s: Sequence[str]) -> set[str]:
        """Which of these objects an analysis still needs."""
        query = select(AnalysisRow.image_sha256).where(AnalysisRow.image_sha256.in_(sha256s))
        return set(await self._session.scalars(query))

    async def _get(self, query: "Select[AnalysisRow, ExaminationRow]") -> AnalysisJob:
        row = (await self._session.execute(query)).one_or_none()
        if row is None:
            raise AnalysisNotFound
        return _to_job(row)


def _jobs() -> "Select[AnalysisRow, ExaminationRow]":
    return select(AnalysisRow, ExaminationRow).outerjoin(
        ExaminationRow, ExaminationRow.id == AnalysisRow.examination_id
    )


def _to_job(found: "Row[AnalysisRow, ExaminationRow]") -> AnalysisJob:
    row = found[0]
    # An outer join: what its type does not say.
    examination: ExaminationRow | None = found[1]
    status = row.status if row.status != "paused" else AnalysisStatus.QUEUED
    return AnalysisJob(
        id=AnalysisId(row.id),
        token=row.job_token,
        owner=OwnerId(row.owner),
        username=row.username,
        label=row.label,
        image_name=row.image_name,
        image=ImageFacts(
            sha256=row.image_sha256,
            size_bytes=row.image_bytes,
            format=row.image_format,
            width_px=row.image_width_px,
            height_px=row.image_height_px,
        ),
        eye=None if row.eye is None else Eye(row.eye),
        examination=None if examination is None else to_examination(examination),
        status=AnalysisStatus(status),
        progress=row.progress,
        priority=row.priority,
        attempts=row.attempts,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        error_code=row.error_code,
        error=row.error,
        found=None if row.result is None else from_json(row.result, {}),
        decision=None if row.decision is None else decision_from_json(row.decision),
        fence=row.fence,
    )
