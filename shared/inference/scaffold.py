"""Starts a package from nothing but an ONNX file.

What the graph tells is filled in, test vectors are made of pictures and of what the network
answers to them, and what only a person knows is left to fill in, in words that `pack` looks for.
"""

import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.imaging import decode
from shared.inference.answers import activated
from shared.inference.graph import GraphFacts, inspect_graph
from shared.inference.manifest import (
    MANIFEST_NAME,
    InputSpec,
    Manifest,
    OutputSpec,
    dump_manifest,
    to_manifest,
)
from shared.inference.package import MAX_NETWORK_BYTES
from shared.inference.pictures import PICTURES
from shared.inference.preprocess import compile_preprocess
from shared.inference.runtime import CPU_PROVIDER, Session
from shared.inference.vectors import MAX_VECTOR_BYTES
from shared.problems import Problem

#: What stands where a person has to say something.
FILL_IN = "FILL IN:"
TOLERANCE = 1e-3
_MAX_VECTORS = 8
_NEAR = 1e-3

Activation = Literal["sigmoid", "softmax", "none"]
Task = Literal["image-classification", "multi-label", "regression"]


class ScaffoldRefused(ValueError):
    """The graph does not tell enough, or is of a kind that has to be described by hand."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the person says; the graph tells the rest."""

    id: str
    version: str = "1.0"
    task: Task = "image-classification"
    labels: tuple[str, ...] = ()
    activation: Activation | None = None
    colour: Literal["RGB", "BGR", "GRAY"] | None = None
    size_px: tuple[int, int] | None = None
    """Height and width."""
    resize: Literal["stretch", "fit", "crop"] = "stretch"
    scale: float = 1 / 255
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    output: str | None = None


def scaffold(network: Path, folder: Path, wishes: Wishes, pictures: Sequence[Path]) -> Manifest:
    """Write a package folder for an ONNX file.

    Args:
        network: the file.
        folder: where the package is written; it must not hold one.
        wishes: what the graph cannot tell.
        pictures: what the network will see, for the test vectors; drawn ones where there are none.

    Raises:
        ScaffoldRefused: something is missing that only a person knows; the text says what.
        PackageRefused: the graph is not allowed in a package.
        ManifestInvalid: the wishes make no manifest.
    """
    if (folder / MANIFEST_NAME).exists():
        raise ScaffoldRefused(f"{folder} holds a package already")
    if network.stat().st_size > MAX_NETWORK_BYTES:
        raise ScaffoldRefused(f"{network.name} is larger than {MAX_NETWORK_BYTES} bytes")
    contents = network.read_bytes()
    graph = inspect_graph(contents)
    reads = _input(graph, wishes)
    output_name = _output_name(graph, wishes)
    session = Session(contents, [(CPU_PROVIDER, {})], threads_per_run=1)
    preprocess = compile_preprocess(reads)
    shown = _pictures(pictures)
    rows = [
        session.run({reads.name: preprocess(decode(picture).pixels)[None]})[output_name].reshape(-1)
        for _, picture in shown
    ]
    output = _output(output_name, rows, wishes)
    members: dict[str, Any] = {
        "id": wishes.id,
        "version": wishes.version,
        "task": wishes.task,
        "evidence": "demo",
        "licence": f"{FILL_IN} the licence of the weights, as an SPDX identifier",
        "source": f"{FILL_IN} who trained it, from what code and data, or where it was published",
        "file": "model.onnx",
        "sha256": hashlib.sha256(contents).hexdigest(),
        "input": reads.model_dump(mode="json"),
        "output": output.model_dump(mode="json", exclude_none=True),
        "test_vectors": [
            {
                "input": f"vectors/{name}",
                "output": [float(figure) for figure in activated(output, row)],
                "tolerance": TOLERANCE,
                "sha256": hashlib.sha256(picture).hexdigest(),
            }
            for (name, picture), row in zip(shown, rows, strict=True)
        ],
        "card": {
            "trained_on": f"{FILL_IN} which data, how many, from where",
            "measured": [],
            "intended_use": f"{FILL_IN} what for, and by whom",
            "limits": f"{FILL_IN} what it was not made for, and where it fails",
        },
    }
    if output.positive is not None:
        members["operating_points"] = {output.positive: 0.5}
    manifest = to_manifest(members)
    (folder / "vectors").mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(contents)
    for name, picture in shown:
        (folder / "vectors" / name).write_bytes(picture)
    (folder / MANIFEST_NAME).write_text(dump_manifest(manifest), encoding="utf-8")
    return manifest


def unfilled(manifest: Manifest) -> list[str]:
    """The fields in which a person has not said yet what has to be said."""
    fields = {
        "licence": manifest.licence,
        "source": manifest.source,
        "card.trained_on": manifest.card.trained_on,
        "card.intended_use": manifest.card.intended_use,
        "card.limits": manifest.card.limits,
    }
    return [name for name, text in fields.items() if FILL_IN in text]


