"""Every query about profiles and outliers."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Select, delete, func, insert, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from services.bqat.domain import (
    DatasetId,
    Detection,
    Kept,
    Measured,
    Outlier,
    Place,
    Profile,
    TaskId,
    tag_of,
)
from services.bqat.tables import SCHEMA, DetectionRow, OutlierRow, ProfileRow

_COLUMNS = (
    "task_number",
    "position",
    "dataset_id",
    "tag",
    "file",
    "profile",
    "evidence",
    "has_failed",
)
_STAGE = f"CREATE TEMP TABLE staged (LIKE {SCHEMA}.profiles) ON COMMIT DROP"
_MERGE = f"""
    WITH added AS (
        INSERT INTO {SCHEMA}.profiles SELECT * FROM staged ON CONFLICT DO NOTHING
        RETURNING has_failed
    )
    SELECT count(*) AS added, count(*) FILTER (WHERE has_failed) AS failed FROM added
"""  # noqa: S608 (made of our own names)


class ProfileRepository:
    """The profiles of datasets; the caller has found out that the dataset is the tenant's."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(
        self, dataset_id: DatasetId, task_number: int, measured: Sequence[Measured]
    ) -> tuple[int, int]:
        """Keep profiles; those that are kept already stay as they are.

        Returns:
            How many were added, and how many of these have failed.
        """
        connection = await self._session.connection()
        await self._session.execute(text(_STAGE))
        raw: Any = (await connection.get_raw_connection()).driver_connection
        await raw.copy_records_to_table(
            "staged",
            columns=_COLUMNS,
            records=[
                (
                    task_number,
                    each.sample.position,
                    dataset_id,
                    tag_of(each.sample.file),
                    each.sample.file,
                    each.to_json(),
                    each.evidence,
                    each.failure is not None,
                )
                for each in measured
            ],
        )
        found = (await self._session.execute(text(_MERGE))).one()
        await self._session.execute(text("DROP TABLE staged"))
        return found.added, found.failed

    async def positions(self, task_number: int, first: int, count: int) -> set[int]:
        """Which positions of a chunk have a profile."""
        found = await self._session.scalars(
            select(ProfileRow.position).where(
                ProfileRow.task_number == task_number,
                ProfileRow.position >= first,
                ProfileRow.position < first + count,
            )
        )
        return set(found)

    async def count(self, dataset_id: DatasetId) -> int:
        """How many profiles there are."""
        found = await self._session.scalar(
            select(func.count()).where(ProfileRow.dataset_id == dataset_id)
        )
        return found or 0

    async def page(self, dataset_id: DatasetId, *, after: Place | None, limit: int) -> list[Kept]:
        """The next profiles behind a place."""
        query = _profiles(dataset_id).limit(limit)
        if after is not None:
            here = tuple_(ProfileRow.task_number, ProfileRow.position)
            query = query.where(here > (after.task_number, after.position))
        return [_to_kept(row) for row in await self._session.execute(query)]

    async def listed(self, dataset_id: DatasetId, *, skip: int, limit: int) -> list[Profile]:
        """Profiles by number, as old clients ask; 0 is no limit."""
        query = _profiles(dataset_id).offset(skip).limit(limit or None)
        return [row.profile for row in await self._session.execute(query)]

    async def stream(self, dataset_id: DatasetId) -> AsyncIterator[Kept]:
        """Every profile, without ever having many of them in memory."""
        query = _profiles(dataset_id).execution_options(yield_per=1000)
        async for row in await self._session.stream(query):
            yield _to_kept(row)

    async def find_by_tag(self, dataset_id: DatasetId, tag: str) -> Profile | None:
        """One profile, by the old server's name for it."""
        found: Profile | None = await self._session.scalar(
            select(ProfileRow.profile)
            .where(ProfileRow.dataset_id == dataset_id, ProfileRow.tag == tag)
            .limit(1)
        )
        return found

    async def delete_by_tag(self, dataset_id: DatasetId, tag: str) -> bool:
        """Forget one profile; whether there was one."""
        deleted = await self._session.execute(
            delete(ProfileRow)
            .where(ProfileRow.dataset_id == dataset_id, ProfileRow.tag == tag)
            .returning(ProfileRow.position)
        )
        return bool(deleted.all())

    async def delete_all(self, dataset_id: DatasetId) -> int:
        """Forget every profile; how many there were."""
        deleted = await self._session.execute(
            delete(ProfileRow).where(ProfileRow.dataset_id == dataset_id)
        )
        return int(getattr(deleted, "rowcount", 0))

    async def weakest_evidence(self, dataset_id: DatasetId) -> list[str]:
        """The evidence levels that occur."""
        found = await self._session.scalars(
            select(ProfileRow.evidence).where(ProfileRow.dataset_id == dataset_id).distinct()
        )
        return list(found)

    # Outliers.

    async def put_outliers(
        self,
        dataset_id: DatasetId,
        task_id: TaskId,
        detection: Detection,
        found: Sequence[tuple[Place, float, Mapping[str, float]]],
    ) -> None:
        """Replace the dataset's outliers."""
        await self.delete_outliers(dataset_id)
        await self._session.execute(
            insert(DetectionRow).values(
                dataset_id=dataset_id,
                task_id=task_id,
                detector=detection.detector,
                columns=list(detection.columns),
                contamination=detection.contamination,
                threshold=detection.threshold,
                samples=detection.samples,
                unusable=detection.unusable,
            )
        )
        rows = [
            {
                "dataset_id": dataset_id,
                "task_number": place.task_number,
                "position": place.position,
                "score": score,
                "contributions": dict(contributions),
            }
            for place, score, contributions in found
        ]
        if rows:
            await self._session.execute(insert(OutlierRow), rows)

    async def find_detection(self, dataset_id: DatasetId) -> Detection | None:
        """How the dataset's outliers were found, if they were looked for."""
        row = await self._session.get(DetectionRow, dataset_id)
        if row is None:
            return None
        return Detection(
            detector=row.detector,
            columns=tuple(row.columns),
            contamination=row.contamination,
            threshold=row.threshold,
            samples=row.samples,
            unusable=row.unusable,
        )

    async def outliers(
        self, dataset_id: DatasetId, *, skip: int = 0, limit: int = 0
    ) -> list[Outlier]:
        """The dataset's outliers, the furthest first; 0 is no limit."""
        query = (
            select(OutlierRow, ProfileRow.profile)
            .join(
                ProfileRow,
                (ProfileRow.task_number == OutlierRow.task_number)
                & (ProfileRow.position == OutlierRow.position),
            )
            .where(OutlierRow.dataset_id == dataset_id)
            .order_by(OutlierRow.score.desc(), OutlierRow.task_number, OutlierRow.position)
            .offset(skip)
            .limit(limit or None)
        )
        return [
            Outlier(Place(row.task_number, row.position), row.score, row.contributions, profile)
            for row, profile in await self._session.execute(query)
        ]

    async def delete_outliers(self, dataset_id: DatasetId) -> bool:
        """Forget the outliers; whether any were looked for."""
        deleted = await self._session.execute(
            delete(DetectionRow)
            .where(DetectionRow.dataset_id == dataset_id)
            .returning(DetectionRow.dataset_id)
        )
        return deleted.one_or_none() is not None


def _profiles(dataset_id: DatasetId) -> Select[Any]:
    return (
        select(ProfileRow.task_number, ProfileRow.position, ProfileRow.profile, ProfileRow.evidence)
        .where(ProfileRow.dataset_id == dataset_id)
        .order_by(ProfileRow.task_number, ProfileRow.position)
    )


def _to_kept(row: Any) -> Kept:
    return Kept(Place(row.task_number, row.position), row.profile, row.evidence)
