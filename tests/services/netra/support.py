"""Stubs, pictures and callers for netra's tests."""

import io
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4

import httpx
import numpy as np
from fastapi import FastAPI
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.netra.announcing import Endings
from services.netra.app import AppState, create_app
from services.netra.domain import (
    AbstainReason,
    Analysis,
    FundusReason,
    FundusVerdict,
    Lesion,
    LesionType,
    ModelIdentity,
    QualityReason,
    QualityVerdict,
    Verdict,
)
from services.netra.evidence import EvidenceGuard
from services.netra.illustrating import Illustrator
from services.netra.masks import to_mask
from services.netra.service import QUEUE, Analyses
from services.netra.work import AnalysisHandler
from services.netra.worker import SERVICE
from shared.assertions import GATEWAY, HEADER, AssertionSigner, AssertionVerifier, Caller, Refusal
from shared.auth_client import Account, Credentials, WrongCredentials
from shared.imaging import DecodePool, Limits, Picture, ThreadDecoder
from shared.inference import EvidencePolicy
from shared.jobs import Claim, Patience
from shared.jobs.claims import claim_next
from shared.jobs.runs import Run
from shared.jobs.settling import Settling
from shared.objects import Objects
from shared.tokens import TokenRefused
from shared.webhooks import Guard
from tests.serving import running

KEY = b"k" * 32
VERIFIER = AssertionVerifier(SERVICE, {GATEWAY: KEY})
LIMITS = Limits(max_bytes=8 * 1024 * 1024, max_pixels=25_000_000)
CREDITS = 100
STUDY_UID = "1.2.826.0.1.3680043.8.498.2"
RIGHTS = frozenset({"netra:read", "netra:write"})

GATE = ModelIdentity("netra-gate", "1.0", "a" * 64, "rules", False, "gate")
GRADER = ModelIdentity("netra-retinopathy", "1.0", "b" * 64, "research", True, "retinopathy")

MASK = np.zeros((24, 32), np.bool_)
MASK[4:9, 5:12] = True

#: A photograph with disease in it.
DISEASED = Analysis(
    fundus=FundusVerdict(True, 0.99),
    quality=QualityVerdict(True, 0.9),
    retinopathy=Verdict(0.875, True, 0.5),
    referable=Verdict(0.75, True, 0.5),
    lesions=(
        Lesion(LesionType.HAEMORRHAGE, (10, 20, 30, 44), 0.75),
        Lesion(LesionType.HARD_EXUDATE, (3, 5, 8, 13), 0.5),
    ),
    masks={LesionType.HAEMORRHAGE: to_mask(MASK), LesionType.HARD_EXUDATE: to_mask(MASK)},
    abstained=False,
    reasons=(),
    models=(GATE, GRADER),
    evidence="research",
)
HEALTHY = replace(
    DISEASED,
    retinopathy=Verdict(0.125, False, 0.5),
    referable=Verdict(0.0625, False, 0.5),
    lesions=(),
    masks={},
)
UNCERTAIN = replace(
    HEALTHY,
    retinopathy=Verdict(),
    referable=Verdict(),
    abstained=True,
    reasons=(AbstainReason.UNCERTAIN,),
)
UNGRADABLE = replace(
    UNCERTAIN,
    quality=QualityVerdict(False, 0.2, (QualityReason.FOCUS, QualityReason.UNDEREXPOSED)),
    reasons=(AbstainReason.UNGRADABLE,),
)
NO_FUNDUS = replace(
    UNCERTAIN,
    fundus=FundusVerdict(False, 0.1, (FundusReason.NO_FIELD,)),
    quality=QualityVerdict(False, 0.0),
    reasons=(AbstainReason.NOT_A_FUNDUS,),
)


