"""The scan of a dataset: files are listed once, assessed in chunks, and kept as they are done.

A scan that is killed goes on where it was: the list of files stands in its chunks, and a position
that has a profile is not assessed again. In memory are a chunk and what the crew has at hand.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.bqat.crew import Crew, CrewFailed, Order
from services.bqat.domain import DatasetId, Measured, Sample, SourceKind, Task, wanted_files
from services.bqat.errors import InputRefused
from services.bqat.profiles import ProfileRepository
from services.bqat.repository import TaskRepository
from services.bqat.sources import (
    DATA_PREFIX,
    DataFolder,
    ObjectPrefix,
    SampleUnreadable,
    Source,
    StoredFiles,
    relative_name,
)
from services.bqat.tables import ChunkRow, TaskRow
from shared.jobs import Claim, JobFailed, RetryLater

log = structlog.get_logger(__name__)

#: Profiles are written this often, so that progress is seen and little is lost.
_WRITE_EVERY_S: Final = 2.0
#: Files that are read ahead of the crew, for each of its processes.
_AHEAD: Final = 2
_CHUNKS_AT_ONCE: Final = 20


@dataclass(frozen=True, slots=True)
class _Chunk:
    number: int
    samples: tuple[Sample, ...]


class Scanner:
    """Does scans."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        crew: Crew,
        data: DataFolder,
        stored: StoredFiles,
        inputs: ObjectPrefix | None,
        *,
        chunk_files: int,
    ) -> None:
        self._sessions = sessions
        self._crew = crew
        self._data = data
        self._stored = stored
        self._inputs = inputs
        self._chunk_files = chunk_files

    async def run(self, claim: Claim, task: Task) -> Mapping[str, Any] | None:
        """Do one scan, or go on with it."""
        if task.modality is None or task.dataset_id is None:
            raise JobFailed("no-modality", "The scan has no modality or no dataset.")
        if not await self._is_listed(task):
            await self._list_files(claim, task)
        order = Order(task.modality, task.engine, task.options)
        source = self._source(task)
        while (chunk := await self._next_chunk(task)) is not None:
            try:
                await self._scan(claim, task, task.dataset_id, order, source, chunk)
            except CrewFailed as error:
                raise RetryLater(str(error)) from error
        async with claim.effect() as effect:
            # Biometric samples are not kept for longer than they are needed.
            if task.source.get("kind") == SourceKind.UPLOAD:
                await effect.session.execute(
                    update(ChunkRow).where(ChunkRow.task_number == task.number).values(keys=[])
                )
            await effect.set(modified_at=func.now())
            await effect.complete()
        return None

    # Listing.

    async def _is_listed(self, task: Task) -> bool:
        async with self._sessions() as session:
            return bool(
                await session.scalar(select(TaskRow.is_listed).where(TaskRow.id == task.id))
            )

    async def _list_files(self, claim: Claim, task: Task) -> None:
        """Write the list of files; a list that was broken off is begun anew."""
        async with claim.effect() as effect:
            await effect.session.execute(
                delete(ChunkRow).where(ChunkRow.task_number == task.number)
            )
        count = 0
        try:
            pending: list[tuple[str, str]] = []
            async for found in self._files(task):
                pending.append(found)
                if len(pending) == self._chunk_files * _CHUNKS_AT_ONCE:
                    await self._write_list(claim, task, count, pending)
                    count += len(pending)
                    pending = []
            await self._write_list(claim, task, count, pending)
            count += len(pending)
        except InputRefused as error:
            raise JobFailed("input-refused", error.detail) from error
        async with claim.effect() as effect:
            await effect.set(total=count, is_listed=True)
        log.info("scan_listed", task=str(task.id), files=count)

    async def _write_list(
        self, claim: Claim, task: Task, first: int, files: list[tuple[str, str]]
    ) -> None:
        async with claim.effect() as effect:
            await TaskRepository(effect.session).add_chunks(
                task.number, first, files, size=self._chunk_files
            )

    async def _files(self, task: Task) -> AsyncIterator[tuple[str, str]]:
        """The names and keys of the files of a scan, in an order that is always the same."""
        assert task.modality is not None
        wanted = wanted_files(task.modality, task.options)
        kind, where = task.source.get("kind"), task.source.get("path")
        if kind == SourceKind.FOLDER:
            names = self._data.files(relative_name(str(where)), wanted)
            while batch := await asyncio.to_thread(_take, names, self._chunk_files):
                for name in batch:
                    yield f"{DATA_PREFIX}/{name}", name
        elif kind == SourceKind.FILES:
            for text in task.source.get("names", ()):
                file = relative_name(str(text))
                yield f"{DATA_PREFIX}/{file}", str(file)
        elif kind == SourceKind.OBJECTS and self._inputs is not None:
            async for name in self._inputs.names(str(where), wanted):
                yield name, name
        else:
            raise InputRefused("This source of samples is not configured.")

    def _source(self, task: Task) -> Source:
        kind = task.source.get("kind")
        if kind == SourceKind.UPLOAD:
            return self._stored
        if kind == SourceKind.OBJECTS:
            if self._inputs is None:
                raise JobFailed("input-refused", "No object store is configured for scans.")
            return self._inputs
        return self._data

    # Assessing.

    async def _next_chunk(self, task: Task) -> _Chunk | None:
        """The first chunk that is not done, without what of it is done."""
        async with self._sessions() as session:
            row = await session.scalar(
                select(ChunkRow)
                .where(ChunkRow.task_number == task.number, ChunkRow.is_done.is_(False))
                .order_by(ChunkRow.number)
                .limit(1)
            )
            if row is None:
                return None
            done = await ProfileRepository(session).positions(
                task.number, row.first_position, len(row.files)
            )
        samples = (
            Sample(row.first_position + offset, file, key)
            for offset, (file, key) in enumerate(zip(row.files, row.keys, strict=True))
        )
        return _Chunk(row.number, tuple(each for each in samples if each.position not in done))

    async def _scan(
        self,
        claim: Claim,
        task: Task,
        dataset_id: DatasetId,
        order: Order,
        source: Source,
        chunk: _Chunk,
    ) -> None:
        """Assess a chunk; profiles are written every few seconds and at its end."""
        slots = asyncio.Semaphore(self._crew.size * _AHEAD)
        done: list[Measured] = []

        async def assess(sample: Sample) -> None:
            try:
                done.append(await self._assess(order, source, sample))
            finally:
                slots.release()

        written_at = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                for sample in chunk.samples:
                    await slots.acquire()
                    group.create_task(assess(sample))
                    now = time.monotonic()
                    if now - written_at >= _WRITE_EVERY_S:
                        batch, done[:] = list(done), []
                        await self._write(claim, task, dataset_id, batch, now - written_at)
                        written_at = now
        except ExceptionGroup as failures:
            # One of them is the cause; the others are what it cut off.
            raise failures.exceptions[0] from failures
        await self._write(
            claim, task, dataset_id, done, time.monotonic() - written_at, ends=chunk.number
        )

    async def _assess(self, order: Order, source: Source, sample: Sample) -> Measured:
        try:
            content = await source.read(sample.key)
        except SampleUnreadable as error:
            why = str(error)
            return Measured(sample, {}, "rules", (f"load image: {why}",), failure=why)
        return await self._crew.assess(order, sample, content)

    async def _write(
        self,
        claim: Claim,
        task: Task,
        dataset_id: DatasetId,
        measured: list[Measured],
        seconds: float,
        *,
        ends: int | None = None,
    ) -> None:
        """Keep profiles, and say how far the scan is, in one transaction."""
        async with claim.effect() as effect:
            added, failed = 0, 0
            if measured:
                added, failed = await ProfileRepository(effect.session).add(
                    dataset_id, task.number, measured
                )
            if ends is not None:
                await effect.session.execute(
                    update(ChunkRow)
                    .where(ChunkRow.task_number == task.number, ChunkRow.number == ends)
                    .values(is_done=True)
                )
            done = TaskRow.done + added
            await effect.set(
                done=done,
                failed=TaskRow.failed + failed,
                elapsed_s=TaskRow.elapsed_s + seconds,
                progress=func.least(1.0, done / func.greatest(1.0, TaskRow.total * 1.0)),
                modified_at=func.now(),
            )


def _take(names: Iterator[str], count: int) -> list[str]:
    """The next few of an iterator that waits for the disk."""
    taken = []
    for name in names:
        taken.append(name)
        if len(taken) == count:
            break
    return taken
