"""The scan of a folder on this machine, into a file of JSON lines."""

import asyncio
import json
import time
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from services.bqat.crew import Crew, Order
from services.bqat.domain import Measured, Modality, Sample, Wanted
from services.bqat.settings import Settings
from services.bqat.sources import DataFolder, SampleUnreadable
from shared.cores import usable_cores

_AHEAD = 2


class Shown(Protocol):
    """What draws the progress bar."""

    def __call__(self, **what: Any) -> None:
        """Draw."""


class ScanHere:
    """One run of `vedette bqat scan`."""

    def __init__(
        self,
        folder: Path,
        modality: Modality,
        engine: str | None,
        wanted: Wanted,
        output: Path,
        processes: int | None,
        *,
        module: str = "services.bqat.assessing",
    ) -> None:
        """Prepare.

        Args:
            folder: what is scanned.
            modality: of its samples.
            engine: that assesses them.
            wanted: which of its files.
            output: JSON lines; what it holds is not assessed again.
            processes: how many at once; unset: as the settings say.
            module: what the processes run.
        """
        settings = Settings()
        self._data = DataFolder(folder, max_file_bytes=settings.bqat_max_file_bytes)
        self._order = Order(modality, engine, {})
        self._wanted = wanted
        self._output = output
        self._crew = Crew(
            processes or settings.bqat_processes or usable_cores(),
            timeout_s=settings.bqat_file_timeout_s,
            memory_bytes=settings.bqat_process_memory_bytes,
            home=settings.home,
            module=module,
        )
        self.done = 0

    async def run(self, show: Shown) -> int:
        """Assess what is not in the output yet; how many samples have no profile.

        Args:
            show: draws how far it is.
        """
        names = list(self._data.files(PurePosixPath(), self._wanted))
        finished = self._finished()
        left = [name for name in names if name not in finished]
        self.done = len(names) - len(left)
        show(description="assessing", total=len(names), completed=self.done, pace="")
        failed = 0
        slots = asyncio.Semaphore(self._crew.size * _AHEAD)
        begun = time.monotonic()
        with self._output.open("a", encoding="utf-8") as file:

            async def assess(position: int, name: str) -> None:
                nonlocal failed
                try:
                    measured = await self._assess(Sample(position, name, name))
                finally:
                    slots.release()
                document = measured.to_document() | {"evidence": measured.evidence}
                file.write(json.dumps(document) + "\n")
                failed += measured.failure is not None
                self.done += 1
                pace = (self.done - (len(names) - len(left))) / (time.monotonic() - begun)
                show(completed=self.done, pace=f"{pace:.1f}/s")

            async with self._crew, asyncio.TaskGroup() as group:
                for position, name in enumerate(left):
                    await slots.acquire()
                    group.create_task(assess(position, name))
        return failed

    async def _assess(self, sample: Sample) -> Measured:
        try:
            content = await self._data.read(sample.key)
        except SampleUnreadable as error:
            return Measured(sample, {}, "rules", failure=str(error))
        return await self._crew.assess(self._order, sample, content)

    def _finished(self) -> set[str]:
        """The samples that the output holds; a line that was broken off is cut away."""
        if not self._output.exists():
            return set()
        content = self._output.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) != len(content):
            self._output.write_bytes(whole)
        return {str(json.loads(line)["file"]) for line in whole.splitlines()}
