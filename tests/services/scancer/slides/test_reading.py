"""Slides as files: pyramids, plain pictures, and files that are neither."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from services.scancer.slides.errors import SlideTooLarge, UnreadableSlide
from services.scancer.slides.geometry import Reading
from services.scancer.slides.reading import Bounds, open_slide
from shared.imaging import DecodePool, Limits
from tests.services.scancer.slides.making import draw_slide, write_pyramid

BOUNDS = Bounds()


@pytest.fixture
async def decoder() -> AsyncIterator[DecodePool]:
    """What decodes plain pictures."""
    async with DecodePool(1, Limits(max_pixels=4_000_000)) as pool:
        yield pool


async def test_a_pyramid_says_what_it_is(tmp_path: Path, decoder: DecodePool) -> None:
    """Whatever it is called."""
    path = write_pyramid(tmp_path / "slide.txt", draw_slide(), mpp_um=0.5)
    async with open_slide(path, decoder, BOUNDS) as slide:
        facts = slide.facts

    assert (facts.format, facts.width_px, facts.height_px) == ("generic-tiff", 1536, 1024)
    assert [level.downsample for level in facts.levels] == [1.0, 2.0, 4.0]
    assert facts.mpp_um == pytest.approx(0.5, rel=0.01)


async def test_what_is_read_is_what_was_written(tmp_path: Path, decoder: DecodePool) -> None:
    """Any rectangle, across tiles."""
    pixels = draw_slide()
    path = write_pyramid(tmp_path / "slide.tif", pixels)
    async with open_slide(path, decoder, BOUNDS) as slide:
        piece = await slide.read(Reading(0, 200, 250, 300, 280))

    assert (piece == pixels[250:530, 200:500]).all()


@pytest.mark.parametrize("kind", ["pyramid", "picture"])
async def test_beside_the_slide_there_is_glass(
    tmp_path: Path, decoder: DecodePool, kind: str
) -> None:
    """White, so that nothing is found there."""
    pixels = draw_slide()
    path = tmp_path / "slide"
    if kind == "pyramid":
        write_pyramid(path, pixels)
    else:
        Image.fromarray(pixels).save(path, "PNG")
    async with open_slide(path, decoder, BOUNDS) as slide:
        piece = await slide.read(Reading(0, -50, -40, 100, 90))

    assert (piece[:40] == 255).all()
    assert (piece[:, :50] == 255).all()
    assert (piece[40:, 50:] == pixels[:50, :50]).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
async def test_a_plain_picture_is_read_as_a_slide_with_one_level(
    tmp_path: Path, decoder: DecodePool, kind: str
) -> None:
    """Without a resolution, which the request then has to state."""
    path = tmp_path / "picture"
    Image.fromarray(draw_slide()).save(path, kind)
    async with open_slide(path, decoder, BOUNDS) as slide:
        facts = slide.facts
        piece = await slide.read(Reading(0, 400, 300, 96, 96))

    assert facts.format == kind.lower()
    assert facts.mpp_um is None
    assert len(facts.levels) == 1
    assert piece.shape == (96, 96, 3)


async def test_a_screen_resolution_is_not_taken_for_a_microscope(
    tmp_path: Path, decoder: DecodePool
) -> None:
    """72 dots per inch are 353 micrometres."""
    path = write_pyramid(tmp_path / "slide.tif", draw_slide(800, 1200), mpp_um=353.0)
    async with open_slide(path, decoder, BOUNDS) as slide:
        assert slide.facts.mpp_um is None


async def test_what_is_no_slide_is_refused(tmp_path: Path, decoder: DecodePool) -> None:
    """By its bytes."""
    path = tmp_path / "slide.svs"
    path.write_bytes(b"PK\3\4 not a slide" * 50)
    with pytest.raises(UnreadableSlide):
        async with open_slide(path, decoder, BOUNDS):
            pass


async def test_a_picture_with_too_many_pixels_is_refused(
    tmp_path: Path, decoder: DecodePool
) -> None:
    """What has no tiles is decoded whole, so it has the limits of every picture."""
    path = tmp_path / "large.png"
    Image.fromarray(np.zeros((3000, 3000, 3), np.uint8)).save(path)
    with pytest.raises(SlideTooLarge):
        async with open_slide(path, decoder, BOUNDS):
            pass
