"""Networks to measure with, made on the spot with random weights."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from shared.imaging import decode
from shared.inference.answers import sigmoid
from shared.inference.manifest import InputSpec
from shared.inference.preprocess import compile_preprocess
from shared.inference.runtime import CPU_PROVIDER, Session

_LABELS = ("first", "second")


class _Graph:
    """Grows a graph node by node."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._random = np.random.default_rng(1)

    def add(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        values = self._random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)
        self.weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def convolve(self, source: str, inputs: int, outputs: int, side: int, stride: int = 1) -> str:
        convolved = self.add(
            "Conv",
            [source, self.weight(outputs, inputs, side, side)],
            pads=[side // 2] * 4,
            strides=[stride, stride],
        )
        return self.add("Relu", [convolved])

    def constant(self, values: list[int]) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.array(values), name))
        return name

    def pooled(self, source: str, channels: int) -> str:
        pooled = self.add("Flatten", [self.add("GlobalAveragePool", [source])])
        return self.add("MatMul", [pooled, self.weight(channels, 2)])

    def model(self, logits: str, side_px: int) -> onnx.ModelProto:
        self.nodes.append(helper.make_node("Identity", [logits], ["logits"]))
        graph = helper.make_graph(
            self.nodes,
            "bench",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, side_px, side_px])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
            self.weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def tiny_network(side_px: int = 32) -> onnx.ModelProto:
    """One convolution: all that is left to measure is overhead."""
    graph = _Graph()
    return graph.model(graph.pooled(graph.convolve("image", 3, 8, 3, stride=2), 8), side_px)


def corner_network(side_px: int = 224) -> onnx.ModelProto:
    """Answers with a picture's first figure and its negative, as a simulated device can too."""
    graph = _Graph()
    places = [graph.constant(numbers) for numbers in ([0, 0, 0], [1, 1, 1], [1, 2, 3])]
    corner = graph.add("Flatten", [graph.add("Slice", ["image", *places])])
    return graph.model(graph.add("Concat", [corner, graph.add("Neg", [corner])], axis=1), side_px)


def medium_network(side_px: int = 224) -> onnx.ModelProto:
    """A densely connected network of 3 blocks, some ten milliseconds on one core."""
    graph = _Graph()
    source, channels = graph.convolve("image", 3, 32, 7, stride=4), 32
    for block in range(3):
        for _ in range(6):
            narrow = graph.convolve(source, channels, 64, 1)
            grown = graph.convolve(narrow, 64, 32, 3)
            source, channels = graph.add("Concat", [source, grown], axis=1), channels + 32
        if block < 2:
            source = graph.convolve(source, channels, channels // 2, 1, stride=2)
            channels //= 2
    return graph.model(graph.pooled(source, channels), side_px)


def build_package(
    folder: Path,
    name: str,
    model: onnx.ModelProto,
    labels: Sequence[str] = _LABELS,
    explain: Mapping[str, str] | None = None,
) -> Path:
    """A package of `model`, with a test vector of what it answers today."""
    network = model.SerializeToString()
    side_px = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    spec = {
        "name": "image",
        "colour": "RGB",
        "size": [side_px, side_px],
        "scale": 1 / 255,
        "mean": [0.0] * 3,
        "std": [1.0] * 3,
    }
    buffer = io.BytesIO()
    Image.fromarray(np.full((side_px, side_px, 3), 90, np.uint8)).save(buffer, "PNG")
    prepared = compile_preprocess(InputSpec.model_validate(spec))(decode(buffer.getvalue()).pixels)
    session = Session(network, [(CPU_PROVIDER, {})], threads_per_run=1)
    answer = sigmoid(session.run({"image": prepared[None]})["logits"][0])
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(network)
    (folder / "vector.png").write_bytes(buffer.getvalue())
    manifest = {
        "id": name,
        "version": "1.0",
        "task": "multi-label",
        "evidence": "demo",
        "licence": "Apache-2.0",
        "source": "random weights",
        "sha256": hashlib.sha256(network).hexdigest(),
        "input": spec,
        "output": {"name": "logits", "activation": "sigmoid", "labels": list(labels)},
        "test_vectors": [
            {"input": "vector.png", "output": [float(x) for x in answer], "tolerance": 1e-3}
        ],
        "card": {"trained_on": "nothing", "intended_use": "measuring", "limits": "all"},
    }
    if explain is not None:
        manifest["explain"] = dict(explain)
    (folder / "model.yaml").write_text(yaml.safe_dump(manifest))
    return folder
