"""The use cases of netra, told in the order in which they happen."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.netra.announcing import announce
from services.netra.domain import (
    AnalysisId,
    AnalysisStatus,
    OwnerId,
    new_analysis_id,
    new_job_id,
)
from services.netra.errors import AlreadyDone, NoCredits, NotHeld
from services.netra.job import AnalysisJob, Decision, Eye, Patient
from services.netra.repositories.analyses import AnalysisRepository
from services.netra.repositories.examinations import ExaminationRepository
from services.netra.repositories.ledger import Ledger
from services.netra.tables import KEYS, AnalysisRow
from services.netra.turns import Turns
from shared.imaging import UnsupportedImage
from shared.imaging.sniff import READ_FORMATS, ImageFormat, find_format
from shared.jobs.queue import JobQueue
from shared.jobs.states import Outcome
from shared.objects import Objects

log = structlog.get_logger(__name__)

QUEUE = JobQueue(AnalysisRow)


@dataclass(frozen=True, slots=True)
class Visit:
    """The examination that a photograph belongs to, as the client names it."""

    reference: str
    patient: Patient = field(default_factory=Patient)


@dataclass(frozen=True, slots=True)
class Photograph:
    """One picture that is to be analysed."""

    image: bytes
    image_name: str = ""
    eye: Eye | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """What a client sent: one photograph or several, of which all are taken or none."""

    owner: OwnerId
    username: str
    photographs: Sequence[Photograph]
    label: str = ""
    visit: Visit | None = None
    priority: int = 0
    idempotency_key: str | None = None

    @property
    def request_sha256(self) -> str:
        """Tells a repeated request from another one under the same key."""
        said = repr((self.label, self.visit, self.priority))
        digest = hashlib.sha256(said.encode("utf-8", "surrogatepass"))
        for photograph in self.photographs:
            named = repr((photograph.image_name, photograph.eye)).encode("utf-8", "surrogatepass")
            digest.update(hashlib.sha256(named).digest())
            digest.update(hashlib.sha256(photograph.image).digest())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a submission."""

    analyses: tuple[tuple[AnalysisId, str], ...]
    """Each photograph's analysis, and its name on the old wire."""
    remaining: int
    is_repeated: bool = False


def check_format(image: bytes) -> ImageFormat:
    """What a picture is, by its first bytes; the rest is looked at by a worker.

    Raises:
        UnsupportedImage: nothing that is read here.
    """
    found = find_format(image)
    if found is None:
        raise UnsupportedImage(f"The bytes are no picture that is read here: {READ_FORMATS}.")
    return found


