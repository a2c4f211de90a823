"""Looks at every patch of a slide: tissue first, then the gate, then the network.

The grid that comes of it is one byte per cell. Memory is that of one block, whatever the slide.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import anyio.to_thread
import cv2
import numpy as np
from numpy.typing import NDArray

from services.scancer.gate import check_patch, tissue_mask
from services.scancer.slides.geometry import Block, Plan, Reading, Region, strips_of
from services.scancer.slides.reading import Slide

#: Figures of a cell: a probability is 0 to this; the rest says why there is none.
FULL: Final = 250
GLASS: Final = 255
REFUSED: Final = 254
UNSEEN: Final = 253

VIEW_PX = 1024
#: Tissue this near to a block, in pixels of the view, makes it worth reading.
_MASK_MARGIN_PX = 2

Judge = Callable[[NDArray[np.uint8]], Awaitable[NDArray[np.float64]]]
"""From patches `(N, side, side, 3)` to probabilities `(N,)`."""


@dataclass(frozen=True, slots=True)
class View:
    """A small picture of the region, and where on it tissue is."""

    pixels: NDArray[np.uint8]
    tissue: NDArray[np.bool_]


async def view_of(slide: Slide, region: Region) -> View:
    """Read the region at a coarse resolution, a strip at a time."""
    scale = max(1.0, max(region.width_px, region.height_px) / VIEW_PX)
    width, height = max(1, round(region.width_px / scale)), max(1, round(region.height_px / scale))
    view = np.full((height, width, 3), 255, np.uint8)
    for strip in strips_of(region, slide.facts.levels, VIEW_PX):
        pixels = await slide.read(strip)
        await anyio.to_thread.run_sync(_paste, view, pixels, strip, region, slide, scale)
    mask = tissue_mask(np.asarray(cv2.GaussianBlur(view, (0, 0), 1.0), np.uint8))
    reach = 2 * _MASK_MARGIN_PX + 1
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((reach, reach), np.uint8))
    return View(view, np.asarray(grown > 0, np.bool_))


def _paste(
    view: NDArray[np.uint8],
    pixels: NDArray[np.uint8],
    strip: Reading,
    region: Region,
    slide: Slide,
    scale: float,
) -> None:
    """Shrink a strip into its place in the view."""
    downsample = slide.facts.levels[strip.level].downsample
    top = round((strip.y_px - region.y_px) / scale)
    bottom = round((strip.y_px - region.y_px + strip.height_px * downsample) / scale)
    bottom = min(view.shape[0], max(top + 1, bottom))
    if bottom > top:
        size = (view.shape[1], bottom - top)
        view[top:bottom] = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def empty_grid(plan: Plan) -> NDArray[np.uint8]:
    """A grid of which nothing has been seen."""
    return np.full((plan.rows, plan.columns), UNSEEN, np.uint8)


async def scan(
    slide: Slide,
    plan: Plan,
    view: View,
    grid: NDArray[np.uint8],
    judge: Judge,
    *,
    first_block: int = 0,
) -> AsyncIterator[int]:
    """Fill `grid` block by block, from `first_block` on; yields how many blocks are done."""
    for number, block in enumerate(plan.blocks):
        if number < first_block:
            continue
        cells = grid[
            block.row : block.row + block.rows, block.column : block.column + block.columns
        ]
        if not _may_hold_tissue(view, plan, block):
            cells[:] = GLASS
        else:
            pixels = await slide.read(plan.reading_of(block))
            patches, places = await anyio.to_thread.run_sync(
                _accepted_patches, pixels, plan, block, cells
            )
            if len(patches):
                probabilities = await judge(patches)
                for (row, column), probability in zip(places, probabilities, strict=True):
                    cells[row, column] = round(float(probability) * FULL)
        yield number + 1


def _may_hold_tissue(view: View, plan: Plan, block: Block) -> bool:
    """Whether the view shows tissue anywhere in the block."""
    height, width = view.tissue.shape
    y_scale, x_scale = height / plan.region.height_px, width / plan.region.width_px
    top = int(block.row * plan.cell_px * y_scale)
    left = int(block.column * plan.cell_px * x_scale)
    bottom = int(np.ceil((block.row + block.rows) * plan.cell_px * y_scale))
    right = int(np.ceil((block.column + block.columns) * plan.cell_px * x_scale))
    return bool(view.tissue[top : max(top + 1, bottom), left : max(left + 1, right)].any())


def _accepted_patches(
    pixels: NDArray[np.uint8], plan: Plan, block: Block, cells: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], list[tuple[int, int]]]:
    """Cut a block into patches, and keep those that show tissue in focus; the others are marked."""
    height, width = plan.size_of(block)
    if pixels.shape[:2] != (height, width):
        resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        pixels = np.asarray(resized, np.uint8)
    tissue = tissue_mask(np.asarray(cv2.GaussianBlur(pixels, (0, 0), 1.0), np.uint8))
    kept, places = [], []
    for row in range(block.rows):
        for column in range(block.columns):
            top, left = row * plan.stride_px, column * plan.stride_px
            window = (slice(top, top + plan.patch_px), slice(left, left + plan.patch_px))
            if tissue[window].mean() < MIN_TISSUE_SHARE:
                cells[row, column] = GLASS
            elif not check_patch(pixels[window]).accepted:
                cells[row, column] = REFUSED
            else:
                kept.append(pixels[window])
                places.append((row, column))
    patches = np.stack(kept) if kept else np.zeros((0, plan.patch_px, plan.patch_px, 3), np.uint8)
    return patches, places


#: A patch with less tissue than this is not worth a look.
MIN_TISSUE_SHARE = 0.02
