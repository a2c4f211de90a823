"""What a worker does with a queued slide: view, scan, sum up, with a checkpoint now and then."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import numpy as np
import structlog
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.scancer.catalogue import Catalogue
from services.scancer.errors import ModelNotFound, NoWorkers, VersionNotFound
from services.scancer.slides.domain import Looker, SlideId, SlideJob
from services.scancer.slides.errors import SlideTooLarge, UnreadableSlide
from services.scancer.slides.findings import summarise
from services.scancer.slides.reading import Bounds, open_slide
from services.scancer.slides.repository import SlideRepository, pack_grid
from services.scancer.slides.scanning import View, empty_grid, scan, view_of
from shared.imaging import DecodePool, to_jpeg
from shared.inference import EngineBusy, InferenceDeadline, Network, Priority
from shared.inference.answers import probabilities
from shared.jobs import Claim, Failure, JobFailed, RetryLater
from shared.objects import LargeObjects, ObjectNotFound

log = structlog.get_logger(__name__)

#: Patches that are given to the engine at once; others' pictures run between them.
_BATCH: Final = 16
_BATCH_DEADLINE_S: Final = 120.0
_BUSY_PAUSES_S: Final = (0.05, 0.2, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class SlideHandler:
    """See `JobHandler`."""

    sessions: async_sessionmaker[AsyncSession]
    objects: LargeObjects
    catalogue: Catalogue
    decoder: DecodePool
    bounds: Bounds
    scratch: Path
    checkpoint_every_s: float

    async def run(self, claim: Claim) -> Mapping[str, Any] | None:
        """Look at one slide, from where the last worker left it."""
        async with self.sessions.begin() as session:
            repository = SlideRepository(session)
            job = await repository.get(SlideId(claim.job_id), None)
            grid = await repository.grid_of(job)
        try:
            async with AsyncExitStack() as opened:
                path = await opened.enter_async_context(
                    self.objects.as_file(job.file.sha256, self.scratch)
                )
                slide = await opened.enter_async_context(
                    open_slide(path, self.decoder, self.bounds)
                )
                view = await view_of(slide, job.region)
                await self._keep_view(claim, job, view)
                if grid is None:
                    grid = empty_grid(job.plan)
                looking = scan(
                    slide,
                    job.plan,
                    view,
                    grid,
                    self._judge(job.looker),
                    first_block=job.blocks_done,
                )
                await self._follow(claim, job, grid, looking)
        except ObjectNotFound as error:
            raise JobFailed("slide-lost", "The slide is not in the object store.") from error
        except (UnreadableSlide, SlideTooLarge) as error:
            raise JobFailed(error.slug, error.detail) from error
        summary = summarise(grid, job.plan, job.looker.operating_point, job.mpp_um)
        async with claim.effect() as effect:
            await effect.set(grid=pack_grid(grid), blocks_done=len(job.plan.blocks))
            await effect.complete(asdict(summary))
        log.info(
            "slide_scanned",
            slide_id=str(job.id),
            judged=summary.judged,
            refused=summary.refused,
            positive=summary.positive,
        )
        return None

    async def on_failed(self, session: AsyncSession, job_id: UUID, failure: Failure) -> None:
        """Nothing goes with it: what was seen stays in the row."""
        log.warning("slide_failed", slide_id=str(job_id), code=failure.code)

    async def on_cancelled(self, session: AsyncSession, job_id: UUID) -> None:
        """Nothing goes with it: what was seen stays in the row."""

    async def _keep_view(self, claim: Claim, job: SlideJob, view: View) -> None:
        """Keep the small picture of the slide, so that it can be shown at once."""
        if job.view_sha256 is None:
            picture = await asyncio.to_thread(to_jpeg, view.pixels)
            sha256 = await self.objects.put(picture)
            await claim.progress(job.progress, view_sha256=sha256)

    async def _follow(
        self, claim: Claim, job: SlideJob, grid: NDArray[np.uint8], looking: Any
    ) -> None:
        """Write down how far it is, every few seconds."""
        blocks = len(job.plan.blocks)
        written_at = time.monotonic()
        async for done in looking:
            if time.monotonic() - written_at >= self.checkpoint_every_s:
                packed = await asyncio.to_thread(pack_grid, grid)
                await claim.progress(done / blocks, grid=packed, blocks_done=done)
                written_at = time.monotonic()

    def _judge(self, looker: Looker) -> "_Judge":
        return _Judge(self.catalogue, looker)


class _Judge:
    """Asks the network that the job was queued for, in its turn behind those who wait."""

    def __init__(self, catalogue: Catalogue, looker: Looker) -> None:
        self._catalogue = catalogue
        self._looker = looker

    async def __call__(self, patches: NDArray[np.uint8]) -> NDArray[np.float64]:
        """From patches `(N, side, side, 3)` to probabilities `(N,)`."""
        found = [
            await self._batch(patches[start : start + _BATCH])
            for start in range(0, len(patches), _BATCH)
        ]
        return np.concatenate(found)

    async def _batch(self, patches: NDArray[np.uint8]) -> NDArray[np.float64]:
        looker = self._looker
        try:
            version = await self._catalogue.get(looker.name, looker.registered_version)
            served = version.require_served()
        except (ModelNotFound, VersionNotFound) as error:
            raise JobFailed("model-gone", error.detail) from error
        except NoWorkers as error:
            raise RetryLater(error.detail, delay_s=10) from error
        with served.use() as network:
            if network.manifest.sha256 != looker.sha256:
                raise JobFailed(
                    "model-changed", f"{looker.name} is another network than when this was queued."
                )
            return await _probabilities(network, patches)


async def _probabilities(network: Network, patches: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Run a batch, patiently: interactive requests come first."""
    manifest, preprocess = network.manifest, network.package.preprocess
    tensor = await asyncio.to_thread(lambda: np.stack([preprocess(patch) for patch in patches]))
    for pause_s in (*_BUSY_PAUSES_S, None):
        try:
            outputs = await network.run(
                tensor, deadline_s=_BATCH_DEADLINE_S, priority=Priority.BATCH
            )
            break
        except (EngineBusy, InferenceDeadline) as error:
            if pause_s is None:
                raise RetryLater("The network is busy with other requests.") from error
            await asyncio.sleep(pause_s)
    positive = manifest.output.positive
    assert positive is not None
    rows = outputs[manifest.output.name]
    return np.array([probabilities(manifest, row)[positive] for row in rows])
