"""Writes the model package: manifest, card, graph and test vectors."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image

from services.scancer.training.card import DATASET, INTENDED_USE, LIMITS, Split, write_card
from services.scancer.training.evaluation import Evaluation, sigmoid
from services.scancer.training.export import build_onnx
from services.scancer.training.fitting import Recipe
from services.scancer.training.network import PatchNetwork
from services.scancer.training.patches import LABELS, MEAN, MPP_UM, SIDE_PX, STD, normalised
from services.scancer.training.phantom import vector_pictures
from shared.inference.manifest import InputSpec
from shared.inference.preprocess import Preprocess

# Room for the 10-bit mantissa that some accelerators multiply with.
VECTOR_TOLERANCE = 5e-3


def run_graph(path: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logits of normalised pictures `(N, 3, 96, 96)`, `(N,)`, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logit"], {"image": images})[0][:, 0], np.float32)


def run_on_patches(path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The logits of patches `(N, 96, 96, 3)`, 0 to 255."""
    return run_graph(path, normalised(torch.from_numpy(pixels).float()).contiguous().numpy())


def _input() -> dict[str, object]:
    return {
        "name": "image",
        "layout": "NCHW",
        "colour": "RGB",
        "size": [SIDE_PX, SIDE_PX],
        "resize": "stretch",
        "scale": 1.0 / 255.0,
        "mean": list(MEAN),
        "std": list(STD),
        "mpp_um": MPP_UM,
    }


def write_vectors(folder: Path) -> list[dict[str, object]]:
    """Write the test pictures and return the graph's probabilities, before the temperature.

    They are prepared as the platform prepares every picture.
    """
    (folder / "vectors").mkdir(exist_ok=True)
    prepare = Preprocess(InputSpec.model_validate(_input()))
    entries: list[dict[str, object]] = []
    for i, pixels in enumerate(vector_pictures()):
        name = f"vectors/{i}.png"
        Image.fromarray(pixels).save(folder / name, optimize=True)
        logit = run_graph(folder / "model.onnx", prepare(pixels)[np.newaxis])
        output = [round(float(p), 5) for p in sigmoid(logit.astype(np.float64))]
        entries.append({"input": name, "output": output, "tolerance": VECTOR_TOLERANCE})
    return entries


def manifest(
    sha256: str, evaluation: Evaluation, split: Split, vectors: list[dict[str, object]]
) -> dict[str, object]:
    """The content of `model.yaml`."""
    area = evaluation.area
    measured = {
        "dataset": DATASET,
        "split": split.name,
        "n": evaluation.cases,
        "metric": "auc",
        "value": round(area.value, 4),
        "interval": [round(float(area.low or 0.0), 4), round(float(area.high or 1.0), 4)],
    }
    accuracy = measured | {"metric": "accuracy", "value": round(evaluation.accuracy, 4)}
    del accuracy["interval"]
    return {
        "id": "pcam-classification",
        "version": "1.2",
        "task": "image-classification",
        "evidence": "research",
        "licence": "MIT",
        "source": (
            "trained by services/scancer/training on PatchCamelyon (Veeling et al., MICCAI 2018,"
            " CC0), with a p4m DenseNet (dwromero/att_gconvs, MIT) as teacher"
        ),
        "file": "model.onnx",
        "sha256": sha256,
        "input": _input(),
        "output": {
            "name": "logit",
            "activation": "sigmoid",
            "labels": list(LABELS),
            "positive": LABELS[1],
        },
        "operating_points": {LABELS[1]: round(evaluation.point.probability, 4)},
        "calibration": {"method": "temperature", "value": round(evaluation.temperature, 4)},
        "explain": {"features": "features", "maps": "cam"},
        "gate": "he-patch",
        "test_vectors": vectors,
        "card": {
            "trained_on": f"{DATASET}; {split.name}",
            "measured": [measured, accuracy],
            "intended_use": INTENDED_USE,
            "limits": LIMITS,
        },
    }


def write_package(
    folder: Path, network: PatchNetwork, evaluation: Evaluation, split: Split, recipe: Recipe
) -> onnx.ModelProto:
    """Write the graph, the vectors, the manifest and the card, and return the graph."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = build_onnx(network)
    content = graph.SerializeToString(deterministic=True)
    (folder / "model.onnx").write_bytes(content)
    described = manifest(
        hashlib.sha256(content).hexdigest(), evaluation, split, write_vectors(folder)
    )
    text = yaml.safe_dump(described, sort_keys=False, width=110, allow_unicode=True)
    (folder / "model.yaml").write_text(text, encoding="utf-8")
    kept = [p for name, p in network.named_parameters() if "hints" not in name]
    card = write_card(
        evaluation,
        split,
        convolutions=len(network.convolutions()),
        parameters=sum(p.numel() for p in kept),
        graph_bytes=len(content),
        soft=recipe.soft_share,
    )
    (folder / "CARD.md").write_text(card, encoding="utf-8")
    return graph
