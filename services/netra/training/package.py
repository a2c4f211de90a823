"""Writes the packages of the lesion networks: graph, manifest, test vectors and card.

    python -m services.netra.training.package --cache DIR --models services/netra/models

Reads what `evaluate_lesions` and `train_grading` left in the cache.
"""

import argparse
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from services.netra.training.card import DATASET, INTENDED_USE, LIMITS, lesion_card
from services.netra.training.export import WINDOW_PX
from services.netra.training.lesion_maps import open_network
from services.netra.training.phantom import draw_window
from services.netra.training.segmenter import LESIONS

#: The package of the network that did not see each fold.
PACKAGE_OF_FOLD = {0: "netra-lesions-a", 1: "netra-lesions-b"}
VERSION = "1.0"
VECTORS, SAMPLES, TOLERANCE = 2, 96, 0.01


def packaged_sha256(cache: Path) -> dict[str, str]:
    """The hash of each package's network."""
    return {
        name: hashlib.sha256((cache / f"lesions-{fold}.onnx").read_bytes()).hexdigest()
        for fold, name in PACKAGE_OF_FOLD.items()
    }


def write_package(cache: Path, models: Path, fold: int, report: Mapping[str, Any]) -> None:
    """Write one package."""
    name = PACKAGE_OF_FOLD[fold]
    folder = models / name
    (folder / "vectors").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(cache / f"lesions-{fold}.onnx", folder / "model.onnx")
    manifest = {
        "id": name,
        "version": VERSION,
        "task": "segmentation",
        "evidence": "research",
        "licence": "CC-BY-4.0",
        "source": (
            "trained by services/netra/training on IDRiD (Porwal et al., 2018, CC BY 4.0), "
            "starting from ImageNet MobileNetV2 (google-coral/test_data, Apache-2.0)"
        ),
        "file": "model.onnx",
        "sha256": packaged_sha256(cache)[name],
        "input": {
            "name": "image",
            "layout": "NCHW",
            "colour": "RGB",
            "size": list(WINDOW_PX),
            "resize": "stretch",
            "scale": 1.0 / 255.0,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
        },
        "output": {"name": "logits", "activation": "sigmoid", "labels": list(LESIONS)},
        "operating_points": {
            lesion: round(report[lesion]["operating_point"], 4) for lesion in LESIONS
        },
        "test_vectors": write_vectors(folder),
        "card": {
            "trained_on": (
                f"{DATASET}: 54 outlined photographs less those whose number leaves {fold} when "
                "divided by 5"
            ),
            "measured": [
                {
                    "dataset": DATASET,
                    "split": (
                        "held out: every photograph whose number leaves 0 or 1 when divided by 5, "
                        "by the one of two networks that did not see it"
                    ),
                    "n": report["photographs"],
                    "metric": "aupr, pooled pixels at full size",
                    "label": lesion,
                    "value": round(report[lesion]["aupr"], 3),
                    "interval": [round(v, 3) for v in report[lesion]["interval"]],
                }
                for lesion in LESIONS
            ],
            "intended_use": INTENDED_USE,
            "limits": LIMITS,
        },
    }
    text = yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True, width=100)
    (folder / "model.yaml").write_text(text, encoding="utf-8")
    (folder / "CARD.md").write_text(lesion_card(name, fold, report), encoding="utf-8")


def write_vectors(folder: Path) -> list[dict[str, object]]:
    """Draw the test pictures and note what the network says about them."""
    network = open_network(folder / "model.onnx", 1)
    entries: list[dict[str, object]] = []
    for i in range(VECTORS):
        window = draw_window(WINDOW_PX, seed=i + 1)
        name = f"vectors/{i}.png"
        cv2.imwrite(str(folder / name), window[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
        tensor = np.moveaxis(window.astype(np.float32) / 127.5 - 1.0, -1, 0)[None]
        flat = network.run(["logits"], {"image": tensor})[0].reshape(-1)
        places = np.arange(SAMPLES, dtype=np.int64) * (flat.size - 1) // (SAMPLES - 1)
        samples = [round(float(v), 5) for v in flat[places]]
        entries.append({"input": name, "samples": {"logits": samples}, "tolerance": TOLERANCE})
    return entries


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("cache", "models"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options = parser.parse_args()
    report = json.loads((options.cache / "lesions.json").read_text(encoding="utf-8"))
    for fold in PACKAGE_OF_FOLD:
        write_package(options.cache, options.models, fold, report)


if __name__ == "__main__":
    main()
