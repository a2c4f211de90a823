"""Fits and measures the verdicts on retinopathy, which rest on the lesion maps.

    python -m services.netra.training.train_grading --assets DIR --cache DIR --out FOLDER

Reads the exported networks `lesions-<fold>.onnx` in the cache. Each photograph is looked at by one
network; the service averages the logits that the fit gives for the maps of every network. A
graded photograph that is also among the outlined ones is looked at by the network that did not
learn from it; one that all networks learned from is left out of fit and measurement.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache as cache_of_calls
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from services.netra.analysis.lesion_features import FEATURE_NAMES, lesion_features
from services.netra.training.card import grading_card
from services.netra.training.graded import REFERABLE_GRADE, find_outlined, list_graded
from services.netra.training.lesion_data import read_rgb
from services.netra.training.lesion_maps import map_lesions, open_network
from services.netra.training.logistic import Logistic, fit_logistic, fit_temperature, sigmoid
from services.netra.training.measures import (
    Figure,
    Numbers,
    auc_figure,
    expected_calibration_error,
)
from services.netra.training.package import packaged_sha256
from services.netra.training.train_lesions import fold_of

PENALTY = 30.0
PARTS, REPEATS = 10, 5
SEED = 11
MIN_SENSITIVITY = 0.90
#: The sensitivity that is aimed at on training photographs, so that new ones keep the least.
AIMED_SENSITIVITY = 0.93
#: Share of photographs around the operating point on which there is no verdict.
UNCERTAIN_SHARE = 0.10

Truth = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Question:
    """One verdict as it was measured, and the fit that ships."""

    name: str
    photographs: int
    positives: int
    auc: Figure
    fit: Logistic
    temperature: float
    operating_point: float
    uncertain: tuple[float, float]
    sensitivity: float
    specificity: float
    abstained: float
    sensitivity_decided: float
    specificity_decided: float
    calibration_error: float


@dataclass(frozen=True, slots=True)
class Job:
    """One graded photograph and the network, by its fold, that looks at it."""

    path: Path
    grade: int
    fold: int


def list_jobs(assets: Path, folds: list[int]) -> list[Job]:
    """The photographs that some network has not learned from, in a shuffled order.

    A photograph that is outlined too goes to the network that held it out, the others to each
    network in turn.
    """
    graded = list_graded(assets)
    jobs = []
    for i, (photograph, outlined) in enumerate(
        zip(graded, find_outlined(graded, assets), strict=True)
    ):
        fold = fold_of(outlined) if outlined else folds[i % len(folds)]
        if fold in folds:
            jobs.append(Job(photograph.path, photograph.grade, fold))
    order = np.random.default_rng(SEED).permutation(len(jobs))
    return [jobs[i] for i in order]


def features_of(job: Job, cache: Path) -> Numbers:
    """The features of one photograph, kept in the cache."""
    stored = cache / "features" / str(job.fold) / f"{job.path.stem}.npy"
    if not stored.exists():
        stored.parent.mkdir(parents=True, exist_ok=True)
        network = _network(cache / f"lesions-{job.fold}.onnx")
        maps = map_lesions([network], read_rgb(job.path))
        partial_file = stored.with_suffix(".partial.npy")
        np.save(partial_file, lesion_features(maps.probability))
        partial_file.replace(stored)
    return np.asarray(np.load(stored), np.float64)


@cache_of_calls
def _network(path: Path) -> onnxruntime.InferenceSession:
    cv2.setNumThreads(1)
    return open_network(path, 1)


def map_all(jobs: list[Job], cache: Path, workers: int) -> Numbers:
    """The features of all photographs, `(n, d)`."""
    rows = []
    with ProcessPoolExecutor(workers) as pool:
        for row in pool.map(partial(features_of, cache=cache), jobs, chunksize=2):
            rows.append(row)
            if len(rows) % 25 == 0:
                print(len(rows), "photographs mapped", flush=True)
    return np.asarray(rows)


def parts_of(truth: Truth, random: np.random.Generator) -> NDArray[np.int64]:
    """A part from 0 to `PARTS` - 1 for each photograph, each part with its share of positives."""
    parts = np.zeros(len(truth), np.int64)
    for value in (False, True):
        members = random.permutation(np.flatnonzero(truth == value))
        parts[members] = np.arange(len(members)) % PARTS
    return parts


def held_out_logits(x: Numbers, truth: Truth, parts: NDArray[np.int64]) -> Numbers:
    """Each photograph's logit from a fit that did not see it."""
    logit = np.zeros(len(truth))
    for part in np.unique(parts):
        away = parts == part
        logit[away] = fit_logistic(x[~away], truth[~away], PENALTY).logit(x[away])
    return logit


def point_for(probability: Numbers, truth: Truth, sensitivity: float) -> float:
    """The largest probability from which on that share of the positives is found."""
    return float(np.quantile(probability[truth], 1 - sensitivity, method="lower"))


