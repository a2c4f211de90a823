"""One picture of each kind in, the pixels that were meant out."""

import contextlib
import io
import struct
import zlib
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from shared.imaging import Limits, UnreadableImage, UnsupportedImage, decode
from shared.imaging.formats.png import find_essentials
from tests.shared.imaging.builders import (
    chunk,
    encoded,
    exif_with_orientation,
    gif_of,
    gradient,
    jpeg_with_segment,
    one_pixel_tiff_entries,
    png_header,
    png_with,
    tiff_with_entries,
)

LOSSLESS = [
    ("PNG", {}, "png"),
    ("TIFF", {}, "tiff"),
    ("TIFF", {"compression": "tiff_lzw"}, "tiff"),
    ("TIFF", {"compression": "tiff_adobe_deflate"}, "tiff"),
    ("TIFF", {"compression": "packbits"}, "tiff"),
    ("TIFF", {"big_tiff": True}, "tiff"),
    ("BMP", {}, "bmp"),
    ("GIF", {}, "gif"),
    ("PPM", {}, "pnm"),
    ("JPEG2000", {"irreversible": False}, "jpeg2000"),
    ("JPEG2000", {"no_jp2": True}, "jpeg2000"),
]


@pytest.mark.parametrize(("image_format", "options", "name"), LOSSLESS)
def test_gray_pixels_survive_every_lossless_format(
    image_format: str, options: dict[str, bool], name: str
) -> None:
    """What was written is what is read, and the format is found without a name."""
    pixels = gradient()

    picture = decode(encoded(pixels, image_format, **options))

    np.testing.assert_array_equal(picture.pixels, pixels)
    assert (picture.format, picture.width_px, picture.height_px) == (name, 32, 24)


