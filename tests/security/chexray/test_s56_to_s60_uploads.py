"""Attacks 56 to 60 through chexray's doors: what a hostile upload gets, and what is served again.

Attack 61 (base64 bodies) does not apply: no chexray wire takes base64.
"""

import io
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image

from tests.services.chexray.support import picture, png, stranger

STUDIES = "/api/v2/chexray/studies"
OLD_UPLOAD = "/api/chexray/upload/"
Headers = Mapping[str, str]

ASSETS = os.environ.get("VEDETTE_ASSETS")


def flood_png() -> bytes:
    """A PNG whose header announces 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100_000))
        + chunk(b"IEND", b"")
    )


async def upload(client: httpx.AsyncClient, who: Headers, content: bytes) -> list[httpx.Response]:
    """The same bytes through both doors."""
    files = {"image": ("a.png", content)}
    return [
        await client.post(STUDIES, files=files, headers=who),
        await client.post(OLD_UPLOAD, files=files, data={"title": "t"}, headers=who),
    ]


async def test_s56_a_pixel_flood_is_4xx_and_costs_nothing(
    client: httpx.AsyncClient, as_bob: Headers
) -> None:
    """Its header is read, its pixels are not."""
    before = psutil.Process().memory_info().rss
    modern, old = await upload(client, as_bob, flood_png())
    grown = psutil.Process().memory_info().rss - before

    assert (modern.status_code, modern.json()["type"]) == (413, "/problems/image-too-large")
    assert old.status_code == 400
    assert grown < 100 * 1024 * 1024


@pytest.mark.weights
@pytest.mark.skipif(ASSETS is None, reason="VEDETTE_ASSETS does not name the hostile files")
async def test_s56_no_hostile_file_is_a_5xx(client: httpx.AsyncClient, as_bob: Headers) -> None:
    """All of them, through both doors; some are odd but whole pictures."""
    assert ASSETS is not None
    failed = []
    for path in sorted((Path(ASSETS) / "hostile").iterdir()):
        for answer in await upload(client, as_bob, path.read_bytes()):
            if answer.status_code >= 500:
                failed.append((path.name, answer.status_code))

    assert failed == []


@pytest.mark.parametrize(
    "content",
    [
        b"SIMPLE  =                    T / FITS",
        b"%!PS-Adobe-3.0 EPSF-3.0",
        b"%PDF-1.7\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<!DOCTYPE html><script>alert(1)</script>",
        b"PK\x03\x04",
    ],
)
async def test_s57_other_formats_are_refused(
    client: httpx.AsyncClient, as_bob: Headers, content: bytes
) -> None:
    """By their bytes, whatever Pillow could open."""
    modern, old = await upload(client, as_bob, content)

    assert (modern.status_code, old.status_code) == (415, 400)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (picture("JPEG") + b"<script>alert(1)</script>", "image/jpeg"),
        (png() + b"PK\x05\x06" + b"\0" * 18, "image/png"),
    ],
)
async def test_s58_a_polyglot_is_only_ever_a_picture(
    client: httpx.AsyncClient, as_bob: Headers, content: bytes, kind: str
) -> None:
    """Fixed type, no guessing, a sandbox, and saved rather than shown on the modern API."""
    modern, old = await upload(client, as_bob, content)
    assert (modern.status_code, old.status_code) == (201, 201)
    served = [
        await client.get(modern.json()["image_url"], headers=as_bob),
        await client.get(old.json()["image"], headers=stranger()),
    ]

    for answer in served:
        assert answer.headers["content-type"] == kind
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert served[0].headers["content-disposition"].startswith("attachment")


async def test_s58_a_heatmap_holds_nothing_of_the_file(
    client: httpx.AsyncClient, as_bob: Headers
) -> None:
    """It is drawn from pixels alone."""
    content = picture("JPEG", (300, 300)) + b"<script>alert(1)</script>"
    modern, _ = await upload(client, as_bob, content)
    heatmap = await client.get(modern.json()["heatmap_url"], headers=as_bob)

    assert b"script" not in heatmap.content
    assert Image.open(io.BytesIO(heatmap.content)).info == {}


@pytest.mark.parametrize(
    "name",
    [
        "../../x.png",
        "/etc/passwd.png",
        "C:\\Windows\\x.png",
        "a\u202egpj.png",
        "a" * 90 + ".png",
        '"><script>.png',
        "CON.png",
        "x\r\nSet-Cookie: a=b.png",
    ],
)
async def test_s60_no_name_reaches_a_path_or_a_header(
    client: httpx.AsyncClient, as_bob: Headers, name: str, tmp_path: Path
) -> None:
    """Objects are named by their hash; addresses hold letters, digits, `_`, `-` and dots."""
    answer = await client.post(
        OLD_UPLOAD, files={"image": (name, png())}, data={"title": "t"}, headers=as_bob
    )
    served = await client.get(answer.json()["image"], headers=stranger())
    kept = [path.name for path in (tmp_path / "objects").rglob("*") if path.is_file()]

    assert served.status_code == 200
    assert "set-cookie" not in served.headers
    assert all(len(found) == 64 for found in kept)
    assert set(served.headers["content-disposition"]) <= set(
        "inline; fm*='%\"_-.=abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    )
