"""Stubs, pictures and callers for chexray's tests."""

import io
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import anyio.lowlevel
import httpx
import numpy as np
from fastapi import FastAPI
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.chexray.app import SERVICE, AppState, create_app
from services.chexray.domain import (
    ActivationMaps,
    GateReason,
    GateVerdict,
    ModelIdentity,
    Pathology,
    findings_from,
)
from services.chexray.explaining import Explainer
from services.chexray.inference import Opened, Reading, to_activation_maps
from services.chexray.repository import Quota
from services.chexray.service import Illustrator, StudyReader
from shared.assertions import (
    GATEWAY,
    HEADER,
    AssertionSigner,
    AssertionVerifier,
    Caller,
    Refusal,
)
from shared.auth_client import (
    Account,
    Credentials,
    PasswordTooShort,
    UsernameTaken,
    WrongCredentials,
)
from shared.imaging import Limits, ThreadDecoder, decode
from shared.inference import EvidencePolicy
from shared.objects import Objects
from tests.serving import running

KEY = b"k" * 32
VERIFIER = AssertionVerifier(SERVICE, {GATEWAY: KEY})
MODEL = ModelIdentity("chexray-stub", "1.0", "a" * 64, "demo", True)
PROBABILITIES = (0.125, 0.75, 0.5, 0.25, 0.875)
OPERATING_POINTS = (0.5, 0.5, 0.5, 0.5, 0.5)
STUDY_UID = "1.2.826.0.1.3680043.8.498.1"
LIMITS = Limits(max_bytes=4 * 1024 * 1024, max_pixels=25_000_000)


def png(side_px: int = 64, *, level: int = 100, mode: str = "L") -> bytes:
    """A plain picture; the level makes pictures differ."""
    return picture("PNG", (side_px, side_px), level, mode)


def picture(
    kind: str, size_px: tuple[int, int] = (64, 64), level: int = 100, mode: str = "L"
) -> bytes:
    """A plain picture in one of Pillow's formats."""
    file = io.BytesIO()
    Image.new(mode, size_px, level if mode == "L" else (level,) * 3).save(file, kind)
    return file.getvalue()


def dicom_radiograph(**more: str) -> bytes:
    """A small DX file of a patient with a name beyond ASCII."""
    found = Dataset()
    found.SpecificCharacterSet = "ISO_IR 100"
    found.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    found.SOPInstanceUID = f"{STUDY_UID}.3"
    found.StudyInstanceUID = STUDY_UID
    found.SeriesInstanceUID = f"{STUDY_UID}.2"
    found.PatientName = "Müller^Zoë"
    found.PatientID = "4711"
    found.Modality = "DX"
    for name, value in more.items():
        setattr(found, name, value)
    found.Rows = found.Columns = 64
    found.BitsAllocated = found.BitsStored = 8
    found.HighBit = 7
    found.PixelRepresentation = 0
    found.SamplesPerPixel = 1
    found.PhotometricInterpretation = "MONOCHROME2"
    found.PixelData = np.full((64, 64), 9, np.uint8).tobytes()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.file_meta.MediaStorageSOPInstanceUID = UID(f"{STUDY_UID}.3")
    file = io.BytesIO()
    found.save_as(file, enforce_file_format=True)
    return file.getvalue()


