"""Turns published weights into networks of standard operators, as the zoo asks for by name.

The test vectors of a zoo entry are answers of the weights as published, so they prove what is
done here.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from shared.inference.conversion.checkpoint import CheckpointRefused
from shared.inference.conversion.openvino import convert_head_pose
from shared.inference.conversion.p4m import convert_p4m_densenet
from shared.inference.conversion.tflite import convert_tflite
from shared.inference.conversion.wnet import convert_wnet

_MICROSOFT = "com.microsoft"
_SOFTMAX_BY_HAND = ("Exp", "ReduceSum", "Div")
_STANDARD = frozenset({"", "ai.onnx"})

Convert = Callable[[Path], bytes]
ConvertPair = Callable[[Path, Path], bytes]


def as_published(path: Path) -> bytes:
    """The file as it is."""
    return path.read_bytes()


def with_standard_operators(path: Path) -> bytes:
    """Undo what ONNX Runtime's optimiser left in a file: a fused convolution becomes two nodes.

    Raises:
        CheckpointRefused: there are other operators of its own.
    """
    model = _read(path)
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        nodes.extend(_unfused(node, model) if node.domain == _MICROSOFT else [node])
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return _finished(model)


def with_logits(path: Path) -> bytes:
    """End before a softmax that was put together by hand, which overflows; answer `logits`.

    Exponentials without their maximum taken off first are infinite from 89 on, and infinite by
    infinite is not a number. The manifest's softmax has no such bound.

    Raises:
        CheckpointRefused: the network does not end in such a softmax.
    """
    model = _read(path)
    last = list(model.graph.node)[-len(_SOFTMAX_BY_HAND) :]
    if tuple(node.op_type for node in last) != _SOFTMAX_BY_HAND:
        raise CheckpointRefused("the network does not end in a softmax made by hand")
    del model.graph.node[-len(last) :]
    classes = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    shape = numpy_helper.from_array(np.array([-1, classes], np.int64), "logits_shape")
    model.graph.initializer.append(shape)
    model.graph.node.append(helper.make_node("Reshape", [last[0].input[0], shape.name], ["logits"]))
    del model.graph.output[:]
    model.graph.output.append(
        helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, classes])
    )
    return _finished(model)


CONVERSIONS: Mapping[str, Convert] = {
    "none": as_published,
    "standard-operators": with_standard_operators,
    "logits": with_logits,
    "tflite": convert_tflite,
    "p4m-densenet": convert_p4m_densenet,
    "wnet": convert_wnet,
}

#: Conversions of networks that were published as two files: the companion, then the weights.
PAIR_CONVERSIONS: Mapping[str, ConvertPair] = {"head-pose": convert_head_pose}


def _read(path: Path) -> ModelProto:
    model = ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except Exception as error:  # protobuf's errors share no public base class
        raise CheckpointRefused(f"{path.name} is not an ONNX file") from error
    return model


def _unfused(node: NodeProto, model: ModelProto) -> list[NodeProto]:
    if node.op_type != "FusedConv" or len(node.input) > 3:
        raise CheckpointRefused(f"operator {node.domain}.{node.op_type} has no standard form here")
    attributes = {
        attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute
    }
    activation = attributes.pop("activation").decode()
    bounds = attributes.pop("activation_params", [])
    between = f"{node.output[0]}_before_{activation.lower()}"
    convolution = helper.make_node(
        "Conv", list(node.input), [between], name=node.name, **attributes
    )
    inputs = [between]
    if activation == "Clip" and len(bounds) == 2:
        for end, bound in zip(("low", "high"), bounds, strict=True):
            inputs.append(f"{between}_{end}")
            model.graph.initializer.append(
                numpy_helper.from_array(np.array(bound, np.float32), inputs[-1])
            )
    elif activation not in ("Relu", "Sigmoid", "Tanh") or bounds:
        raise CheckpointRefused(f"a fused convolution ends in {activation}")
    return [convolution, helper.make_node(activation, inputs, list(node.output))]


def _finished(model: ModelProto) -> bytes:
    """Weights that nobody feeds are constants; operator sets that nothing uses are gone."""
    stored = {tensor.name for tensor in model.graph.initializer}
    fed = [value for value in model.graph.input if value.name not in stored]
    del model.graph.input[:]
    model.graph.input.extend(fed)
    used = [entry for entry in model.opset_import if entry.domain in _STANDARD]
    del model.opset_import[:]
    model.opset_import.extend(used)
    return bytes(model.SerializeToString())