@pytest.mark.parametrize(
    ("image_format", "options"),
    [("PNG", {}), ("TIFF", {}), ("BMP", {}), ("PPM", {}), ("WEBP", {"lossless": True})],
)
def test_colours_survive_in_the_order_red_green_blue(
    image_format: str, options: dict[str, bool]
) -> None:
    """A swapped channel would look plausible and classify wrongly."""
    pixels = np.zeros((4, 6, 3), dtype=np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = 200, 100, 50

    np.testing.assert_array_equal(decode(encoded(pixels, image_format, **options)).pixels, pixels)


def test_a_jpeg_decodes_close_to_what_was_written() -> None:
    """JPEG loses a little, and no more."""
    picture = decode(encoded(np.full((16, 16), 120, np.uint8), "JPEG", quality=95))

    np.testing.assert_allclose(picture.pixels.astype(int), 120, atol=1)
    assert picture.is_gray


def test_twelve_bits_in_sixteen_are_scaled_by_twelve() -> None:
    """Radiographs are often exported so; by sixteen bits they would be almost black."""
    samples = np.array([[0, 2048], [4095, 1024]], dtype=np.uint16)

    picture = decode(encoded(samples, "PNG"))

    np.testing.assert_array_equal(picture.pixels, [[0, 128], [255, 64]])
    assert picture.notes == ("Samples were read as 12 bits.",)


def test_sixteen_bits_reach_white_at_their_full_scale() -> None:
    """The rule for the widest samples: 65,535 is white."""
    samples = np.array([[0, 65535, 32768]], dtype=np.uint16)

    np.testing.assert_array_equal(decode(encoded(samples, "TIFF")).pixels, [[0, 255, 128]])


def test_a_wide_tiff_that_counts_from_white_is_turned_round() -> None:
    """Pillow turns WhiteIsZero for 8 bits only; a film scan must not come out negative."""
    samples = np.array([[0, 65535]], dtype=np.uint16)

    picture = decode(encoded(samples, "TIFF", tiffinfo={262: 0}))

    np.testing.assert_array_equal(picture.pixels, [[255, 0]])


def test_floats_between_zero_and_one_are_fractions_of_white() -> None:
    """Float TIFFs come from analysis programs."""
    samples = np.array([[0.0, 0.5, 1.0]], dtype=np.float32)

    np.testing.assert_array_equal(decode(encoded(samples, "TIFF")).pixels, [[0, 128, 255]])


def test_floats_that_are_not_numbers_are_refused() -> None:
    """A NaN has no brightness."""
    with pytest.raises(UnreadableImage, match="not numbers"):
        decode(encoded(np.array([[0.0, np.nan]], dtype=np.float32), "TIFF"))


def test_one_bit_is_black_or_white() -> None:
    """Bits become the two ends of the scale."""
    stream = io.BytesIO()
    Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1").save(stream, "PNG")

    np.testing.assert_array_equal(decode(stream.getvalue()).pixels, [[0, 255]])


def test_a_gray_palette_becomes_gray() -> None:
    """Palettes of grays are how old tools wrote 8-bit radiographs."""
    stream = io.BytesIO()
    Image.fromarray(gradient()).convert("P").save(stream, "PNG")

    np.testing.assert_array_equal(decode(stream.getvalue()).pixels, gradient())


def test_opaque_alpha_changes_nothing() -> None:
    """Some of the NIH radiographs carry an alpha channel of 255."""
    pixels = np.dstack([gradient()] * 3 + [np.full((24, 32), 255, np.uint8)])

    picture = decode(encoded(pixels, "PNG"))

    np.testing.assert_array_equal(picture.pixels, pixels[..., :3])
    assert picture.notes == ()


def test_transparent_pixels_are_black_whatever_colour_they_hide() -> None:
    """Outside a radiograph there is no film; and the hidden colour may be anything."""
    pixels = np.array([[[250, 250, 250, 0], [250, 250, 250, 255], [200, 200, 200, 128]]], np.uint8)

    picture = decode(encoded(pixels, "PNG"))

    np.testing.assert_array_equal(picture.pixels[0, :, 0], [0, 250, 100])
    assert picture.notes == ("Transparent parts were laid on black.",)


def test_gray_with_alpha_stays_gray() -> None:
    """LA pictures keep one channel."""
    pixels = np.dstack([np.full((2, 2), 80, np.uint8), np.full((2, 2), 255, np.uint8)])

    np.testing.assert_array_equal(decode(encoded(pixels, "PNG")).pixels, np.full((2, 2), 80))


def test_inks_become_colours() -> None:
    """CMYK without ink is white, with black ink is black."""
    stream = io.BytesIO()
    Image.frombytes("CMYK", (2, 1), bytes((0, 0, 0, 0, 0, 0, 0, 255))).save(stream, "TIFF")

    np.testing.assert_array_equal(decode(stream.getvalue()).pixels[0], [[255] * 3, [0] * 3])


def test_lab_is_refused_by_name() -> None:
    """A colour space without a conversion here is not guessed."""
    stream = io.BytesIO()
    Image.new("LAB", (2, 2)).save(stream, "TIFF")

    with pytest.raises(UnsupportedImage, match="LAB"):
        decode(stream.getvalue())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "WEBP"])
def test_every_exif_orientation_is_turned_upright(image_format: str, orientation: int) -> None:
    """The reference is Pillow's own transposition of the same pixels."""
    methods = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    pixels = np.dstack([gradient()] * 3)
    options: dict[str, dict[str, Any]] = {
        "PNG": {"exif": exif_with_orientation(orientation)},
        "TIFF": {"tiffinfo": {274: orientation}},
        "WEBP": {"exif": exif_with_orientation(orientation), "lossless": True},
    }
    stored, method = Image.fromarray(pixels), methods[orientation]
    upright = stored if method is None else stored.transpose(method)

    picture = decode(encoded(pixels, image_format, **options[image_format]))

    np.testing.assert_array_equal(picture.pixels, np.asarray(upright))
    assert (picture.width_px, picture.height_px) == upright.size


def test_a_jpeg_is_turned_by_its_exif_too() -> None:
    """Phones write every picture in the sensor's orientation."""
    plain = encoded(gradient(), "JPEG")

    turned = decode(jpeg_with_segment(plain, 0xE1, exif_with_orientation(6)))

    np.testing.assert_array_equal(turned.pixels, np.rot90(decode(plain).pixels, -1))


@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", exif_with_orientation(99)]
)
def test_broken_exif_is_left_out(exif: bytes) -> None:
    """A picture with broken metadata is still a picture."""
    plain = encoded(gradient(), "JPEG")

    picture = decode(jpeg_with_segment(plain, 0xE1, exif))

    np.testing.assert_array_equal(picture.pixels, decode(plain).pixels)


