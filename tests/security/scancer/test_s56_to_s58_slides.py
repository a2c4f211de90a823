"""Slides that were made to hurt whoever opens them."""

import struct
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from services.scancer.slides.errors import SlideTooLarge, UnreadableSlide
from services.scancer.slides.geometry import Reading, Region
from services.scancer.slides.reading import Bounds, open_slide
from services.scancer.slides.scanning import view_of
from shared.imaging import DecodePool, Limits
from tests.services.scancer.slides.making import draw_slide, write_pyramid

#: As much as a slide of ordinary tiles needs, and far less than these want.
BOUNDS = Bounds(memory_bytes=256 * 1024 * 1024, read_timeout_s=20)


@pytest.fixture
async def decoder() -> AsyncIterator[DecodePool]:
    """What decodes plain pictures."""
    async with DecodePool(1, Limits(max_pixels=4_000_000)) as pool:
        yield pool


async def look_at(path: Path, decoder: DecodePool) -> None:
    """Open a file and see all of it."""
    async with open_slide(path, decoder, BOUNDS) as slide:
        facts = slide.facts
        await view_of(slide, Region(0, 0, facts.width_px, facts.height_px))


async def refusal_of(path: Path, decoder: DecodePool) -> str:
    """What is said of a file, at the latest when all of it is to be seen."""
    with pytest.raises((UnreadableSlide, SlideTooLarge)) as refused:
        await look_at(path, decoder)
    assert str(path) not in refused.value.detail
    return refused.value.slug


async def test_s56_a_tile_that_inflates_beyond_memory_is_refused(
    tmp_path: Path, decoder: DecodePool
) -> None:
    """One tile of 16,384 x 16,384 pixels is 805 MB, of 800 kB in the file."""
    path = tmp_path / "flood.tif"
    side = 16_384
    row = np.zeros((side, side, 3), np.uint8)
    tifffile.imwrite(path, row, tile=(side, side), photometric="rgb", compression="zlib")
    assert path.stat().st_size < 4_000_000

    assert await refusal_of(path, decoder) in ("slide-too-large", "unreadable-slide")


async def test_s56_a_header_of_countless_pixels_is_refused(
    tmp_path: Path, decoder: DecodePool
) -> None:
    """A slide's size is checked before anything is planned with it."""
    path = write_pyramid(tmp_path / "slide.tif", draw_slide(), levels=1)
    data = bytearray(path.read_bytes())
    for tag in (256, 257):
        at = data.find(struct.pack("<HH", tag, 4))
        if at < 0:
            at = data.find(struct.pack("<HH", tag, 3))
        assert at > 0
        data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, 4_000_000_000)
    path.write_bytes(data)

    assert await refusal_of(path, decoder) in ("slide-too-large", "unreadable-slide")


@pytest.mark.parametrize("keep", [9, 60_000])
async def test_s56_a_slide_that_breaks_off_is_refused(
    tmp_path: Path, decoder: DecodePool, keep: int
) -> None:
    """Wherever it does."""
    path = write_pyramid(tmp_path / "slide.tif", draw_slide())
    path.write_bytes(path.read_bytes()[:keep])

    assert await refusal_of(path, decoder) in ("slide-too-large", "unreadable-slide")


async def test_s57_only_formats_of_the_list_are_opened(tmp_path: Path, decoder: DecodePool) -> None:
    """OpenSlide also reads formats that name other files; those never reach it."""
    for name, content in (
        ("index.vms", b"[Virtual Microscope Specimen]\nImageFile=../../etc/passwd\n"),
        ("slide.mrxs", b"\xff\xd8 not really"),
        ("slide.svslide", b"SQLite format 3\0" + bytes(100)),
        ("slide.czi", b"ZISRAWFILE" + bytes(200)),
        ("slide.dcm", bytes(128) + b"DICM" + bytes(100)),
        ("empty", b""),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        assert await refusal_of(path, decoder) == "unreadable-slide"


async def test_s58_a_slide_with_something_behind_it_gives_pixels_only(
    tmp_path: Path, decoder: DecodePool
) -> None:
    """A web page after the last tile is never handed out: what is kept is never served."""
    pixels = draw_slide()
    path = write_pyramid(tmp_path / "slide.tif", pixels)
    with path.open("ab") as file:
        file.write(b"<html><script>alert(1)</script></html>")
    async with open_slide(path, decoder, BOUNDS) as slide:
        piece = await slide.read(Reading(0, 0, 0, 64, 64))

    assert (piece == pixels[:64, :64]).all()
