"""Attack 58, decoding: a file that is two things is one picture here, and only its pixels go on."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.imaging import UnsupportedImage, decode, to_jpeg, to_png
from tests.shared.imaging.builders import (
    chunk,
    dicom,
    encoded,
    gradient,
    jpeg_with_segment,
    png_with,
)

SCRIPT = b"<script>alert(document.domain)</script>"
ARCHIVE = b"PK\x03\x04" + bytes(26) + b"evil.sh#!/bin/sh"


@pytest.mark.parametrize(
    "polyglot",
    [
        encoded(gradient(), "PNG") + ARCHIVE,
        encoded(gradient(), "PNG") + SCRIPT,
        encoded(gradient(), "JPEG") + ARCHIVE,
        jpeg_with_segment(encoded(gradient(), "JPEG"), 0xFE, SCRIPT),
        jpeg_with_segment(encoded(gradient(), "JPEG"), 0xE5, b"%PDF-1.7 " + SCRIPT),
        png_with(chunk(b"tEXt", b"Comment\0" + SCRIPT)),
        encoded(gradient(), "GIF") + SCRIPT,
        encoded(gradient(), "BMP") + ARCHIVE,
        dicom(gradient(), ImageComments=SCRIPT.decode()),
    ],
)
@pytest.mark.parametrize("encode", [to_png, to_jpeg])
def test_s58_a_re_encoded_picture_carries_nothing_but_pixels(
    polyglot: bytes, encode: Callable[[NDArray[np.uint8]], bytes]
) -> None:
    """What services store and serve is made by `to_png` and `to_jpeg` from the pixels."""
    clean = encode(decode(polyglot).pixels)

    for foreign in (b"script", b"PK\x03\x04", b"#!/bin", b"%PDF"):
        assert foreign not in clean


@pytest.mark.parametrize(
    "program",
    [b"MZ\x90\0", b"\x7fELF\x02", b"#!/bin/sh\n", b"\xcf\xfa\xed\xfe", b"<html><script>"],
)
def test_s58_a_dicom_preamble_that_is_a_program_is_refused(program: bytes) -> None:
    """CVE-2019-11687: the 128 bytes before "DICM" may hold an executable's header."""
    file = program + dicom(gradient())[len(program) :]

    with pytest.raises(UnsupportedImage, match="preamble"):
        decode(file)


def test_s58_a_tiff_preamble_is_allowed() -> None:
    """Whole-slide scanners write files that are TIFF and DICOM; this one is read as DICOM."""
    file = b"II*\0" + dicom(gradient())[4:]

    picture = decode(file)

    assert picture.format == "dicom"
    np.testing.assert_array_equal(picture.pixels, gradient())


def test_s58_a_pdf_that_starts_like_one_is_no_picture() -> None:
    """Whatever follows."""
    with pytest.raises(UnsupportedImage):
        decode(b"%PDF-1.7\n" + encoded(gradient(), "JPEG"))
