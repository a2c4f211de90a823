"""Takes slides in, finds them again, and lets them go."""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import structlog
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.scancer.catalogue import Catalogue
from services.scancer.slides.domain import Looker, Order, SlideId, SlideJob, plan_of
from services.scancer.slides.errors import (
    NotFinished,
    NotForSlides,
    RegionOutside,
    ResolutionUnknown,
    SlideTooLarge,
    TooManySlides,
)
from services.scancer.slides.findings import as_heatmap, over_view
from services.scancer.slides.geometry import MAX_COARSENESS, Plan, Region, SlideFacts
from services.scancer.slides.reading import Bounds, open_slide
from services.scancer.slides.repository import Place, SlideRepository, from_facts
from services.scancer.slides.tables import KEYS, SLIDES, SlideRow
from shared.idempotency import Repeatable
from shared.imaging import DecodePool, decode, to_png
from shared.inference import EvidencePolicy, Manifest, enforce_evidence
from shared.jobs import Outcome
from shared.objects import LargeObjects

log = structlog.get_logger(__name__)

_WRITTEN_AT_ONCE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much there may be.

    Attributes:
        max_file_bytes: one slide.
        max_cells: patches of one slide.
        max_slides: of one person.
        max_bytes: of all slides of one person.
    """

    max_file_bytes: int
    max_cells: int
    max_slides: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Received:
    """A file that came in, not checked yet."""

    path: Path
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Slides:
    """What the routes ask for."""

    sessions: async_sessionmaker[AsyncSession]
    objects: LargeObjects
    catalogue: Catalogue
    decoder: DecodePool
    bounds: Bounds
    allowance: Allowance
    evidence: EvidencePolicy
    scratch: Path

    @asynccontextmanager
    async def receive(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[Received]:
        """Write a body to disk as it comes; the file is gone at the end unless it was kept."""
        path = self.scratch / f"upload-{secrets.token_hex(12)}"
        digest, size, waiting = hashlib.sha256(), 0, bytearray()
        try:
            with path.open("xb") as file:

                def write(piece: bytes) -> None:
                    digest.update(piece)
                    file.write(piece)

                async for chunk in chunks:
                    size += len(chunk)
                    waiting += chunk
                    if len(waiting) >= _WRITTEN_AT_ONCE:
                        await asyncio.to_thread(write, bytes(waiting))
                        waiting.clear()
                await asyncio.to_thread(write, bytes(waiting))
            yield Received(path, digest.hexdigest(), size)
        finally:
            path.unlink(missing_ok=True)

    async def submit(
        self, owner: str, received: Received, order: Order, key: str | None = None
    ) -> tuple[SlideJob, bool]:
        """Check a slide by its header, keep it, and queue the job of looking at it.

        The file is kept before the row that refers to it.

        Args:
            owner: whose it is.
            received: the file.
            order: what is wanted.
            key: the request's `Idempotency-Key`.

        Returns:
            The job, and whether it is that of an earlier request with the same key.

        Raises:
            Problem: the slide, the network or the order does not do.
        """
        same = Repeatable.of(key, received.sha256, order)
        if same is not None:
            async with self.sessions.begin() as session:
                earlier = await KEYS.find(session, owner, same.key, same.request_sha256)
                if earlier is not None:
                    return await SlideRepository(session).get(SlideId(earlier), owner), True
        looker = await self.looker_of(order)
        async with open_slide(received.path, self.decoder, self.bounds) as slide:
            facts = slide.facts
        mpp_um, is_stated = resolution_of(facts, order, looker)
        region = region_of(facts, order)
        plan = plan_of(facts, region, mpp_um, order.stride_px, looker)
        self._check_size(plan)
        await self._check_quota(owner, received.size_bytes)
        await self.objects.put_file(received.path, received.sha256)
        row = SlideRow(
            id=uuid4(),
            tenant=owner,
            priority=order.priority,
            owner=owner,
            title=order.title,
            file_sha256=received.sha256,
            file_bytes=received.size_bytes,
            facts=from_facts(facts),
            mpp_um=mpp_um,
            mpp_is_stated=is_stated,
            region=[region.x_px, region.y_px, region.width_px, region.height_px],
            stride_px=order.stride_px,
            model_name=looker.name,
            model=asdict(looker),
            operating_point=looker.operating_point,
        )
        async with self.sessions.begin() as session:
            if same is not None:
                claimed = await KEYS.claim(session, owner, same.key, same.request_sha256, row.id)
                if claimed != row.id:
                    return await SlideRepository(session).get(SlideId(claimed), owner), True
            await self._require_room(session, owner, received.size_bytes)
            await SLIDES.add(session, row)
            await session.flush()
            await session.refresh(row)
            job = await SlideRepository(session).get(SlideId(row.id), owner)
        log.info("slide_queued", slide_id=str(job.id), cells=plan.cells, format=facts.format)
        return job, False

    async def looker_of(self, order: Order) -> Looker:
        """The network that an order names, if it is made for slides.

        Raises:
            ModelNotFound, VersionNotFound: it is not registered.
            NotForSlides: it is no binary classifier, or does not say at which resolution it reads.
        """
        version = await self.catalogue.get(order.model, order.version)
        with version.require_served().use() as network:
            manifest = network.manifest
            enforce_evidence(self.evidence, manifest.evidence)
            return to_looker(order.model, version.registration.version, manifest)

    async def get(self, slide_id: SlideId, owner: str | None) -> SlideJob:
        """One slide; see `SlideRepository.get`."""
        async with self.sessions.begin() as session:
            return await SlideRepository(session).get(slide_id, owner)

    async def list_of(
        self, owner: str | None, *, after: Place | None, limit: int
    ) -> Sequence[SlideJob]:
        """Slides, newest first; see `SlideRepository.list_of`."""
        async with self.sessions.begin() as session:
            return await SlideRepository(session).list_of(owner, after=after, limit=limit)

    async def heatmap(self, slide_id: SlideId, owner: str | None, style: str) -> "Heatmap":
        """What has been seen of a slide so far.

        Raises:
            SlideNotFound: there is no such slide.
            NotFinished: nothing has been seen of it.
        """
        async with self.sessions.begin() as session:
            repository = SlideRepository(session)
            job = await repository.get(slide_id, owner)
            grid = await repository.grid_of(job)
        if grid is None or job.view_sha256 is None:
            raise NotFinished("Nothing of the slide has been looked at yet.")
        view = await self.objects.get(job.view_sha256) if style == "overlay" else None
        return Heatmap(job, grid, view, style)

    async def cancel(self, slide_id: SlideId, owner: str | None) -> SlideJob:
        """End a job that is not over; one that is stays as it is."""
        async with self.sessions.begin() as session:
            await SlideRepository(session).get(slide_id, owner)
            outcome = await SLIDES.cancel(session, slide_id)
            if outcome is not Outcome.NOT_NOW:
                log.info("slide_cancelled", slide_id=str(slide_id), outcome=str(outcome))
        async with self.sessions.begin() as session:
            return await SlideRepository(session).get(slide_id, owner)

    async def delete(self, slide_id: SlideId, owner: str | None) -> None:
        """Forget a slide and what was found on it; its file goes with the next sweep."""
        async with self.sessions.begin() as session:
            repository = SlideRepository(session)
            await repository.get(slide_id, owner)
            await SLIDES.cancel(session, slide_id)
            await repository.delete(slide_id)
        log.info("slide_deleted", slide_id=str(slide_id))

    def _check_size(self, plan: Plan) -> None:
        if plan.cells > self.allowance.max_cells:
            raise SlideTooLarge(
                f"The region has {plan.cells} cells; at most {self.allowance.max_cells} are looked "
                "at. Choose a smaller region or a larger stride.",
                limit=self.allowance.max_cells,
                found=plan.cells,
            )

    async def _check_quota(self, owner: str, size_bytes: int) -> None:
        async with self.sessions.begin() as session:
            await self._require_room(session, owner, size_bytes)

    async def _require_room(self, session: AsyncSession, owner: str, size_bytes: int) -> None:
        kept = await SlideRepository(session).kept_by(owner)
        allowance = self.allowance
        if kept.slides >= allowance.max_slides or kept.bytes + size_bytes > allowance.max_bytes:
            raise TooManySlides(
                f"You keep {kept.slides} slides of {kept.bytes} bytes; {allowance.max_slides} "
                f"slides and {allowance.max_bytes} bytes are the most. Delete some."
            )


@dataclass(frozen=True, slots=True)
class Heatmap:
    """A heatmap that is to be drawn."""

    job: SlideJob
    grid: NDArray[np.uint8]
    view: bytes | None
    """The small picture of the slide, where the style needs it."""
    style: str

    def to_png(self) -> bytes:
        """Draw it; synchronous, because it takes a moment."""
        if self.view is not None:
            return to_png(over_view(self.grid, decode(self.view).pixels))
        return to_png(as_heatmap(self.grid) if self.style == "colours" else self.grid)


def to_looker(name: str, registered_version: str, manifest: Manifest) -> Looker:
    """What a slide's job has to know of a network.

    Raises:
        NotForSlides: it does not judge square patches with yes or no at a stated resolution.
    """
    positive = manifest.output.positive
    height, width = manifest.input.size
    if (
        manifest.task != "image-classification"
        or len(manifest.labels) != 2
        or positive is None
        or height != width
        or manifest.input.mpp_um is None
    ):
        raise NotForSlides(
            f"{manifest.name} is not made for slides: that takes a square input with `mpp_um`, and "
            "two labels of which one is `positive`."
        )
    return Looker(
        name=name,
        id=manifest.id,
        version=manifest.version,
        registered_version=registered_version,
        sha256=manifest.sha256,
        evidence=str(manifest.evidence),
        patch_px=height,
        mpp_um=manifest.input.mpp_um,
        operating_point=manifest.operating_points.get(positive, 0.5),
        calibrated=manifest.calibration is not None,
    )


def resolution_of(facts: SlideFacts, order: Order, looker: Looker) -> tuple[float, bool]:
    """Micrometres per slide pixel, and whether the order rather than the file says so.

    Raises:
        ResolutionUnknown: nobody says, or the slide holds too little detail for the network.
    """
    mpp_um = order.mpp_um or facts.mpp_um
    if mpp_um is None:
        raise ResolutionUnknown(
            "The file does not say how large a pixel is; send `mpp`, in micrometres."
        )
    if mpp_um > MAX_COARSENESS * looker.mpp_um:
        raise ResolutionUnknown(
            f"Pixels of {mpp_um:g} micrometres are too coarse for a network that reads "
            f"{looker.mpp_um:g}."
        )
    return mpp_um, order.mpp_um is not None


def region_of(facts: SlideFacts, order: Order) -> Region:
    """The part to look at: what the order says, else all of the slide.

    Raises:
        RegionOutside: it is not on the slide.
    """
    if order.region is None:
        return Region(0, 0, facts.width_px, facts.height_px)
    if not order.region.lies_within(facts.width_px, facts.height_px):
        raise RegionOutside(
            f"The region does not lie on the slide, which is {facts.width_px} x "
            f"{facts.height_px} px."
        )
    return order.region
