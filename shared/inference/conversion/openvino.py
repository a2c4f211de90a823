"""Reads an OpenVINO network of plain convolutions, its XML and its weights, and writes it as ONNX.

Source:
    The intermediate representation of OpenVINO, version 11: layers with numbered ports, edges
    between them, and constants that lie at an offset in a file of weights.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from shared.inference.conversion.checkpoint import CheckpointRefused
from shared.inference.conversion.writer import GraphWriter, declare

_MAX_XML_BYTES = 4 * 1024 * 1024
_TYPES: Mapping[str, type[np.generic]] = {"f16": np.float16, "f32": np.float32, "i64": np.int64}
_ELEMENTWISE = {"Add": "Add", "Multiply": "Mul", "Subtract": "Sub"}


def convert_head_pose(xml: Path, weights: Path) -> bytes:
    """The Open Model Zoo's head pose network, its three angles side by side.

    Returns:
        ONNX bytes: the picture in, `pose` `(N, 3)` out: yaw, pitch and roll in degrees.

    Raises:
        CheckpointRefused: the files are damaged or hold another network.
    """
    return convert_openvino(xml, weights, ("angle_y_fc", "angle_p_fc", "angle_r_fc"), "pose")


def convert_openvino(xml: Path, weights: Path, joined: Sequence[str], output: str) -> bytes:
    """A network of one picture in and several rows of figures out, which are joined to one.

    Args:
        xml: its layers.
        weights: its constants.
        joined: the layers whose answers are joined, in this order.
        output: what the joined answer is called.

    Raises:
        CheckpointRefused: the files are damaged, or hold an operator that is not known here.
    """
    try:
        if xml.stat().st_size > _MAX_XML_BYTES:
            raise CheckpointRefused(f"{xml.name} is larger than {_MAX_XML_BYTES} bytes")
        # The file is pinned by its hash, and expat bounds how far entities may grow.
        root = ElementTree.fromstring(xml.read_bytes())  # noqa: S314
        return _Conversion(root, weights.read_bytes()).network(joined, output)
    except CheckpointRefused:
        raise
    except Exception as error:  # damaged text leads to errors of every kind
        raise CheckpointRefused(f"{xml.name} cannot be read: {error!r}") from error


class _Conversion:
    """Walks the layers in their order; constants are read where they are used."""

    def __init__(self, root: ElementTree.Element, weights: bytes) -> None:
        layers, edges = root.find("layers"), root.find("edges")
        if layers is None or edges is None:
            raise CheckpointRefused("the file has no layers")
        self._layers = list(layers)
        self._weights = weights
        self._writer = GraphWriter({})
        self._sources: dict[str, dict[int, str]] = {}
        for edge in edges:
            ports = self._sources.setdefault(edge.attrib["to-layer"], {})
            ports[int(edge.attrib["to-port"])] = edge.attrib["from-layer"]
        self._names: dict[str, str] = {}
        self._constants: dict[str, NDArray[Any]] = {}
        self._layer_names: dict[str, str] = {}

    def network(self, joined: Sequence[str], output: str) -> bytes:
        image = None
        for layer in self._layers:
            kind, number = layer.attrib["type"], layer.attrib["id"]
            if kind == "Parameter":
                shape = [int(side) for side in _attribute(layer, "shape").split(",")]
                image = declare(layer.attrib["name"], *shape[1:])
                self._names[number] = layer.attrib["name"]
            elif kind == "Const":
                self._constants[number] = self._constant(layer)
            elif kind == "Convert":
                self._constants[number] = self._constants[self._inputs(layer)[0]].astype(np.float32)
            elif kind != "Result":
                self._names[number] = self._converted(layer)
            self._layer_names[layer.attrib["name"]] = self._names.get(number, "")
        if image is None or not all(self._layer_names.get(name) for name in joined):
            raise CheckpointRefused("the file is another network: its input or its answers lack")
        self._writer.node("Concat", [self._layer_names[name] for name in joined], output, axis=1)
        model = self._writer.model("openvino", [image], [declare(output, len(joined))])
        return bytes(model.SerializeToString())

    def _inputs(self, layer: ElementTree.Element) -> list[str]:
        ports = self._sources.get(layer.attrib["id"], {})
        return [ports[port] for port in sorted(ports)]

    def _constant(self, layer: ElementTree.Element) -> NDArray[Any]:
        kind = _TYPES.get(_attribute(layer, "element_type"))
        if kind is None:
            raise CheckpointRefused(
                f"a constant is of the type {_attribute(layer, 'element_type')}"
            )
        shape = [int(side) for side in _attribute(layer, "shape").split(",") if side.strip()]
        offset, size = int(_attribute(layer, "offset")), int(_attribute(layer, "size"))
        if not 0 <= offset <= offset + size <= len(self._weights):
            raise CheckpointRefused("a constant lies outside the file of weights")
        return np.frombuffer(self._weights[offset : offset + size], kind).reshape(shape)

    def _operand(self, number: str) -> str:
        """The name of an operand; a constant one becomes part of the network."""
        if number not in self._names:
            figures = self._constants[number].astype(np.float32)
            self._names[number] = self._writer.constant(f"constant_{number}", figures)
        return self._names[number]

    def _converted(self, layer: ElementTree.Element) -> str:
        kind, inputs = layer.attrib["type"], self._inputs(layer)
        if kind in _ELEMENTWISE:
            return self._writer.node(_ELEMENTWISE[kind], [self._operand(place) for place in inputs])
        if kind == "ReLU":
            return self._writer.rectify(self._operand(inputs[0]))
        if kind == "Convolution":
            return self._writer.node(
                "Conv",
                [self._operand(place) for place in inputs],
                kernel_shape=list(self._constants[inputs[1]].shape[2:]),
                strides=_numbers(layer, "strides"),
                dilations=_numbers(layer, "dilations"),
                pads=_numbers(layer, "pads_begin") + _numbers(layer, "pads_end"),
            )
        if kind == "MaxPool":
            return self._writer.node(
                "MaxPool",
                [self._operand(inputs[0])],
                kernel_shape=_numbers(layer, "kernel"),
                strides=_numbers(layer, "strides"),
                pads=_numbers(layer, "pads_begin") + _numbers(layer, "pads_end"),
                ceil_mode=int(_attribute(layer, "rounding_type") == "ceil"),
            )
        if kind == "Reshape":
            return self._writer.node("Flatten", [self._operand(inputs[0])], axis=1)
        if kind == "MatMul" and _attribute(layer, "transpose_a") == "false":
            weight = self._constants[inputs[1]].astype(np.float32)
            if _attribute(layer, "transpose_b") == "true":
                weight = weight.T
            name = self._writer.constant(f"weight_{layer.attrib['id']}", weight)
            return self._writer.node("MatMul", [self._operand(inputs[0]), name])
        raise CheckpointRefused(f"the operator {kind} is not known here")


def _attribute(layer: ElementTree.Element, name: str) -> str:
    data = layer.find("data")
    found = None if data is None else data.attrib.get(name)
    if found is None:
        raise CheckpointRefused(f"the layer {layer.attrib['name']} lacks {name}")
    return found


def _numbers(layer: ElementTree.Element, name: str) -> list[int]:
    return [int(number) for number in _attribute(layer, name).split(",")]
