"""Attacks 59 to 62: what names and files do in reports, exports, folders and archives."""

import io
import stat
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from services.bqat import archives
from services.bqat.errors import ArchiveRefused
from services.bqat.exports import harmless
from tests.services.bqat.support import Bqat, face, sample

Headers = Mapping[str, str]
SCRIPT = "<script>alert(1)</script>.jpg"
PAYLOADS = {
    "smile": '"><img src=x onerror=alert(1)>',
    "<svg/onload=alert(1)>": 3.0,
    "yaw_pose": "</svg><script>alert(2)</script>",
}


async def test_s59_nothing_of_a_name_or_a_profile_is_markup_in_the_report(
    bqat: Bqat, me: Headers
) -> None:
    """Names of files, columns, words, remarks and datasets; the page forbids scripts as well."""
    files = {f"{n}{SCRIPT}": face(60 + n, **PAYLOADS) for n in range(12)}
    files["x.jpg"] = sample(profile={}, errors=["<b>step</b>: <i>what</i>"])
    answer = await bqat.client.post(
        "/scan/local",
        params={"modality": "face"},
        json={"input": "data/", "collection": "<img src=x onerror=alert(3)>"},
        headers=me,
    )
    named = await bqat.finish(me, answer.json()["tid"])
    collection = await bqat.scanned(me, files)
    page = await bqat.client.get(f"/scan/{collection}/report", headers=me)

    assert named["status"] == 2
    assert page.status_code == 200
    assert "<script" not in page.text
    assert "<img" not in page.text
    assert "onload=alert" not in page.text.replace("&lt;svg/onload=alert", "")
    assert "default-src &#x27;none&#x27;" in page.text or "default-src 'none'" in page.text
    assert "sandbox" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "start", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "=HYPERLINK(1)", "\n=1"]
)
def test_s59_no_text_of_an_export_is_a_formula(start: str) -> None:
    """It begins with an apostrophe, which spreadsheets hide."""
    assert harmless(start) == f"'{start}"
    assert harmless("file.jpg") == "file.jpg"


async def test_s59_formulas_in_names_of_files_and_columns_are_harmless_in_a_csv(
    bqat: Bqat, me: Headers
) -> None:
    """Figures stay figures, negative ones too."""
    order = sample(profile={"=cmd|' /C calc'!A0": 1.0, "yaw": -3.5, "word": "=1+1"})
    answer = await bqat.client.post(
        "/api/v2/bqat/scans",
        data={"modality": "face"},
        files={"files": ("=HYPERLINK(0).jpg", order)},
        headers={**me, "Prefer": "wait=60"},
    )
    text = (await bqat.client.get(f"{answer.json()['profiles_url']}.csv", headers=me)).text
    head, line, *_ = text.split("\r\n")

    assert "'=cmd" in head
    assert ",=cmd" not in head
    assert line.startswith("'=HYPERLINK(0).jpg,")
    assert ",-3.5," in line
    assert ",'=1+1," in line


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd.jpg", "/etc/passwd.jpg", "..\\..\\a.jpg", "C:\\a.jpg", "a\u202egpj.exe.jpg"],
)
async def test_s60_a_hostile_name_is_only_ever_shown(bqat: Bqat, me: Headers, name: str) -> None:
    """Its last part, without what turns text around; no path is made of it."""
    collection = await bqat.scanned(me, {name: face(60)})
    (profile,) = (await bqat.client.get(f"/scan/{collection}/profiles", headers=me)).json()

    shown = profile["file"].removeprefix("temp/")
    assert "/" not in shown
    assert "\\" not in shown
    assert "\u202e" not in shown
    assert profile["ipd"] == 60


