"""What callers do with scans and datasets, told in the order in which it happens."""

import asyncio
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.bqat import archives
from services.bqat.analysing import Analyst, load_table
from services.bqat.crew import Crew, Order
from services.bqat.domain import (
    Dataset,
    DatasetId,
    Detector,
    Kind,
    Measured,
    Modality,
    OptionsRefused,
    Sample,
    SourceKind,
    Task,
    TaskId,
    Tenant,
    safe_file_name,
    wanted_files,
)
from services.bqat.errors import (
    InputRefused,
    NothingToAnalyse,
    NotPossibleNow,
    ScanNotFound,
    StillWorking,
)
from services.bqat.profiles import ProfileRepository
from services.bqat.reporting import Subject
from services.bqat.repository import TaskRepository
from services.bqat.settings import Settings
from services.bqat.sources import DataFolder, relative_name
from services.bqat.tables import KEYS, TASKS
from services.bqat.uploads import Stored
from shared.idempotency import Repeatable
from shared.jobs import DuplicateJob, JobFailed, JobStatus, Outcome
from shared.objects import ObjectNotFound, Objects

_LOOK_EVERY_S: Final = 0.05
_FINISHED: Final = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})


@dataclass(frozen=True, slots=True)
class ScanOrder:
    """A scan that is wanted."""

    tenant: Tenant
    modality: Modality
    engine: str | None = None
    options: Mapping[str, Any] | None = None
    dataset: str | None = None
    """The dataset that it fills; None makes a new one."""
    begin: bool = True
    id: TaskId = field(default_factory=lambda: TaskId(uuid4()))
    """The scan's, unless the same request has begun one before."""
    repeatable: Repeatable | None = None
    """How the same request is told when it comes again."""


