"""Attack 62: archives that write elsewhere, lie about their size, or hold more than files."""

import io
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.inference import archive
from shared.inference.refusal import PackageRefused, Reason


def packed(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    """A zip of these entries, whatever their names."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        for entry, content in entries:
            opened.writestr(entry, content)
    return buffer.getvalue()


def special(kind: int) -> zipfile.ZipInfo:
    """An entry that is a link or a device."""
    entry = zipfile.ZipInfo("model.yaml")
    entry.external_attr = (kind | 0o777) << 16
    return entry


def twice() -> bytes:
    """The same name in two spellings of case."""
    return packed(("model.yaml", b"a"), ("MODEL.yaml", b"b"))


def encrypted() -> bytes:
    """An entry whose flag says that it is encrypted."""
    content = bytearray(packed(("model.yaml", b"secret")))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    return bytes(content)


def damaged() -> bytes:
    """An entry whose bytes are not those that were packed."""
    content = bytearray(packed(("model.yaml", bytes(range(256)) * 40)))
    content[60:70] = b"\xff" * 10
    return bytes(content)


def lying() -> bytes:
    """Ten mebibytes of zeros that claim to be ten bytes."""
    content = bytearray(packed(("model.onnx", bytes(10 << 20))))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", content, content.index(signature) + offset, 10)
    return bytes(content)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "climbs": lambda: packed(("../../escaped", b"x")),
    "climbs after a folder": lambda: packed(("vectors/../../escaped", b"x")),
    "absolute": lambda: packed(("/escaped", b"x")),
    "backslash": lambda: packed(("..\\escaped", b"x")),
    "drive": lambda: packed(("C:\\escaped", b"x")),
    "link": lambda: packed((special(stat.S_IFLNK), b"/etc/passwd")),
    "device": lambda: packed((special(stat.S_IFCHR), b"")),
    "pipe": lambda: packed((special(stat.S_IFIFO), b"")),
    "twice": twice,
    "encrypted": encrypted,
    "damaged": damaged,
    "lying": lying,
    "cut": lambda: packed(("model.yaml", b"a" * 999))[:-30],
    "no archive": lambda: b"PK\x03\x04 and then nothing",
    "many entries": lambda: packed(
        *((f"vectors/{i}", b"") for i in range(archive.MAX_ENTRIES + 1))
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_s62_a_hostile_archive_is_refused_and_nothing_leaves_the_folder(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "hostile.zip").write_bytes(HOSTILE[name]())
    folder = tmp_path / "deep" / "folder"
    folder.mkdir(parents=True)
    with pytest.raises(PackageRefused):
        archive.unpack(tmp_path / "hostile.zip", folder)
    outside = {path.name for path in tmp_path.rglob("*") if folder not in path.parents}
    assert outside == {"hostile.zip", "deep", "folder"}
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


def test_s62_an_archive_that_unpacks_to_too_much_is_cut_off(tmp_path: Path) -> None:
    """A little zip that would fill the disk stops at the limit."""
    (tmp_path / "bomb.zip").write_bytes(packed(("model.onnx", bytes(20 << 20))))
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(PackageRefused) as caught:
        archive.unpack(tmp_path / "bomb.zip", folder, limit_bytes=4 << 20)
    assert caught.value.reason is Reason.TOO_LARGE
    assert (folder / "model.onnx").stat().st_size <= 4 << 20
