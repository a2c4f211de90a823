"""Draws and reports what is kept, when somebody asks."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio.to_thread

from services.netra.domain import Analysis
from services.netra.drawing import MAX_SIDE_PX, draw_annotated, draw_plain
from services.netra.errors import NotReady
from services.netra.fhir import build_bundle
from services.netra.job import AnalysisJob
from services.netra.report import build_report
from shared.imaging import Decoder
from shared.imaging.media_types import BROWSER_FORMATS
from shared.objects import Objects


@dataclass(frozen=True, slots=True)
class Illustrator:
    """Pictures and reports of analyses."""

    objects: Objects
    decoder: Decoder

    async def annotated(self, job: AnalysisJob) -> bytes:
        """The photograph with the lesions' boxes, as JPEG; raises `NotReady`."""
        image = await self.objects.get(job.image.sha256)
        draw = partial(draw_annotated, found=found_of(job))
        return await self.decoder.apply(draw, image, target_px=MAX_SIDE_PX // 2)

    async def report(self, job: AnalysisJob) -> bytes:
        """The findings as a DICOM structured report; raises `NotReady`."""
        found_of(job)
        image = await self.objects.get(job.image.sha256)
        return await anyio.to_thread.run_sync(
            build_report, job, image, limiter=self.decoder.limiter
        )

    def bundle(self, job: AnalysisJob) -> dict[str, Any]:
        """The findings as a FHIR bundle; raises `NotReady`."""
        found_of(job)
        return build_bundle(job)

    async def original(self, job: AnalysisJob) -> bytes:
        """The file as it was uploaded."""
        return await self.objects.get(job.image.sha256)

    async def plain(self, job: AnalysisJob) -> tuple[bytes, str]:
        """The picture in a form that browsers show, and its media type."""
        image = await self.objects.get(job.image.sha256)
        if job.image.format in BROWSER_FORMATS:
            return image, f"image/{job.image.format}"
        return await self.decoder.apply(draw_plain, image), "image/png"


def found_of(job: AnalysisJob) -> Analysis:
    """What was found.

    Raises:
        NotReady: the analysis is not done, or has failed.
    """
    if job.found is None:
        raise NotReady("The analysis has found nothing yet that could be shown.")
    return job.found
