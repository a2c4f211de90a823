"""Attack 56: small files that want much memory or time are refused on their headers."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from tests.shared.imaging.builders import (
    chunk,
    dicom_dataset,
    dicom_file,
    dicom_header,
    dicom_meta,
    encoded,
    explicit_element,
    gif_of,
    gradient,
    image_elements,
    jpeg_with_segment,
    one_pixel_tiff_entries,
    png_header,
    png_with,
    tiff_with_entries,
)
from tests.shared.imaging.cost import Cost, measure

TOO_LARGE, UNREADABLE, PICTURE = "image-too-large", "unreadable-image", "picture"
IMAGE = dicom_header(image_elements(1, 1))
PIXEL = explicit_element((0x7FE0, 0x10), b"OB\0\0", b"")[:8] + struct.pack("<L", 2) + b"\x80\0"
OVERLAPPING_TAGS = 2_000


def png_of_60_000() -> bytes:
    return png_header(60_000, 60_000) + chunk(b"IDAT", zlib.compress(bytes(1000)))


def png_of_one_long_row() -> bytes:
    return png_header(90_000_000, 1) + chunk(b"IDAT", zlib.compress(bytes(1000)))


def png_of_texts_that_inflate() -> bytes:
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1_000_000), 9))
    return png_with(text * 2_000)


def png_of_a_million_chunks() -> bytes:
    return png_with(chunk(b"tEXt", b"") * 1_000_000)


def apng_of_a_million_frames() -> bytes:
    return png_with(chunk(b"acTL", struct.pack(">LL", 1_000_000, 0)))


def gif_of_a_million_frames() -> bytes:
    return gif_of(1_000_000)


def gif_of_a_huge_canvas() -> bytes:
    return gif_of(1).replace(struct.pack("<HH", 1, 1), struct.pack("<HH", 65_535, 65_535), 1)


def gif_of_a_huge_first_frame() -> bytes:
    return gif_of(1).replace(
        struct.pack("<BHHHH", 0x2C, 0, 0, 1, 1), struct.pack("<BHHHH", 0x2C, 0, 0, 65_535, 65_535)
    )


def gif_of_endless_blocks() -> bytes:
    return gif_of(1)[:-5] + b"\x01\0" * 10_000 + b"\x01\x55" * 2_000_000 + b"\0;"


def tiff_of_60_000() -> bytes:
    entries = [entry for entry in one_pixel_tiff_entries(8) if entry[0] not in (256, 257)]
    return tiff_with_entries([*entries, (256, 4, 1, 60_000), (257, 4, 1, 60_000)])


def tiff_of_many_directories() -> bytes:
    directory = struct.pack("<H", 0)
    chain, at = b"", len(tiff_with_entries(one_pixel_tiff_entries(8)))
    for index in range(50_000):
        chain += directory + struct.pack("<L", at + 6 * (index + 1))
    first = tiff_with_entries(one_pixel_tiff_entries(8))
    return first[:-4] + struct.pack("<L", at) + chain


def tiff_of_entries_on_one_region() -> bytes:
    """Each entry claims the same two megabytes: four gigabytes, if they were all read."""
    region = bytes(2_000_000)
    own = [(30_000 + index, 7, len(region), 0) for index in range(OVERLAPPING_TAGS)]
    at = len(tiff_with_entries([*own, *one_pixel_tiff_entries(0)]))
    own = [(tag, kind, count, at) for tag, kind, count, _ in own]
    return tiff_with_entries([*own, *one_pixel_tiff_entries(at)], region)


def tiff_of_huge_tiles() -> bytes:
    entries = [entry for entry in one_pixel_tiff_entries(8) if entry[0] not in (273, 278, 279)]
    tiles = [(322, 4, 1, 60_000), (323, 4, 1, 60_000), (324, 4, 1, 8), (325, 4, 1, 1)]
    return tiff_with_entries([*entries, *tiles])


def jpeg_of_overlapping_exif() -> bytes:
    """An EXIF directory whose entries all claim the same bytes."""
    entries = [(1000 + index, 7, 30_000, 8) for index in range(2_500)]
    exif = b"Exif\0\0" + tiff_with_entries(entries, bytes(30_000))
    return jpeg_with_segment(encoded(gradient(), "JPEG"), 0xE1, exif)


def jpeg_of_a_thousand_scans() -> bytes:
    """Progressive, with its last scan again and again."""
    jpeg = encoded(gradient(400, 400), "JPEG", progressive=True)
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    return jpeg[:-2] + scan * 1_000 + jpeg[-2:]


def webp_of_16_383() -> bytes:
    body = b"VP8X" + struct.pack("<L", 10) + bytes(4) + (b"\xfe\x3f\0" * 2)
    return b"RIFF" + struct.pack("<L", len(body) + 4) + b"WEBP" + body


def bmp_of_60_000() -> bytes:
    plain = encoded(gradient(), "BMP")
    return plain[:18] + struct.pack("<ll", 60_000, 60_000) + plain[26:]


def jpeg2000_of_60_000() -> bytes:
    plain = encoded(gradient(), "JPEG2000", no_jp2=True)
    return plain[:8] + struct.pack(">LL", 60_000, 60_000) + plain[16:]


def jpeg2000_of_a_million_tiles() -> bytes:
    plain = encoded(gradient(), "JPEG2000", no_jp2=True)
    sizes = struct.pack(">8L", 9_000, 9_000, 0, 0, 9, 9, 0, 0)
    return plain[:8] + sizes + plain[40:]


def pnm_of_60_000() -> bytes:
    return b"P6 60000 60000 255\n" + bytes(100)


def dicom_of_a_billion_frames() -> bytes:
    header = dicom_header(image_elements(1, 1, frames=b"1000000000"))
    return dicom_meta(ExplicitVRLittleEndian) + header + PIXEL


def dicom_of_65_535() -> bytes:
    header = dicom_header(image_elements(65_535, 65_535))
    return dicom_meta(ExplicitVRLittleEndian) + header + PIXEL


def dicom_that_inflates_a_thousandfold() -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = compressor.compress(IMAGE + b"\xe0\x7f\x10\0OB\0\0" + struct.pack("<L", 1 << 29))
    for _ in range(512):
        deflated += compressor.compress(bytes(1 << 20))
    return dicom_meta(DeflatedExplicitVRLittleEndian) + deflated + compressor.flush()


def dicom_of_a_million_elements() -> bytes:
    return (
        dicom_meta(ExplicitVRLittleEndian) + explicit_element((0x09, 0x10), b"LO", b"") * 1_000_000
    )


def dicom_of_a_million_elements_in_a_sequence() -> bytes:
    opened = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"
    empty = explicit_element((0x09, 0x10), b"LO", b"")
    return dicom_meta(ExplicitVRLittleEndian) + opened + empty * 1_000_000


def dicom_of_a_million_windows() -> bytes:
    """Implicit, so that the length of a number has 32 bits."""
    dataset = dicom_dataset(gradient(), WindowWidth=10.0)
    file = dicom_file(dataset, ImplicitVRLittleEndian)
    width = b"\x28\0\x51\x10" + struct.pack("<L", 4) + b"10.0"
    numbers = b"1\\" * 1_000_000
    return file.replace(width, b"\x28\0\x50\x10" + struct.pack("<L", len(numbers)) + numbers)


def dicom_of_a_million_tables() -> bytes:
    dataset = dicom_dataset(gradient(), WindowWidth=10.0)
    file = dicom_file(dataset, ImplicitVRLittleEndian)
    width = b"\x28\0\x51\x10" + struct.pack("<L", 4) + b"10.0"
    items = b"\xfe\xff\0\xe0\0\0\0\0" * 1_000_000
    return file.replace(width, b"\x28\0\x10\x30" + struct.pack("<L", len(items)) + items)


def dicom_of_a_million_words_of_modality() -> bytes:
    file = dicom_file(dicom_dataset(gradient()), ImplicitVRLittleEndian)
    modality = b"\x08\0\x60\0" + struct.pack("<L", 2) + b"DX"
    words = b"A\\" * 1_000_000
    return file.replace(modality, modality[:4] + struct.pack("<L", len(words)) + words)


def dicom_of_nested_sequences() -> bytes:
    opened = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"
    return dicom_meta(ExplicitVRLittleEndian) + opened * 50_000


def dicom_around_a_huge_codestream() -> bytes:
    dataset = dicom_dataset(gradient())
    dataset.PixelData = encapsulate([jpeg2000_of_60_000()])
    dataset["PixelData"].VR = "OB"
    return dicom_file(dataset, JPEG2000Lossless)


def dicom_around_a_huge_jpeg() -> bytes:
    jpeg = bytearray(encoded(gradient(), "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 60_000, 60_000)
    dataset = dicom_dataset(gradient())
    dataset.PixelData = encapsulate([bytes(jpeg)])
    dataset["PixelData"].VR = "OB"
    return dicom_file(dataset, JPEGBaseline8Bit)


def dicom_of_runs_that_expand() -> bytes:
    dataset = dicom_dataset(gradient())
    segment = struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\0" * 2_000_000
    dataset.PixelData = encapsulate([segment])
    dataset["PixelData"].VR = "OB"
    return dicom_file(dataset, RLELossless)


BOMBS: dict[Callable[[], bytes], str] = {
    png_of_60_000: TOO_LARGE,
    png_of_one_long_row: TOO_LARGE,
    png_of_texts_that_inflate: PICTURE,
    png_of_a_million_chunks: UNREADABLE,
    apng_of_a_million_frames: TOO_LARGE,
    gif_of_a_million_frames: TOO_LARGE,
    gif_of_a_huge_canvas: TOO_LARGE,
    gif_of_a_huge_first_frame: TOO_LARGE,
    gif_of_endless_blocks: UNREADABLE,
    tiff_of_60_000: TOO_LARGE,
    tiff_of_many_directories: TOO_LARGE,
    tiff_of_entries_on_one_region: PICTURE,
    tiff_of_huge_tiles: UNREADABLE,
    jpeg_of_overlapping_exif: PICTURE,
    jpeg_of_a_thousand_scans: TOO_LARGE,
    webp_of_16_383: TOO_LARGE,
    bmp_of_60_000: TOO_LARGE,
    jpeg2000_of_60_000: TOO_LARGE,
    jpeg2000_of_a_million_tiles: TOO_LARGE,
    pnm_of_60_000: TOO_LARGE,
    dicom_of_a_billion_frames: TOO_LARGE,
    dicom_of_65_535: TOO_LARGE,
    dicom_that_inflates_a_thousandfold: TOO_LARGE,
    dicom_of_a_million_elements: TOO_LARGE,
    dicom_of_a_million_elements_in_a_sequence: TOO_LARGE,
    dicom_of_a_million_windows: UNREADABLE,
    dicom_of_a_million_tables: UNREADABLE,
    dicom_of_a_million_words_of_modality: PICTURE,
    dicom_of_nested_sequences: UNREADABLE,
    dicom_around_a_huge_codestream: TOO_LARGE,
    dicom_around_a_huge_jpeg: TOO_LARGE,
    dicom_of_runs_that_expand: UNREADABLE,
}


@pytest.fixture(scope="module")
def cost(tmp_path_factory: pytest.TempPathFactory) -> Cost:
    """What all bombs cost one process, one after the other."""
    folder: Path = tmp_path_factory.mktemp("bombs")
    for build in BOMBS:
        (folder / build.__name__).write_bytes(build())
    return measure(folder)


@pytest.mark.parametrize(("bomb", "outcome"), [(b.__name__, o) for b, o in BOMBS.items()])
def test_s56_a_bomb_is_defused_within_a_second_of_processor_time(
    cost: Cost, bomb: str, outcome: str
) -> None:
    """Refused by its header, or read without what makes it one."""
    assert cost.files[bomb].outcome == outcome
    assert cost.files[bomb].seconds < 1


def test_s56_all_bombs_together_add_less_than_100_mb(cost: Cost) -> None:
    """Peak resident memory of the process, files of up to 24 MB included."""
    assert cost.grown_mb < 100


def test_s56_the_overlapping_entries_would_be_gigabytes() -> None:
    """The file is small, and what its directory claims is not."""
    bomb = tiff_of_entries_on_one_region()

    assert len(bomb) < 3_000_000
    assert OVERLAPPING_TAGS * 2_000_000 > 3e9
    assert np.frombuffer(bomb[:2], dtype="S2")[0] == b"II"
