"""Writes the trained network as an ONNX graph with half-precision weights.

Weights are stored as 16-bit floats and widened by `Cast` nodes, which ONNX Runtime folds
when it loads the file: half the size on disk, 32-bit arithmetic at run time.
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from services.chexray.training.backbone import Block, Conv
from services.chexray.training.network import MIDDLE_BLOCK, ChestNetwork
from services.chexray.training.radiographs import LABELS, SIDE_PX

OPSET = 17
IR_VERSION = 8
STRIDE = 32


class Graph:
    """Collects nodes and weights; every method returns the name of what it added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        """Add one operator with one output."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """Add a tensor as it is."""
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def half(self, name: str, value: NDArray[np.float32]) -> str:
        """Add a tensor stored as 16-bit floats and widened when the graph runs."""
        stored = self.constant(f"{name}.f16", value.astype(np.float16))
        return self.node("Cast", [stored], name, to=TensorProto.FLOAT)

    def conv(self, conv: Conv, x: str, name: str) -> str:
        """Add a convolution and its ReLU6, if it has one."""
        kernel = conv.weight.shape[-1]
        before, after = conv.padding[0], conv.padding[1]
        weight = self.half(f"{name}.weight", conv.weight.detach().numpy())
        bias = self.constant(f"{name}.bias", conv.bias.detach().numpy())
        y = self.node(
            "Conv",
            [x, weight, bias],
            f"{name}.conv",
            kernel_shape=[kernel, kernel],
            strides=[conv.stride, conv.stride],
            pads=[before, before, after, after],
            group=conv.groups,
        )
        return self.node("Clip", [y, "zero", "six"], f"{name}.relu6") if conv.activated else y

    def block(self, block: Block, x: str, name: str) -> str:
        """Add an inverted residual; its convolutions' outputs are `<name>.<i>.…`."""
        y = x
        for i, conv in enumerate(block.convs):
            y = self.conv(conv, y, f"{name}.{i}")
        return self.node("Add", [x, y], f"{name}.sum") if block.residual else y


def build_onnx(network: ChestNetwork, usual_maps: NDArray[np.float64]) -> onnx.ModelProto:
    """Build the graph.

    Args:
        network: the trained network.
        usual_maps: `(5, 7, 7)`, the head's maps of the average training picture. They are taken
            off the maps, so that a map shows what is unusual at its place, and given back to
            the logits as a constant.

    Inputs and outputs:
        image: `(N, 3, 224, 224)` in [-1, 1].
        features: `(N, 1536, 7, 7)`, after the last activations.
        cam: `(N, 5, 7, 7)`, the features weighted by the head, less the usual maps; positive
            speaks for the label more than the average picture does at that place.
        logits: `(N, 5)`, the mean of `cam` over positions plus a constant per label.
    """
    graph = Graph()
    graph.constant("zero", np.float32(0.0))
    graph.constant("six", np.float32(6.0))
    x = graph.conv(network.backbone.stem, "image", "stem")
    for i, block in enumerate(network.backbone.blocks):
        x = graph.block(block, x, f"block{i}")
    fine = graph.node(
        "AveragePool",
        [f"block{MIDDLE_BLOCK}.1.relu6"],
        "fine",
        kernel_shape=[2, 2],
        strides=[2, 2],
    )
    graph.node("Concat", [fine, x], "features", axis=1)
    weight, bias = network.folded_head()
    head = graph.constant("head.weight", weight[:, :, None, None])
    maps = graph.node("Conv", ["features", head], "maps", kernel_shape=[1, 1])
    usual = graph.constant("usual", usual_maps.astype(np.float32))
    graph.node("Sub", [maps, usual], "cam")
    evidence = graph.node("ReduceMean", ["cam"], "cam.mean", axes=[2, 3], keepdims=0)
    offset = (bias + usual_maps.mean(axis=(1, 2))).astype(np.float32)
    graph.node("Add", [evidence, graph.constant("offset", offset)], "logits")

    side, cells = SIDE_PX, SIDE_PX // STRIDE
    shapes = {
        "logits": ["N", len(LABELS)],
        "features": ["N", network.channels, cells, cells],
        "cam": ["N", len(LABELS), cells, cells],
    }
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "chexray-mobilenet",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, side, side])],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="vedette",
    )
    onnx.checker.check_model(model, full_check=True)
    return model
