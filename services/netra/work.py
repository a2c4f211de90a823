"""What a worker does with a queued analysis: fetch, decode, look, write."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

import structlog
from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.netra.announcing import announce
from services.netra.domain import Analysis, AnalysisId, sentences_for
from services.netra.repositories.analyses import AnalysisRepository
from services.netra.repositories.ledger import Ledger
from services.netra.stored import to_json
from shared.imaging import (
    DecodePool,
    ImageTooLarge,
    Picture,
    UnreadableImage,
    UnsupportedImage,
)
from shared.jobs import Claim, Failure, JobFailed
from shared.objects import ObjectNotFound, Objects

log = structlog.get_logger(__name__)

#: How much longer than an analysis may take a run waits for its end.
_SPARE_S: Final = 15
#: How much is done once the picture is decoded.
_DECODED: Final = 0.25


class Analyser(Protocol):
    """Looks at photographs; synchronous, callable from several threads at once."""

    def analyse(self, picture: Picture) -> Analysis:
        """What is to be seen on an upright photograph."""
        ...


def analysis_threads(count: int) -> ThreadPoolExecutor:
    """Threads that wait for photographs to be looked at."""
    return ThreadPoolExecutor(count, "netra-analysis")


@dataclass(frozen=True, slots=True)
class AnalysisHandler:
    """See `JobHandler`."""

    sessions: async_sessionmaker[AsyncSession]
    objects: Objects
    decoder: DecodePool
    analyser: Analyser
    threads: ThreadPoolExecutor
    first_credits: int
    timeout_s: float

    async def run(self, claim: Claim) -> Mapping[str, Any] | None:
        """Analyse one photograph and write what was found, once."""
        analysis_id = AnalysisId(claim.job_id)
        async with self.sessions.begin() as session:
            job = await AnalysisRepository(session).get_for_worker(analysis_id)
        picture = await self._decode(job.image.sha256)
        await claim.progress(_DECODED)
        found = await self._look(picture)
        async with claim.effect() as effect:
            await AnalysisRepository(effect.session).keep_masks(analysis_id, found)
            await effect.set(image_width_px=picture.width_px, image_height_px=picture.height_px)
            if found.needs_a_person:
                await effect.set(result=to_json(found), progress=1.0, finished_at=func.now())
                await effect.hold(found.reasons[0], " ".join(sentences_for(found.reasons)))
            else:
                await effect.complete(to_json(found))
            await announce(effect.session, analysis_id)
        log.info(
            "analysis_done",
            analysis_id=str(analysis_id),
            accepted=found.fundus.accepted,
            gradable=found.quality.gradable,
            abstained=found.abstained,
        )
        return None

    async def on_failed(self, session: AsyncSession, job_id: UUID, failure: Failure) -> None:
        """Give the credit back."""
        await self._give_back(session, AnalysisId(job_id))
        log.warning("analysis_failed", analysis_id=str(job_id), code=failure.code)

    async def on_cancelled(self, session: AsyncSession, job_id: UUID) -> None:
        """Give the credit back."""
        await self._give_back(session, AnalysisId(job_id))

    async def _give_back(self, session: AsyncSession, analysis_id: AnalysisId) -> None:
        await Ledger(session, self.first_credits).refund(analysis_id)
        await announce(session, analysis_id)

    async def _decode(self, sha256: str) -> Picture:
        try:
            return await self.decoder.decode(await self.objects.get(sha256))
        except ObjectNotFound as error:
            raise JobFailed("picture-lost", "The picture is not in the object store.") from error
        except (UnreadableImage, UnsupportedImage, ImageTooLarge) as error:
            raise JobFailed("unreadable", error.detail) from error

    async def _look(self, picture: Picture) -> Analysis:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.timeout_s + _SPARE_S):
                return await loop.run_in_executor(self.threads, self.analyser.analyse, picture)
        except ImageTooLarge as error:
            raise JobFailed("unreadable", error.detail) from error
        except TimeoutError as error:
            detail = f"Analysing the picture takes longer than {self.timeout_s:g} s."
            raise JobFailed("timed-out", detail) from error
