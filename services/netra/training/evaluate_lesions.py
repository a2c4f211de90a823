"""Measures the lesion networks on the photographs that they did not see in training.

    python -m services.netra.training.evaluate_lesions --assets DIR --cache DIR

Writes `lesions.json`: per lesion the area under precision against recall over all pixels of the
held-out photographs at their full size, the operating point, and how it does there.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import torch

from services.netra.training.backbone import Backbone
from services.netra.training.export import to_onnx
from services.netra.training.lesion_data import MASKS, PHOTOGRAPHS, read_rgb
from services.netra.training.lesion_maps import map_lesions, open_network, read_masks
from services.netra.training.measures import (
    BINS,
    Numbers,
    average_precision,
    average_precision_figure,
    best_point,
    histograms,
)
from services.netra.training.segmenter import DEPTH, LESIONS, LesionNetwork
from services.netra.training.train_lesions import fold_of


def export_fold(cache: Path, fold: int) -> Path:
    """Write the network that did not see `fold` as `lesions-<fold>.onnx`."""
    network = LesionNetwork(Backbone(DEPTH))
    network.load_state_dict(torch.load(cache / f"lesions-{fold}.pt", weights_only=True))
    path = cache / f"lesions-{fold}.onnx"
    path.write_bytes(to_onnx(network))
    return path


def measure_fold(assets: Path, path: Path, fold: int, threads: int) -> Numbers:
    """Histograms of the held-out photographs' pixels, `(n, 4, 2, BINS)`."""
    folder = assets / "idrid" / "lesions"
    network = open_network(path, threads)
    rows = []
    for number in range(1, PHOTOGRAPHS + 1):
        if fold_of(number) != fold:
            continue
        pixels = read_rgb(folder / f"IDRiD_{number:02d}.jpg")
        laid = map_lesions([network], pixels).over_picture(*pixels.shape[:2])
        masks = read_masks(folder, number, MASKS)
        rows.append([histograms(m, p) for m, p in zip(masks, laid, strict=True)])
        found = [f"{average_precision(h):.2f}" if h[0].sum() else "-" for h in rows[-1]]
        print(number, *found, flush=True)
    return np.asarray(rows)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("assets", "cache"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    paths = {fold: export_fold(options.cache, fold) for fold in options.folds}
    measured = {
        fold: measure_fold(options.assets, path, fold, options.threads)
        for fold, path in paths.items()
    }
    everything = np.concatenate(list(measured.values()))
    report: dict[str, object] = {"photographs": len(everything), "bins": BINS}
    for i, lesion in enumerate(LESIONS):
        figure = average_precision_figure(everything[:, i])
        point, precision, recall = best_point(everything[:, i].sum(axis=0))
        report[lesion] = {
            "aupr": figure.value,
            "interval": [figure.low, figure.high],
            "aupr_by_fold": {
                str(fold): average_precision(counts[:, i].sum(axis=0))
                for fold, counts in measured.items()
            },
            "photographs_with_it": int((everything[:, i, 0].sum(axis=1) > 0).sum()),
            "operating_point": point,
            "precision": precision,
            "recall": recall,
        }
        print(lesion, figure, "point", point, "precision", precision, "recall", recall)
    (options.cache / "lesions.json").write_text(json.dumps(report, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
