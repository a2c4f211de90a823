"""Every query about tasks, datasets and reports: domain objects in, domain objects out."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.bqat.domain import (
    Dataset,
    DatasetId,
    Kind,
    Modality,
    Progress,
    Task,
    TaskId,
    Tenant,
)
from services.bqat.errors import DatasetNotFound, ScanNotFound
from services.bqat.tables import TASKS, ChunkRow, DatasetRow, ProfileRow, ReportRow, TaskRow
from shared.jobs import LIVE, JobStatus


class TaskRepository:
    """Tasks and datasets; what belongs to a tenant is asked for with that tenant."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add_task(
        self,
        tenant: Tenant,
        kind: Kind,
        *,
        dataset_id: DatasetId | None,
        modality: Modality | None = None,
        engine: str | None = None,
        options: Mapping[str, Any] | None = None,
        source: Mapping[str, Any] | None = None,
        total: int | None = None,
        is_listed: bool = False,
        task_id: TaskId | None = None,
        begin: bool = True,
        dedupe_key: str | None = None,
    ) -> Task:
        """Queue a task.

        Args:
            tenant: whose.
            kind: what it does.
            dataset_id: what it reads or fills.
            modality: of the samples.
            engine: that assesses them.
            options: as the client gave them.
            source: where the samples come from.
            total: how many there are, where that is known.
            is_listed: whether the chunks are written by the caller.
            task_id: an identifier to use.
            begin: False: it waits until somebody resumes it.
            dedupe_key: at most one live task of the tenant has it.

        Raises:
            DuplicateJob: there is one.
        """
        row = TaskRow(
            id=task_id or uuid4(),
            tenant=tenant,
            kind=kind,
            dataset_id=dataset_id,
            modality=modality,
            engine=engine,
            options=dict(options or {}),
            source=dict(source or {}),
            total=total,
            is_listed=is_listed,
            dedupe_key=dedupe_key,
        )
        await TASKS.add(self._session, row)
        if not begin:
            await TASKS.pause(self._session, row.id)
        return await self.get(TaskId(row.id), tenant)

    async def get(self, task_id: TaskId, tenant: Tenant | None) -> Task:
        """The tenant's task, or anybody's when there is no tenant; raises `ScanNotFound`."""
        query = _tasks().where(TaskRow.id == task_id)
        if tenant is not None:
            query = query.where(TaskRow.tenant == tenant)
        row = (await self._session.execute(query)).one_or_none()
        if row is None:
            raise ScanNotFound
        return _to_task(row)

    async def tasks(
        self,
        tenant: Tenant,
        *,
        kind: Kind | None = None,
        statuses: Sequence[str] = (),
        before: int | None = None,
        limit: int | None = None,
        dataset_id: DatasetId | None = None,
    ) -> list[Task]:
        """The tenant's tasks, newest first."""
        query = _tasks().where(TaskRow.tenant == tenant).order_by(TaskRow.number.desc())
        if kind is not None:
            query = query.where(TaskRow.kind == kind)
        if statuses:
            query = query.where(TaskRow.status.in_(statuses))
        if before is not None:
            query = query.where(TaskRow.number < before)
        if dataset_id is not None:
            query = query.where(TaskRow.dataset_id == dataset_id)
        rows = await self._session.execute(query.limit(limit))
        return [_to_task(row) for row in rows]

    async def waiting(self, tenant: Tenant) -> list[Task]:
        """The tenant's tasks that wait, the next one first."""
        query = (
            _tasks()
            .where(TaskRow.tenant == tenant, TaskRow.status == JobStatus.QUEUED)
            .order_by(TaskRow.priority.desc(), TaskRow.queued_at, TaskRow.id)
        )
        return [_to_task(row) for row in await self._session.execute(query)]

    async def delete_task(self, task_id: TaskId) -> None:
        """Forget a task and its chunks; its profiles stay."""
        await self._session.execute(delete(TaskRow).where(TaskRow.id == task_id))

    async def set_options(self, task_id: TaskId, options: Mapping[str, Any]) -> None:
        """Change what a task is to do."""
        await self._session.execute(
            update(TaskRow).where(TaskRow.id == task_id).values(options=dict(options))
        )

    # Datasets.

    async def open_dataset(
        self,
        tenant: Tenant,
        name: str | None,
        *,
        modality: Modality | None,
        options: Mapping[str, Any],
        new_id: DatasetId | None = None,
    ) -> DatasetId:
        """The tenant's dataset of this name, made if there is none; None makes a new one."""
        id_ = new_id or DatasetId(uuid4())
        made = await self._session.scalar(
            insert(DatasetRow)
            .values(
                id=id_,
                tenant=tenant,
                name=name or str(id_),
                modality=modality,
                options=dict(options),
            )
            .on_conflict_do_update(
                index_elements=["tenant", "name"],
                set_={"modified_at": func.now(), "options": dict(options), "modality": modality},
            )
            .returning(DatasetRow.id)
        )
        assert made is not None
        return DatasetId(made)

    async def find_dataset(self, tenant: Tenant, name: str) -> Dataset | None:
        """The tenant's dataset of this name."""
        found = await self.datasets(tenant, name=name)
        return found[0] if found else None

    async def get_dataset(self, tenant: Tenant, name: str) -> Dataset:
        """The tenant's dataset of this name; raises `DatasetNotFound`."""
        found = await self.find_dataset(tenant, name)
        if found is None:
            raise DatasetNotFound
        return found

    async def datasets(self, tenant: Tenant, *, name: str | None = None) -> list[Dataset]:
        """The tenant's datasets, oldest first."""
        samples = (
            select(func.count())
            .where(ProfileRow.dataset_id == DatasetRow.id)
            .correlate(DatasetRow)
            .scalar_subquery()
        )
        query = (
            select(DatasetRow, samples.label("samples"))
            .where(DatasetRow.tenant == tenant)
            .order_by(DatasetRow.created_at, DatasetRow.id)
        )
        if name is not None:
            query = query.where(DatasetRow.name == name)
        return [
            Dataset(
                id=DatasetId(row.id),
                tenant=Tenant(row.tenant),
                name=row.name,
                modality=None if row.modality is None else Modality(row.modality),
                options=row.options,
                created_at=row.created_at,
                modified_at=row.modified_at,
                samples=count,
            )
            for row, count in await self._session.execute(query)
        ]

    async def delete_dataset(self, dataset_id: DatasetId) -> None:
        """Forget a dataset with everything that belongs to it."""
        await self._session.execute(delete(DatasetRow).where(DatasetRow.id == dataset_id))

    async def purge(self, tenant: Tenant, *, everybody: bool) -> None:
        """Forget everything of a tenant, or of everybody."""
        for row in (TaskRow, DatasetRow):
            statement = delete(row)
            if not everybody:
                statement = statement.where(row.tenant == tenant)
            await self._session.execute(statement)

    # Chunks and reports.

    async def add_chunks(
        self, task_number: int, first: int, files: Sequence[tuple[str, str]], *, size: int
    ) -> None:
        """Write the files of a scan, from the position `first` on, each a name and a key."""
        rows = [
            {
                "task_number": task_number,
                "number": (first + start) // size,
                "first_position": first + start,
                "files": [name for name, _ in files[start : start + size]],
                "keys": [key for _, key in files[start : start + size]],
            }
            for start in range(0, len(files), size)
        ]
        if rows:
            await self._session.execute(insert(ChunkRow), rows)

    async def put_report(self, dataset_id: DatasetId, task_id: TaskId, sha256: str) -> None:
        """Remember where the dataset's report is."""
        values = {"task_id": task_id, "sha256": sha256, "created_at": func.now()}
        await self._session.execute(
            insert(ReportRow)
            .values(dataset_id=dataset_id, **values)
            .on_conflict_do_update(index_elements=["dataset_id"], set_=values)
        )

    async def find_report(self, dataset_id: DatasetId) -> str | None:
        """The object that holds the dataset's report."""
        found: str | None = await self._session.scalar(
            select(ReportRow.sha256).where(ReportRow.dataset_id == dataset_id)
        )
        return found

    async def delete_report(self, dataset_id: DatasetId) -> bool:
        """Forget the report; whether there was one."""
        deleted = await self._session.execute(
            delete(ReportRow)
            .where(ReportRow.dataset_id == dataset_id)
            .returning(ReportRow.dataset_id)
        )
        return deleted.one_or_none() is not None

    async def referenced(self, sha256s: Sequence[str]) -> set[str]:
        """Which of these objects a task or a report refers to."""
        kept = await self._session.scalars(
            select(func.unnest(ChunkRow.keys)).where(ChunkRow.keys.overlap(list(sha256s)))
        )
        reports = await self._session.scalars(
            select(ReportRow.sha256).where(ReportRow.sha256.in_(sha256s))
        )
        return {*kept, *reports} & set(sha256s)

    async def is_any_live(self, tenant: Tenant, kind: Kind) -> bool:
        """Whether the tenant has a task of this kind that is not finished."""
        found = await self._session.scalar(
            select(TaskRow.id)
            .where(TaskRow.tenant == tenant, TaskRow.kind == kind, TaskRow.status.in_(LIVE))
            .limit(1)
        )
        return found is not None


def _tasks() -> Any:
    return select(TaskRow, DatasetRow.name.label("dataset_name")).outerjoin(
        DatasetRow, DatasetRow.id == TaskRow.dataset_id
    )


def _to_task(found: Any) -> Task:
    row: TaskRow = found[0]
    dataset_id: UUID | None = row.dataset_id
    return Task(
        id=TaskId(row.id),
        number=row.number,
        kind=Kind(row.kind),
        tenant=Tenant(row.tenant),
        dataset_id=None if dataset_id is None else DatasetId(dataset_id),
        dataset_name=found[1],
        modality=None if row.modality is None else Modality(row.modality),
        engine=row.engine,
        options=row.options,
        source=row.source,
        status=row.status,
        progress=Progress(row.total, row.done, row.failed, row.elapsed_s),
        pause_requested=row.pause_requested,
        cancel_requested=row.cancel_requested,
        error_code=row.error_code,
        error=row.error,
        result=row.result,
        created_at=row.created_at,
        modified_at=row.modified_at,
        finished_at=row.finished_at,
    )
