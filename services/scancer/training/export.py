"""Writes the trained network as an ONNX graph of plain convolutions.

Filters are stored in all their poses as 16-bit floats and widened by `Cast` nodes, which ONNX
Runtime folds when it loads the file: half the size on disk, 32-bit arithmetic at run time.
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from services.scancer.training.group import POSES, GroupConv
from services.scancer.training.network import CELLS, PatchNetwork
from services.scancer.training.patches import CROP_PX, MARGIN_PX, SIDE_PX

OPSET = 17
IR_VERSION = 8


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
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def half(self, name: str, value: NDArray[np.float32]) -> str:
        """Add a tensor stored as 16-bit floats and widened when the graph runs."""
        stored = self.constant(f"{name}.f16", value.astype(np.float16))
        return self.node("Cast", [stored], name, to=TensorProto.FLOAT)

    def middle(self, x: str, start: int, stop: int, output: str) -> str:
        """Keep rows and columns `start` to `stop` (from the end where negative)."""
        ends = [
            self.constant(f"{output}.{name}", np.array(figures, np.int64))
            for name, figures in (("from", [start] * 2), ("to", [stop] * 2), ("axes", [2, 3]))
        ]
        return self.node("Slice", [x, *ends], output)

    def conv(self, conv: GroupConv, x: str, name: str, padding: int) -> str:
        """Add a convolution with its normalisation in it."""
        filters, bias = (part.detach().numpy() for part in conv.folded())
        side = filters.shape[-1]
        return self.node(
            "Conv",
            [x, self.half(f"{name}.weight", filters), self.constant(f"{name}.bias", bias)],
            f"{name}.conv",
            kernel_shape=[side, side],
            strides=[conv.stride, conv.stride],
            pads=[padding] * 4,
        )

    def residual(self, conv: GroupConv, x: str, name: str, padding: int) -> str:
        """Add a convolution, what it was given (less its rim where it does not pad), and ReLU."""
        kept = x if padding else self.middle(x, 1, -1, f"{name}.kept")
        total = self.node("Add", [self.conv(conv, x, name, padding), kept], f"{name}.sum")
        return self.node("Relu", [total], f"{name}.relu")


def build_onnx(network: PatchNetwork) -> onnx.ModelProto:
    """Build the graph.

    Inputs and outputs:
        image: `(N, 3, 96, 96)`, normalised; only its middle 80 x 80 px are read.
        features: `(N, C * 8, 3, 3)`, after the last activations.
        cam: `(N, 1, 3, 3)`, the features weighted by the head; positive speaks for tumour.
        logit: `(N, 1)`, the mean of `cam` plus a constant.
    """
    graph = Graph()
    x = graph.middle("image", MARGIN_PX, MARGIN_PX + CROP_PX, "crop")
    x = graph.conv(network.stem, x, "stem", network.stem.padding)
    x = graph.node("Relu", [x], "stem.relu")
    for number, (first, second) in enumerate(network.stages):
        name = f"stage{number}"
        if number:
            x = graph.node("AveragePool", [x], f"{name}.in", kernel_shape=[2, 2], strides=[2, 2])
        x = graph.node("Relu", [graph.conv(first, x, f"{name}.0", 0)], f"{name}.0.relu")
        x = graph.residual(second, x, f"{name}.1", 0)
    for number, conv in enumerate(network.last):
        x = graph.residual(conv, x, f"last{number}", 1)
    graph.node("Identity", [x], "features")

    everywhere, in_middle = (
        part.repeat_interleave(POSES)[None, :, None, None].detach().numpy() / POSES
        for part in network.head.weight[0].chunk(2)
    )
    only_middle = np.zeros((1, 1, CELLS, CELLS), np.float32)
    only_middle[0, 0, CELLS // 2, CELLS // 2] = CELLS * CELLS
    shares = [
        graph.node(
            "Conv",
            ["features", graph.constant(f"head.{name}", weight.astype(np.float32))],
            f"maps.{name}",
            kernel_shape=[1, 1],
        )
        for name, weight in (("everywhere", everywhere), ("middle", in_middle))
    ]
    masked = graph.node("Mul", [shares[1], graph.constant("in_middle", only_middle)], "maps.masked")
    graph.node("Add", [shares[0], masked], "cam")
    graph.node("ReduceMean", ["cam"], "cam.mean", axes=[2, 3], keepdims=0)
    bias = network.head.bias.detach().numpy().astype(np.float32)
    graph.node("Add", ["cam.mean", graph.constant("head.bias", bias)], "logit")

    shapes = {
        "logit": ["N", 1],
        "features": ["N", everywhere.shape[1], CELLS, CELLS],
        "cam": ["N", 1, CELLS, CELLS],
    }
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "pcam-classification",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, SIDE_PX, SIDE_PX])],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="vedette",
    )
    onnx.checker.check_model(model, full_check=True)
    return model