@dataclass(frozen=True, slots=True)
class Analyses:
    """Takes photographs in, and does what their owner wishes about them."""

    sessions: async_sessionmaker[AsyncSession]
    single_statements: async_sessionmaker[AsyncSession]
    objects: Objects
    first_credits: int
    turns: Turns = field(default_factory=Turns)

    async def submit(self, submission: Submission) -> Accepted:
        """Charge for photographs and queue their analyses, all or none.

        The files are kept before the transaction, so that no row refers to a file that is not
        there; credit, job and the word to the workers then become true at the same instant.

        Raises:
            UnsupportedImage: one of them is no picture.
            NoCredits: there are fewer credits than photographs.
            IdempotencyKeyReused: the key came with another request.
        """
        formats = [check_format(photograph.image) for photograph in submission.photographs]
        async with self.turns.of(submission.owner):
            await self._check_credits(submission)
            sha256s = await asyncio.gather(
                *(self.objects.put(photograph.image) for photograph in submission.photographs)
            )
            rows = [
                _row(submission, photograph, str(format_), sha256)
                for photograph, format_, sha256 in zip(
                    submission.photographs, formats, sha256s, strict=True
                )
            ]
            async with self.sessions.begin() as session:
                accepted = await self._accept(session, submission, rows)
        for analysis_id, _ in accepted.analyses:
            log.info("analysis_queued", analysis_id=str(analysis_id), repeated=accepted.is_repeated)
        return accepted

    async def _check_credits(self, submission: Submission) -> None:
        """Keep no file for whom it would be in vain; the transaction decides.

        A repeated request is let pass, because it costs nothing.
        """
        if submission.idempotency_key is not None:
            return
        async with self.single_statements() as session:
            remaining = await Ledger(session, self.first_credits).glance(submission.owner)
        if remaining < len(submission.photographs):
            raise NoCredits(remaining)

    async def _accept(
        self, session: AsyncSession, submission: Submission, rows: Sequence[AnalysisRow]
    ) -> Accepted:
        ledger = Ledger(session, self.first_credits)
        key = submission.idempotency_key
        if key is not None:
            first = AnalysisId(rows[0].id)
            claimed = await KEYS.claim(
                session, submission.owner, key, submission.request_sha256, first
            )
            if claimed != first:
                earlier = await AnalysisRepository(session).get(
                    AnalysisId(claimed), submission.owner
                )
                remaining = await ledger.remaining(submission.owner)
                return Accepted(((earlier.id, earlier.token),), remaining, is_repeated=True)
        if submission.visit is not None:
            examination = await ExaminationRepository(session).find_or_add(
                submission.owner, submission.visit.reference, submission.visit.patient
            )
            for row in rows:
                row.examination_id = examination.id
        # The account's row stays locked until the commit, so it comes as late as it can.
        for row in rows:
            await QUEUE.add(session, row)
        remaining = await ledger.charge(submission.owner, [AnalysisId(row.id) for row in rows])
        return Accepted(tuple((AnalysisId(row.id), row.job_token) for row in rows), remaining)

    async def cancel(self, analysis_id: AnalysisId, owner: OwnerId) -> AnalysisJob:
        """End an analysis that is not done; it is refunded.

        A worker that has it stops within a moment and refunds it then.

        Raises:
            AnalysisNotFound: there is none, or it is somebody else's.
            AlreadyDone: it has ended already.
        """
        async with self.sessions.begin() as session:
            analyses = AnalysisRepository(session)
            job = await analyses.lock(analysis_id, owner)
            if job.status is AnalysisStatus.HELD:
                raise AlreadyDone("The analysis is done; a person's decision is what it waits for.")
            outcome = await QUEUE.cancel(session, analysis_id)
            if outcome is Outcome.NOT_NOW:
                raise AlreadyDone("The analysis has ended already.")
            if outcome is Outcome.DONE:
                await Ledger(session, self.first_credits).refund(analysis_id)
                await announce(session, analysis_id)
            # What the job's columns say now was written behind the session's back.
            session.expire_all()
            return await analyses.get(analysis_id, owner)

    async def decide(self, analysis_id: AnalysisId, owner: OwnerId, decision: Decision) -> None:
        """Complete a held analysis with what a person saw.

        Raises:
            AnalysisNotFound: there is none, or it is somebody else's.
            NotHeld: no decision is asked for.
        """
        async with self.sessions.begin() as session:
            analyses = AnalysisRepository(session)
            job = await analyses.lock(analysis_id, owner)
            if job.status is not AnalysisStatus.HELD:
                raise NotHeld("Only an analysis that is held waits for a person's decision.")
            await analyses.decide(analysis_id, decision)
            await announce(session, analysis_id)
        log.info("analysis_decided", analysis_id=str(analysis_id))

    async def forget(self, analysis_id: AnalysisId, owner: OwnerId) -> None:
        """Delete an analysis; one that is not done is refunded, as if it were cancelled.

        Its picture is swept later unless another analysis has it. A worker that has it loses its
        claim, and what it found is written nowhere.

        Raises:
            AnalysisNotFound: there is none, or it is somebody else's.
        """
        async with self.sessions.begin() as session:
            analyses = AnalysisRepository(session)
            job = await analyses.lock(analysis_id, owner)
            if not job.status.is_final:
                await Ledger(session, self.first_credits).refund(analysis_id)
            await analyses.remove(analysis_id)
        log.info("analysis_deleted", analysis_id=str(analysis_id))


def _row(submission: Submission, photograph: Photograph, format_: str, sha256: str) -> AnalysisRow:
    """A photograph as a job that waits."""
    return AnalysisRow(
        id=new_analysis_id(),
        tenant=str(submission.owner),
        priority=submission.priority,
        owner=submission.owner,
        job_token=new_job_id(),
        username=submission.username,
        label=submission.label,
        image_name=photograph.image_name,
        eye=photograph.eye,
        image_sha256=sha256,
        image_bytes=len(photograph.image),
        image_format=format_,
    )