@dataclass
class StubClassifier:
    """Knows its answer beforehand, and refuses what a real one would refuse."""

    gate: GateVerdict = field(default_factory=GateVerdict)
    model: ModelIdentity = MODEL
    states_maps: bool = True
    reads: int = 0
    explanations: int = 0

    async def examine(
        self, image: bytes, on_opened: Callable[[], object]
    ) -> tuple[Opened, Reading]:
        """Decode for real, judge as told; the same figures for every picture."""
        opened = await self.open(image)
        on_opened()
        if not opened.gate.accepted:
            return opened, Reading((), None)
        self.reads += 1
        maps = self._maps(opened) if self.states_maps else None
        return opened, Reading(findings_from(PROBABILITIES, OPERATING_POINTS), maps)

    async def open(self, image: bytes) -> Opened:
        """Decode for real, judge as told."""
        found = decode(image, LIMITS)
        return Opened(
            found.format, found.width_px, found.height_px, self.gate, None, (0.0, 0.0, 1.0, 1.0)
        )

    async def explain(self, opened: Opened) -> ActivationMaps:
        """The maps, for those who ask."""
        self.explanations += 1
        await anyio.lowlevel.checkpoint()
        return self._maps(opened)

    def _maps(self, opened: Opened) -> ActivationMaps:
        maps = np.zeros((5, 4, 4), np.float32)
        for number in range(len(Pathology)):
            maps[number, number % 4, number // 4] = 2.0
        return to_activation_maps(maps, opened.covers_xyxy)


REFUSED = GateVerdict((GateReason.COLOUR, GateReason.NO_LUNG_FIELDS))


@dataclass
class StubAuth:
    """Accounts in a dictionary; the token tells who it belongs to."""

    accounts: dict[str, tuple[str, UUID]] = field(default_factory=dict)
    asked: list[Credentials] = field(default_factory=list)
    failure: Exception | None = None

    async def sign_up(self, credentials: Credentials) -> Account:
        """See `Auth`."""
        self._note(credentials)
        if credentials.username in self.accounts:
            raise UsernameTaken
        if len(credentials.password) < 8:
            raise PasswordTooShort
        self.accounts[credentials.username] = (credentials.password, uuid4())
        return self._account(credentials.username)

    async def log_in(self, credentials: Credentials) -> Account:
        """See `Auth`."""
        self._note(credentials)
        password, _ = self.accounts.get(credentials.username, (None, None))
        if password != credentials.password:
            raise WrongCredentials
        return self._account(credentials.username)

    def _note(self, credentials: Credentials) -> None:
        self.asked.append(credentials)
        if self.failure is not None:
            raise self.failure

    def _account(self, username: str) -> Account:
        _, user_id = self.accounts[username]
        return Account(
            user_id=user_id, username=username, token=f"token-of-{username}", expires_in=2_592_000
        )


@dataclass
class Bench:
    """Everything that one test may want to set before the service starts."""

    sessions: async_sessionmaker[AsyncSession]
    objects: Objects
    classifier: StubClassifier = field(default_factory=StubClassifier)
    auth: StubAuth = field(default_factory=StubAuth)
    quota: Quota = field(default_factory=lambda: Quota(1000, 100_000_000))
    evidence: EvidencePolicy = "mark"
    max_upload_bytes: int = 5 * 1024 * 1024
    allowed_origins: frozenset[str] = frozenset()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[httpx.AsyncClient]:
        """The service around these stubs."""

        @asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[AppState]:
            yield AppState(
                sessions=self.sessions,
                fetch_row=self._fetch_row,
                reader=StudyReader(self.classifier, self.objects, self.evidence),
                illustrator=Illustrator(
                    self.objects, ThreadDecoder(2, LIMITS), Explainer(self.classifier)
                ),
                quota=self.quota,
                max_upload_bytes=self.max_upload_bytes,
                auth=self.auth,
                allowed_origins=self.allowed_origins,
            )

        async with running(create_app(lifespan, VERIFIER)) as client:
            yield client

    async def _fetch_row(self, statement: str, *arguments: object) -> Mapping[str, Any] | None:
        """As `row_fetcher`'s, in the test's own transaction."""
        async with self.sessions.begin() as session:
            connection = await (await session.connection()).get_raw_connection()
            assert connection.driver_connection is not None
            row: Mapping[str, Any] | None = await connection.driver_connection.fetchrow(
                statement, *arguments
            )
            return row


def caller(
    user: UUID | None = None,
    *,
    username: str = "bob",
    scopes: frozenset[str] = frozenset({"chexray:read", "chexray:write"}),
) -> Caller:
    """A person who is signed in."""
    return Caller(
        subject=str(user or uuid4()),
        kind="user",
        username=username,
        roles=("clinician",),
        scopes=scopes,
        credential="bearer",
    )


def as_caller(who: Caller) -> Mapping[str, str]:
    """The header by which the gateway says who calls."""
    return {HEADER: AssertionSigner(GATEWAY, KEY).sign(who, SERVICE)}


def stranger(refusal: Refusal | None = None) -> Mapping[str, str]:
    """The gateway's header for somebody without a good credential."""
    return as_caller(Caller(subject="anonymous", kind="anonymous", refusal=refusal))
