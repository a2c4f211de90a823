"""Packages, callers and a whole scancer for its tests."""

import io
from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
from fastapi import FastAPI
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image
from pydantic import SecretStr

from services.scancer.app import create_app, resources
from services.scancer.settings import Settings
from shared.assertions import GATEWAY, HEADER, AssertionSigner, AssertionVerifier, Caller, Refusal
from shared.inference import load_package
from shared.inference.archive import pack
from shared.keys import ensure_keys
from tests.serving import running
from tests.shared.inference.packages import PackageBuilder, gray_ramp, mean_network

KEY = b"k" * 32
VERIFIER = AssertionVerifier("scancer", {GATEWAY: KEY})
SCOPES = frozenset({"scancer:predict", "scancer:read"})
ADMIN_SCOPES = SCOPES | {"scancer:admin"}
#: What pictures are "dark" and "bright" to the test network.
LABELS = ("dark", "bright")


def sigmoid(logit: float) -> float:
    """The function of that name."""
    return float(1 / (1 + np.exp(-logit)))


def package(
    folder: Path, name: str = "brightness", version: str = "1.0", gain: float = 4.0, **changes: Any
) -> Path:
    """A package that tells bright pictures from dark ones; the gain tells versions apart.

    It reads gray, 8 by 8 pixels; logits are `-gain * m` and `gain * m`, m from -0.5 to 0.5.
    """
    network: onnx.ModelProto = mean_network()
    weight = np.array([[-gain, gain]], np.float32)
    network.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "weight"))
    mean = float(np.float32(gray_ramp().mean() / 255)) - 0.5
    answers = [sigmoid(-2 * gain * mean), sigmoid(2 * gain * mean)]
    members: dict[str, Any] = {
        "id": name,
        "version": version,
        "task": "image-classification",
        "output": {
            "name": "logits",
            "activation": "softmax",
            "labels": [*LABELS],
            "positive": "bright",
        },
        "input": {
            "name": "image",
            "colour": "GRAY",
            "size": [8, 8],
            "scale": 1 / 255,
            "mean": [0.5],
            "std": [1.0],
        },
        "operating_points": {"bright": 0.5},
        "test_vectors": [{"input": "vectors/0.png", "output": answers, "tolerance": 1e-4}],
    }
    return PackageBuilder(folder, network, members | changes).write()


def put_in_store(
    store: Path, name: str = "brightness", version: str = "1.0", gain: float = 4.0, **changes: Any
) -> str:
    """Pack a package into the model store; returns its file name."""
    store.mkdir(parents=True, exist_ok=True)
    folder = package(store.parent / f"made-{name}-{version}", name, version, gain, **changes)
    file = f"{name}-{version}.zip"
    pack(folder, store / file)
    return file


def npy(array: NDArray[Any]) -> bytes:
    """The file that `numpy.save` writes of an array without objects."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def picture(
    level: int, kind: str = "PNG", mode: str = "L", size: tuple[int, int] = (8, 8)
) -> bytes:
    """A plain picture."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    colour: Any = level if bands == 1 else (level, level, level, 255)[:bands]
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, kind)
    return file.getvalue()


BRIGHT, DARK = picture(250), picture(5)


def tensor(level: int, count: int = 1) -> NDArray[np.float32]:
    """What the network reads of a plain picture."""
    return np.full((count, 1, 8, 8), level / 255 - 0.5, np.float32)


def caller(scopes: frozenset[str] = ADMIN_SCOPES, *, refusal: Refusal | None = None) -> Caller:
    """A person who is signed in; nobody without scopes."""
    if not scopes:
        return Caller(subject="anonymous", kind="anonymous", refusal=refusal)
    return Caller(
        subject="0190-user", kind="user", username="ada", scopes=scopes, credential="basic"
    )


class AsCaller(httpx.Auth, Mapping[str, str]):
    """The header by which the gateway says who calls, made anew each time: it lives a minute."""

    def __init__(self, who: Caller) -> None:
        self._who = who

    def __getitem__(self, name: str) -> str:
        if name != HEADER:
            raise KeyError(name)
        return AssertionSigner(GATEWAY, KEY).sign(self._who, "scancer")

    def __iter__(self) -> Iterator[str]:
        return iter((HEADER,))

    def __len__(self) -> int:
        return 1

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        """Add the header, unless the request says already who calls."""
        request.headers.setdefault(HEADER, self[HEADER])
        yield request


def as_caller(who: Caller) -> AsCaller:
    """Speak as this caller: as headers of a request, or as a client's `auth`."""
    return AsCaller(who)


ADMIN = as_caller(caller())
DEVELOPER = as_caller(caller(SCOPES))
STRANGER = as_caller(caller(frozenset()))


def verify_here(folder: Path) -> float:
    """Verify a package in this process."""
    return load_package(folder).worst_deviation


@dataclass
class Installation:
    """A home with a model store, and everything that a test may want to set before a start."""

    home: Path
    database_url: str
    shipped: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    verifies_apart: bool = False
    """Whether packages are verified in a process of their own, as in production; that takes
    a second each."""

    def __post_init__(self) -> None:
        """Make the keys."""
        ensure_keys(self.home / "keys")

    @property
    def store(self) -> Path:
        """The model store."""
        return self.home / "model-store"

    def configured(self) -> Settings:
        """The service's settings."""
        usual: dict[str, Any] = {
            "home": self.home,
            "database_url": SecretStr(self.database_url),
            "objects_url": f"file://{self.home / 'objects'}",
            "device": "cpu",
            "threads": 2,
        }
        return Settings(**(usual | self.settings))

    def app(self) -> FastAPI:
        """The service, not started."""
        shipped = self.shipped or self.home / "nothing-shipped"
        verify = None if self.verifies_apart else verify_here
        return create_app(resources(self.configured(), shipped, verify), VERIFIER)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[httpx.AsyncClient]:
        """The running service, asked in an administrator's name."""
        async with running(self.app()) as client:
            client.auth = ADMIN
            yield client


async def register(client: httpx.AsyncClient, url: str, **query: Any) -> httpx.Response:
    """Register an archive of the store, with one worker."""
    return await client.post(
        "/models", params={"url": url, "initial_workers": 1, "synchronous": "true", **query}
    )
