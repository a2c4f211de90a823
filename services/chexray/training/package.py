"""Writes the model package: manifest, card, graph and test vectors."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import yaml
from numpy.typing import NDArray
from PIL import Image

from services.chexray.training.card import DATASET, INTENDED_USE, LIMITS, write_card
from services.chexray.training.evaluation import Evaluation
from services.chexray.training.measures import Auc, sigmoid
from services.chexray.training.phantom import vector_pictures
from services.chexray.training.radiographs import LABELS, SIDE_PX, normalise, to_input

# Room for the 10-bit mantissa that some accelerators multiply with.
VECTOR_TOLERANCE = 5e-3


def run_graph(path: Path, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Run the graph on `(N, 224, 224)` grey pictures, on one thread; outputs by name."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": normalise(pixels)}), strict=True))


def write_vectors(folder: Path) -> list[dict[str, object]]:
    """Write the test pictures and return what the graph says about them.

    The probabilities are sigmoid(logit), before the temperature.
    """
    (folder / "vectors").mkdir(exist_ok=True)
    entries: list[dict[str, object]] = []
    for i, picture in enumerate(vector_pictures()):
        name = f"vectors/{i}.png"
        picture.save(folder / name, optimize=True)
        with Image.open(folder / name) as stored:
            logits = run_graph(folder / "model.onnx", to_input(stored.convert("L"))[None])["logits"]
        output = [round(float(p), 5) for p in sigmoid(logits[0].astype(np.float64))]
        entries.append({"input": name, "output": output, "tolerance": VECTOR_TOLERANCE})
    return entries


def measured_rows(evaluation: Evaluation) -> list[dict[str, object]]:
    """Return the manifest's `card.measured`: the AUC of each label, and their mean."""

    def row(metric: str, auc: Auc) -> dict[str, object]:
        return {
            "dataset": DATASET,
            "split": "5-fold cross-validation by patient, out of fold",
            "n": evaluation.cases,
            "metric": metric,
            "value": round(auc.value, 3),
            "interval": [round(auc.low, 3), round(auc.high, 3)],
        }

    rows = [row(f"auc:{label}", m.auc) for label, m in evaluation.labels.items()]
    return [*rows, row("auc:mean", evaluation.mean_auc)]


def manifest(
    sha256: str, evaluation: Evaluation, vectors: list[dict[str, object]]
) -> dict[str, object]:
    """Return the content of `model.yaml`."""
    points = {k: round(m.point.probability, 4) for k, m in evaluation.labels.items()}
    return {
        "id": "chexray-mobilenet",
        "version": "1.0",
        "task": "multi-label",
        "evidence": "demo",
        "licence": "Apache-2.0",
        "source": (
            "trained by services/chexray/training on NIH ChestX-ray14 (Wang et al., CVPR 2017),"
            " starting from ImageNet MobileNetV2 (google-coral/test_data, Apache-2.0)"
        ),
        "file": "model.onnx",
        "sha256": sha256,
        "input": {
            "name": "image",
            "layout": "NCHW",
            "colour": "RGB",
            "size": [SIDE_PX, SIDE_PX],
            "resize": "stretch",
            "scale": 1.0 / 255.0,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
        },
        "output": {"name": "logits", "activation": "sigmoid", "labels": list(LABELS)},
        "operating_points": points,
        "calibration": {"method": "temperature", "value": round(evaluation.temperature, 4)},
        "explain": {"features": "features", "maps": "cam"},
        "test_vectors": vectors,
        "card": {
            "trained_on": DATASET + " (text-mined labels), all of them",
            "measured": measured_rows(evaluation),
            "intended_use": INTENDED_USE,
            "limits": LIMITS,
        },
    }


def write_package(
    folder: Path, graph: onnx.ModelProto, evaluation: Evaluation
) -> dict[str, object]:
    """Write the graph, the vectors and the manifest, and return the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    content = graph.SerializeToString(deterministic=True)
    (folder / "model.onnx").write_bytes(content)
    described = manifest(hashlib.sha256(content).hexdigest(), evaluation, write_vectors(folder))
    text = yaml.safe_dump(described, sort_keys=False, width=110, allow_unicode=True)
    (folder / "model.yaml").write_text(text, encoding="utf-8")
    (folder / "CARD.md").write_text(write_card(evaluation), encoding="utf-8")
    return described
