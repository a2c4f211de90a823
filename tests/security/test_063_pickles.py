"""63: nothing that is a program is read as a model. Each attack would create a canary file."""

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.inference import PackageRefused, load_package
from shared.inference.archive import unpack
from shared.inference.conversion.checkpoint import CheckpointRefused, read_checkpoint
from shared.inference.manifest import ManifestInvalid, parse_manifest
from tests.shared.inference.packages import PackageBuilder


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.canary),)


@pytest.fixture
def package(tmp_path: Path) -> PackageBuilder:
    """A package that loads unless the test changes it."""
    return PackageBuilder(tmp_path / "package")


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """What must never exist."""
    return tmp_path / "canary"


def test_s63_the_bomb_works(canary: Path) -> None:
    """An ordinary unpickling runs it, so a test that survives it proves something."""
    pickle.loads(pickle.dumps(Bomb(canary)))  # noqa: S301

    assert canary.exists()


@pytest.mark.parametrize("container", ["bare", "in a state dict", "legacy"])
def test_s63_a_checkpoint_that_runs_code_is_refused(
    tmp_path: Path, canary: Path, container: str
) -> None:
    torch = pytest.importorskip("torch", reason="conversion needs the extra `convert` (PyTorch)")
    bomb = Bomb(canary)
    contents = {"state_dict": {"a": torch.zeros(1), "b": bomb}} if "dict" in container else bomb
    torch.save(contents, tmp_path / "c.pt", _use_new_zipfile_serialization=container != "legacy")

    with pytest.raises(CheckpointRefused, match="not run"):
        read_checkpoint(tmp_path / "c.pt")
    assert not canary.exists()


def test_s63_a_bare_pickle_is_no_checkpoint(tmp_path: Path, canary: Path) -> None:
    pytest.importorskip("torch", reason="conversion needs the extra `convert` (PyTorch)")
    (tmp_path / "c.pt").write_bytes(pickle.dumps(Bomb(canary)))

    with pytest.raises(CheckpointRefused):
        read_checkpoint(tmp_path / "c.pt")
    assert not canary.exists()


def test_s63_an_inert_class_runs_no_code_of_the_pickle(tmp_path: Path, canary: Path) -> None:
    """The names of known layers are allowed, but only as bags of attributes."""
    torch = pytest.importorskip("torch", reason="conversion needs the extra `convert` (PyTorch)")

    class Posing:
        def __reduce__(self) -> Any:
            return torch.nn.Sequential, (), {"_modules": {"x": Bomb(canary)}}

    torch.save(Posing(), tmp_path / "c.pt")

    with pytest.raises(CheckpointRefused):
        read_checkpoint(tmp_path / "c.pt")
    assert not canary.exists()


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.mkdir ['{canary}']",
        "!!python/object/new:os.mkdir ['{canary}']",
        "!!python/name:os.mkdir",
        "!!python/module:os",
        "!!python/object:shared.settings.Settings {}",
        "!include {canary}",
    ],
)
def test_s63_yaml_tags_make_no_objects(canary: Path, tag: str) -> None:
    text = f"id: {tag.replace('{canary}', str(canary))}\n".encode()

    with pytest.raises(ManifestInvalid, match="plain YAML"):
        parse_manifest(text)
    assert not canary.exists()


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "model.npy", "model.pt"])
def test_s63_a_network_that_is_a_pickle_is_not_onnx(
    package: PackageBuilder, canary: Path, name: str
) -> None:
    folder = package.write()
    if name.endswith(".npy"):
        buffer = io.BytesIO()
        np.save(buffer, np.array([Bomb(canary)], object), allow_pickle=True)
        contents = buffer.getvalue()
    else:
        contents = pickle.dumps(Bomb(canary))
    (folder / name).write_bytes(contents)
    members = package.manifest(contents) | {"file": name}
    package.changes = {"file": name, "sha256": members["sha256"]}
    package.write()

    with pytest.raises(PackageRefused, match="bad-graph"):
        load_package(folder)
    assert not canary.exists()


def test_s63_a_torchserve_archive_with_a_handler_is_no_package(tmp_path: Path) -> None:
    """A `.mar` is a zip with Python in it; nothing in it is looked at but a manifest."""
    archive = tmp_path / "net.mar"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("MAR-INF/MANIFEST.json", '{"model": {"handler": "handler.py"}}')
        opened.writestr("handler.py", "raise SystemExit('the handler ran')")
    (tmp_path / "out").mkdir()
    unpack(archive, tmp_path / "out")

    with pytest.raises(PackageRefused, match="missing-manifest"):
        load_package(tmp_path / "out")