@dataclass(frozen=True, slots=True)
class Scans:
    """Scans, and what is made of them."""

    sessions: async_sessionmaker[AsyncSession]
    objects: Objects
    data: DataFolder
    crew: Crew
    analyst: Analyst
    settings: Settings

    # Beginning.

    async def scan_files(self, order: ScanOrder, files: Sequence[Stored], *, prefix: str) -> Task:
        """Scan uploaded files.

        Raises:
            InputRefused: there is none, or the options cannot be followed.
        """
        self._check(order)
        if not files:
            raise InputRefused("There is no file to scan.")
        source = {"kind": SourceKind.UPLOAD, "path": prefix}
        return await self._begin(
            order, source, files=[(f"{prefix}{f.name}", f.sha256) for f in files]
        )

    async def scan_folder(self, order: ScanOrder, path: str) -> Task:
        """Scan a folder below the data root; its files are listed by the scan itself.

        Raises:
            InputRefused: there is no such folder, or the options cannot be followed.
        """
        self._check(order)
        name = relative_name(path)
        kind = await asyncio.to_thread(self.data.kind_of, name)
        if kind is None:
            raise InputRefused(f"folder '{path}' not exist")
        if kind != "folder":
            raise InputRefused(f"path to '{path}' is not a folder")
        return await self._begin(order, {"kind": SourceKind.FOLDER, "path": path})

    async def scan_names(self, order: ScanOrder, names: Sequence[str]) -> Task:
        """Scan files below the data root, by name.

        Raises:
            InputRefused: one of them is not there, or there is none.
        """
        self._check(order)
        if not names:
            raise InputRefused("empty input")
        for name in names:
            if await asyncio.to_thread(self.data.kind_of, relative_name(name)) != "file":
                raise InputRefused(f"file '{name}' not exist")
        return await self._begin(order, {"kind": SourceKind.FILES, "names": list(names)})

    async def scan_objects(self, order: ScanOrder, prefix: str) -> Task:
        """Scan what lies below a prefix of the configured object store.

        Raises:
            InputRefused: none is configured.
        """
        self._check(order)
        if self.settings.bqat_inputs_url is None:
            raise InputRefused("No object store is configured for scans.")
        relative_name(f"data/{prefix}")
        return await self._begin(order, {"kind": SourceKind.OBJECTS, "path": prefix})

    async def find_begun(self, order: ScanOrder) -> Task | None:
        """The scan that the same request has begun before.

        Raises:
            IdempotencyKeyReused: another request came with the key.
        """
        if (same := order.repeatable) is None:
            return None
        async with self.sessions() as session:
            found = await KEYS.find(session, order.tenant, same.key, same.request_sha256)
            if found is None:
                return None
            return await TaskRepository(session).get(TaskId(found), order.tenant)

    def _check(self, order: ScanOrder) -> None:
        try:
            wanted_files(order.modality, order.options or {})
        except OptionsRefused as error:
            raise InputRefused(str(error)) from error

    async def _begin(
        self,
        order: ScanOrder,
        source: Mapping[str, Any],
        *,
        files: Sequence[tuple[str, str]] | None = None,
    ) -> Task:
        task_id = order.id
        async with self.sessions.begin() as session:
            tasks = TaskRepository(session)
            if (same := order.repeatable) is not None:
                claimed = await KEYS.claim(
                    session, order.tenant, same.key, same.request_sha256, task_id
                )
                if claimed != task_id:
                    return await tasks.get(TaskId(claimed), order.tenant)
            # A new dataset has the name of its scan; the old API's clients read it from the task.
            dataset_id = await tasks.open_dataset(
                order.tenant,
                order.dataset or str(task_id),
                modality=order.modality,
                options={"mode": order.modality, **(order.options or {})},
                new_id=DatasetId(task_id),
            )
            task = await tasks.add_task(
                order.tenant,
                Kind.SCAN,
                dataset_id=dataset_id,
                modality=order.modality,
                engine=order.engine,
                options=order.options,
                source=source,
                total=None if files is None else len(files),
                is_listed=files is not None,
                task_id=task_id,
                begin=order.begin,
            )
            if files is not None:
                size = self.settings.bqat_chunk_files
                await tasks.add_chunks(task.number, 0, files, size=size)
            return task

    async def unpack(self, archive: BinaryIO, name: str) -> str:
        """Unpack an archive into a new folder below the data root; the folder's name.

        Raises:
            ArchiveRefused: it is none, or holds what is not unpacked.
        """
        stem = safe_file_name(name).rpartition(".")[0] or "dataset"
        plain = "".join(c if c.isalnum() or c in "-_" else "_" for c in stem)[:60]
        return await asyncio.to_thread(self._unpack, archive, plain or "dataset")

    def _unpack(self, archive: BinaryIO, stem: str) -> str:
        parent = self.data.root / "uploaded"
        parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder = parent / stem
        try:
            folder.mkdir(mode=0o755)
        except FileExistsError:
            folder = parent / f"{stem}_{uuid4().hex[:8]}"
            folder.mkdir(mode=0o755)
        try:
            archives.unpack(
                archive,
                folder,
                max_files=self.settings.bqat_max_archive_files,
                max_bytes=self.settings.bqat_max_archive_bytes,
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return f"uploaded/{folder.name}"

    async def assess(
        self,
        modality: Modality,
        content: bytes,
        *,
        file_name: str,
        engine: str | None,
        options: Mapping[str, Any] | None = None,
    ) -> Measured:
        """One sample, at once; nothing of it is kept."""
        sample = Sample(0, safe_file_name(file_name), "")
        return await self.crew.assess(Order(modality, engine, options or {}), sample, content)

    # Steering.

    async def find(self, task_id: TaskId, tenant: Tenant) -> Task:
        """The tenant's task; raises `ScanNotFound`."""
        async with self.sessions() as session:
            return await TaskRepository(session).get(task_id, tenant)

    async def steer(self, task_id: TaskId, tenant: Tenant, wish: str) -> Task:
        """Do what is wished: `pause`, `resume`, `cancel` or `front`.

        Raises:
            ScanNotFound: the tenant has no such task.
            NotPossibleNow: the task is in a state that the wish does not fit.
        """
        wishes = {
            "pause": TASKS.pause,
            "resume": TASKS.resume,
            "cancel": TASKS.cancel,
            "front": TASKS.move_to_front,
        }
        async with self.sessions.begin() as session:
            tasks = TaskRepository(session)
            task = await tasks.get(task_id, tenant)
            if await wishes[wish](session, task_id) is Outcome.NOT_NOW:
                raise NotPossibleNow(f"The task is {task.status}.")
            return await tasks.get(task_id, tenant)

    async def delete(self, task_id: TaskId, tenant: Tenant) -> None:
        """Forget a task that has ended, with its dataset where it alone filled it.

        Raises:
            ScanNotFound: the tenant has no such task.
            NotPossibleNow: somebody works on it; cancel it first.
        """
        async with self.sessions.begin() as session:
            tasks = TaskRepository(session)
            task = await tasks.get(task_id, tenant)
            if task.status == JobStatus.RUNNING:
                raise NotPossibleNow("The task is running; cancel it first.")
            await TASKS.cancel(session, task_id)
            if task.dataset_id is not None:
                others = await tasks.tasks(tenant, kind=Kind.SCAN, dataset_id=task.dataset_id)
                if all(other.id == task_id for other in others):
                    await tasks.delete_dataset(task.dataset_id)
            await tasks.delete_task(task_id)

    # Outliers and reports.

    async def detect(
        self,
        dataset: Dataset,
        *,
        detector: Detector = Detector.ECOD,
        columns: Sequence[str] | None = None,
        contamination: float | None = None,
        begin: bool = True,
    ) -> Task:
        """Look for the outliers of a dataset, as a task."""
        options = {
            "detector": detector,
            "columns": list(columns or ()) or None,
            "contamination": contamination,
        }
        return await self._task_of(dataset, Kind.OUTLIERS, options, begin=begin)

    async def write_report(
        self,
        dataset: Dataset,
        *,
        minimal: bool = False,
        downsample: float | None = None,
        begin: bool = True,
    ) -> Task:
        """Write the report of a dataset, as a task."""
        options = {"minimal": minimal, "downsample": downsample}
        return await self._task_of(dataset, Kind.REPORT, options, begin=begin)

    async def _task_of(
        self, dataset: Dataset, kind: Kind, options: Mapping[str, Any], *, begin: bool
    ) -> Task:
        async with self.sessions.begin() as session:
            tasks = TaskRepository(session)
            try:
                return await tasks.add_task(
                    dataset.tenant,
                    kind,
                    dataset_id=dataset.id,
                    modality=dataset.modality,
                    options=options,
                    begin=begin,
                    dedupe_key=f"{kind}:{dataset.id}",
                )
            except DuplicateJob as same:
                live = await tasks.get(TaskId(same.job_id), dataset.tenant)
                if live.status in (JobStatus.QUEUED, JobStatus.PAUSED):
                    await tasks.set_options(live.id, options)
                return live

    async def wait(self, task: Task) -> Task:
        """The task when it has ended, or as it is after the time that a request may wait."""
        until = time.monotonic() + self.settings.bqat_wait_s
        while task.status not in _FINISHED and time.monotonic() < until:
            await asyncio.sleep(_LOOK_EVERY_S)
            task = await self.find(task.id, task.tenant)
        return task

    async def require(self, task: Task) -> None:
        """Wait for what a task makes.

        Raises:
            StillWorking: it takes longer than a request may wait.
            NothingToAnalyse: it cannot be made.
        """
        try:
            ended = await self.wait(task)
        except ScanNotFound as error:
            raise NothingToAnalyse("It was deleted meanwhile.") from error
        if ended.status == JobStatus.FAILED:
            raise NothingToAnalyse(ended.error or "It cannot be made.")
        if ended.status != JobStatus.COMPLETED:
            raise StillWorking("It is being made; ask again in a few seconds.")

    async def report_of(self, dataset: Dataset) -> bytes | None:
        """The report of a dataset, where one was written."""
        async with self.sessions() as session:
            sha256 = await TaskRepository(session).find_report(dataset.id)
        if sha256 is None:
            return None
        try:
            return await self.objects.get(sha256)
        except ObjectNotFound:
            return None

    async def compare(self, one: Dataset, other: Dataset) -> bytes:
        """A report of one dataset compared with another; made at once and not kept.

        Raises:
            NothingToAnalyse: one of them has no profile.
        """
        tables = [await load_table(self.sessions, each.id) for each in (one, other)]
        if not all(table.rows for table in tables):
            raise NothingToAnalyse("A dataset without a profile cannot be compared.")
        try:
            return await self.analyst.page(
                Subject(one.name, one.modality),
                tables[0],
                {},
                other=(Subject(other.name, other.modality), tables[1]),
            )
        except JobFailed as error:
            raise NothingToAnalyse(error.detail) from error

    async def evidence_of(self, dataset_id: DatasetId) -> str:
        """The weakest evidence level of a dataset's profiles."""
        async with self.sessions() as session:
            levels = await ProfileRepository(session).weakest_evidence(dataset_id)
        order = ("rules", "demo", "research", "validated")
        known = [level for level in levels if level in order]
        return min(known, key=order.index, default="rules")
