"""The tasks that are made of a dataset's profiles: outliers and reports."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.bqat.apart import AnalysisFailed, analyse
from services.bqat.columns import Column, Table, read_table
from services.bqat.domain import DEFAULT_COLUMNS, DatasetId, Detection, Detector, Modality, Task
from services.bqat.profiles import ProfileRepository
from services.bqat.reporting import Subject, report_arrays, report_order
from services.bqat.repository import TaskRepository
from services.bqat.verdicts import outliers_order, verdict_from
from shared.jobs import Claim, JobFailed
from shared.objects import Objects

DEFAULT_CONTAMINATION = 0.05


async def load_table(sessions: async_sessionmaker[AsyncSession], dataset_id: DatasetId) -> Table:
    """A dataset's profiles as columns."""
    async with sessions() as session:
        return await read_table(ProfileRepository(session).stream(dataset_id))


def choose_columns(
    table: Table, wanted: Sequence[str] | None, modality: Modality | None
) -> list[Column]:
    """The columns in which outliers are looked for.

    A sample that lacks one of them cannot be judged; so of the columns that nobody asked for, those
    are left out that most samples lack.
    """
    names = wanted or DEFAULT_COLUMNS.get(modality or Modality.SPEECH, ())
    found = [column for name in names if (column := table.find(name)) and column.is_number]
    least = 1 if wanted else max(1, table.rows // 2)
    return [column for column in found if len(column.present) >= least]


class Analyst:
    """Looks for outliers and writes reports."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], objects: Objects) -> None:
        self._sessions = sessions
        self._objects = objects

    async def detect(self, claim: Claim, task: Task) -> Mapping[str, Any]:
        """Find the outliers of a dataset."""
        dataset_id = _dataset_of(task)
        table = await load_table(self._sessions, dataset_id)
        columns = choose_columns(table, task.options.get("columns"), task.modality)
        if not columns:
            raise JobFailed("no-columns", "The dataset has none of the columns as figures.")
        detector = Detector(task.options.get("detector") or Detector.ECOD)
        contamination = float(task.options.get("contamination") or DEFAULT_CONTAMINATION)
        names = [column.name for column in columns]
        try:
            answer = await analyse(
                "outliers",
                outliers_order(names, detector, contamination),
                {"matrix": table.matrix(columns)},
            )
        except AnalysisFailed as error:
            raise JobFailed(error.code, error.detail) from error
        verdict = verdict_from(json.loads(answer))
        detection = Detection(
            detector=detector,
            columns=tuple(names),
            contamination=contamination,
            threshold=verdict.threshold,
            samples=table.rows,
            unusable=len(verdict.unusable),
        )
        listed = [(table.place(row), score, why) for row, score, why in verdict.outliers]
        # As the old server: what could not be judged is listed too, with a score of its own.
        listed += [(table.place(row), -1.0, {}) for row in verdict.unusable]
        async with claim.effect() as effect:
            await ProfileRepository(effect.session).put_outliers(
                dataset_id, task.id, detection, listed
            )
            result = {"outliers": len(verdict.outliers), "unusable": len(verdict.unusable)}
            await effect.complete(result)
        return result

    async def report(self, claim: Claim, task: Task) -> Mapping[str, Any]:
        """Write the report of a dataset."""
        dataset_id = _dataset_of(task)
        table = await load_table(self._sessions, dataset_id)
        page = await self.page(Subject(task.dataset_name or "", task.modality), table, task.options)
        sha256 = await self._objects.put(page)
        async with claim.effect() as effect:
            await TaskRepository(effect.session).put_report(dataset_id, task.id, sha256)
            result = {"sha256": sha256, "bytes": len(page)}
            await effect.complete(result)
        return result

    async def page(
        self,
        subject: Subject,
        table: Table,
        options: Mapping[str, Any],
        *,
        other: tuple[Subject, Table] | None = None,
    ) -> bytes:
        """The page of a dataset, or of two that are compared."""
        if not table.rows:
            raise JobFailed("empty", "The dataset has no profile.")
        try:
            return await analyse(
                "report",
                report_order(subject, table, options, other=other),
                report_arrays(table, other=other[1] if other else None),
            )
        except AnalysisFailed as error:
            raise JobFailed(error.code, error.detail) from error


def _dataset_of(task: Task) -> DatasetId:
    if task.dataset_id is None:
        raise JobFailed("no-dataset", "The dataset is gone.")
    return task.dataset_id
