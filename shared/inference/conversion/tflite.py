"""Rebuilds a TensorFlow Lite network of convolutions as ONNX, channel first.

TensorFlow Lite keeps pictures as `(N, H, W, C)`; here every tensor of four axes becomes
`(N, C, H, W)`, and the order is only put back where the axes lose their meaning, in a reshape.
Weights of 16 bits become 32.
"""

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.inference.conversion.checkpoint import CheckpointRefused
from shared.inference.conversion.flatbuffer import (
    LiteGraph,
    Operator,
    read_lite_graph,
)
from shared.inference.conversion.writer import GraphWriter, declare

_SAME, _VALID = 0, 1
_RELU, _RELU6 = 1, 3
_CHANNEL_FIRST = (0, 3, 1, 2)
_CHANNEL_LAST = (0, 2, 3, 1)


def convert_tflite(path: Path) -> bytes:
    """Read a `.tflite` file of one picture in and float tensors out, and write the network.

    Returns:
        ONNX bytes: `image` `(N, C, H, W)` in; outputs by their names in the file, those of one
        place without their places: `(N, C)`.

    Raises:
        CheckpointRefused: it is damaged, or has an operator that is not known here.
    """
    try:
        return _Conversion(read_lite_graph(path.read_bytes())).network()
    except CheckpointRefused:
        raise
    except Exception as error:  # damaged bytes lead to errors of every kind
        raise CheckpointRefused(f"{path.name} cannot be read: {error!r}") from error


