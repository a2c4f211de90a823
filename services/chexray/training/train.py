"""Trains, measures and packages the network: `python -m services.chexray.training.train`."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from services.chexray.training.backbone import Backbone
from services.chexray.training.card import results_table
from services.chexray.training.evaluation import evaluate
from services.chexray.training.export import build_onnx
from services.chexray.training.fitting import (
    Lessons,
    Recipe,
    cross_validate,
    folds_by_patient,
)
from services.chexray.training.geometry import measure_chest
from services.chexray.training.network import (
    ChestNetwork,
    average_maps,
    load_frozen,
    pool_features,
    predict_logits,
    run_frozen,
)
from services.chexray.training.package import run_graph, write_package
from services.chexray.training.radiographs import Radiographs, augment, load_radiographs, to_input

FOLDS = 5
VARIANTS = 18
# Chest measures are the median over this many variants, which steadies a fragile rule.
MEASURED_VARIANTS = 7


def render_variant(radiographs: Radiographs, variant: int) -> NDArray[np.uint8]:
    """Return one variant of every picture, `(N, 224, 224)`: plain, mirrored, then random."""
    if variant < 2:
        plain = np.stack([to_input(picture) for picture in radiographs.pictures])
        return plain if variant == 0 else plain[:, :, ::-1]
    return np.stack(
        [
            augment(picture, np.random.default_rng([variant - 2, i]))
            for i, picture in enumerate(radiographs.pictures)
        ]
    )


def prepare_lessons(radiographs: Radiographs, backbone: Backbone, cache: Path) -> Lessons:
    """Render the variants, run the frozen part on them, and measure the chests.

    The frozen part's outputs are kept in `cache`, because they take most of the time and
    depend on nothing that a recipe changes.
    """
    stems, pooled, measures = [], [], []
    upstream = ChestNetwork(backbone, dropout=0.0).eval()
    for variant in range(VARIANTS):
        file = cache / f"variant-{variant}.npz"
        if not file.is_file():
            pixels = render_variant(radiographs, variant)
            rows = np.full((len(pixels), 5), np.nan)
            if variant < MEASURED_VARIANTS:
                rows = np.array([measure_chest(p).as_row() for p in pixels])
            stem = run_frozen(backbone, pixels)
            np.savez(file, stem=stem, pooled=pool_features(upstream, stem), measures=rows)
            print(f"variant {variant}: {len(pixels)} pictures prepared", flush=True)
        with np.load(file) as stored:
            stems.append(stored["stem"])
            pooled.append(stored["pooled"])
            measures.append(stored["measures"])
    return Lessons(
        stems=np.stack(stems),
        pooled=np.stack(pooled),
        targets=radiographs.targets,
        auxiliary=radiographs.auxiliary,
        measures=median_measures(np.stack(measures[:MEASURED_VARIANTS])),
    )


def median_measures(measures: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the median over variants, `(V, N, M)` to `(N, M)`; NaN where none succeeded."""
    found = ~np.isnan(measures).all(axis=0)
    middle = np.nanmedian(np.where(found, measures, 0.0), axis=0)
    return np.where(found, middle, np.nan).astype(np.float32)


def main() -> None:
    """Run the whole training and write the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", type=Path, required=True, help="holds chest_xray/")
    parser.add_argument("--mirror", type=Path, required=True, help="upstream files by SHA-256")
    parser.add_argument("--out", type=Path, required=True, help="the package folder to write")
    parser.add_argument("--cache", type=Path, required=True, help="for intermediate arrays")
    parser.add_argument(
        "--epochs", type=int, default=Recipe().epochs, help="of fine-tuning; 0 fits the heads only"
    )
    parser.add_argument("--workers", type=int, default=1, help="networks fitted at a time")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.cache.mkdir(parents=True, exist_ok=True)

    radiographs = load_radiographs(arguments.assets)
    backbone = load_frozen(arguments.mirror)
    lessons = prepare_lessons(radiographs, backbone, arguments.cache)
    recipe = Recipe(epochs=arguments.epochs)

    fold = folds_by_patient(radiographs.patients, FOLDS, seed=0)
    logits, network = cross_validate(arguments.mirror, lessons, fold, recipe, arguments.workers)
    np.save(arguments.cache / "out-of-fold-logits.npy", logits)
    torch.save(network.state_dict(), arguments.cache / "network.pt")
    evaluation = evaluate(
        radiographs.targets, logits, radiographs.patients, radiographs.anteroposterior
    )
    print(results_table(evaluation), flush=True)

    usual_maps = average_maps(network, lessons.stems[0])
    write_package(arguments.out, build_onnx(network, usual_maps), evaluation)
    plain = render_variant(radiographs, 0)[:32]
    exported = run_graph(arguments.out / "model.onnx", plain)["logits"]
    difference = np.abs(exported - predict_logits(network, lessons.stems[0, :32])).max()
    print(f"largest difference of an exported logit: {difference:.4f}")
    report = asdict(evaluation) | {"recipe": asdict(recipe)}
    (arguments.cache / "report.json").write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
