"""Attacks 61 and 62 on netra: base64 in bodies is tested with its reader, archives are here."""

import base64
import io
import stat
import struct
import zipfile
from collections.abc import Callable

import httpx
import pytest

from services.netra.compat.errors import OldError
from services.netra.compat.images import MAX_IMAGE_BYTES, unpack_images
from tests.services.netra.support import Bench, picture, stranger


def packed(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    """A zip of these entries, whatever their names."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
        for entry, content in entries:
            opened.writestr(entry, content)
    return file.getvalue()


def link() -> bytes:
    """An entry that is a symbolic link."""
    entry = zipfile.ZipInfo("LEFT/a.jpg")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return packed((entry, b"/etc/passwd"))


def encrypted() -> bytes:
    """An entry whose flag says that it is encrypted."""
    content = bytearray(packed(("LEFT/a.jpg", picture())))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    return bytes(content)


def damaged() -> bytes:
    """An entry whose bytes are not those that were packed."""
    content = bytearray(packed(("LEFT/a.jpg", picture(size_px=(400, 400)))))
    content[60:70] = b"\xff" * 10
    return bytes(content)


def lying() -> bytes:
    """Fifty megabytes of zeros behind a picture, that claim to be a hundred bytes."""
    content = bytearray(packed(("LEFT/a.jpg", picture() + bytes(50 * 1024 * 1024))))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", content, content.index(signature) + offset, 100)
    return bytes(content)


def endless() -> bytes:
    """A name in a loop of folders, twice."""
    return packed(("LEFT/a.jpg", picture()), ("LEFT/a.jpg", picture(level=3)))


HOSTILE: dict[str, Callable[[], bytes]] = {
    "no zip": lambda: b"PK\x03\x04" + bytes(100),
    "empty": packed,
    "no eyes": lambda: packed(("a.jpg", picture())),
    "link": link,
    "encrypted": encrypted,
    "damaged": damaged,
    "lying": lying,
    "twice": endless,
    "bomb": lambda: packed(("LEFT/a.jpg", picture() + bytes(MAX_IMAGE_BYTES))),
    "no picture": lambda: packed(("LEFT/a.html", b"<script>")),
    "many pictures": lambda: packed(*((f"LEFT/{n}.jpg", picture()) for n in range(21))),
    "many entries": lambda: packed(*((f"{n}", b"") for n in range(201))),
    "nested": lambda: packed(("LEFT/a.zip", packed(("LEFT/a.jpg", picture())))),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", HOSTILE)
def test_s62_a_hostile_archive_is_refused(kind: str) -> None:
    with pytest.raises(OldError):
        unpack_images(base64.b64encode(HOSTILE[kind]()).decode())


@pytest.mark.parametrize("name", ["../../LEFT/../x.jpg", "/LEFT/x.jpg", "C:\\LEFT\\x.jpg"])
def test_s60_a_name_that_leads_elsewhere_leads_nowhere(name: str) -> None:
    """Nothing is written under it; its last part is shown to whoever sent it."""
    [photograph] = unpack_images(packed((name, picture())))

    assert photograph.image_name == "x.jpg"


async def test_s62_a_refused_archive_costs_nothing(client: httpx.AsyncClient, bench: Bench) -> None:
    """One bad picture among good ones refuses them all."""
    bench.auth.add("bob", "hunter2222")
    content = packed(("LEFT/a.jpg", picture()), ("RIGHT/b.jpg", b"<script>"))
    fields = {"token": "token-of-bob", "imgZipData": base64.b64encode(content).decode()}
    refused = await client.post("/v1/doPatientMultiImgAnalysis", json=fields, headers=stranger())

    assert refused.json()["message"].startswith("LC-ERR-0034")
    assert refused.json()["remaining"] == 100