def test_only_the_first_frame_is_read_and_a_note_says_so() -> None:
    """A stack of pages is not one radiograph, and the reader must know."""
    stream = io.BytesIO()
    pages = [Image.fromarray(gradient()), Image.fromarray(255 - gradient())]
    pages[0].save(stream, "TIFF", save_all=True, append_images=pages[1:])

    picture = decode(stream.getvalue())

    np.testing.assert_array_equal(picture.pixels, gradient())
    assert picture.notes == ("Only the first of 2 frames was read.",)


def test_frames_of_a_gif_are_counted() -> None:
    """The count comes from the blocks, without decoding them."""
    assert decode(gif_of(3)).notes == ("Only the first of 3 frames was read.",)


def test_a_note_tells_of_bytes_behind_the_picture() -> None:
    """They are never decoded, and somebody may wonder what they are."""
    picture = decode(encoded(gradient(), "PNG") + b"PK\x03\x04 an archive")

    assert picture.notes == ("Bytes after the end of the picture were ignored.",)


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("BMP", {}),
        ("GIF", {}),
        ("WEBP", {}),
        ("JPEG2000", {}),
        ("PPM", {}),
    ],
)
def test_a_truncated_picture_is_refused(image_format: str, options: dict[str, bool]) -> None:
    """Half a radiograph is no radiograph: nothing is filled up with gray."""
    rng = np.random.default_rng(7)
    whole = encoded(rng.integers(0, 256, (64, 64), dtype=np.uint8), image_format, **options)

    with pytest.raises(UnreadableImage):
        decode(whole[: len(whole) * 6 // 10])


def test_a_png_header_that_disagrees_with_its_pixels_is_refused() -> None:
    """Too few rows of pixels are a truncated picture."""
    with pytest.raises(UnreadableImage):
        decode(png_with(b"").replace(b"\0\0\0\x01\0\0\0\x01", b"\0\0\0\x01\0\0\0\x09", 1))


def test_empty_bytes_are_unreadable() -> None:
    """There is nothing to sniff."""
    with pytest.raises(UnreadableImage, match="empty"):
        decode(b"")


def test_a_text_chunk_never_reaches_the_decoder() -> None:
    """A malformed one would make Pillow refuse the picture."""
    picture = decode(png_with(chunk(b"zTXt", b"no keyword, no zlib") + chunk(b"iCCP", b"junk")))

    np.testing.assert_array_equal(picture.pixels, [[0x80]])


def test_a_hand_made_tiff_of_one_pixel_decodes() -> None:
    """The builders of the hostile TIFFs start from a valid one."""
    entries = one_pixel_tiff_entries(0)
    at = len(tiff_with_entries(entries))

    picture = decode(tiff_with_entries(one_pixel_tiff_entries(at), b"\x63"))

    np.testing.assert_array_equal(picture.pixels, [[0x63]])


def test_limits_are_the_callers_to_set() -> None:
    """A service with small pictures may say so."""
    small = Limits(max_pixels=100)

    assert decode(encoded(gradient(10, 10), "PNG"), small).pixels.shape == (10, 10)
    with pytest.raises(Exception, match="at most 100 pixels"):
        decode(encoded(gradient(10, 11), "PNG"), small)


def test_pixels_are_contiguous_bytes() -> None:
    """Networks and encoders take them as they are."""
    picture = decode(jpeg_with_segment(encoded(gradient(), "JPEG"), 0xE1, exif_with_orientation(6)))

    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.flags.c_contiguous


def test_gray_and_colour_views_of_one_picture_agree() -> None:
    """Equal channels have that value as their luma."""
    gray = decode(encoded(gradient(), "PNG"))
    rgb = decode(encoded(np.dstack([gradient()] * 3), "PNG"))

    np.testing.assert_array_equal(gray.to_rgb(), rgb.to_rgb())
    np.testing.assert_array_equal(gray.to_gray(), rgb.to_gray())


def png_of(gray: NDArray[np.uint8], rows: int, *, interlaced: bool = False) -> bytes:
    """A PNG of `gray` whose pixel data hold `rows` rows, and are whole to zlib."""
    height, width = gray.shape
    header = struct.pack(">LLBBBBB", width, height, 8, 0, 0, 0, int(interlaced))
    raw = b"".join(b"\0" + row.tobytes() for row in gray[:rows])

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">L", len(content))
            + kind
            + content
            + struct.pack(">L", zlib.crc32(kind + content))
        )

    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_png_with_all_its_rows_is_read() -> None:
    gray = np.full((40, 30), 7, np.uint8)
    gray[-1] = 0  # a black last row is no missing row
    np.testing.assert_array_equal(decode(png_of(gray, 40)).pixels, gray)


