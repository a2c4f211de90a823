"""How a slide is divided, with nothing to read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scancer.slides.geometry import (
    MAX_STRIP_PIXELS,
    Level,
    Plan,
    Region,
    best_level,
    strips_of,
)

LEVELS = (Level(80_000, 60_000, 1.0), Level(20_000, 15_000, 4.0), Level(5_000, 3_750, 16.0))


def plan(region: Region, scale: float = 4.0, stride_px: int = 32) -> Plan:
    """Of a slide at a quarter of the network's pixel."""
    return Plan(region, scale, 96, stride_px, LEVELS)


def test_a_patch_is_centred_on_its_cell() -> None:
    """The first cell's patch begins a third of a patch above and left of the region."""
    reading = plan(Region(1_000, 2_000, 12_800, 6_400)).reading_of(
        plan(Region(1_000, 2_000, 12_800, 6_400)).blocks[0]
    )

    assert (reading.x_px, reading.y_px) == (1_000 - 128, 2_000 - 128)


def test_a_level_that_is_fine_enough_is_read() -> None:
    """The second level has just the network's pixels, so nothing finer is decoded."""
    every = plan(Region(0, 0, 12_800, 6_400))
    reading = every.reading_of(every.blocks[0])

    assert reading.level == 1
    assert (reading.height_px, reading.width_px) == every.size_of(every.blocks[0])


@pytest.mark.parametrize(("scale", "level"), [(1.0, 0), (3.9, 0), (4.0, 1), (15.0, 1), (99.0, 2)])
def test_the_coarsest_level_that_loses_nothing_is_chosen(scale: float, level: int) -> None:
    """Never one with larger pixels than are wanted."""
    assert best_level(LEVELS, scale) == level


@given(
    width=st.integers(1, 6_000),
    height=st.integers(1, 6_000),
    stride=st.integers(8, 256),
    scale=st.floats(0.9, 8),
)
def test_blocks_cover_every_cell_once(width: int, height: int, stride: int, scale: float) -> None:
    """However little fits."""
    every = plan(Region(0, 0, width, height), scale, stride)

    assert sum(block.rows * block.columns for block in every.blocks) == every.cells
    assert every.columns * every.cell_px >= width - 1e-6
    assert (every.columns - 1) * every.cell_px < width + 1e-6


@given(width=st.integers(1, 80_000), height=st.integers(1, 60_000))
def test_a_view_is_read_in_strips_of_bounded_size(width: int, height: int) -> None:
    """Also where a file has no coarse level."""
    strips = strips_of(Region(0, 0, width, height), LEVELS[:1], 1024)

    assert sum(strip.height_px for strip in strips) == height
    assert all(strip.width_px * strip.height_px <= MAX_STRIP_PIXELS for strip in strips)


@pytest.mark.parametrize(
    "region",
    [Region(-1, 0, 5, 5), Region(0, 0, 0, 5), Region(96, 0, 5, 5), Region(0, 0, 5, 101)],
)
def test_a_region_beside_the_slide_is_told(region: Region) -> None:
    """By any of its sides."""
    assert not region.lies_within(100, 100)
