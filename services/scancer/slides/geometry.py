"""Where on a slide the patches lie; standard library only.

Lengths in slide pixels are those of the finest level. Lengths in network pixels are those of the
network's input. A slide is divided into square cells; a patch is centred on each, so that what the
network says about the middle of a patch becomes the figure of its cell.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

#: Cells on each side of what is read at once.
BLOCK_CELLS = 12
#: A slide with larger pixels than this share of the network's holds too little detail.
MAX_COARSENESS = 1.25


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle in slide pixels."""

    x_px: int
    y_px: int
    width_px: int
    height_px: int

    def lies_within(self, width_px: int, height_px: int) -> bool:
        """Whether all of it is on a slide of this size."""
        return (
            self.x_px >= 0
            and self.y_px >= 0
            and self.width_px >= 1
            and self.height_px >= 1
            and self.x_px + self.width_px <= width_px
            and self.y_px + self.height_px <= height_px
        )


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of a slide: how many pixels, and how many of the finest each stands for."""

    width_px: int
    height_px: int
    downsample: float


@dataclass(frozen=True, slots=True)
class SlideFacts:
    """What a slide's file says about itself."""

    format: str
    width_px: int
    height_px: int
    mpp_um: float | None
    """Micrometres per pixel of the finest level; None where the file does not say."""
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Cells that are read at once: rows and columns `[start, stop)`."""

    row: int
    column: int
    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What to ask of a slide: a rectangle of one level, and how large to make it."""

    level: int
    x_px: int
    """In slide pixels, possibly outside the slide, which counts as glass."""
    y_px: int
    width_px: int
    """In pixels of the level."""
    height_px: int


@dataclass(frozen=True, slots=True)
class Plan:
    """How a region is divided.

    Attributes:
        region: what is looked at.
        scale: slide pixels per network pixel.
        patch_px: a patch's side in network pixels.
        stride_px: a cell's side in network pixels.
        levels: of the slide.
    """

    region: Region
    scale: float
    patch_px: int
    stride_px: int
    levels: tuple[Level, ...]

    @property
    def cell_px(self) -> float:
        """A cell's side in slide pixels."""
        return self.stride_px * self.scale

    @property
    def columns(self) -> int:
        """Cells from left to right."""
        return max(1, math.ceil(self.region.width_px / self.cell_px))

    @property
    def rows(self) -> int:
        """Cells from top to bottom."""
        return max(1, math.ceil(self.region.height_px / self.cell_px))

    @property
    def cells(self) -> int:
        """All of them."""
        return self.columns * self.rows

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks, row by row; always in the same order, so that work can be taken up."""
        return tuple(self._blocks())

    def _blocks(self) -> Iterator[Block]:
        for row in range(0, self.rows, BLOCK_CELLS):
            for column in range(0, self.columns, BLOCK_CELLS):
                yield Block(
                    row,
                    column,
                    min(BLOCK_CELLS, self.rows - row),
                    min(BLOCK_CELLS, self.columns - column),
                )

    def size_of(self, block: Block) -> tuple[int, int]:
        """Height and width of a block's picture in network pixels: all of its patches."""
        rim = self.patch_px - self.stride_px
        return block.rows * self.stride_px + rim, block.columns * self.stride_px + rim

    def reading_of(self, block: Block) -> Reading:
        """What to read for a block: the coarsest level that is fine enough."""
        rim = (self.patch_px - self.stride_px) / 2
        height, width = self.size_of(block)
        left = self.region.x_px + (block.column * self.stride_px - rim) * self.scale
        top = self.region.y_px + (block.row * self.stride_px - rim) * self.scale
        level = best_level(self.levels, self.scale)
        per_pixel = self.scale / self.levels[level].downsample
        return Reading(
            level,
            round(left),
            round(top),
            max(1, round(width * per_pixel)),
            max(1, round(height * per_pixel)),
        )


def best_level(levels: tuple[Level, ...], scale: float) -> int:
    """The coarsest level whose pixels are no larger than `scale` slide pixels."""
    fine_enough = [
        number for number, level in enumerate(levels) if level.downsample <= scale * 1.01
    ]
    return max(fine_enough, key=lambda number: levels[number].downsample, default=0)


def strips_of(region: Region, levels: tuple[Level, ...], side_px: int) -> tuple[Reading, ...]:
    """Readings that together show a region, for a view of at most `side_px` on its longer side.

    A file without coarse levels is read at a fine one, a strip at a time.
    """
    scale = max(1.0, max(region.width_px, region.height_px) / side_px)
    level = best_level(levels, scale)
    downsample = levels[level].downsample
    width = max(1, round(region.width_px / downsample))
    height = max(1, round(region.height_px / downsample))
    rows = max(1, MAX_STRIP_PIXELS // width)
    return tuple(
        Reading(
            level,
            region.x_px,
            region.y_px + round(row * downsample),
            width,
            min(rows, height - row),
        )
        for row in range(0, height, rows)
    )


#: What is read at once for the view, in pixels of a level.
MAX_STRIP_PIXELS = 4_000_000
