"""Whether a map tells the truth: take away what it calls important, and the answer should go."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.inference.occlusion import Runner, blurred, scores_of

STEPS = 20


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """How the probability of one label follows a map; both curves start at fraction 0."""

    deletion: float
    """The mean probability while the picture is blurred away, the map's peak first; low is good."""
    insertion: float
    """The mean probability while the picture emerges from its blur, peak first; high is good."""
    deletion_curve: tuple[float, ...]
    insertion_curve: tuple[float, ...]

    @property
    def margin(self) -> float:
        """Insertion less deletion: 0 for a map that knows nothing, negative for a wrong one."""
        return self.insertion - self.deletion


async def faithfulness(
    network: Runner,
    tensor: NDArray[np.float32],
    label: int,
    heat: NDArray[np.float32],
    steps: int = STEPS,
) -> Faithfulness:
    """Score a map by deletion and insertion.

    Args:
        network: a loaded classifier.
        tensor: `(1, C, H, W)`, the network's input.
        label: whose probability, by its place among the labels.
        heat: `(h, w)`, covers the whole input; interpolated to its pixels. Equal pixels keep the
            order of reading, so the same map has the same score.
        steps: into how many equal parts the picture goes.

    Returns:
        Areas from 0 to 1 under the probability, before calibration, against the fraction.

    Source:
        Petsiuk, Das, Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box
        Models", BMVC 2018, with a blur of a quarter of the side as the empty picture of both.
    """
    _, _, height_px, width_px = tensor.shape
    radius_px = max(1, min(height_px, width_px) // 8)
    empty = (await asyncio.to_thread(blurred, tensor, radius_px))[0]
    order = np.argsort(-stretched(heat, height_px, width_px).reshape(-1), kind="stable")
    parts = [round(step * order.size / steps) for step in range(steps + 1)]

    def pictures() -> Iterator[NDArray[np.float32]]:
        for start, end in ((tensor[0], empty), (empty, tensor[0])):
            flat, goal = start.reshape(len(start), -1), end.reshape(len(end), -1)
            for taken in parts:
                picture = flat.copy()
                picture[:, order[:taken]] = goal[:, order[:taken]]
                yield picture.reshape(start.shape)

    scores = await scores_of(network, pictures())
    curve = _probabilities(network, scores)[:, label]
    deletion, insertion = curve[: steps + 1], curve[steps + 1 :]
    return Faithfulness(
        float(np.trapezoid(deletion, dx=1 / steps)),
        float(np.trapezoid(insertion, dx=1 / steps)),
        tuple(float(each) for each in deletion),
        tuple(float(each) for each in insertion),
    )


def stretched(heat: NDArray[np.float32], height_px: int, width_px: int) -> NDArray[np.float64]:
    """A coarse map interpolated linearly between the centres of its cells."""
    rows = _between_centres(np.asarray(heat, np.float64), height_px)
    return _between_centres(rows.T, width_px).T


def _between_centres(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """`(n, m)` to `(length, m)` along the first axis."""
    count = len(values)
    place = np.clip((np.arange(length) + 0.5) * count / length - 0.5, 0, count - 1)
    low = np.minimum(place.astype(int), max(0, count - 2))
    share = (place - low)[:, np.newaxis]
    return np.asarray(
        values[low] * (1 - share) + values[np.minimum(low + 1, count - 1)] * share, np.float64
    )


def _probabilities(network: Runner, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    activation = network.manifest.output.activation
    if activation == "sigmoid":
        return np.asarray(0.5 * (1 + np.tanh(scores / 2)), np.float64)
    return np.exp(scores) if activation == "softmax" else scores