def zipped(fill: Callable[[zipfile.ZipFile], None]) -> io.BytesIO:
    """An archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        fill(archive)
    file.seek(0)
    return file


def entry(name: str, mode: int) -> zipfile.ZipInfo:
    """An entry of some kind."""
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


PLAIN = stat.S_IFREG | 0o644
#: Entries of hostile archives: name, kind and content.
HOSTILE: Mapping[str, list[tuple[str, int, bytes]]] = {
    "climbs": [("../../evil.jpg", PLAIN, b"x")],
    "absolute": [("/tmp/evil.jpg", PLAIN, b"x")],  # noqa: S108 (never written)
    "drive": [("C:/evil.jpg", PLAIN, b"x")],
    "backslash": [("..\\evil.jpg", PLAIN, b"x")],
    "hidden": [(".ssh/authorized_keys", PLAIN, b"x")],
    "symlink": [("link.jpg", stat.S_IFLNK | 0o777, b"/etc/passwd")],
    "device": [("null.jpg", stat.S_IFCHR | 0o666, b"")],
    "fifo": [("pipe.jpg", stat.S_IFIFO | 0o666, b"")],
    "same name": [("a.jpg", PLAIN, b"x"), ("A.JPG", PLAIN, b"x")],
    "many": [(f"{number}.jpg", PLAIN, b"") for number in range(1001)],
    "bomb": [("zeros.jpg", PLAIN, b"\0" * 30_000_000)],
    "large": [(f"{number}.jpg", PLAIN, bytes(range(256)) * 9000) for number in range(20)],
    "empty": [("folder/", stat.S_IFDIR | 0o755, b"")],
}


def hostile(attack: str) -> io.BytesIO:
    """One of them, packed."""

    def fill(archive: zipfile.ZipFile) -> None:
        for name, kind, content in HOSTILE[attack]:
            archive.writestr(entry(name, kind), content, zipfile.ZIP_DEFLATED)

    return zipped(fill)


@pytest.mark.parametrize("attack", HOSTILE)
def test_s62_a_hostile_archive_writes_nothing_outside(attack: str, tmp_path: Path) -> None:
    """It is refused, whatever of it was harmless."""
    folder = tmp_path / "inside"
    folder.mkdir()
    with pytest.raises(ArchiveRefused):
        archives.unpack(hostile(attack), folder, max_files=1000, max_bytes=40_000_000)
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 41_000_000


@pytest.mark.parametrize("damage", ["cut", "checksum", "garbage", "encrypted"])
def test_s62_a_damaged_archive_is_refused(damage: str, tmp_path: Path) -> None:
    """In one word, without a trace."""
    content = bytearray(zipped(lambda a: a.writestr("a.jpg", bytes(range(256)) * 50)).getvalue())
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "checksum":
        content[60] ^= 0xFF
    elif damage == "encrypted":
        for place in (6, content.index(b"PK\x01\x02") + 8):
            content[place] |= 1
    else:
        content[:] = b"no archive at all"
    with pytest.raises(ArchiveRefused):
        archives.unpack(io.BytesIO(content), tmp_path, max_files=10, max_bytes=10_000_000)


async def test_s62_what_a_refused_archive_left_is_removed(bqat: Bqat, me: Headers) -> None:
    """The folder that was made for it too."""
    before = set(bqat.data.rglob("*"))

    def fill(archive: zipfile.ZipFile) -> None:
        archive.writestr("good.jpg", face(60))
        archive.writestr(entry("link.jpg", stat.S_IFLNK | 0o777), "/etc/passwd")

    answer = await bqat.client.post(
        "/dataset", files={"file": ("evil.zip", zipped(fill).getvalue())}, headers=me
    )
    assert answer.status_code == 400
    assert {path for path in bqat.data.rglob("*") if path.is_file()} <= before


async def test_s61_base64_beyond_the_limit_is_refused_before_it_is_decoded(
    bqat: Bqat, me: Headers
) -> None:
    """As is a data URI that lies about its type, if it is no sample."""
    huge = await bqat.client.post(
        "/base64", json={"modality": "face", "data": "A" * 100_000_000}, headers=me
    )
    lie = await bqat.client.post(
        "/base64",
        json={"modality": "face", "data": "data:image/png;base64,PHNjcmlwdD4="},
        headers=me,
    )
    assert huge.status_code == 400
    assert lie.status_code == 400
    assert "scan failed" in lie.json()["detail"]