def zone_around(probability: Numbers, point: float) -> tuple[float, float]:
    """The probabilities nearest to the point, in logits, that `UNCERTAIN_SHARE` have."""
    logit = np.log(probability / (1 - probability))
    middle = np.log(point / (1 - point))
    reach = float(np.quantile(np.abs(logit - middle), UNCERTAIN_SHARE))
    low, high = sigmoid(np.array([middle - reach, middle + reach]))
    return float(low), float(high)


def answer(name: str, x: Numbers, truth: Truth) -> Question:
    """Measure one question by nested cross-validation, then fit it on everything.

    In every round temperature, operating point and zone are chosen on the photographs of the
    training parts, by a cross-validation of their own, and applied to the part held out.
    """
    random = np.random.default_rng(SEED)
    calls: list[tuple[Truth, Truth, Truth]] = []
    stated: list[Numbers] = []
    summed = np.zeros(len(truth))
    for _ in range(REPEATS):
        parts = parts_of(truth, random)
        probability = np.zeros(len(truth))
        called, sure = np.zeros(len(truth), bool), np.zeros(len(truth), bool)
        for part in range(PARTS):
            away = parts == part
            near, near_truth = x[~away], truth[~away]
            inner = held_out_logits(near, near_truth, parts_of(near_truth, random))
            temperature = fit_temperature(inner, near_truth)
            inner_probability = sigmoid(inner / temperature)
            point = point_for(inner_probability, near_truth, AIMED_SENSITIVITY)
            low, high = zone_around(inner_probability, point)
            fit = fit_logistic(near, near_truth, PENALTY)
            probability[away] = sigmoid(fit.logit(x[away]) / temperature)
            called[away] = probability[away] >= point
            sure[away] = (probability[away] < low) | (probability[away] >= high)
        calls.append((called, sure, truth))
        stated.append(probability)
        summed += np.log(probability / (1 - probability))
    called, sure, true = (np.concatenate(column) for column in zip(*calls, strict=True))
    held_out = held_out_logits(x, truth, parts_of(truth, random))
    temperature = fit_temperature(held_out, truth)
    calibrated = sigmoid(held_out / temperature)
    point = point_for(calibrated, truth, AIMED_SENSITIVITY)
    return Question(
        name=name,
        photographs=len(truth),
        positives=int(truth.sum()),
        auc=auc_figure(truth, summed),
        fit=fit_logistic(x, truth, PENALTY),
        temperature=temperature,
        operating_point=point,
        uncertain=zone_around(calibrated, point),
        sensitivity=float(called[true].mean()),
        specificity=float((~called[~true]).mean()),
        abstained=float((~sure).mean()),
        sensitivity_decided=float(called[true & sure].mean()),
        specificity_decided=float((~called[~true & sure]).mean()),
        calibration_error=expected_calibration_error(true, np.concatenate(stated)),
    )


def to_members(question: Question) -> dict[str, Any]:
    """What `retinopathy.json` keeps of a question; weights are of plain features."""
    weight = question.fit.weight / question.fit.scale
    bias = question.fit.bias - float(question.fit.mean @ weight)
    return {
        "weights": {
            name: round(float(w), 6) for name, w in zip(FEATURE_NAMES, weight, strict=True)
        },
        "bias": round(bias, 6),
        "temperature": round(question.temperature, 4),
        "operating_point": round(question.operating_point, 4),
        "uncertain": [round(v, 4) for v in question.uncertain],
        "measured": {
            "photographs": question.photographs,
            "positives": question.positives,
            "auc": round(question.auc.value, 4),
            "auc_interval": [round(question.auc.low, 4), round(question.auc.high, 4)],
            "sensitivity": round(question.sensitivity, 4),
            "specificity": round(question.specificity, 4),
            "abstained": round(question.abstained, 4),
            "sensitivity_of_decided": round(question.sensitivity_decided, 4),
            "specificity_of_decided": round(question.specificity_decided, 4),
            "calibration_error": round(question.calibration_error, 4),
        },
    }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("assets", "cache", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    jobs = list_jobs(options.assets, options.folds)
    x = map_all(jobs, options.cache, options.workers)
    grades = np.array([job.grade for job in jobs])
    members: dict[str, dict[str, Any]] = {
        question.name: to_members(question)
        for question in (
            answer("retinopathy", x, grades > 0),
            answer("referable", x, grades >= REFERABLE_GRADE),
        )
    }
    for name, of in members.items():
        print(name, json.dumps(of["measured"]), of["operating_point"], of["uncertain"])
    options.out.mkdir(parents=True, exist_ok=True)
    verdict = {
        "id": "netra-retinopathy",
        "version": "1.0",
        "evidence": "research",
        "of": packaged_sha256(options.cache),
        **members,
    }
    text = json.dumps(verdict, indent=1)
    (options.out / "retinopathy.json").write_text(text + "\n", encoding="utf-8")
    card = grading_card(members, len(FEATURE_NAMES), len(list_graded(options.assets)))
    (options.out / "CARD.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