@pytest.mark.parametrize("rows", [0, 1, 20, 39])
def test_a_png_whose_rows_end_early_is_refused(rows: int) -> None:
    """Else the rest of the lung is black, and the network reads it."""
    gray = np.full((40, 30), 7, np.uint8)
    with pytest.raises(UnreadableImage):
        decode(png_of(gray, rows))


def test_an_interlaced_png_that_lacks_its_last_pass_is_refused() -> None:
    gray = np.full((40, 30), 7, np.uint8)
    with pytest.raises(UnreadableImage):
        decode(png_of(gray, 25, interlaced=True))


@given(st.integers(1, 40), st.integers(1, 40))
def test_interlaced_pngs_are_read_whatever_their_size(width: int, height: int) -> None:
    """Small ones have passes without a pixel."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    gray = np.arange(width * height, dtype=np.uint8).reshape(height, width)
    rows = [
        b"\0" + row.tobytes()
        for column, first, step, row_step in [*passes, (0, 1, 1, 2)]
        for row in gray[first::row_step, column::step]
        if row.size
    ]
    whole = png_of(gray, 0, interlaced=True)
    empty = zlib.compress(b"")
    packed = zlib.compress(b"".join(rows))
    idat = struct.pack(">L", len(packed)) + b"IDAT" + packed
    idat += struct.pack(">L", zlib.crc32(b"IDAT" + packed))
    start = whole.index(b"IDAT") - 4
    end = start + 12 + len(empty)
    np.testing.assert_array_equal(decode(whole[:start] + idat + whole[end:]).pixels, gray)


def png_in_chunks(gray: NDArray[np.uint8], chunks: list[bytes]) -> bytes:
    """A PNG whose pixels are cut into these chunks."""
    height, width = gray.shape
    parts = b"".join(chunk(b"IDAT", each) for each in chunks)
    return png_header(width, height) + parts + chunk(b"IEND", b"")


@given(st.lists(st.integers(0, 400), max_size=12), st.booleans())
def test_a_png_is_the_same_in_however_many_chunks(cuts: list[int], has_text: bool) -> None:
    gray = gradient(40, 30)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in gray))
    ends = [0, *sorted(min(cut, len(packed)) for cut in cuts), len(packed)]
    parts = [packed[start:end] for start, end in pairwise(ends)]
    data = png_in_chunks(gray, parts)
    if has_text:
        # Not where the format allows it, and yet in the way of nobody who leaves texts out.
        at = data.index(b"IDAT") + 4 + len(parts[0]) + 4
        data = data[:at] + chunk(b"tEXt", b"Comment\0x") + data[at:]

    np.testing.assert_array_equal(decode(data).pixels, gray)
    assert find_essentials(data, Limits()).data.count(b"IDAT") == 1


@pytest.mark.parametrize("size", [8, 64, 100_000])
def test_a_png_that_was_cut_short_is_whole_or_refused_in_however_many_chunks(size: int) -> None:
    """Without its last bytes, which are checksums, it still has all its pixels."""
    gray = np.random.default_rng(1).integers(0, 256, (40, 30), np.uint8)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in gray))
    whole = png_in_chunks(gray, [packed[at : at + size] for at in range(0, len(packed), size)])

    np.testing.assert_array_equal(decode(whole).pixels, gray)
    for lost_bytes in range(1, 33):
        with contextlib.suppress(UnreadableImage):
            np.testing.assert_array_equal(decode(whole[:-lost_bytes]).pixels, gray)
    for lost_bytes in range(33, 200):
        with pytest.raises(UnreadableImage):
            decode(whole[:-lost_bytes])
