"""Where a network looks, found from outside: hide a place, and see how much of the answer goes.

Needs nothing of the network but that it runs, so it explains any package. The pictures with
something hidden go through the engine in batches that give way to people who wait.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.inference.batching import Outputs, Priority
from shared.inference.manifest import Manifest

#: Pictures in one request to the engine, and requests under way at once.
_BATCH = 8
_REQUESTS = 4
_CELL_PX = 16
_MIN_CELLS, _MAX_CELLS = 4, 14
#: The blur that stands for "nothing to be seen here", in patches.
_BLUR_PATCHES = 1.0


class Runner(Protocol):
    """What is needed of a loaded network."""

    @property
    def manifest(self) -> Manifest:
        """What the network reads and answers."""
        ...

    async def run(
        self, tensor: NDArray[np.float32], *, priority: Priority = Priority.INTERACTIVE
    ) -> Outputs:
        """Run the network on `(N, C, H, W)`."""
        ...


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells of the picture; what is hidden at a time is a square of `span` by `span` of them."""

    rows: int
    columns: int
    span: int = 2

    @property
    def places(self) -> int:
        """How many runs of the network a map costs, the unchanged picture aside."""
        return (self.rows - self.span + 1) * (self.columns - self.span + 1)


def grid_for(height_px: int, width_px: int) -> Grid:
    """A grid of cells of about 16 px, from 4 to 14 a side.

    The square that is hidden is two cells wide and moves by one: a patch of 32 px and a stride of
    16 px for an input of 224 px.
    """
    rows, columns = (
        min(_MAX_CELLS, max(_MIN_CELLS, round(side_px / _CELL_PX)), side_px)
        for side_px in (height_px, width_px)
    )
    return Grid(rows, columns, min(2, rows, columns))


async def occlusion_maps(
    network: Runner, tensor: NDArray[np.float32], grid: Grid | None = None
) -> NDArray[np.float32]:
    """How much each place adds to each label's score.

    Args:
        network: a loaded classifier.
        tensor: `(1, C, H, W)`, the network's input.
        grid: None for that of the input's size.

    Returns:
        `(labels, rows, columns)`: the mean fall of the score (see `label_scores`) when a square
        that holds the cell is blurred away; negative where the place speaks against the label.
        The same input gives the same maps.

    Source:
        Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014,
        with the picture's own blur in place of a grey square, which would be an edge of its own.
    """
    _, _, height_px, width_px = tensor.shape
    grid = grid or grid_for(height_px, width_px)
    rows, columns = edges(height_px, grid.rows), edges(width_px, grid.columns)
    patch_px = (height_px / grid.rows + width_px / grid.columns) / 2 * grid.span
    radius_px = max(1, round(patch_px * _BLUR_PATCHES / 2))
    hidden = await asyncio.to_thread(blurred, tensor, radius_px)

    places = [
        (row, column)
        for row in range(grid.rows - grid.span + 1)
        for column in range(grid.columns - grid.span + 1)
    ]

    def pictures() -> Iterator[NDArray[np.float32]]:
        yield tensor[0]
        for row, column in places:
            picture = tensor[0].copy()
            down = slice(rows[row], rows[row + grid.span])
            across = slice(columns[column], columns[column + grid.span])
            picture[:, down, across] = hidden[0, :, down, across]
            yield picture

    scores = await scores_of(network, pictures())
    falls = scores[:1] - scores[1:]
    sums = np.zeros((scores.shape[1], grid.rows, grid.columns))
    counts = np.zeros((grid.rows, grid.columns))
    for (row, column), fall in zip(places, falls, strict=True):
        square = (slice(row, row + grid.span), slice(column, column + grid.span))
        sums[:, *square] += fall[:, np.newaxis, np.newaxis]
        counts[square] += 1
    return np.asarray(sums / counts, np.float32)


async def scores_of(
    network: Runner, pictures: Iterator[NDArray[np.float32]]
) -> NDArray[np.float64]:
    """The scores of many pictures `(C, H, W)`, `(N, labels)`, in their order.

    The pictures are made when there is room for them: only a few batches exist at once.
    """
    found: list[NDArray[np.float64]] = []
    name = network.manifest.output.name

    async def take_turns() -> None:
        while batch := [picture for _, picture in zip(range(_BATCH), pictures, strict=False)]:
            place = len(found)
            found.append(np.empty(0))
            outputs = await network.run(np.stack(batch), priority=Priority.BATCH)
            found[place] = label_scores(network.manifest, outputs[name])

    turns = [asyncio.create_task(take_turns()) for _ in range(_REQUESTS)]
    try:
        await asyncio.gather(*turns)
    finally:
        # Where one failed, the others compute for nobody.
        for turn in turns:
            turn.cancel()
    return np.concatenate(found)


def label_scores(manifest: Manifest, logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """One unbounded figure per label, higher where the label is held likelier.

    Args:
        manifest: what the output means.
        logits: `(N, labels)`, or `(N, 1)` for [negative, positive] with a sigmoid.

    Returns:
        `(N, labels)`: the logit; with a softmax the logarithm of the probability.

    Raises:
        ValueError: the output is not one figure per label.
    """
    figures = np.asarray(logits, np.float64)
    labels = len(manifest.labels)
    if figures.ndim == 2 and figures.shape[1] == 1 and labels == 2:
        figures = np.concatenate([-figures, figures], axis=1)
    if figures.ndim != 2 or figures.shape[1] != labels:
        raise ValueError(f"{manifest.name} answers {figures.shape}, not one figure per label")
    if manifest.output.activation != "softmax":
        return figures
    shifted = figures - figures.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), np.float64)


def edges(side_px: int, cells: int) -> list[int]:
    """Where the cells of one axis begin and the last one ends, in pixels."""
    return [round(place * side_px / cells) for place in range(cells + 1)]


def blurred(tensor: NDArray[np.float32], radius_px: int) -> NDArray[np.float32]:
    """The local mean over squares, twice, with the border continued outwards.

    Args:
        tensor: `(..., H, W)`.
        radius_px: how far a square reaches beyond its centre.
    """
    result = np.asarray(tensor, np.float64)
    for _ in range(2):
        for axis in (-2, -1):
            result = _mean_along(result, radius_px, axis)
    return np.asarray(result, np.float32)


def _mean_along(values: NDArray[np.float64], radius_px: int, axis: int) -> NDArray[np.float64]:
    moved = np.moveaxis(values, axis, -1)
    around = [(0, 0)] * (moved.ndim - 1) + [(radius_px + 1, radius_px)]
    sums = np.cumsum(np.pad(moved, around, mode="edge"), axis=-1)
    width_px = 2 * radius_px + 1
    return np.moveaxis((sums[..., width_px:] - sums[..., :-width_px]) / width_px, -1, axis)
