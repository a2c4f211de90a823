"""Where the network looked: by what it says itself, or by hiding one place after another."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shared.inference.batching import Outputs
from shared.inference.manifest import Manifest
from shared.inference.occlusion import Runner, occlusion_maps

_BLANK = 1e-6

Method = Literal["maps", "features", "occlusion"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """How much each place speaks for each label."""

    maps: NDArray[np.float32]
    """`(labels, h, w)` over the whole input, unbounded."""
    method: Method
    """Class activation maps, feature maps that are the same for every label, or occlusion."""


async def explain(network: Runner, tensor: NDArray[np.float32]) -> Explanation:
    """Explain one answer, the cheapest way that the package offers.

    Args:
        network: a loaded classifier.
        tensor: `(1, C, H, W)`, the network's input.
    """
    stated = None
    if network.manifest.explain is not None:
        stated = stated_maps(network.manifest, await network.run(tensor))
    return stated or Explanation(await occlusion_maps(network, tensor), "occlusion")


def stated_maps(manifest: Manifest, outputs: Outputs) -> Explanation | None:
    """The explanation that is among the outputs of one picture; None if there is none."""
    if manifest.explain is None:
        return None
    labels = len(manifest.labels)
    if manifest.explain.maps is None:
        overall = map_from_features(outputs[manifest.explain.features][0])
        return Explanation(np.repeat(overall[np.newaxis], labels, axis=0), "features")
    maps = outputs[manifest.explain.maps][0]
    return Explanation(np.repeat(maps, labels, axis=0) if len(maps) == 1 else maps, "maps")


def normalised_map(activation: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep what speaks for the label and scale it so that its peak is 1.

    Args:
        activation: `(h, w)`, the label's class activation map, unbounded.

    Returns:
        `(h, w)`, 0 to 1; all 0 where nothing speaks for the label.

    Source:
        Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016.
    """
    positive = np.maximum(np.nan_to_num(activation, posinf=0.0, neginf=0.0), np.float32(0))
    peak = float(positive.max(initial=0.0))
    if peak < _BLANK:
        return np.zeros(activation.shape, np.float32)
    return np.asarray(positive / np.float32(peak), np.float32)


def map_from_features(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """How active each place is in all feature maps together, for networks without maps per label.

    Args:
        features: `(C, h, w)`, after the last rectifier.

    Returns:
        `(h, w)`, 0 to 1.
    """
    return normalised_map(np.asarray(np.maximum(features, 0).mean(axis=0), np.float32))