def picture(kind: str = "JPEG", level: int = 100, size_px: tuple[int, int] = (64, 48)) -> bytes:
    """A plain picture in one of Pillow's formats; the level makes pictures differ."""
    file = io.BytesIO()
    Image.new("RGB", size_px, (level, level // 2, level // 4)).save(file, kind)
    return file.getvalue()


def ophthalmic_photograph() -> bytes:
    """A small colour file as fundus cameras send it (Ophthalmic Photography 8 Bit Image)."""
    found = Dataset()
    found.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
    found.SOPInstanceUID = f"{STUDY_UID}.3"
    found.StudyInstanceUID = STUDY_UID
    found.SeriesInstanceUID = f"{STUDY_UID}.2"
    found.SpecificCharacterSet = "ISO_IR 192"
    found.PatientName = "Grant^Ada"
    found.PatientID = "0815"
    found.Modality = "OP"
    found.Rows, found.Columns = 48, 64
    found.SamplesPerPixel = 3
    found.PlanarConfiguration = 0
    found.BitsAllocated = found.BitsStored = 8
    found.HighBit = 7
    found.PixelRepresentation = 0
    found.PhotometricInterpretation = "RGB"
    found.PixelData = np.full((48, 64, 3), 9, np.uint8).tobytes()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.file_meta.MediaStorageSOPInstanceUID = UID(f"{STUDY_UID}.3")
    file = io.BytesIO()
    found.save_as(file, enforce_file_format=True)
    return file.getvalue()


@dataclass
class StubAnalyser:
    """Knows its answer beforehand."""

    answer: Analysis = DISEASED
    evidence: str = "research"
    looked: int = 0
    failure: Exception | None = None

    def analyse(self, picture: Picture) -> Analysis:
        """The answer, whatever the picture."""
        self.looked += 1
        if self.failure is not None:
            raise self.failure
        return self.answer


@dataclass
class StubAuth:
    """Accounts in a dictionary; the token tells who it belongs to."""

    accounts: dict[str, tuple[str, UUID]] = field(default_factory=dict)
    asked: list[Credentials] = field(default_factory=list)
    failure: Exception | None = None

    def add(self, username: str, password: str) -> UUID:
        """An account."""
        self.accounts[username] = (password, uuid4())
        return self.accounts[username][1]

    async def sign_up(self, credentials: Credentials) -> Account:
        """Netra's old wire has no sign-up."""
        raise AssertionError("nobody signs up here")

    async def log_in(self, credentials: Credentials) -> Account:
        """See `Auth`."""
        self.asked.append(credentials)
        if self.failure is not None:
            raise self.failure
        password, user_id = self.accounts.get(credentials.username, (None, None))
        if password != credentials.password or user_id is None:
            raise WrongCredentials
        return Account(
            user_id=user_id,
            username=credentials.username,
            token=f"token-of-{credentials.username}",
            expires_in=7200,
        )


@dataclass
class StubTokens:
    """Tokens of the accounts that auth has."""

    auth: StubAuth
    scopes: frozenset[str] = RIGHTS
    failure: Exception | None = None

    async def find_caller(self, token: str) -> Caller:
        """See `TokenReader`."""
        if self.failure is not None:
            raise self.failure
        name = token.removeprefix("token-of-")
        if not token.startswith("token-of-") or name not in self.auth.accounts:
            raise TokenRefused(Refusal.INVALID)
        return Caller(
            subject=str(self.auth.accounts[name][1]),
            kind="user",
            username=name,
            scopes=self.scopes,
        )


@dataclass
class Bench:
    """Everything that one test may want to set before the service starts."""

    sessions: async_sessionmaker[AsyncSession]
    objects: Objects
    analyser: StubAnalyser = field(default_factory=StubAnalyser)
    auth: StubAuth = field(default_factory=StubAuth)
    evidence: EvidencePolicy = "mark"
    credits: int = CREDITS
    max_upload_bytes: int = 8 * 1024 * 1024
    endings: Endings = field(default_factory=Endings)
    webhook_addresses: Guard = field(default_factory=Guard)
    tokens: StubTokens = field(init=False)

    def __post_init__(self) -> None:
        """Let tokens belong to the accounts."""
        self.tokens = StubTokens(self.auth)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[httpx.AsyncClient]:
        """The service around these stubs, without a worker."""

        @asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[AppState]:
            yield AppState(
                sessions=self.sessions,
                analyses=Analyses(self.sessions, self.sessions, self.objects, self.credits),
                illustrator=Illustrator(self.objects, ThreadDecoder(2, LIMITS)),
                endings=self.endings,
                webhook_addresses=self.webhook_addresses,
                guard=EvidenceGuard(self.evidence, self.analyser.evidence),
                first_credits=self.credits,
                max_upload_bytes=self.max_upload_bytes,
                auth=self.auth,
                body_tokens=self.tokens,
            )

        async with running(create_app(lifespan, VERIFIER)) as client:
            yield client

    @asynccontextmanager
    async def handling(self) -> AsyncIterator[AnalysisHandler]:
        """What a worker of this bench does."""
        async with DecodePool(2, LIMITS) as decoder:
            with ThreadPoolExecutor(2) as threads:
                yield AnalysisHandler(
                    sessions=self.sessions,
                    objects=self.objects,
                    decoder=decoder,
                    analyser=self.analyser,
                    threads=threads,
                    first_credits=self.credits,
                    timeout_s=30,
                )

    async def work(self, answer: Analysis | None = None) -> int:
        """Do every job that waits, as a worker would; how many there were."""
        if answer is not None:
            self.analyser.answer = answer
        done = 0
        async with self.handling() as handler:
            settling = Settling(QUEUE, handler, self.sessions, Patience())
            while (claim := await self.claim()) is not None:
                await Run(claim, 0, handler, settling).go()
                done += 1
        return done

    async def claim(self) -> Claim | None:
        """The next job, in the hands of a worker."""
        async with self.sessions.begin() as session:
            claimed = await claim_next(session, QUEUE, worker="test", lease_s=30)
        if claimed is None:
            return None
        return Claim(
            job_id=claimed.job_id,
            tenant=claimed.tenant,
            attempts=claimed.attempts,
            fence=claimed.fence,
            _queue=QUEUE,
            _sessions=self.sessions,
            _lease_s=30,
        )


def caller(
    user: UUID | None = None, *, username: str = "bob", scopes: frozenset[str] = RIGHTS
) -> Caller:
    """A person who is signed in."""
    return Caller(
        subject=str(user or uuid4()),
        kind="user",
        username=username,
        scopes=scopes,
        credential="bearer",
    )


def as_caller(who: Caller) -> dict[str, str]:
    """The gateway's word for a caller."""
    return {HEADER: AssertionSigner(GATEWAY, KEY).sign(who, SERVICE)}


def stranger() -> dict[str, str]:
    """The gateway's word for somebody without a credential."""
    return as_caller(Caller(subject="anonymous", kind="anonymous"))
