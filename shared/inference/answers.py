"""From a network's output to probabilities and decisions; pure functions.

A logit is unbounded, a probability lies from 0 to 1. Which function leads from one to the other
is the manifest's `output.activation`; the calibration divides logits before it.
"""

import math

import numpy as np
from numpy.typing import NDArray

from shared.inference.manifest import Manifest, OutputSpec


def activated(output: OutputSpec, logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Apply the output's activation, without calibration, along the last axis."""
    if output.activation == "sigmoid":
        return sigmoid(logits)
    if output.activation == "softmax":
        return softmax(logits)
    return logits


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """`1 / (1 + exp(-x))` without overflow at either end."""
    halves = np.tanh(logits * np.float32(0.5)) * np.float32(0.5)
    return np.asarray(halves + np.float32(0.5), np.float32)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Exponentials that sum to 1 along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)


def probabilities(manifest: Manifest, logits: NDArray[np.float32]) -> dict[str, float]:
    """The calibrated probability of every label, for one picture.

    Calibration divides the logits by a temperature.

    Args:
        manifest: what the network's output means.
        logits: `(labels,)`; or `(1,)` for two labels, [negative, positive], with a sigmoid.

    Raises:
        ValueError: the number of logits is not the number of labels.

    Source:
        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017: temperature scaling.
    """
    row: list[float] = np.asarray(logits).reshape(-1).tolist()
    if manifest.calibration is not None:
        row = [logit / manifest.calibration.value for logit in row]
    row = _activated_row(manifest.output, row)
    labels = manifest.labels
    if len(row) == 1 and len(labels) == 2 and manifest.output.activation == "sigmoid":
        [positive] = row
        return {labels[0]: 1.0 - positive, labels[1]: positive}
    if len(row) != len(labels):
        raise ValueError(f"{len(row)} logits for {len(labels)} labels")
    return dict(zip(labels, row, strict=True))


def _activated_row(output: OutputSpec, logits: list[float]) -> list[float]:
    """`activated` for the few figures of one picture, which cost NumPy more to begin than to do."""
    if output.activation == "sigmoid":
        return [0.5 + 0.5 * math.tanh(0.5 * logit) for logit in logits]
    if output.activation == "softmax":
        highest = max(logits)
        powers = [math.exp(logit - highest) for logit in logits]
        total = sum(powers)
        return [power / total for power in powers]
    return logits


def decisions(manifest: Manifest, probability_of: dict[str, float]) -> dict[str, bool]:
    """Whether each label with an operating point reaches it."""
    return {
        label: probability_of[label] >= point for label, point in manifest.operating_points.items()
    }
