"""Rebuilds a p4m-equivariant DenseNet as plain convolutions.

A group convolution applies each filter in eight poses: four quarter turns, each also mirrored. The
poses are written out once here as eight filters, so that the network needs no operator of its own
and runs as fast as any other.

Source:
    Veeling et al., "Rotation Equivariant CNNs for Digital Pathology", MICCAI 2018, and the layout
    of weights of Romero et al., "Attentive Group Equivariant Convolutional Networks", ICML 2020.
"""

import math
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.inference.conversion.checkpoint import CheckpointRefused, Weights, read_checkpoint
from shared.inference.conversion.writer import NORM_PARTS, GraphWriter, declare, weight_of

_POSES = 8
_TURNS = 4
_SIDE_PX = 96
_EPSILON = 2e-5
#: The integral over the group, as the weights were trained with it: two by a quarter turn.
_MEASURE = np.float32(2 * (2 * math.pi / _TURNS))
_BLOCK = re.compile(r"block_layers\.(\d+)\.conv\.weight")
_MAX_BLOCKS = 20


def convert_p4m_densenet(path: Path) -> bytes:
    """Read a checkpoint and write the network.

    Returns:
        ONNX bytes: `image` `(N, 3, 96, 96)` in, `logits` `(N, classes)`, `features` after the last
        rectifier and `cam`, the map of logits per class, out.

    Raises:
        CheckpointRefused: it is not a p4m DenseNet.
    """
    weights = read_checkpoint(path).weights
    blocks = sorted(int(match[1]) for name in weights if (match := _BLOCK.fullmatch(name)))
    if not blocks or blocks != list(range(len(blocks))) or len(blocks) > _MAX_BLOCKS:
        raise CheckpointRefused("the checkpoint is not a p4m DenseNet: its blocks are not there")
    plain = _expanded(weights, len(blocks))
    graph = GraphWriter(plain, _EPSILON)
    tensor = graph.convolve("image", "c1")
    inside = [
        graph.constant(name, np.array(figures, np.int64))
        for name, figures in (("from", [1, 1]), ("to", [-1, -1]), ("axes", [2, 3]))
    ]
    for block in blocks:
        name = f"block_layers.{block}"
        new = graph.convolve(graph.rectify(graph.normalise(tensor, f"{name}.bn")), f"{name}.conv")
        # The convolutions do not pad, so what they are joined with loses its rim.
        cropped = graph.node("Slice", [tensor, *inside])
        tensor = graph.node("Concat", [new, cropped], axis=1)
        if block < len(blocks) - 1:
            name = f"trans_layers.{block}"
            tensor = graph.rectify(graph.normalise(tensor, f"{name}.bn"))
            tensor = graph.convolve(tensor, f"{name}.conv")
            tensor = graph.node("AveragePool", [tensor], kernel_shape=[2, 2], strides=[2, 2])
    features = graph.rectify(graph.normalise(tensor, "bn_out"), "features")
    cam = graph.convolve(features, "c_out", output="cam")
    graph.node("ReduceMean", [cam], "logits", axes=[2, 3], keepdims=0)
    classes, width = plain["c_out.weight"].shape[:2]
    model = graph.model(
        "p4m_densenet",
        [declare("image", plain["c1.weight"].shape[1], _SIDE_PX, _SIDE_PX)],
        [
            declare("logits", classes),
            declare("features", width, "h", "w"),
            declare("cam", classes, "h", "w"),
        ],
    )
    return bytes(model.SerializeToString())


def _expanded(weights: Weights, blocks: int) -> dict[str, NDArray[np.float32]]:
    """Every weight as a plain layer's, in which channel `c * 8 + pose` is channel c in a pose."""
    names = [f"block_layers.{block}" for block in range(blocks)]
    names += [f"trans_layers.{block}" for block in range(blocks - 1)]
    plain = {"c1.weight": _lifting(weight_of(weights, "c1.weight", 4))}
    for name in names:
        plain[f"{name}.conv.weight"] = _poses(weight_of(weights, f"{name}.conv.weight", 5))
    for name in [*(f"{name}.bn" for name in names), "bn_out"]:
        for part in NORM_PARTS:
            plain[f"{name}.{part}"] = np.repeat(weight_of(weights, f"{name}.{part}", 1), _POSES)
    # The answer is the mean over the poses; the mean of the filters gives it at once.
    last = _poses(weight_of(weights, "c_out.weight", 5))
    plain["c_out.weight"] = last.reshape(-1, _POSES, *last.shape[1:]).mean(axis=1)
    return plain


def _lifting(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """From `(O, I, k, k)`, which reads a picture, to `(O * 8, I, k, k)`."""
    posed = np.stack([_posed(weight, pose) for pose in range(_POSES)], axis=1)
    return posed.reshape(-1, *weight.shape[1:])


def _poses(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """From `(O, I, 8, k, k)`, which reads poses, to `(O * 8, I * 8, k, k)`.

    Turning a filter also turns the order of the poses it reads: on by as many, and back by as
    many among the mirrored ones; mirroring it swaps the two halves.
    """
    outputs, inputs, poses, *sides = weight.shape
    if poses != _POSES:
        raise CheckpointRefused(f"a group convolution has {poses} poses, p4m has {_POSES}")
    every = []
    for pose in range(_POSES):
        turns, mirrored = pose % _TURNS, pose >= _TURNS
        halves = _posed(weight, pose).reshape(outputs, inputs, 2, _TURNS, *sides)
        ordered = np.stack(
            [
                np.roll(halves[:, :, 0], turns, axis=2),
                np.roll(halves[:, :, 1], -turns, axis=2),
            ],
            axis=2,
        )
        if mirrored:
            ordered = ordered[:, :, ::-1]
        every.append(ordered.reshape(outputs, inputs * _POSES, *sides))
    return np.stack(every, axis=1).reshape(outputs * _POSES, inputs * _POSES, *sides) * _MEASURE


def _posed(weight: NDArray[np.float32], pose: int) -> NDArray[np.float32]:
    """A filter turned by so many quarters, then mirrored top to bottom in the upper four poses."""
    turned = np.rot90(weight, pose % _TURNS, axes=(-2, -1))
    return turned[..., ::-1, :] if pose >= _TURNS else turned
