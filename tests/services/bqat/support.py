"""bqat in this process with real PostgreSQL, real worker processes and a stub of the engines."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
from pydantic import SecretStr

from services.bqat.app import SERVICE, create_app, resources
from services.bqat.crew import Crew
from services.bqat.settings import Settings
from shared.assertions import (
    CLIENT_ADDRESS_HEADER,
    GATEWAY,
    HEADER,
    AssertionSigner,
    AssertionVerifier,
    Caller,
)
from tests.serving import running

KEY = b"k" * 32
VERIFIER = AssertionVerifier(SERVICE, {GATEWAY: KEY})
STUB = "tests.services.bqat.stub_assessor"


def sample(**order: Any) -> bytes:
    """A sample that the stub obeys."""
    return json.dumps({"profile": {}, **order}).encode()


def face(ipd: float, **more: Any) -> bytes:
    """A face of which the stub says this."""
    profile = {
        "image_height": 244,
        "confidence": 0.86,
        "eye_closed_left": False,
        "eye_closed_right": False,
        "ipd": ipd,
        "yaw_pose": "Right",
        "yaw_degree": -24.9,
        "pitch_degree": -3.0 + ipd / 10,
        "roll_degree": ipd / 7,
        "glasses": True,
        **more,
    }
    return sample(profile=profile)


def caller(
    user: UUID | None = None,
    *,
    roles: tuple[str, ...] = ("analyst",),
    scopes: frozenset[str] = frozenset({"bqat:read", "bqat:write"}),
) -> Caller:
    """Somebody who is signed in."""
    return Caller(str(user or uuid4()), "user", roles=roles, scopes=scopes, credential="bearer")


@dataclass(frozen=True)
class CallerHeaders(Mapping[str, str]):
    """The headers by which the gateway says who calls, signed anew whenever they are sent."""

    who: Caller
    address: str

    def __getitem__(self, name: str) -> str:
        """The value of a header."""
        if name == CLIENT_ADDRESS_HEADER:
            return self.address
        if name != HEADER:
            raise KeyError(name)
        return AssertionSigner(GATEWAY, KEY).sign(self.who, SERVICE)

    def __iter__(self) -> Iterator[str]:
        """Their names."""
        return iter((HEADER, CLIENT_ADDRESS_HEADER))

    def __len__(self) -> int:
        """Two."""
        return 2


def as_caller(who: Caller, *, address: str = "127.0.0.1") -> Mapping[str, str]:
    """The headers by which the gateway says who calls, and from where."""
    return CallerHeaders(who, address)


def stranger(*, address: str = "127.0.0.1") -> Mapping[str, str]:
    """The headers for somebody without a credential."""
    return as_caller(Caller("anonymous", "anonymous"), address=address)


@dataclass(frozen=True)
class Bqat:
    """A running bqat."""

    client: httpx.AsyncClient
    settings: Settings

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.settings.data_folder

    async def upload(
        self,
        headers: Mapping[str, str],
        files: Mapping[str, bytes],
        *,
        modality: str = "face",
        path: str = "/scan/uploaded",
    ) -> str:
        """Scan files as old clients do; the task."""
        answer = await self.client.post(
            path,
            params={"modality": modality},
            files=[("files", (name, content)) for name, content in files.items()],
            headers=headers,
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["tid"])

    async def finish(self, headers: Mapping[str, str], tid: str) -> dict[str, Any]:
        """The task when its status is 2 or 3, as old clients wait."""
        async with asyncio.timeout(60):
            while True:
                task: dict[str, Any] = (
                    await self.client.get(f"/task/{tid}/", headers=headers)
                ).json()
                if task["status"] >= 2:
                    return task
                await asyncio.sleep(0.05)

    async def scanned(self, headers: Mapping[str, str], files: Mapping[str, bytes]) -> str:
        """Scan files to their end; the collection."""
        return str((await self.finish(headers, await self.upload(headers, files)))["collection"])


@asynccontextmanager
async def running_bqat(database_url: str, home: Path, **changes: Any) -> AsyncIterator[Bqat]:
    """The service on a database of its own."""
    settings = Settings(
        database_url=SecretStr(database_url),
        home=home,
        stop_grace_s=3,
        bqat_wait_s=60,
        bqat_chunk_files=10,
        bqat_file_timeout_s=changes.pop("file_timeout_s", 20),
        **changes,
    )
    crew = Crew(2, timeout_s=settings.bqat_file_timeout_s, module=STUB, home=home)
    app = create_app(resources(settings, crew=crew), VERIFIER)
    async with running(app) as client:
        client.timeout = httpx.Timeout(90)
        yield Bqat(client, settings)
