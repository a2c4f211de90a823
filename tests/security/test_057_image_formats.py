"""Attack 57: only named formats are tried, so a hole in another decoder is out of reach."""

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from shared.imaging import UnsupportedImage, decode
from shared.imaging.sniff import ImageFormat, find_format

REFUSED = {
    "FITS": b"SIMPLE  =                    T" + b" " * 50 + b"BITPIX  =                    8",
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9999999 9999999\n",
    "PDF": b"%PDF-1.7\n1 0 obj",
    "SVG": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
    "PSD": b"8BPS\0\x01" + bytes(20),
    "ICO": struct.pack("<HHH", 0, 1, 1) + bytes(16),
    "AVIF": b"\0\0\0\x1cftypavif" + bytes(20),
    "HEIC": b"\0\0\0\x18ftypheic" + bytes(20),
    "WMF": b"\xd7\xcd\xc6\x9a" + bytes(40),
    "SGI": b"\x01\xda\x01\x01" + bytes(508),
    "PCX": b"\x0a\x05\x01\x08" + bytes(128),
    "FLI": bytes(4) + b"\x11\xaf" + bytes(122),
    "DDS": b"DDS " + bytes(124),
    "QOI": b"qoif" + bytes(10),
    "XPM": b"/* XPM */",
    "plain PGM": b"P2 1 1 255 7",
    "ZIP": b"PK\x03\x04" + bytes(40),
    "ELF": b"\x7fELF" + bytes(60),
    "zeros": bytes(500),
    "one byte": b"\xff",
}


@pytest.mark.parametrize("name", REFUSED)
def test_s57_other_formats_are_refused(name: str) -> None:
    """With the list of those that are read."""
    with pytest.raises(UnsupportedImage, match="PNG, JPEG, TIFF, BMP, GIF, WebP"):
        decode(REFUSED[name])


def test_s57_pillow_loads_no_other_plugin() -> None:
    """Not even after a picture that none of the named ones can open."""
    script = (
        "import sys\n"
        "from shared.imaging import decode, UnreadableImage\n"
        "for data in (b'P5 1 1 255 x', b'BM' + bytes(60), b'GIF89a' + bytes(60)):\n"
        "    try: decode(data)\n"
        "    except UnreadableImage: pass\n"
        "print(*sorted(m[4:-11] for m in sys.modules if m.endswith('ImagePlugin')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )

    assert set(done.stdout.split()) <= {
        "Bmp", "Gif", "Jpeg", "Jpeg2K", "Mpo", "Png", "Ppm", "Tiff", "WebP",
    }  # fmt: skip


def test_s57_a_format_is_what_the_bytes_are_not_what_a_name_says() -> None:
    """`decode` takes no name and no content type, so neither can lie."""
    assert find_format(b"\x89PNG\r\n\x1a\n") is ImageFormat.PNG
    assert find_format(b"\x89PNG") is None
    assert find_format(bytes(128) + b"DICM") is ImageFormat.DICOM