def _input(graph: GraphFacts, wishes: Wishes) -> InputSpec:
    if len(graph.inputs) != 1:
        raise ScaffoldRefused(
            f"the network has the inputs {sorted(graph.inputs)}; a package has one picture"
        )
    [(name, shape)] = graph.inputs.items()
    if len(shape) != 4 or shape[0] not in (None, 1):
        raise ScaffoldRefused(f"the input {name!r} is no batch of pictures (N, C, H, W): {shape}")
    if shape[0] == 1:
        raise ScaffoldRefused(
            "the graph's batch is fixed to 1; export it again with a dynamic first axis, "
            "in PyTorch with `dynamic_axes={'image': {0: 'N'}}`"
        )
    channels = shape[1] or (1 if wishes.colour == "GRAY" else 3)
    colour = wishes.colour or ("GRAY" if channels == 1 else "RGB")
    if channels != (1 if colour == "GRAY" else 3):
        raise ScaffoldRefused(f"the network reads {channels} channels, which is not {colour}")
    size = (shape[2], shape[3]) if shape[2] and shape[3] else wishes.size_px
    if size is None:
        raise ScaffoldRefused("the graph takes any size; say with --size what it was trained on")
    if wishes.size_px not in (None, size):
        raise ScaffoldRefused(f"the graph reads {size[0]}x{size[1]}, not what --size says")
    return InputSpec(
        name=name,
        colour=colour,
        size=size,
        resize=wishes.resize,
        scale=wishes.scale,
        mean=_per_channel(wishes.mean or (0.0,), channels),
        std=_per_channel(wishes.std or (1.0,), channels),
    )


def _per_channel(figures: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """One figure stands for all channels."""
    return figures * channels if len(figures) == 1 else figures


def _output_name(graph: GraphFacts, wishes: Wishes) -> str:
    if wishes.output is not None:
        if wishes.output not in graph.outputs:
            raise ScaffoldRefused(
                f"there is no output {wishes.output!r}; there are {sorted(graph.outputs)}"
            )
        return wishes.output
    rows = [name for name, shape in graph.outputs.items() if len(shape) == 2]
    if len(rows) != 1:
        raise ScaffoldRefused(
            f"the outputs are {dict(graph.outputs)}; say with --output which one has the shape "
            "(N, labels)"
        )
    return rows[0]


def _output(name: str, rows: Sequence[NDArray[np.float32]], wishes: Wishes) -> OutputSpec:
    columns = len(rows[0])
    is_binary = columns == 1 and wishes.task == "image-classification"
    labels = wishes.labels or tuple(
        f"label_{number}" for number in range(2 if is_binary else columns)
    )
    if len(labels) != columns and not (is_binary and len(labels) == 2):
        raise ScaffoldRefused(f"{columns} figures come out, and {len(labels)} labels are named")
    activation = wishes.activation or _guess(rows, wishes.task)
    if is_binary and activation == "none":
        raise ScaffoldRefused(
            "one figure between 0 and 1 comes out; export the network without its last sigmoid"
        )
    binary = len(labels) == 2 and wishes.task == "image-classification"
    return OutputSpec(
        name=name, activation=activation, labels=labels, positive=labels[1] if binary else None
    )


def _guess(rows: Sequence[NDArray[np.float32]], task: Task) -> Activation:
    """What the figures need to become probabilities, by what they are for some pictures."""
    if task == "regression":
        return "none"
    all_rows = np.stack(rows)
    are_fractions = bool((all_rows >= 0).all() and (all_rows <= 1).all())
    if task == "multi-label" or all_rows.shape[1] == 1:
        return "none" if are_fractions else "sigmoid"
    sums_to_one = bool(np.abs(all_rows.sum(axis=1) - 1).max() < _NEAR)
    return "none" if are_fractions and sums_to_one else "softmax"


def _pictures(paths: Iterable[Path]) -> list[tuple[str, bytes]]:
    """The pictures of the test vectors and their names in the package."""
    shown = []
    for number, path in enumerate(list(paths)[:_MAX_VECTORS]):
        picture = path.read_bytes()
        if len(picture) > MAX_VECTOR_BYTES:
            raise ScaffoldRefused(f"{path.name} is larger than {MAX_VECTOR_BYTES} bytes")
        try:
            decode(picture)
        except Problem as problem:
            raise ScaffoldRefused(f"{path.name}: {problem.detail}") from problem
        suffix = path.suffix.lower() if path.suffix.isascii() else ""
        shown.append((f"{number}{suffix if suffix[1:].isalnum() else ''}", picture))
    if shown:
        return shown
    drawn = []
    for number, draw in enumerate(PICTURES.values()):
        file = io.BytesIO()
        Image.fromarray(draw()).save(file, "PNG")
        drawn.append((f"{number}.png", file.getvalue()))
    return drawn
