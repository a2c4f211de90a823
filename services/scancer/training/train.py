"""Trains, measures and packages the network: `python -m services.scancer.training.train`."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from services.scancer.training.card import CROSS_VALIDATION, HOLD_OUT, results_table
from services.scancer.training.evaluation import evaluate
from services.scancer.training.fitting import (
    Lessons,
    Recipe,
    cross_validate,
    folds_of,
    hold_out,
)
from services.scancer.training.further import further_patches
from services.scancer.training.network import predict_logits
from services.scancer.training.package import run_on_patches, write_package
from services.scancer.training.patches import load_patches, middles
from services.scancer.training.teacher import teach

FOLDS = 5
FURTHER_SEED = 7


def main() -> None:
    """Run the whole training and write the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", type=Path, required=True, help="holds pcam/")
    parser.add_argument("--mirror", type=Path, required=True, help="upstream files by SHA-256")
    parser.add_argument("--out", type=Path, required=True, help="the package folder to write")
    parser.add_argument("--cache", type=Path, required=True, help="for intermediate arrays")
    parser.add_argument("--crops", type=int, default=Recipe().crops)
    parser.add_argument(
        "--quick", action="store_true", help="measure on one fifth instead of cross-validating"
    )
    parser.add_argument("--workers", type=int, default=1, help="networks fitted at a time")
    parser.add_argument(
        "--full-precision",
        action="store_true",
        help="32-bit arithmetic: ten times as fast where the processor has no 16-bit products",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.cache.mkdir(parents=True, exist_ok=True)

    patches = load_patches(arguments.assets)
    labelled = len(patches.tumor)
    fold = folds_of(labelled, FOLDS, seed=0)
    further = further_patches(patches.pixels, fold, np.random.default_rng(FURTHER_SEED))
    pixels = np.concatenate([patches.pixels, further])
    teaching = teach(arguments.mirror, pixels, labelled, arguments.cache)
    lessons = Lessons(pixels, patches.tumor, teaching)
    recipe = Recipe(crops=arguments.crops, sixteen_bit=not arguments.full_precision)

    if arguments.quick:
        split = HOLD_OUT
        rows, logits, network = hold_out(lessons, fold, recipe, arguments.cache)
    else:
        split, rows = CROSS_VALIDATION, np.arange(len(fold))
        logits, network = cross_validate(lessons, fold, recipe, arguments.workers, arguments.cache)
    np.savetxt(arguments.cache / "out-of-fold-logits.txt", logits, fmt="%.3f")
    torch.save(network.state_dict(), arguments.cache / "network.pt")
    evaluation = evaluate(patches.tumor[rows], logits, teaching.logits[rows], patches.pixels[rows])
    print(results_table(evaluation), flush=True)

    write_package(arguments.out, network, evaluation, split, recipe)
    some = patches.pixels[:64]
    exported = run_on_patches(arguments.out / "model.onnx", some)
    difference = np.abs(exported - predict_logits(network, middles(some)).numpy()).max()
    print(f"largest difference of an exported logit: {difference:.4f}")
    report = asdict(evaluation) | {"recipe": asdict(recipe)}
    (arguments.cache / "report.json").write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
