"""Scanning a slide in memory, with a judge whose answer is known beforehand."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from services.scancer.slides.findings import as_heatmap, over_view, summarise
from services.scancer.slides.geometry import Plan, Region
from services.scancer.slides.scanning import (
    FULL,
    GLASS,
    REFUSED,
    UNSEEN,
    empty_grid,
    scan,
    view_of,
)
from services.scancer.training.phantom import draw_tissue
from tests.services.scancer.slides.making import ArraySlide, draw_slide

HEIGHT, WIDTH = 1024, 1536


async def bluest(patches: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Says how dark the red of a patch's middle is: crowded nuclei are a tumour to it."""
    middle = patches[:, 32:64, 32:64, 0].mean(axis=(1, 2))
    return np.asarray(np.clip((230.0 - middle) / 100.0, 0.0, 1.0), np.float64)


async def never(patches: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Must not be asked."""
    raise AssertionError(f"{len(patches)} patches were shown")


def whole(slide: ArraySlide, stride_px: int = 32) -> Plan:
    """All of a slide at its own resolution."""
    facts = slide.facts
    region = Region(0, 0, facts.width_px, facts.height_px)
    return Plan(region, 1.0, 96, stride_px, facts.levels)


async def scanned(slide: ArraySlide, plan: Plan) -> NDArray[np.uint8]:
    """The grid of a whole scan."""
    grid = empty_grid(plan)
    view = await view_of(slide, plan.region)
    async for _ in scan(slide, plan, view, grid, bluest):
        pass
    return grid


async def test_tissue_is_judged_and_glass_is_not() -> None:
    """The piece of tissue lies in rows 8 to 24 and columns 12 to 36 of the grid."""
    slide = ArraySlide(draw_slide(HEIGHT, WIDTH), levels=2)
    grid = await scanned(slide, whole(slide))

    assert grid.shape == (32, 48)
    assert (grid[9:23, 13:35] <= FULL).all()
    assert (grid[:6] == GLASS).all()
    assert (grid[:, 39:] == GLASS).all()
    assert not (grid == UNSEEN).any()


async def test_a_figure_belongs_to_the_middle_of_its_patch() -> None:
    """Cells beside the border between the halves already have their own half's figure."""
    slide = ArraySlide(draw_slide(HEIGHT, WIDTH))
    grid = await scanned(slide, whole(slide))

    assert grid[10:22, 24:35].mean() > 2 * grid[10:22, 13:24].mean()
    assert (grid[10:22, 24] > grid[10:22, 23]).mean() > 0.9


async def test_bare_glass_is_never_read_finely_nor_shown_to_the_network() -> None:
    """The view alone says so; it costs one pass over the slide."""
    slide = ArraySlide(np.full((HEIGHT, WIDTH, 3), 244, np.uint8))
    plan = whole(slide)
    grid = empty_grid(plan)
    view = await view_of(slide, plan.region)
    after_view = slide.read_pixels
    async for _ in scan(slide, plan, view, grid, never):
        pass

    assert (grid == GLASS).all()
    assert slide.read_pixels == after_view


async def test_tissue_out_of_focus_is_refused() -> None:
    """With another figure than glass, so that a person sees that there was something."""
    blurred = cv2.GaussianBlur(draw_tissue(512, 512, 3), (0, 0), 3.0)
    slide = ArraySlide(np.asarray(blurred, np.uint8))
    plan = whole(slide)
    grid = empty_grid(plan)
    view = await view_of(slide, plan.region)
    async for _ in scan(slide, plan, view, grid, never):
        pass

    assert (grid == REFUSED).all()


async def test_work_is_taken_up_where_it_was_left() -> None:
    """The second half of a scan leaves what the first has written, and comes to the same."""
    slide = ArraySlide(draw_slide(HEIGHT, WIDTH))
    plan = whole(slide)
    view = await view_of(slide, plan.region)
    first = empty_grid(plan)
    async for done in scan(slide, plan, view, first, bluest):
        if done == 5:
            break
    kept = first.copy()
    async for _ in scan(slide, plan, view, kept, bluest, first_block=5):
        pass

    assert (kept == await scanned(slide, plan)).all()


async def test_no_more_than_a_block_is_read_at_once() -> None:
    """Memory does not grow with the slide."""
    slide = ArraySlide(draw_slide(2048, 3072), levels=3)
    await scanned(slide, whole(slide))

    assert slide.largest_read <= 2048 * 3072 // 4
    plan = whole(slide)
    block = max(rows * columns for rows, columns in map(plan.size_of, plan.blocks))
    assert block == (12 * 32 + 64) ** 2


async def test_a_finer_slide_gives_the_same_grid() -> None:
    """Read at the network's resolution, whatever the scanner's."""
    coarse = ArraySlide(draw_slide(HEIGHT, WIDTH))
    fine_pixels = np.repeat(np.repeat(draw_slide(HEIGHT, WIDTH), 2, axis=0), 2, axis=1)
    fine = ArraySlide(np.ascontiguousarray(fine_pixels))
    plan = Plan(Region(0, 0, 2 * WIDTH, 2 * HEIGHT), 2.0, 96, 32, fine.facts.levels)

    a, b = await scanned(coarse, whole(coarse)), await scanned(fine, plan)
    assert a.shape == b.shape
    both = (a <= FULL) & (b <= FULL)
    assert both[9:23, 13:35].all()
    np.testing.assert_allclose(a[both], b[both].astype(float), atol=6)


async def test_neighbouring_positive_cells_are_one_region() -> None:
    """With its place on the slide and its area."""
    slide = ArraySlide(draw_slide(HEIGHT, WIDTH))
    plan = whole(slide)
    grid = np.full((plan.rows, plan.columns), GLASS, np.uint8)
    grid[4:8, 10:20] = 25
    grid[5:7, 12:15] = 225
    grid[7, 19] = 250
    found = summarise(grid, plan, operating_point=0.5, mpp_um=1.0)

    assert (found.judged, found.positive, found.highest) == (40, 7, 1.0)
    assert [region.cells for region in found.regions] == [6, 1]
    assert found.regions[0].box_xyxy_px == (12 * 32, 5 * 32, 15 * 32, 7 * 32)
    assert found.regions[0].area_mm2 == pytest.approx(6 * 0.032**2)


def test_a_heatmap_is_clear_over_glass_and_red_where_it_is_sure() -> None:
    """Grey stands for what was refused."""
    grid = np.array([[GLASS, 0, FULL, REFUSED]], np.uint8)
    clear, sure_not, sure, refused = as_heatmap(grid)[0].astype(int)

    assert clear[3] == 0
    assert sure[0] > 180 > sure[2]
    assert sure_not[2] > 180 > sure_not[0]
    assert refused[0] == refused[1] == refused[2]


def test_a_heatmap_over_the_view_leaves_glass_as_it_was() -> None:
    """At the view's size."""
    view = np.full((40, 60, 3), 200, np.uint8)
    grid = np.full((4, 6), GLASS, np.uint8)
    grid[0, 0] = FULL
    drawn = over_view(grid, view)

    assert drawn.shape == view.shape
    assert (drawn[10:] == 200).all()
    assert drawn[5, 5, 1] < 100
