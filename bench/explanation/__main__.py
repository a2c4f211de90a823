"""Compares ways to explain the shipped radiograph network: `python -m bench.explanation FOLDER`.

For the first pictures of a folder, each way's map of the most probable label is scored by
deletion and insertion, beside maps that know nothing of the picture. FOLDER holds frontal chest
radiographs.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from services.chexray.app import SHIPPED_PACKAGE
from services.chexray.gate import judge
from shared.imaging import decode
from shared.inference import Engine, Network, load_package
from shared.inference.explain import map_from_features
from shared.inference.faithfulness import Faithfulness, faithfulness
from shared.inference.occlusion import Grid, grid_for, label_scores, occlusion_maps

PICTURES = 20
NOISE_SEEDS = 5
OTHER = "another picture's occlusion"
COARSE = Grid(7, 7, span=1)

Maps = NDArray[np.float32]
Way = Callable[[Network, NDArray[np.float32]], Awaitable[Maps]]


async def class_activation(network: Network, tensor: NDArray[np.float32]) -> Maps:
    """The maps that the network answers."""
    explain = network.manifest.explain
    assert explain is not None
    assert explain.maps is not None
    outputs = await network.run(tensor)
    return np.asarray(outputs[explain.maps][0], np.float32)


async def feature_mean(network: Network, tensor: NDArray[np.float32]) -> Maps:
    """One map for all labels."""
    explain = network.manifest.explain
    assert explain is not None
    overall = map_from_features((await network.run(tensor))[explain.features][0])
    return np.repeat(overall[np.newaxis], len(network.manifest.labels), axis=0)


async def occlusion(network: Network, tensor: NDArray[np.float32]) -> Maps:
    """As it is used."""
    return await occlusion_maps(network, tensor)


async def coarse_occlusion(network: Network, tensor: NDArray[np.float32]) -> Maps:
    """49 squares that do not overlap."""
    return await occlusion_maps(network, tensor, COARSE)


def noise(seed: int) -> Way:
    """A map that knows nothing."""

    async def drawn(network: Network, tensor: NDArray[np.float32]) -> Maps:
        grid = grid_for(*tensor.shape[2:])
        shape = (len(network.manifest.labels), grid.rows, grid.columns)
        return np.random.default_rng(seed).random(shape, np.float32)

    return drawn


WAYS: dict[str, list[Way]] = {
    "class activation maps": [class_activation],
    "feature maps": [feature_mean],
    "occlusion": [occlusion],
    "occlusion, 49 squares": [coarse_occlusion],
    f"noise, {NOISE_SEEDS} draws": [noise(seed) for seed in range(NOISE_SEEDS)],
}


async def compare(folder: Path) -> None:
    """Print one row per way."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    rows: dict[str, Row] = {name: Row() for name in (*WAYS, OTHER)}
    with Engine("auto") as engine:
        network = engine.load(load_package(SHIPPED_PACKAGE))
        tensors = prepared(folder, network)
        previous = await occlusion(network, tensors[-1])
        for tensor in tensors:
            outputs = await network.run(tensor)
            logits = outputs[network.manifest.output.name]
            label = int(label_scores(network.manifest, logits)[0].argmax())
            rows[OTHER].start()
            rows[OTHER].add(await faithfulness(network, tensor, label, previous[label]))
            for name, ways in WAYS.items():
                rows[name].start()
                for way in ways:
                    started_at = time.perf_counter()
                    maps = await way(network, tensor)
                    rows[name].seconds.append(time.perf_counter() - started_at)
                    rows[name].add(await faithfulness(network, tensor, label, maps[label]))
                    previous = maps if way is occlusion else previous
    print(
        f"{network.name} {network.manifest.sha256[:12]}, {len(tensors)} pictures, {engine.device}"
    )
    print("| way | ms, median | deletion | insertion | margin (standard error) |")
    print("|---|---|---|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {row} |")


@dataclass
class Row:
    """The scores of one way: for every picture, those of all its draws."""

    scores: list[list[Faithfulness]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def start(self) -> None:
        """Begin a picture."""
        self.scores.append([])

    def add(self, score: Faithfulness) -> None:
        """Add a draw's score of the last picture begun."""
        self.scores[-1].append(score)

    def __str__(self) -> str:
        figures = np.array(
            [
                np.mean([(each.deletion, each.insertion, each.margin) for each in draws], axis=0)
                for draws in self.scores
            ]
        )
        deletion, insertion, margin = figures.mean(axis=0)
        error = figures[:, 2].std(ddof=1) / np.sqrt(len(figures))
        took = f"{np.median(self.seconds) * 1000:.0f}" if self.seconds else ""
        return f"{took} | {deletion:.3f} | {insertion:.3f} | {margin:+.3f} ({error:.3f})"


def prepared(folder: Path, network: Network) -> list[NDArray[np.float32]]:
    """The network's input for the first pictures that the gate accepts as they are."""
    tensors: list[NDArray[np.float32]] = []
    for path in sorted(folder.iterdir()):
        picture = decode(path.read_bytes())
        verdict = judge(picture)
        if verdict.accepted and verdict.quarter_turns == 0:
            tensors.append(network.package.preprocess(picture.pixels)[np.newaxis])
        if len(tensors) == PICTURES:
            break
    return tensors


if __name__ == "__main__":
    asyncio.run(compare(Path(sys.argv[1])))
