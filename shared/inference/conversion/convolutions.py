"""Reads the convolution weights of a quantised TensorFlow Lite file as 32-bit floats.

Source:
    The schema with its field numbers: tensorflow/lite/schema/schema.fbs (Apache-2.0).
    The arithmetic: Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", CVPR 2018: real = scale * (stored - zero_point).
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.inference.conversion.flatbuffer import Table, lite_model

# Field numbers of the tables, in the order of schema.fbs.
MODEL_CODES, MODEL_SUBGRAPHS, MODEL_BUFFERS = 1, 2, 4
CODE_DEPRECATED_BUILTIN = 0
SUBGRAPH_TENSORS, SUBGRAPH_OPERATORS = 0, 3
OPERATOR_CODE, OPERATOR_INPUTS = 0, 1
TENSOR_SHAPE, TENSOR_TYPE, TENSOR_BUFFER, TENSOR_QUANTIZATION = 0, 1, 2, 4
QUANTIZATION_SCALE = 2
BUFFER_BYTES = 0

CONV_2D, DEPTHWISE_CONV_2D = 3, 4
STORED_AS = {0: "<f4", 2: "<i4", 9: "<i1"}


@dataclass(frozen=True, slots=True)
class Convolution:
    """One convolution's weights, in the layout that PyTorch and ONNX use.

    Attributes:
        weight: `(O, I, h, w)`; for a depthwise convolution `(C, 1, h, w)`.
        bias: `(O,)`.
        depthwise: whether each channel is filtered by itself.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    depthwise: bool


class WrongWeights(Exception):
    """The file is absent, altered, or not the network that was expected."""


def dequantise(tensor: Table, buffers: list[Table]) -> NDArray[np.float32]:
    """Return one constant tensor as real numbers, in the file's own axis order.

    Weights are stored symmetrically (zero point 0). A scale per output channel belongs to
    the axis that has as many entries, which is the first for a convolution and the last for
    a depthwise one and for a bias.
    """
    shape = tuple(tensor.array(TENSOR_SHAPE, "<i4").tolist())
    kind = STORED_AS[tensor.number(TENSOR_TYPE, "b")]
    stored = buffers[tensor.number(TENSOR_BUFFER, "I")].array(BUFFER_BYTES, "u1").tobytes()
    real = np.frombuffer(stored, kind).reshape(shape).astype(np.float32)
    quantization = tensor.table(TENSOR_QUANTIZATION)
    if quantization is None:
        return real
    scale = quantization.array(QUANTIZATION_SCALE, "<f4").astype(np.float32)
    if scale.size > 1:
        axis = 0 if shape[0] == scale.size else len(shape) - 1
        scale = scale.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return (real * scale).astype(np.float32)


def load_convolutions(path: Path, sha256: str) -> list[Convolution]:
    """Read every convolution of the first subgraph, in the order of execution.

    Args:
        path: the `.tflite` file.
        sha256: its expected SHA-256, in hexadecimal.

    Raises:
        WrongWeights: the file is not there or has another hash.
    """
    if not path.is_file():
        raise WrongWeights(f"no file named {path.name} in the mirror")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise WrongWeights(f"{path.name} does not have the expected SHA-256")
    model = lite_model(content)
    codes = [code.number(CODE_DEPRECATED_BUILTIN, "b") for code in model.tables(MODEL_CODES)]
    buffers = model.tables(MODEL_BUFFERS)
    (graph,) = model.tables(MODEL_SUBGRAPHS)
    tensors = graph.tables(SUBGRAPH_TENSORS)
    convolutions = []
    for operator in graph.tables(SUBGRAPH_OPERATORS):
        code = codes[operator.number(OPERATOR_CODE, "I")]
        if code not in (CONV_2D, DEPTHWISE_CONV_2D):
            continue
        _, weight_at, bias_at = operator.array(OPERATOR_INPUTS, "<i4").tolist()
        weight = dequantise(tensors[weight_at], buffers)
        # OHWI to OIHW; a depthwise weight is 1HWC and becomes C1HW.
        axes = (0, 3, 1, 2) if code == CONV_2D else (3, 0, 1, 2)
        convolutions.append(
            Convolution(
                weight=np.ascontiguousarray(weight.transpose(axes)),
                bias=dequantise(tensors[bias_at], buffers),
                depthwise=code == DEPTHWISE_CONV_2D,
            )
        )
    return convolutions
