"""The networks that are measured and the bodies that are sent, made on the spot."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image

from bench.chexray.radiograph import draw_radiograph
from bench.engine.networks import build_package
from shared.inference.conversion.densenet import Head, build_network, measure_backbone


@dataclass(frozen=True, slots=True)
class Shape:
    """A DenseNet's measures, and those of the pictures that are sent to it."""

    name: str
    growth: int
    layers: tuple[int, ...]
    width: int
    side_px: int
    picture_px: int


#: A run of about 0.08 ms: what is left to measure is everything around it.
TINY = Shape("tiny", growth=16, layers=(4, 4), width=16, side_px=32, picture_px=64)
#: DenseNet-121 at 224 px.
MEDIUM = Shape(
    "medium", growth=32, layers=(6, 12, 24, 16), width=64, side_px=224, picture_px=512
)  # fmt: skip
SHAPES = (TINY, MEDIUM)


def make_package(folder: Path, shape: Shape, seed: int = 1) -> Path:
    """Write the package of a network of this shape with random weights."""
    model = _network(shape, seed, labels=2)
    # One output, the same for everybody: the maps are for those who look at them.
    del model.graph.output[1:]
    return build_package(folder, shape.name, model)


def make_explained_package(folder: Path, shape: Shape, labels: Sequence[str]) -> Path:
    """The same for these labels, and with class activation maps, as imported checkpoints have."""
    model = _network(shape, 1, labels=len(labels))
    explain = {"features": "features", "maps": "cam"}
    return build_package(folder, shape.name, model, labels, explain)


def _network(shape: Shape, seed: int, labels: int) -> onnx.ModelProto:
    random = np.random.default_rng(seed)
    weights = {name: _weight(random, name, sides) for name, sides in _sides(shape)}
    measured = measure_backbone(weights)
    head = Head(
        weight=random.normal(0, measured.features**-0.5, (labels, measured.features)).astype(
            np.float32
        ),
        bias=np.zeros(labels, np.float32),
        pooling="average",
    )
    return build_network(weights, measured, head, (shape.side_px, shape.side_px))


def draw_picture(shape: Shape) -> bytes:
    """A JPEG file for the network."""
    file = io.BytesIO()
    Image.fromarray(draw_radiograph(shape.picture_px)).convert("RGB").save(file, "JPEG", quality=90)
    return file.getvalue()


def draw_tensor(shape: Shape) -> bytes:
    """The network's input itself: noise between 0 and 1 as float32."""
    random = np.random.default_rng(2)
    return random.random((3, shape.side_px, shape.side_px), np.float32).astype("<f4").tobytes()


def _sides(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The name and shape of every weight of the backbone, as PyTorch names them."""
    width, growth = shape.width, shape.growth
    yield "features.conv0.weight", (width, 3, 7, 7)
    yield from _norm("features.norm0", width)
    for block, layers in enumerate(shape.layers, start=1):
        for layer in range(1, layers + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            yield from _norm(f"{name}.norm1", width)
            yield f"{name}.conv1.weight", (4 * growth, width, 1, 1)
            yield from _norm(f"{name}.norm2", 4 * growth)
            yield f"{name}.conv2.weight", (growth, 4 * growth, 3, 3)
            width += growth
        if block < len(shape.layers):
            name = f"features.transition{block}"
            yield from _norm(f"{name}.norm", width)
            yield f"{name}.conv.weight", (width // 2, width, 1, 1)
            width //= 2
    yield from _norm("features.norm5", width)


def _norm(name: str, features: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (features,)


def _weight(random: np.random.Generator, name: str, sides: tuple[int, ...]) -> NDArray[np.float32]:
    if len(sides) == 4:
        # He's initialisation keeps the activations of a deep network in range.
        return random.normal(0, (2 / np.prod(sides[1:])) ** 0.5, sides).astype(np.float32)
    constant = 0.0 if name.endswith(("bias", "mean")) else 1.0
    return np.full(sides, constant, np.float32)
