"""Packages are installed whole or not at all, and found by name."""

import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from shared.inference import PackageNotFound, PackageRefused, load_package, resolve_package
from shared.inference.apart import verify_apart
from shared.inference.archive import MAX_ENTRIES, unpack
from shared.inference.install import AlreadyInstalled, install_package, remove_package
from shared.inference.refusal import Reason
from shared.inference.store import installed_packages
from tests.shared.inference.packages import PackageBuilder


def deviation(folder: Path) -> float:
    """Verify in this process: quicker than in one of its own."""
    return load_package(folder).worst_deviation


def put(tmp_path: Path, version: str, model_id: str = "mean-brightness") -> Path:
    """Install one package."""
    builder = PackageBuilder(tmp_path / f"{model_id}-{version}")
    builder.changes = {"id": model_id, "version": version}
    return install_package(builder.write(), tmp_path / "home", verify=deviation).folder


def names(home: Path) -> list[str]:
    """What is installed, as id@version."""
    return [f"{folder.parent.name}@{folder.name}" for folder in installed_packages(home)]


def test_an_installed_package_holds_what_the_manifest_names(tmp_path: Path) -> None:
    """And nothing else of the folder it came from."""
    builder = PackageBuilder(tmp_path / "source")
    (builder.write() / "handler.py").write_text("print('never')")

    installed = install_package(builder.folder, tmp_path / "home", verify=deviation)

    files = {str(file.relative_to(installed.folder)) for file in installed.folder.rglob("*.*")}
    assert installed.folder == tmp_path / "home/models/mean-brightness/1.0"
    assert files == {"model.yaml", "model.onnx", "vectors/0.png"}
    assert load_package(installed.folder).name == "mean-brightness@1.0"


def test_a_package_that_does_not_verify_leaves_nothing(tmp_path: Path) -> None:
    builder = PackageBuilder(tmp_path / "source")
    builder.changes = {"sha256": "0" * 64}

    with pytest.raises(PackageRefused):
        install_package(builder.write(), tmp_path / "home", verify=deviation)

    assert list((tmp_path / "home" / "models").iterdir()) == []


def test_a_version_is_replaced_only_when_asked(tmp_path: Path) -> None:
    put(tmp_path, "1.0")
    other = PackageBuilder(tmp_path / "other", changes={"licence": "MIT"}).write()

    with pytest.raises(AlreadyInstalled):
        install_package(other, tmp_path / "home", verify=deviation)
    replaced = install_package(other, tmp_path / "home", replace=True, verify=deviation)

    assert load_package(replaced.folder).manifest.licence == "MIT"
    assert [path.name for path in (tmp_path / "home" / "models").iterdir()] == ["mean-brightness"]


def test_the_newest_version_is_found(tmp_path: Path) -> None:
    """1.10 comes after 1.9."""
    for version in ("1.9", "1.10", "1.2"):
        put(tmp_path, version)
    shipped = PackageBuilder(tmp_path / "shipped", changes={"id": "small"}).write()
    home = tmp_path / "home"

    assert names(home) == [f"mean-brightness@{version}" for version in ("1.2", "1.9", "1.10")]
    assert resolve_package(home, shipped, "mean-brightness").name == "1.10"
    assert resolve_package(home, shipped, "mean-brightness@1.9").name == "1.9"


def test_the_shipped_package_is_the_default(tmp_path: Path) -> None:
    shipped = PackageBuilder(tmp_path / "shipped").write()

    for wanted in (None, "mean-brightness", "mean-brightness@1.0"):
        assert resolve_package(tmp_path / "home", shipped, wanted) == shipped


@pytest.mark.parametrize("wanted", ["other", "mean-brightness@2.0", "../../etc", ""])
def test_a_package_that_is_nowhere_is_an_error(tmp_path: Path, wanted: str) -> None:
    """A service never runs another network than the one it was told to run."""
    shipped = PackageBuilder(tmp_path / "shipped").write()

    with pytest.raises(PackageNotFound, match="vedette models list"):
        resolve_package(tmp_path / "home", shipped, wanted)


def test_a_half_written_package_is_not_installed(tmp_path: Path) -> None:
    """What a crash left behind is not found, and does not disturb."""
    PackageBuilder(tmp_path / "home" / "models" / ".staging-1").write()
    (tmp_path / "home" / "models" / "empty" / "1.0").mkdir(parents=True)

    assert names(tmp_path / "home") == []