class _Conversion:
    """Walks the operators in order; each finds its method by its number in the schema."""

    def __init__(self, graph: LiteGraph) -> None:
        self._graph = graph
        self._writer = GraphWriter({})
        self._names: dict[int, str] = {}
        self._constants: dict[int, NDArray[Any]] = {
            place: tensor.figures
            for place, tensor in enumerate(graph.tensors)
            if tensor.figures is not None
        }

    def network(self) -> bytes:
        if len(self._graph.inputs) != 1:
            raise CheckpointRefused("the network has not one input")
        (place,) = self._graph.inputs
        _, height_px, width_px, channels = self._shape(place)
        self._names[place] = "image"
        for operator in self._graph.operators:
            self._convert(operator)
        outputs = []
        for place in self._graph.outputs:
            name, shape = self._graph.tensors[place].name, self._shape(place)
            if len(shape) == 4 and shape[1:3] == (1, 1):
                self._writer.node("Flatten", [self._names[place]], name, axis=1)
                outputs.append(declare(name, shape[3]))
            else:
                self._writer.node("Identity", [self._names[place]], name)
                outputs.append(declare(name, *_channel_first(shape)[1:]))
        image = declare("image", channels, height_px, width_px)
        return bytes(self._writer.model("tflite", [image], outputs).SerializeToString())

    def _convert(self, operator: Operator) -> None:
        known = _BY_NAME.get(operator.custom) or _BY_CODE.get(operator.code)
        if known is None:
            what = operator.custom or f"number {operator.code}"
            raise CheckpointRefused(f"the operator {what} is not known here")
        result = known(self, operator)
        if result is not None:
            self._names[operator.outputs[0]] = result

    def _shape(self, place: int) -> tuple[int, ...]:
        return self._graph.tensors[place].shape

    def _input(self, operator: Operator, number: int = 0) -> str:
        """The name of an operand; a constant one becomes part of the network."""
        place = operator.inputs[number]
        if place not in self._names:
            figures = self._constant(operator, number).astype(np.float32)
            if figures.ndim == 4:
                figures = figures.transpose(_CHANNEL_FIRST)
            elif len(self._shape(operator.outputs[0])) == 4 and figures.ndim == 1:
                figures = figures.reshape(-1, 1, 1)
            self._names[place] = self._writer.constant(f"constant_{place}", figures)
        return self._names[place]

    def _constant(self, operator: Operator, number: int) -> NDArray[Any]:
        place = operator.inputs[number]
        if place not in self._constants:
            raise CheckpointRefused("an operand that must be constant is computed")
        return self._constants[place]

    def _weights(self, operator: Operator, order: tuple[int, ...]) -> list[str]:
        """Weight and bias of a convolution or a dense layer, in ONNX' order of axes."""
        place = operator.outputs[0]
        weight = self._constant(operator, 1).astype(np.float32).transpose(order)
        names = [self._writer.constant(f"weight_{place}", weight)]
        if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
            bias = self._constant(operator, 2).astype(np.float32)
            names.append(self._writer.constant(f"bias_{place}", bias))
        return names

    def _activated(self, tensor: str, activation: int) -> str:
        if activation == _RELU:
            return self._writer.rectify(tensor)
        if activation == _RELU6:
            bounds = [
                self._writer.constant(f"{tensor}_{end}", np.array(bound, np.float32))
                for end, bound in (("low", 0), ("high", 6))
            ]
            return self._writer.node("Clip", [tensor, *bounds])
        if activation:
            raise CheckpointRefused(f"the activation number {activation} is not known here")
        return tensor

    def _pads(
        self, operator: Operator, kernel: tuple[int, int], strides: tuple[int, int], padding: int
    ) -> list[int]:
        """What "same" means for these sides: the odd pixel goes below and to the right."""
        if padding == _VALID:
            return [0, 0, 0, 0]
        before, after = [], []
        for side, length, stride in zip(
            self._shape(operator.inputs[0])[1:3], kernel, strides, strict=True
        ):
            total = max((-(-side // stride) - 1) * stride + length - side, 0)
            before.append(total // 2)
            after.append(total - total // 2)
        return before + after

    def convolution(self, operator: Operator) -> str:
        options = operator.options
        names = self._weights(operator, _CHANNEL_FIRST)
        return self._convolution(operator, names, 1, options.number(3, "b"), (5, 4))

    def depthwise(self, operator: Operator) -> str:
        names = self._weights(operator, (3, 0, 1, 2))
        groups = self._shape(operator.inputs[0])[3]
        return self._convolution(operator, names, groups, operator.options.number(4, "b"), (6, 5))

    def _convolution(
        self,
        operator: Operator,
        names: list[str],
        groups: int,
        activation: int,
        dilation_fields: tuple[int, int],
    ) -> str:
        options = operator.options
        height, width = self._shape(operator.inputs[1])[1:3]
        strides = (options.number(2), options.number(1))
        down, across = (options.number(field, default=1) for field in dilation_fields)
        reach = ((height - 1) * down + 1, (width - 1) * across + 1)
        convolved = self._writer.node(
            "Conv",
            [self._input(operator), *names],
            kernel_shape=[height, width],
            strides=list(strides),
            dilations=[down, across],
            group=groups,
            pads=self._pads(operator, reach, strides, options.number(0, "b")),
        )
        return self._activated(convolved, activation)

    def transposed(self, operator: Operator) -> str:
        """MediaPipe's own: a transposed convolution with a bias."""
        padding, stride_x, stride_y = struct.unpack_from("<3i", operator.custom_options)
        _, height, width, _ = self._shape(operator.inputs[1])
        if padding not in (1, 2) or (height, width) != (stride_y, stride_x):
            raise CheckpointRefused("a transposed convolution overlaps itself")
        return self._writer.node(
            "ConvTranspose",
            [self._input(operator), *self._weights(operator, (3, 0, 1, 2))],
            kernel_shape=[height, width],
            strides=[stride_y, stride_x],
        )

    def _pool(self, operator: Operator, kind: str, **attributes: Any) -> str:
        options = operator.options
        strides, kernel = (
            (options.number(2), options.number(1)),
            (options.number(4), options.number(3)),
        )
        pooled = self._writer.node(
            kind,
            [self._input(operator)],
            kernel_shape=list(kernel),
            strides=list(strides),
            pads=self._pads(operator, kernel, strides, options.number(0, "b")),
            **attributes,
        )
        return self._activated(pooled, options.number(5, "b"))

    def max_pool(self, operator: Operator) -> str:
        return self._pool(operator, "MaxPool")

    def average_pool(self, operator: Operator) -> str:
        return self._pool(operator, "AveragePool", count_include_pad=0)

    def dense(self, operator: Operator) -> str:
        if operator.options.number(1, "b"):
            raise CheckpointRefused("a dense layer's weights are shuffled")
        tensor = self._writer.node("Flatten", [self._input(operator)], axis=1)
        dense = self._writer.node("Gemm", [tensor, *self._weights(operator, (0, 1))], transB=1)
        return self._activated(dense, operator.options.number(0, "b"))

    def add(self, operator: Operator) -> str:
        return self._pair(operator, "Add")

    def multiply(self, operator: Operator) -> str:
        return self._pair(operator, "Mul")

    def _pair(self, operator: Operator, kind: str) -> str:
        both = self._writer.node(kind, [self._input(operator, 0), self._input(operator, 1)])
        return self._activated(both, operator.options.number(0, "b"))

    def concatenate(self, operator: Operator) -> str:
        rank = len(self._shape(operator.outputs[0]))
        axis = operator.options.number(0) % rank
        inputs = [self._input(operator, number) for number in range(len(operator.inputs))]
        joined = self._writer.node(
            "Concat", inputs, axis=_CHANNEL_FIRST.index(axis) if rank == 4 else axis
        )
        return self._activated(joined, operator.options.number(1, "b"))

    def pad(self, operator: Operator) -> str:
        amounts = self._constant(operator, 1).astype(np.int64)
        if len(amounts) == 4:
            amounts = amounts[list(_CHANNEL_FIRST)]
        name = self._writer.constant(f"pads_{operator.outputs[0]}", amounts.T.reshape(-1))
        return self._writer.node("Pad", [self._input(operator), name], mode="constant")

    def mean(self, operator: Operator) -> str:
        axes = self._constant(operator, 1).reshape(-1).tolist()
        if len(self._shape(operator.inputs[0])) == 4:
            axes = [_CHANNEL_FIRST.index(axis % 4) for axis in axes]
        keep = operator.options.number(0, "b")
        if keep != (len(self._shape(operator.outputs[0])) == 4):
            raise CheckpointRefused("a mean over some of a picture's axes")
        return self._writer.node("ReduceMean", [self._input(operator)], axes=axes, keepdims=keep)

    def reshape(self, operator: Operator) -> str:
        tensor = self._input(operator)
        if len(self._shape(operator.inputs[0])) == 4:
            tensor = self._writer.node("Transpose", [tensor], perm=list(_CHANNEL_LAST))
        shape = self._shape(operator.outputs[0])
        # The first axis is that of the batch; 0 keeps it.
        sides = self._writer.constant(
            f"shape_{operator.outputs[0]}", np.array([0, *shape[1:]], np.int64)
        )
        tensor = self._writer.node("Reshape", [tensor, sides])
        if len(shape) == 4:
            tensor = self._writer.node("Transpose", [tensor], perm=list(_CHANNEL_FIRST))
        return tensor

    def resize(self, operator: Operator) -> str:
        is_aligned, is_centred = (operator.options.number(field, "b") for field in (2, 3))
        mode = "half_pixel" if is_centred else "align_corners" if is_aligned else "asymmetric"
        before, after = (
            self._shape(place)[1:3] for place in (operator.inputs[0], operator.outputs[0])
        )
        scales = np.array(
            [1, 1, *(new / old for new, old in zip(after, before, strict=True))], np.float32
        )
        name = self._writer.constant(f"scales_{operator.outputs[0]}", scales)
        return self._writer.node(
            "Resize",
            [self._input(operator), "", name],
            mode="linear",
            coordinate_transformation_mode=mode,
        )

    def prelu(self, operator: Operator) -> str:
        slope = self._constant(operator, 1).astype(np.float32)
        slope = slope.reshape(slope.shape[-3:])
        name = self._writer.constant(
            f"slope_{operator.outputs[0]}", slope.transpose(2, 0, 1) if slope.ndim == 3 else slope
        )
        return self._writer.node("PRelu", [self._input(operator), name])

    def relu(self, operator: Operator) -> str:
        return self._writer.rectify(self._input(operator))

    def logistic(self, operator: Operator) -> str:
        return self._writer.node("Sigmoid", [self._input(operator)])

    def hard_swish(self, operator: Operator) -> str:
        return self._writer.node("HardSwish", [self._input(operator)])

    def dequantise(self, operator: Operator) -> None:
        """Weights of 16 bits are used as those of 32 that they mean."""
        self._constants[operator.outputs[0]] = self._constant(operator, 0).astype(np.float32)


_BY_CODE: Mapping[int, Callable[[_Conversion, Operator], str | None]] = {
    0: _Conversion.add,
    1: _Conversion.average_pool,
    2: _Conversion.concatenate,
    3: _Conversion.convolution,
    4: _Conversion.depthwise,
    6: _Conversion.dequantise,
    9: _Conversion.dense,
    14: _Conversion.logistic,
    17: _Conversion.max_pool,
    18: _Conversion.multiply,
    19: _Conversion.relu,
    22: _Conversion.reshape,
    23: _Conversion.resize,
    34: _Conversion.pad,
    40: _Conversion.mean,
    54: _Conversion.prelu,
    117: _Conversion.hard_swish,
}
_BY_NAME: Mapping[str, Callable[[_Conversion, Operator], str | None]] = {
    "Convolution2DTransposeBias": _Conversion.transposed,
}


def _channel_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[axis] for axis in _CHANNEL_FIRST) if len(shape) == 4 else shape
