"""The published DenseNet-121 layouts for chest radiographs, and their conversion.

A layout knows the names of a checkpoint's weights, which output is which finding, and how its
authors prepared a radiograph.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import onnx
from numpy.typing import NDArray

from shared.inference.conversion.checkpoint import Checkpoint, CheckpointRefused, Weights
from shared.inference.conversion.densenet import (
    Head,
    build_network,
    measure_backbone,
    modern_names,
)
from shared.inference.manifest import InputSpec

#: The findings that the platform reports, in the order of the CheXpert competition.
FINDINGS = ("atelectasis", "cardiomegaly", "consolidation", "edema", "pleural_effusion")


class Layout(StrEnum):
    """The published layouts that can be converted."""

    TORCHXRAYVISION = "torchxrayvision"
    JFHEALTHCARE = "jfhealthcare"


@dataclass(frozen=True, slots=True)
class LayoutFacts:
    """What is known of a layout beside its weights.

    Attributes:
        outputs: the finding that each output stands for, None for one the platform does not have.
        input: how a radiograph is prepared.
        source: who published it.
        licence: under which terms.
        limits: how the preparation here differs from the authors'.
    """

    outputs: tuple[str | None, ...]
    input: InputSpec
    source: str
    licence: str
    trained_on: str
    limits: str


LAYOUTS: Mapping[Layout, LayoutFacts] = {
    # Outputs and range: Cohen et al., "TorchXRayVision", 2021, arXiv:2111.00595.
    Layout.TORCHXRAYVISION: LayoutFacts(
        outputs=(
            "atelectasis", "consolidation", None, None, "edema", None, None, "pleural_effusion",
            None, None, "cardiomegaly", None, None, None, None, None, None, None,
        ),
        input=InputSpec(
            name="image", colour="GRAY", size=(224, 224), resize="crop",
            scale=2048 / 255, mean=(1024.0,), std=(1.0,),
        ),
        source="mlmed/torchxrayvision",
        licence="Apache-2.0",
        trained_on="as the checkpoint's authors state: public chest radiograph collections",
        limits="The resize is antialiased; the authors' is not everywhere.",
    ),
    # Outputs: the columns of CheXpert's table that its data set reads, in their order.
    Layout.JFHEALTHCARE: LayoutFacts(
        outputs=(
            "cardiomegaly", "edema", "consolidation", "atelectasis", "pleural_effusion",
        ),
        input=InputSpec(
            name="image", colour="RGB", size=(512, 512), resize="fit", equalise=True,
            scale=1.0, mean=(128.0,) * 3, std=(64.0,) * 3,
        ),
        source="jfhealthcare/Chexpert",
        licence="Apache-2.0",
        trained_on="CheXpert, as the checkpoint's authors state",
        limits=(
            "The authors blur the picture with a 3x3 kernel before an unfiltered resize and pad "
            "below and to the right; here the resize is antialiased and the picture is centred."
        ),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Conversion:
    """A checkpoint as an ONNX network and what its manifest needs to know."""

    layout: Layout
    network: onnx.ModelProto
    input: InputSpec
    labels: tuple[str, ...]
    operating_points: Mapping[str, float]


def find_layout(checkpoint: Checkpoint) -> Layout:
    """Tell the layout by the names of the weights.

    Raises:
        CheckpointRefused: it is neither.
    """
    if "classifier.weight" in checkpoint.weights:
        return Layout.TORCHXRAYVISION
    if "fc_0.weight" in checkpoint.weights:
        return Layout.JFHEALTHCARE
    raise CheckpointRefused(
        "the checkpoint has neither classifier.weight (torchxrayvision) "
        "nor fc_0.weight (jfhealthcare)"
    )


def convert(checkpoint: Checkpoint, layout: Layout) -> Conversion:
    """Rebuild a checkpoint as an ONNX network that answers the platform's findings.

    Raises:
        CheckpointRefused: the weights are not of this layout.
    """
    facts = LAYOUTS[layout]
    backbone, head_weight, head_bias = split(checkpoint.weights, layout)
    shape = measure_backbone(backbone)
    outputs = facts.outputs
    if head_weight.shape != (len(outputs), shape.features) or head_bias.shape != (len(outputs),):
        raise CheckpointRefused(
            f"the classifier has the shape {head_weight.shape}, {layout} has "
            f"{(len(outputs), shape.features)}"
        )
    if shape.channels != facts.input.channels:
        raise CheckpointRefused(
            f"the network reads {shape.channels} channels, {layout} {facts.input.channels}"
        )
    rows = finding_rows(layout)
    head = Head(
        head_weight[rows],
        head_bias[rows],
        pooling="average" if layout is Layout.TORCHXRAYVISION else "pcam",
    )
    return Conversion(
        layout,
        build_network(backbone, shape, head, facts.input.size),
        facts.input,
        FINDINGS,
        _operating_points(checkpoint.operating_points, outputs),
    )


def finding_rows(layout: Layout) -> list[int]:
    """The place of each of the platform's findings among the layout's outputs."""
    return [LAYOUTS[layout].outputs.index(finding) for finding in FINDINGS]


def split(
    weights: Weights, layout: Layout
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32], NDArray[np.float32]]:
    """Separate the backbone, named `features.…`, from the classifier's weight and bias.

    Raises:
        CheckpointRefused: weights are missing, or there are some that the layout does not have.
    """
    weights = modern_names(weights)
    if layout is Layout.TORCHXRAYVISION:
        prefix, heads = "", ["classifier"]
    else:
        prefix = "backbone."
        heads = [f"fc_{index}" for index in range(len(LAYOUTS[layout].outputs))]
    backbone = {
        name.removeprefix(prefix): weight
        for name, weight in weights.items()
        if name.startswith(f"{prefix}features.")
    }
    parts = {f"{head}.{part}" for head in heads for part in ("weight", "bias")}
    missing = sorted(parts - set(weights))
    if missing:
        raise CheckpointRefused(f"the checkpoint lacks {missing[0]}")
    # jfhealthcare's heads carry a normalisation that its published configuration leaves unused.
    unused = tuple(f"bn_{index}." for index in range(len(heads))) if prefix else ()
    unknown = sorted(
        name
        for name in weights
        if not name.startswith(f"{prefix}features.")
        and name not in parts
        and not name.startswith(unused or ("\0",))
        and not name.startswith("backbone.classifier.")
    )
    if unknown:
        raise CheckpointRefused(f"the checkpoint has a weight that {layout} has not: {unknown[0]}")
    width = backbone["features.norm5.weight"].shape[0] if backbone else 0
    weight = np.concatenate([_rows(weights[f"{head}.weight"], width) for head in heads])
    bias = np.concatenate([weights[f"{head}.bias"].reshape(-1) for head in heads])
    return backbone, weight, bias


def _rows(weight: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    if weight.ndim not in (2, 4) or weight.shape[1] != width or weight[0].size != width:
        raise CheckpointRefused(f"the classifier's weight has the shape {weight.shape}")
    return weight.reshape(weight.shape[0], width)


def _operating_points(
    points: tuple[float, ...] | None, outputs: tuple[str | None, ...]
) -> dict[str, float]:
    if points is None or len(points) != len(outputs):
        return {}
    return {
        output: point
        for output, point in zip(outputs, points, strict=True)
        if output is not None and math.isfinite(point) and 0 <= point <= 1
    }
