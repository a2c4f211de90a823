"""Rebuilds a DenseNet as an ONNX graph from the names and shapes of its weights.

Source:
    Huang et al., "Densely Connected Convolutional Networks", CVPR 2017, arXiv:1608.06993:
    DenseNet-BC. DenseNet-121 is growth 32, blocks of 6, 12, 24 and 16 layers.
"""

import re
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from shared.inference.conversion.checkpoint import CheckpointRefused, Weights
from shared.inference.conversion.writer import NORM_PARTS, GraphWriter, declare, weight_of

_LAYER = re.compile(r"features\.denseblock(\d+)\.denselayer(\d+)\.norm1\.weight")
_OLD_NAME = re.compile(r"\.(norm|conv)\.([12])\.")
_MAX_LAYERS = 200


@dataclass(frozen=True, slots=True)
class DenseNetShape:
    """How many input channels, layers per block and features a network has."""

    channels: int
    layers: tuple[int, ...]
    features: int


@dataclass(frozen=True, slots=True)
class Head:
    """What turns features into logits: one 1x1 convolution per label, then a pooling.

    Attributes:
        weight: `(labels, features)`.
        bias: `(labels,)`.
        pooling: `average`: the mean over all places of the map of logits; `pcam`: the mean
            weighted by the probability at each place.

    Source:
        Ye et al., "Weakly Supervised Lesion Localization With Probabilistic-CAM Pooling",
        2020, arXiv:2005.14480. The weights sum to 1, so classifying the pooled features equals
        pooling the map of logits.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    pooling: str


def modern_names(weights: Weights) -> dict[str, NDArray[np.float32]]:
    """Layers saved by PyTorch before 0.4 are called `norm.1`; today they are `norm1`."""
    return {_OLD_NAME.sub(r".\1\2.", name): weight for name, weight in weights.items()}


def measure_backbone(weights: Weights) -> DenseNetShape:
    """Read the shape of the backbone from its weights, named `features.…`.

    Raises:
        CheckpointRefused: layers are missing, unknown, or do not fit each other.
    """
    found: dict[int, set[int]] = {}
    for name in weights:
        if match := _LAYER.fullmatch(name):
            found.setdefault(int(match[1]), set()).add(int(match[2]))
    layers = tuple(len(found[block]) for block in sorted(found))
    if (
        not found
        or sum(layers) > _MAX_LAYERS
        or sorted(found) != list(range(1, len(found) + 1))
        or any(found[block] != set(range(1, len(found[block]) + 1)) for block in found)
    ):
        raise CheckpointRefused("the checkpoint is not a DenseNet: its dense layers are not there")
    first = weight_of(weights, "features.conv0.weight", 4)
    last = weight_of(weights, "features.norm5.weight", 1)
    shape = DenseNetShape(int(first.shape[1]), layers, int(last.shape[0]))
    expected = _expected_shapes(weights, shape)
    for name, sides in expected.items():
        if weight_of(weights, name, len(sides)).shape != sides:
            raise CheckpointRefused(f"{name} has the shape {weights[name].shape}, not {sides}")
    unknown = sorted(
        name
        for name in weights
        if name.startswith("features.")
        and name not in expected
        and not name.endswith(".num_batches_tracked")
    )
    if unknown:
        raise CheckpointRefused(f"the checkpoint has a layer no DenseNet has: {unknown[0]}")
    return shape


def build_network(
    weights: Weights, shape: DenseNetShape, head: Head, size_px: tuple[int, int]
) -> onnx.ModelProto:
    """Build the ONNX network.

    Args:
        weights: the backbone's, named `features.…`.
        shape: from `measure_backbone`.
        head: what turns features into logits.
        size_px: height and width of the input.

    Returns:
        Input `image` `(N, C, H, W)`; outputs `logits` `(N, labels)`, `features` `(N, F, h, w)`
        after the last rectifier, and `cam` `(N, labels, h, w)`, the map of logits per label.
    """
    graph = GraphWriter(weights)
    tensor = graph.convolve("image", "features.conv0", stride=2, padding=3)
    tensor = graph.rectify(graph.normalise(tensor, "features.norm0"))
    tensor = graph.node("MaxPool", [tensor], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for block, layers in enumerate(shape.layers, start=1):
        for layer in range(1, layers + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            new = graph.rectify(graph.normalise(tensor, f"{name}.norm1"))
            new = graph.convolve(new, f"{name}.conv1")
            new = graph.rectify(graph.normalise(new, f"{name}.norm2"))
            new = graph.convolve(new, f"{name}.conv2", padding=1)
            tensor = graph.node("Concat", [tensor, new], axis=1)
        if block < len(shape.layers):
            name = f"features.transition{block}"
            tensor = graph.rectify(graph.normalise(tensor, f"{name}.norm"))
            tensor = graph.convolve(tensor, f"{name}.conv")
            tensor = graph.node("AveragePool", [tensor], kernel_shape=[2, 2], strides=[2, 2])
    tensor = graph.normalise(tensor, "features.norm5")
    graph.node("Relu", [tensor], output="features")
    _add_head(graph, head)
    labels = int(head.bias.shape[0])
    return graph.model(
        "densenet",
        [declare("image", shape.channels, *size_px)],
        [
            declare("logits", labels),
            declare("features", shape.features, "h", "w"),
            declare("cam", labels, "h", "w"),
        ],
    )


def _add_head(graph: GraphWriter, head: Head) -> None:
    weight = graph.constant("head.weight", head.weight[:, :, None, None])
    bias = graph.constant("head.bias", head.bias)
    cam = graph.node("Conv", ["features", weight, bias], output="cam", kernel_shape=[1, 1])
    if head.pooling == "average":
        graph.node("ReduceMean", [cam], output="logits", axes=[2, 3], keepdims=0)
        return
    chance = graph.node("Sigmoid", [cam])
    places = graph.constant("places", np.array([2, 3], np.int64))
    weighted = graph.node("Mul", [cam, chance])
    above = graph.node("ReduceSum", [weighted, places], keepdims=0)
    below = graph.node("ReduceSum", [chance, places], keepdims=0)
    graph.node("Div", [above, below], output="logits")


def _expected_shapes(weights: Weights, shape: DenseNetShape) -> dict[str, tuple[int, ...]]:
    """The shape that every weight of the backbone must have."""
    width = int(weight_of(weights, "features.conv0.weight", 4).shape[0])
    second = weight_of(weights, "features.denseblock1.denselayer1.conv2.weight", 4)
    growth, bottleneck = int(second.shape[0]), int(second.shape[1])
    expected: dict[str, tuple[int, ...]] = {"features.conv0.weight": (width, shape.channels, 7, 7)}

    def norm(name: str, features: int) -> None:
        expected.update({f"{name}.{part}": (features,) for part in NORM_PARTS})

    norm("features.norm0", width)
    for block, layers in enumerate(shape.layers, start=1):
        for layer in range(1, layers + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            norm(f"{name}.norm1", width)
            expected[f"{name}.conv1.weight"] = (bottleneck, width, 1, 1)
            norm(f"{name}.norm2", bottleneck)
            expected[f"{name}.conv2.weight"] = (growth, bottleneck, 3, 3)
            width += growth
        if block < len(shape.layers):
            name = f"features.transition{block}"
            norm(f"{name}.norm", width)
            expected[f"{name}.conv.weight"] = (width // 2, width, 1, 1)
            width //= 2
    norm("features.norm5", width)
    return expected
