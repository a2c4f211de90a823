"""Published weights that become packages: where they lie, and what they must answer.

The weights themselves are never part of this project. An entry pins a file by address, size and
sha256, says how it is converted, and states answers that the published file gave, so that what is
installed is proven to be what was published.
"""

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.inference.apart import verify_apart
from shared.inference.conversion.phantoms import to_png
from shared.inference.conversion.published import CONVERSIONS, PAIR_CONVERSIONS
from shared.inference.download import Downloader, Pinned
from shared.inference.install import Installed, install_package, require_absent
from shared.inference.manifest import (
    MANIFEST_NAME,
    Manifest,
    Sha256,
    dump_manifest,
    to_manifest,
)
from shared.inference.pictures import PICTURES

_ZOO = Path(__file__).with_name("zoo.yaml")
#: The sha256 of a network that is still to be made.
_UNKNOWN = "0" * 64

Address = Annotated[str, Field(pattern=r"^https://[A-Za-z0-9.-]+/[^\s?#]+$", max_length=500)]


class NotInZoo(LookupError):
    """No published network has this name."""


class Weights(BaseModel):
    """A published file, pinned."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: Address
    sha256: Sha256
    bytes: Annotated[int, Field(ge=1, le=2**31)]

    @property
    def pinned(self) -> Pinned:
        """As the downloader knows it."""
        return Pinned(self.address, self.sha256, self.bytes)


class ZooEntry(BaseModel):
    """One published network: its weights, their conversion, and the rest of its manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: Weights
    companion: Weights | None = None
    """A second, smaller file that belongs to the weights: the layers of a network, say."""
    conversion: str
    needs_torch: bool = False
    """Whether reading the weights needs PyTorch."""
    manifest: Mapping[str, Any]
    """Members of `model.yaml`; a test vector names a drawn `picture` in its input's place."""

    @model_validator(mode="after")
    def _converts(self) -> Self:
        known = CONVERSIONS if self.companion is None else PAIR_CONVERSIONS
        if self.conversion not in known:
            raise ValueError(f"there is no conversion {self.conversion!r}")
        return self

    def described(self, name: str) -> Manifest:
        """The manifest, but for the hash of the network."""
        return to_manifest(self.members(name, _UNKNOWN))

    def members(self, name: str, network_sha256: str) -> dict[str, Any]:
        """The members of the package's manifest."""
        vectors = [
            {"input": f"vectors/{vector['picture']}.png"}
            | {key: value for key, value in vector.items() if key != "picture"}
            for vector in self.manifest["test_vectors"]
        ]
        source = f"{self.weights.address} with the sha256 {self.weights.sha256}"
        if self.companion is not None:
            source += f", with {self.companion.address} (sha256 {self.companion.sha256})"
        if self.conversion != "none":
            source += f", converted ({self.conversion})"
        return {
            "id": name,
            **self.manifest,
            "source": source,
            "file": "model.onnx",
            "sha256": network_sha256,
            "test_vectors": vectors,
        }


class _Zoo(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    networks: Mapping[str, ZooEntry]
    kind: Literal["vedette-zoo-1"]


@cache
def load_zoo() -> Mapping[str, ZooEntry]:
    """Every published network that can be pulled, by name."""
    return _Zoo.model_validate(yaml.safe_load(_ZOO.read_text(encoding="utf-8"))).networks


def get_entry(name: str) -> ZooEntry:
    """One published network.

    Raises:
        NotInZoo: there is none of that name.
    """
    found = load_zoo().get(name)
    if found is None:
        raise NotInZoo(
            f"no published network is called {name!r}; `vedette models list --available` shows them"
        )
    return found


def package_published(
    name: str, entry: ZooEntry, weights: Path, folder: Path, companion: Path | None = None
) -> None:
    """Convert fetched weights and write their package into the empty `folder`.

    Raises:
        CheckpointRefused: the weights cannot be converted.
    """
    if companion is None:
        network = CONVERSIONS[entry.conversion](weights)
    else:
        network = PAIR_CONVERSIONS[entry.conversion](companion, weights)
    members = entry.members(name, hashlib.sha256(network).hexdigest())
    (folder / "model.onnx").write_bytes(network)
    (folder / "vectors").mkdir()
    for vector in entry.manifest["test_vectors"]:
        picture = to_png(PICTURES[vector["picture"]]())
        (folder / "vectors" / f"{vector['picture']}.png").write_bytes(picture)
    (folder / MANIFEST_NAME).write_text(dump_manifest(to_manifest(members)), encoding="utf-8")


def pull_package(
    name: str,
    entry: ZooEntry,
    home: Path,
    downloader: Downloader,
    *,
    replace: bool = False,
    progress: Callable[[int], None] = lambda _: None,
    fetched: Callable[[], None] = lambda: None,
    verify: Callable[[Path], float] = verify_apart,
) -> Installed:
    """Fetch a published network, convert it, run its test vectors, and only then install it.

    Args:
        name: the id that the package gets.
        entry: what the zoo says of it.
        home: `VEDETTE_HOME`.
        downloader: where the weights come from.
        replace: whether an installed package of this version may be replaced.
        progress: told how many bytes are there.
        fetched: told when the last byte is there and has been checked.
        verify: runs the test vectors.

    Raises:
        AlreadyInstalled: it is there and `replace` is not set; nothing is fetched.
        DownloadRefused: the weights did not come, or are others.
        CheckpointRefused: they cannot be converted.
        PackageRefused: the converted network answers otherwise than the published one.
    """
    require_absent(home, entry.described(name), replace=replace)
    companion = None if entry.companion is None else downloader.fetch(entry.companion.pinned)
    weights = downloader.fetch(entry.weights.pinned, progress)
    fetched()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        package_published(name, entry, weights, folder, companion)
        installed = install_package(folder, home, replace=replace, verify=verify)
    downloader.discard(entry.weights.pinned)
    if entry.companion is not None:
        downloader.discard(entry.companion.pinned)
    return installed
