"""Rebuilds a W-Net, two small U-Nets one after the other, as an ONNX network.

Source:
    Galdran et al., "State-of-the-art retinal vessel segmentation with minimalistic models",
    Scientific Reports, 2022.
"""

from pathlib import Path

import numpy as np

from shared.inference.conversion.checkpoint import CheckpointRefused, read_checkpoint
from shared.inference.conversion.writer import GraphWriter, declare, weight_of

_SIDE_PX = 512
_MAX_DEPTH = 6


def convert_wnet(path: Path) -> bytes:
    """Read a checkpoint and write the network.

    Returns:
        ONNX bytes: `image` `(N, 3, 512, 512)` in, `logits` `(N, 1, 512, 512)` of the second
        U-Net out, and `first`, those of the first.

    Raises:
        CheckpointRefused: it is not a W-Net.
    """
    weights = read_checkpoint(path).weights
    depth = 0
    while f"unet1.down_path.{depth}.block.0.weight" in weights:
        depth += 1
    if not 1 <= depth <= _MAX_DEPTH or "unet2.final.weight" not in weights:
        raise CheckpointRefused("the checkpoint is not a W-Net: its two U-Nets are not there")
    channels = int(weight_of(weights, "unet1.first.block.0.weight", 4).shape[1])
    classes = int(weight_of(weights, "unet1.final.weight", 4).shape[0])
    graph = GraphWriter({name: np.asarray(weight) for name, weight in weights.items()})
    first = _unet(graph, "image", "unet1", depth, "first")
    _unet(graph, graph.node("Concat", ["image", first], axis=1), "unet2", depth, "logits")
    model = graph.model(
        "wnet",
        [declare("image", channels, _SIDE_PX, _SIDE_PX)],
        [declare(name, classes, _SIDE_PX, _SIDE_PX) for name in ("logits", "first")],
    )
    return bytes(model.SerializeToString())


def _unet(graph: GraphWriter, tensor: str, name: str, depth: int, output: str) -> str:
    tensor = _block(graph, tensor, f"{name}.first")
    skipped = []
    for level in range(depth):
        skipped.append(tensor)
        tensor = graph.node("MaxPool", [tensor], kernel_shape=[2, 2], strides=[2, 2])
        tensor = _block(graph, tensor, f"{name}.down_path.{level}")
    for level in range(depth):
        step = f"{name}.up_path.{level}"
        larger = graph.deconvolve(tensor, f"{step}.up_layer.block.0", stride=2)
        bridge = _layer(graph, skipped.pop(), f"{step}.conv_bridge_layer.block", 0)
        tensor = graph.node("Concat", [larger, bridge], axis=1)
        tensor = _block(graph, tensor, f"{step}.conv_layer")
    return graph.convolve(tensor, f"{name}.final", output=output)


def _block(graph: GraphWriter, tensor: str, name: str) -> str:
    """Two layers, and a shortcut around them."""
    inner = _layer(graph, _layer(graph, tensor, f"{name}.block", 0), f"{name}.block", 3)
    short = graph.convolve(tensor, f"{name}.shortcut.0")
    return graph.node("Add", [inner, graph.normalise(short, f"{name}.shortcut.1")])


def _layer(graph: GraphWriter, tensor: str, name: str, place: int) -> str:
    convolved = graph.convolve(tensor, f"{name}.{place}", padding=1)
    # Later versions of the authors' code have a leaky rectifier; these weights were trained
    # without, and with it they find no vessel.
    return graph.normalise(graph.rectify(convolved), f"{name}.{place + 2}")
