"""What a grid of probabilities amounts to: figures, connected regions, and pictures."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.scancer.slides.geometry import Plan
from services.scancer.slides.scanning import FULL, GLASS, REFUSED

MAX_REGIONS = 50
#: Colours of probabilities 0, 0.5 and 1 in a heatmap, and how opaque they are.
_COLOURS = ((0.0, (40, 90, 200, 40)), (0.5, (245, 220, 90, 130)), (1.0, (205, 20, 30, 200)))
_REFUSED_COLOUR = (120, 120, 120, 110)


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Neighbouring cells that reach the operating point, as one region of the slide."""

    box_xyxy_px: tuple[int, int, int, int]
    """In slide pixels."""
    cells: int
    area_mm2: float
    highest: float
    mean: float


@dataclass(frozen=True, slots=True)
class Summary:
    """What was found on a slide."""

    judged: int
    glass: int
    refused: int
    positive: int
    highest: float | None
    tissue_mm2: float
    positive_mm2: float
    regions: tuple[Suspicion, ...]


def summarise(
    grid: NDArray[np.uint8], plan: Plan, operating_point: float, mpp_um: float
) -> Summary:
    """Count cells and join those that reach the operating point; the largest regions come first.

    Args:
        grid: `(rows, columns)`, as `scanning.scan` filled it.
        plan: how the slide was divided.
        operating_point: from which probability on a cell is positive.
        mpp_um: micrometres per slide pixel.
    """
    judged = grid <= FULL
    positive = judged & (grid >= operating_point * FULL)
    cell_mm2 = (plan.cell_px * mpp_um / 1000) ** 2
    return Summary(
        judged=int(judged.sum()),
        glass=int((grid == GLASS).sum()),
        refused=int((grid == REFUSED).sum()),
        positive=int(positive.sum()),
        highest=float(grid[judged].max()) / FULL if judged.any() else None,
        tissue_mm2=float(judged.sum()) * cell_mm2,
        positive_mm2=float(positive.sum()) * cell_mm2,
        regions=_regions(grid, positive, plan, cell_mm2),
    )


def _regions(
    grid: NDArray[np.uint8], positive: NDArray[np.bool_], plan: Plan, cell_mm2: float
) -> tuple[Suspicion, ...]:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        positive.astype(np.uint8), connectivity=8
    )
    largest = sorted(range(1, count), key=lambda n: int(stats[n, cv2.CC_STAT_AREA]), reverse=True)
    found = []
    for number in largest[:MAX_REGIONS]:
        column, row, columns, rows, cells = (int(figure) for figure in stats[number])
        inside = grid[row : row + rows, column : column + columns][
            labels[row : row + rows, column : column + columns] == number
        ]
        box = _box(plan, column, row, columns, rows)
        found.append(
            Suspicion(
                box,
                cells,
                cells * cell_mm2,
                float(inside.max()) / FULL,
                float(inside.mean()) / FULL,
            )
        )
    return tuple(found)


def _box(plan: Plan, column: int, row: int, columns: int, rows: int) -> tuple[int, int, int, int]:
    region = plan.region
    right, bottom = region.x_px + region.width_px, region.y_px + region.height_px
    return (
        round(region.x_px + column * plan.cell_px),
        round(region.y_px + row * plan.cell_px),
        min(right, round(region.x_px + (column + columns) * plan.cell_px)),
        min(bottom, round(region.y_px + (row + rows) * plan.cell_px)),
    )


def as_heatmap(grid: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One pixel per cell, `(rows, columns, 4)`: blue to yellow to red, clear where there is glass.

    What the gate refused is grey.
    """
    return np.asarray(_palette()[grid], np.uint8)


def _palette() -> NDArray[np.uint8]:
    """The colour of every figure that a cell may have."""
    palette = np.zeros((256, 4), np.uint8)
    shares = np.arange(FULL + 1) / FULL
    stops = [stop for stop, _ in _COLOURS]
    for channel in range(4):
        levels = [colour[channel] for _, colour in _COLOURS]
        palette[: FULL + 1, channel] = np.interp(shares, stops, levels).round()
    palette[REFUSED] = _REFUSED_COLOUR
    return palette


def over_view(grid: NDArray[np.uint8], view: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The heatmap laid over the view of the slide, `(H, W, 3)`, at the view's size."""
    height, width = view.shape[:2]
    heat = cv2.resize(as_heatmap(grid), (width, height), interpolation=cv2.INTER_NEAREST)
    alpha = heat[:, :, 3:].astype(np.float32) / 255
    mixed = heat[:, :, :3] * alpha + view * (1 - alpha)
    return np.asarray(mixed.round(), np.uint8)