def test_a_package_is_removed_by_version_or_whole(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for version in ("1.0", "2.0", "3.0"):
        put(tmp_path, version)

    remove_package(home, "mean-brightness@2.0")
    left = names(home)
    remove_package(home, "mean-brightness")

    assert left == ["mean-brightness@1.0", "mean-brightness@3.0"]
    assert list((home / "models").iterdir()) == []
    with pytest.raises(PackageNotFound):
        remove_package(home, "mean-brightness")


def test_verification_apart_says_the_same(package: PackageBuilder) -> None:
    assert verify_apart(package.write()) < 1e-5


def test_verification_apart_passes_the_reason_on(package: PackageBuilder) -> None:
    package.changes = {"test_vectors": []}

    with pytest.raises(PackageRefused) as refused:
        verify_apart(package.write())

    assert refused.value.reason is Reason.NO_TEST_VECTORS


def test_verification_apart_runs_no_code_of_the_current_folder(
    package: PackageBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package folder may hold an `onnx.py`; being inside it must not matter."""
    folder = package.write()
    (folder / "onnx.py").write_text("raise SystemExit('the package ran')")
    monkeypatch.chdir(folder)

    assert verify_apart(folder) < 1e-5


def archive_of(path: Path, *entries: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    """A zip of these entries."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, contents in entries:
            opened.writestr(name, contents)
    return path


def unpacking(tmp_path: Path, archive: Path) -> Reason:
    """Why the archive is refused."""
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(PackageRefused) as refused:
        unpack(archive, folder)
    assert {path.name for path in tmp_path.iterdir()} == {"out", archive.name}
    return refused.value.reason


def test_a_package_archive_unpacks(tmp_path: Path) -> None:
    folder = PackageBuilder(tmp_path / "source").write()
    entries = [
        (str(file.relative_to(folder)), file.read_bytes())
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    ]
    (tmp_path / "out").mkdir()

    unpack(archive_of(tmp_path / "p.zip", *entries), tmp_path / "out")

    assert load_package(tmp_path / "out").name == "mean-brightness@1.0"


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a/../../x", "C:\\x", "a\\..\\x", "..", "a/./b", "x\u202egnp.yaml"]
)
def test_an_entry_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    assert unpacking(tmp_path, archive_of(tmp_path / "p.zip", (name, b"x"))) is Reason.UNSAFE_PATH


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_an_entry_that_is_no_plain_file_is_refused(tmp_path: Path, kind: int) -> None:
    entry = zipfile.ZipInfo("link")
    entry.external_attr = (kind | 0o777) << 16

    assert (
        unpacking(tmp_path, archive_of(tmp_path / "p.zip", (entry, b"/etc/passwd")))
        is Reason.UNSAFE_PATH
    )


def test_a_name_that_appears_twice_is_refused(tmp_path: Path) -> None:
    """Two readers may take two different files for the same one."""
    archive = archive_of(tmp_path / "p.zip", ("model.yaml", b"a"), ("MODEL.yaml", b"b"))

    assert unpacking(tmp_path, archive) is Reason.UNSAFE_PATH


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    entries = [(f"f{number}", b"") for number in range(MAX_ENTRIES + 1)]

    assert unpacking(tmp_path, archive_of(tmp_path / "p.zip", *entries)) is Reason.TOO_LARGE


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "p.zip", ("model.yaml", b"x"))
    contents = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = contents.index(signature) + offset
        struct.pack_into("<H", contents, place, 1)
    archive.write_bytes(contents)

    assert unpacking(tmp_path, archive) is Reason.BAD_ARCHIVE


@pytest.mark.parametrize("damage", ["truncated", "flipped", "no zip"])
def test_a_damaged_archive_is_refused(tmp_path: Path, damage: str) -> None:
    archive = archive_of(tmp_path / "p.zip", ("model.yaml", os.urandom(4096)))
    contents = bytearray(archive.read_bytes())
    contents[200] ^= 0xFF
    archive.write_bytes(
        {
            "truncated": bytes(contents[:-30]),
            "flipped": bytes(contents),
            "no zip": b"not a zip",
        }[damage]
    )

    assert unpacking(tmp_path, archive) is Reason.BAD_ARCHIVE
