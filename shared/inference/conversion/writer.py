"""Writes an ONNX graph node by node, with the weights of a checkpoint beside it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper

from shared.inference.conversion.checkpoint import CheckpointRefused, Weights

OPSET = 17
_IR_VERSION = 9
# The default of PyTorch's BatchNorm2d, which a state dict does not record.
EPSILON = 1e-5
NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


class GraphWriter:
    """Collects nodes and the weights they use; every method returns the name of its result."""

    def __init__(self, weights: Weights, epsilon: float = EPSILON) -> None:
        self._weights = weights
        self._epsilon = epsilon
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []

    def node(
        self, operator: str, inputs: Sequence[str], output: str | None = None, **attributes: Any
    ) -> str:
        """Any node with one output."""
        name = output or f"_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, name: str, figures: NDArray[Any]) -> str:
        """A stored tensor."""
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(figures), name))
        return name

    def convolve(
        self, tensor: str, name: str, stride: int = 1, padding: int = 0, output: str | None = None
    ) -> str:
        """The convolution `name`, with its bias if it has one."""
        weight = weight_of(self._weights, f"{name}.weight", 4)
        inputs = [tensor, self.constant(f"{name}.weight", weight)]
        if f"{name}.bias" in self._weights:
            inputs.append(self.constant(f"{name}.bias", self._weights[f"{name}.bias"]))
        return self.node(
            "Conv",
            inputs,
            output,
            kernel_shape=list(weight.shape[2:]),
            strides=[stride, stride],
            pads=[padding] * 4,
        )

    def deconvolve(self, tensor: str, name: str, stride: int) -> str:
        """The transposed convolution `name`, with its bias."""
        weight = weight_of(self._weights, f"{name}.weight", 4)
        bias = weight_of(self._weights, f"{name}.bias", 1)
        return self.node(
            "ConvTranspose",
            [
                tensor,
                self.constant(f"{name}.weight", weight),
                self.constant(f"{name}.bias", bias),
            ],
            kernel_shape=list(weight.shape[2:]),
            strides=[stride, stride],
        )

    def normalise(self, tensor: str, name: str) -> str:
        """The batch normalisation `name`."""
        parts = [
            self.constant(f"{name}.{part}", weight_of(self._weights, f"{name}.{part}", 1))
            for part in NORM_PARTS
        ]
        return self.node("BatchNormalization", [tensor, *parts], epsilon=self._epsilon)

    def rectify(self, tensor: str, output: str | None = None) -> str:
        """A rectifier."""
        return self.node("Relu", [tensor], output)

    def model(
        self, name: str, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]
    ) -> onnx.ModelProto:
        """All of it, checked."""
        model = helper.make_model(
            helper.make_graph(self.nodes, name, inputs, outputs, self.initializers),
            producer_name="vedette",
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=_IR_VERSION,
        )
        onnx.checker.check_model(model)
        return model


def weight_of(weights: Weights, name: str, rank: int) -> NDArray[np.float32]:
    """One weight.

    Raises:
        CheckpointRefused: it is missing or has another number of axes.
    """
    if name not in weights:
        raise CheckpointRefused(f"the checkpoint lacks {name}")
    if weights[name].ndim != rank:
        raise CheckpointRefused(f"{name} has {weights[name].ndim} axes, not {rank}")
    return weights[name]


def declare(name: str, *sides: int | str) -> ValueInfoProto:
    """A float tensor with a row per picture."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *sides])
