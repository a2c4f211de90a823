"""Small model packages, made on the spot from graphs of one or two nodes."""

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

SIDE_PX = 8
LABELS = ("cat", "dog")


def png(pixels: NDArray[np.uint8]) -> bytes:
    """`pixels` as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def gray_ramp(side_px: int = SIDE_PX) -> NDArray[np.uint8]:
    """A picture whose columns grow brighter from left to right."""
    return np.tile(np.linspace(0, 255, side_px, dtype=np.uint8), (side_px, 1))


def mean_network(
    nodes: Sequence[onnx.NodeProto] = (),
    initializers: Sequence[TensorProto] = (),
    opset: int = 17,
    imports: Sequence[tuple[str, int]] = (),
    side_px: int = SIDE_PX,
) -> onnx.ModelProto:
    """Two logits, the mean of the picture each, scaled by [1, -1]; `nodes` come before."""
    weight = helper.make_tensor("weight", TensorProto.FLOAT, [1, 2], [1.0, -1.0])
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [-1, 1])
    graph = helper.make_graph(
        [
            *nodes,
            helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=1),
            helper.make_node("Reshape", ["mean", "shape"], ["column"]),
            helper.make_node("MatMul", ["column", "weight"], ["logits"]),
        ],
        "mean",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, side_px, side_px])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        [weight, shape, *initializers],
    )
    return helper.make_model(
        graph,
        opset_imports=[
            helper.make_opsetid("", opset),
            *(helper.make_opsetid(domain, version) for domain, version in imports),
        ],
        ir_version=9,
    )


@dataclass
class PackageBuilder:
    """Writes a package that is right in all parts, or in all but those a test changes."""

    folder: Path
    network: onnx.ModelProto = field(default_factory=mean_network)
    changes: dict[str, Any] = field(default_factory=dict)

    def manifest(self, network: bytes) -> dict[str, Any]:
        """The members of a right `model.yaml`."""
        mean = float(np.float32(gray_ramp().mean() / 255))
        answer = [1 / (1 + np.exp(-mean)), 1 / (1 + np.exp(mean))]
        return {
            "id": "mean-brightness",
            "version": "1.0",
            "task": "multi-label",
            "evidence": "demo",
            "licence": "Apache-2.0",
            "source": "made by the test",
            "file": "model.onnx",
            "sha256": hashlib.sha256(network).hexdigest(),
            "input": {
                "name": "image",
                "layout": "NCHW",
                "colour": "GRAY",
                "size": [SIDE_PX, SIDE_PX],
                "resize": "stretch",
                "scale": 1 / 255,
                "mean": [0.0],
                "std": [1.0],
            },
            "output": {"name": "logits", "activation": "sigmoid", "labels": list(LABELS)},
            "operating_points": {"cat": 0.5},
            "test_vectors": [
                {
                    "input": "vectors/0.png",
                    "output": [float(figure) for figure in answer],
                    "tolerance": 1e-4,
                }
            ],
            "card": {
                "trained_on": "nothing",
                "measured": [],
                "intended_use": "tests",
                "limits": "no use beyond tests",
            },
        }

    def write(self) -> Path:
        """Write the package and return its folder."""
        network = self.network.SerializeToString()
        (self.folder / "vectors").mkdir(parents=True, exist_ok=True)
        (self.folder / "model.onnx").write_bytes(network)
        (self.folder / "vectors" / "0.png").write_bytes(png(gray_ramp()))
        members = self.manifest(network) | self.changes
        text = yaml.safe_dump({key: value for key, value in members.items() if value is not None})
        (self.folder / "model.yaml").write_text(text)
        return self.folder


Build = Callable[..., Path]
