"""The least time in which a device can run a network: its arithmetic, and its memory traffic.

Source:
    Williams, Waterman and Patterson, "Roofline: An Insightful Visual Performance Model for
    Multicore Architectures", Communications of the ACM 52(4), 2009.
"""

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime as ort

_FLOAT_BYTES = 4
#: They only name the same memory otherwise.
_FREE = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
#: Done on what the node before them has in its registers.
_FUSED = frozenset({"Clip", "Relu"})


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What a device reaches at most; measured, because datasheets promise."""

    flops_per_s: float
    half_flops_per_s: float
    """In 16 bits."""
    bytes_per_s: float


@dataclass(frozen=True, slots=True)
class Work:
    """What a network costs in 32 bits: per picture, and its weights once per run."""

    flops: float
    activation_bytes: float
    weight_bytes: float

    def floor_s(self, pictures: int, ceilings: Ceilings, *, in_half: bool = False) -> float:
        """The least time of a run: whichever of arithmetic and traffic takes longer.

        Args:
            pictures: in the run.
            ceilings: of the device.
            in_half: whether the network is in 16 bits.
        """
        moved = (pictures * self.activation_bytes + self.weight_bytes) * (0.5 if in_half else 1)
        rate = ceilings.half_flops_per_s if in_half else ceilings.flops_per_s
        return max(pictures * self.flops / rate, moved / ceilings.bytes_per_s)


def count_work(network: bytes) -> Work:
    """Count what a network does to one picture, after ONNX Runtime's own simplifications.

    Every node reads its inputs and writes its outputs once; a rectifier after a convolution is
    part of it.

    Raises:
        ValueError: a shape of the graph cannot be inferred.
    """
    model = onnx.load_from_string(_simplified(network))
    for entry in (*model.graph.input, *model.graph.output):
        first = entry.type.tensor_type.shape.dim[0]
        first.dim_value = 1
    del model.graph.value_info[:]
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    weights = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    shapes = {
        entry.name: [dim.dim_value for dim in entry.type.tensor_type.shape.dim]
        for entry in (*graph.input, *graph.value_info, *graph.output)
    }
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    flops = moved = 0.0
    for node in graph.node:
        read = [name for name in node.input if name in shapes and name not in weights]
        flops += _flops(node, {**weights, **shapes})
        is_fused = node.op_type in _FUSED and made_by.get(node.input[0]) == "Conv"
        if node.op_type not in _FREE and not is_fused:
            moved += sum(_numbers(shapes, name) for name in (*read, *node.output))
    heavy = sum(math.prod(sides) for sides in weights.values())
    return Work(flops, moved * _FLOAT_BYTES, heavy * _FLOAT_BYTES)


def _flops(node: onnx.NodeProto, shapes: Mapping[str, list[int]]) -> float:
    """Multiplications and additions; what has neither costs traffic alone."""
    if node.op_type == "Conv":
        return 2.0 * _numbers(shapes, node.output[0]) * math.prod(shapes[node.input[1]][1:])
    if node.op_type == "ConvTranspose":
        return 2.0 * _numbers(shapes, node.input[0]) * math.prod(shapes[node.input[1]][1:])
    if node.op_type in ("Gemm", "MatMul"):
        return 2.0 * _numbers(shapes, node.output[0]) * shapes[node.input[0]][-1]
    return 0.0


def _numbers(shapes: Mapping[str, list[int]], name: str) -> int:
    if name not in shapes or 0 in shapes[name]:
        raise ValueError(f"the shape of {name} is not known")
    return math.prod(shapes[name])


def _simplified(network: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "simplified.onnx"
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 3
        ort.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        return path.read_bytes()
