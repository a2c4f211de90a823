"""The use cases of chexray, told in the order in which they happen."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import anyio.to_thread
import structlog

from services.chexray.domain import (
    ActivationMaps,
    ImageFacts,
    OwnerId,
    Pathology,
    Study,
    new_media_token,
    new_study_id,
    plain_file_name,
)
from services.chexray.errors import NoHeatmap, NoReport
from services.chexray.explaining import Explainer
from services.chexray.heatmaps import MAX_SIDE_PX, OverlayFormat, draw_heatmap, draw_plain
from services.chexray.inference import Classifier
from services.chexray.report import build_report
from services.chexray.repository import NewStudy
from shared.imaging import Decoder
from shared.imaging.media_types import BROWSER_FORMATS, suffix_of
from shared.inference import Evidence, EvidencePolicy, EvidenceRefused, enforce_evidence
from shared.objects import Objects

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Upload:
    """What a client sent."""

    owner: OwnerId
    title: str
    file_name: str
    image: bytes
    idempotency_key: str | None = None

    @property
    def request_sha256(self) -> str:
        """Tells a repeated request from another one under the same key."""
        digest = hashlib.sha256(self.title.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
        digest.update(self.image)
        return digest.hexdigest()


Keep = Callable[[NewStudy], Awaitable[Study]]
"""Keeps a study, or gives the one that was kept for an earlier request with the same key."""


@dataclass(frozen=True, slots=True)
class StudyReader:
    """Reads radiographs and remembers what it found."""

    classifier: Classifier
    objects: Objects
    evidence_policy: EvidencePolicy

    async def read(self, upload: Upload, keep: Keep) -> tuple[Study, bool]:
        """Classify one radiograph and store its findings.

        The file is kept while the network computes, and both are done before the first query: no
        database connection waits for either, and no row refers to a file that is not there.

        Args:
            upload: the file, and whose it is.
            keep: writes the row.

        Returns:
            The study, and whether it is that of an earlier request with the same key.
        """
        self.check_evidence(self.classifier.model.evidence)
        loop = asyncio.get_running_loop()
        keeping: list[Future[str]] = []
        opened, reading = await self.classifier.examine(
            upload.image, lambda: keeping.append(self.objects.begin_put(upload.image, loop))
        )
        # Where nobody asks any more whether the file could be kept, it is swept.
        (kept,) = keeping
        # It is, when a network has looked at it: nothing has to wake the event loop.
        sha256 = kept.result() if kept.done() else await asyncio.wrap_future(kept)
        new = NewStudy(
            id=new_study_id(),
            owner=upload.owner,
            title=upload.title,
            image=ImageFacts(
                sha256=sha256,
                size_bytes=len(upload.image),
                format=opened.format,
                width_px=opened.width_px,
                height_px=opened.height_px,
                file_name=plain_file_name(upload.file_name)
                or f"radiograph.{suffix_of(opened.format)}",
            ),
            media_token=new_media_token(),
            gate=opened.gate,
            findings=reading.findings,
            model=self.classifier.model,
            maps=reading.maps,
        )
        study = await keep(new)
        if study.id != new.id:
            return study, True
        log.info(
            "study_read",
            study_id=str(study.id),
            accepted=study.gate.accepted,
            positive=sum(finding.positive for finding in study.findings),
        )
        return study, False

    def check_evidence(self, evidence: str) -> None:
        """Raise `EvidenceRefused` where the installation does not give answers of this level."""
        enforce_evidence(self.evidence_policy, Evidence(evidence))

    def withholds(self, study: Study) -> bool:
        """Whether the installation's evidence policy keeps this study's findings back."""
        try:
            self.check_evidence(study.model.evidence)
        except EvidenceRefused:
            return True
        return False


@dataclass(frozen=True, slots=True)
class Illustrator:
    """Draws what is kept: radiographs, and heatmaps over them."""

    objects: Objects
    decoder: Decoder
    explainer: Explainer | None = None
    """Makes the maps that the network did not state."""

    def has_heatmap(self, study: Study, maps: ActivationMaps | None) -> bool:
        """Whether `heatmap` has something to draw, or a way to find it."""
        return maps is not None or (self.explainer is not None and self.explainer.knows(study))

    async def heatmap(
        self,
        study: Study,
        maps: ActivationMaps | None,
        label: Pathology | None = None,
        output: OverlayFormat = "png",
    ) -> bytes:
        """Where the network looked for `label`, or for the most probable finding.

        Raises:
            NoHeatmap: the gate refused the picture, or the network that read it stated no maps
                and is not in use any more.
        """
        label = label or study.most_probable
        if label is None:
            raise NoHeatmap("The network did not look at this picture, so there is no heatmap.")
        image = await self.objects.get(study.image.sha256)
        if maps is None and self.explainer is not None:
            maps = await self.explainer.find_maps(study, image)
        if maps is None:
            raise NoHeatmap(
                "The network that read this picture cannot say any more where it looked."
            )
        draw = partial(draw_heatmap, maps=maps, label=label, output=output)
        return await self.decoder.apply(draw, image, target_px=MAX_SIDE_PX)

    async def report(self, study: Study) -> bytes:
        """The findings as a DICOM structured report.

        Raises:
            NoReport: the gate refused the picture, so that there is nothing to report.
        """
        if not study.findings:
            raise NoReport("The network did not look at this picture, so there is no report.")
        image = await self.objects.get(study.image.sha256)
        return await anyio.to_thread.run_sync(
            build_report, study, image, limiter=self.decoder.limiter
        )

    async def original(self, study: Study) -> bytes:
        """The file as it was uploaded."""
        return await self.objects.get(study.image.sha256)

    async def plain(self, study: Study) -> tuple[bytes, str]:
        """The picture in a form that browsers show, and its media type."""
        image = await self.objects.get(study.image.sha256)
        if study.image.format in BROWSER_FORMATS:
            return image, f"image/{study.image.format}"
        return await self.decoder.apply(draw_plain, image), "image/png"
