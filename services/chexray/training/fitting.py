"""The recipe: how one network is fitted to a set of radiographs."""

import copy
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from services.chexray.training.backbone import Backbone
from services.chexray.training.network import (
    FIRST_TRAINED_BLOCK,
    ChestNetwork,
    load_frozen,
    predict_logits,
    to_tensor,
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that was chosen; the same for every fold and for the shipped network."""

    epochs: int = 6
    batch: int = 16
    learning_rate: float = 2e-4
    head_rate_factor: float = 3.0
    ridge: float = 0.04
    bridge_ridge: float = 0.02
    weight_decay: float = 0.05
    dropout: float = 0.2
    auxiliary_weight: float = 0.5
    geometry_weight: float = 1.0
    warm_up_steps: int = 30
    average_decay: float = 0.98
    gradient_limit: float = 2.0


@dataclass(frozen=True, slots=True)
class Lessons:
    """What there is to learn from: V variants of N pictures with their targets.

    Attributes:
        stems: `(V, N, 64, 14, 14)`, the frozen part's outputs; variant 0 is the plain picture.
        pooled: `(V, N, 1536)`, the upstream network's features, averaged over positions.
        targets: `(N, 5)`, 0 or 1.
        auxiliary: `(N, 12)`, 0 to 1.
        measures: `(N, 5)` chest measures, NaN where not found.
    """

    stems: NDArray[np.float16]
    pooled: NDArray[np.float32]
    targets: NDArray[np.float32]
    auxiliary: NDArray[np.float32]
    measures: NDArray[np.float32]


def standardise(measures: NDArray[np.float32], rows: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
    """Return measures with mean 0 and variance 1 over `rows`, and which of them are known."""
    known = ~np.isnan(measures)
    mean, spread = np.nanmean(measures[rows], axis=0), np.nanstd(measures[rows], axis=0)
    scaled = np.where(known, (measures - mean) / spread, 0.0)
    return torch.from_numpy(scaled.astype(np.float32)), torch.from_numpy(known.astype(np.float32))


def total_loss(
    recipe: Recipe, outputs: tuple[Tensor, Tensor, Tensor], aims: tuple[Tensor, ...]
) -> Tensor:
    """Weigh the five labels, the auxiliary targets and the known chest measures together.

    Args:
        recipe: the weights of the three parts.
        outputs: logits `(N, 5)`, auxiliary logits `(N, 12)`, measures `(N, 5)`.
        aims: what they should be, and which measures are known, `(N, 5)` of 0 and 1.
    """
    logits, side_logits, measured = outputs
    targets, auxiliary, measures, known = aims
    loss = functional.binary_cross_entropy_with_logits(logits, targets)
    side = functional.binary_cross_entropy_with_logits(side_logits, auxiliary)
    error = ((measured - measures) ** 2 * known).mean()
    return loss + recipe.auxiliary_weight * side + recipe.geometry_weight * error


def minimise(parameters: list[nn.Parameter], loss_of: Callable[[], Tensor]) -> None:
    """Find the minimum of a smooth convex loss by L-BFGS."""
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=60, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        return loss

    optimizer.step(closure)


def fit_heads(
    network: ChestNetwork,
    lessons: Lessons,
    aims: tuple[Tensor, ...],
    rows: NDArray[np.intp],
    recipe: Recipe,
) -> None:
    """Fit the linear heads on the upstream features, before anything is fine-tuned.

    Starting fine-tuning from fitted heads keeps the pretrained features from being bent to
    suit random ones. First come the side heads, then the labels, which may lean on them. All
    are ridge-penalised, and see every variant of the pictures `rows`.

    Source:
        Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform
        Out-of-Distribution", ICLR 2022.
    """
    variants = len(lessons.pooled)
    pooled = torch.from_numpy(lessons.pooled[:, rows].reshape(-1, network.channels))
    pooled = (pooled - network.mean) / network.scale
    repeated = tuple(aim[rows].repeat(variants, 1) for aim in aims)
    head, bridge = network.head.weight, network.bridge.weight
    auxiliary, geometry = network.auxiliary.weight, network.geometry.weight

    def loss_of_sides() -> Tensor:
        penalty = recipe.auxiliary_weight * auxiliary.square().sum(1).mean()
        penalty = penalty + recipe.geometry_weight * geometry.square().sum(1).mean()
        return total_loss(recipe, network.heads(pooled), repeated) + recipe.ridge * penalty

    def loss_of_labels() -> Tensor:
        penalty = recipe.ridge * head.square().sum(1).mean()
        penalty = penalty + recipe.bridge_ridge * bridge.square().sum(1).mean()
        return total_loss(recipe, network.heads(pooled), repeated) + penalty

    minimise(network.side_parameters(), loss_of_sides)
    minimise(network.head_parameters(), loss_of_labels)


def start_network(
    backbone: Backbone, lessons: Lessons, rows: NDArray[np.intp], dropout: float
) -> ChestNetwork:
    """Build a network whose head sees features of unit scale and starts at the prevalences."""
    network = ChestNetwork(backbone, dropout).eval()
    with torch.no_grad():
        pooled = torch.from_numpy(lessons.pooled[0, rows])
        network.mean.copy_(pooled.mean(0))
        # With C correlated inputs, a head on unit-variance features would move too fast.
        network.scale.copy_(pooled.std(0) * network.channels**0.5 / 8.0 + 1e-6)
        prevalence = torch.from_numpy(lessons.targets[rows]).mean(0)
        network.head.bias.copy_(torch.logit(prevalence))
    return network


def fit(
    backbone: Backbone,
    lessons: Lessons,
    rows: NDArray[np.intp],
    recipe: Recipe,
    seed: int,
) -> ChestNetwork:
    """Fine-tune the blocks after the frozen part, with a new head, on the pictures `rows`.

    AdamW with warm-up and a cosine schedule; every epoch draws one random variant of each
    picture; the result is the exponential moving average of the weights.

    Returns:
        The network, in evaluation mode; the same bytes for the same seed and machine.
    """
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = start_network(backbone, lessons, rows, recipe.dropout)
    targets, auxiliary = torch.from_numpy(lessons.targets), torch.from_numpy(lessons.auxiliary)
    measures, known = standardise(lessons.measures, rows)
    aims = (targets, auxiliary, measures, known)
    fit_heads(network, lessons, aims, rows, recipe)
    averaged = copy.deepcopy(network)

    trained = network.backbone.blocks[FIRST_TRAINED_BLOCK:].parameters()
    heads = [*network.head_parameters(), *network.side_parameters()]
    rates = (recipe.learning_rate, recipe.learning_rate * recipe.head_rate_factor)
    optimizer = torch.optim.AdamW(
        [{"params": list(trained)}, {"params": heads}], weight_decay=recipe.weight_decay
    )
    steps_per_epoch = len(rows) // recipe.batch
    steps = recipe.epochs * steps_per_epoch
    for step in range(steps):
        if step % steps_per_epoch == 0:
            order = random.permutation(rows)
            network.train()
        start = step % steps_per_epoch * recipe.batch
        chosen = order[start : start + recipe.batch]
        variants = random.integers(0, len(lessons.stems), len(chosen))
        fade = 0.5 * (1.0 + np.cos(np.pi * step / steps))
        fade *= min(1.0, (step + 1) / recipe.warm_up_steps)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * fade

        outputs = network(to_tensor(lessons.stems[variants, chosen]))
        loss = total_loss(recipe, outputs, tuple(aim[chosen] for aim in aims))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), recipe.gradient_limit)
        optimizer.step()
        blend = 1.0 - min(recipe.average_decay, (step + 2) / (step + 11))
        with torch.no_grad():
            for mean, current in zip(averaged.parameters(), network.parameters(), strict=True):
                mean.lerp_(current, blend)
    return averaged.eval()


def folds_by_patient(patients: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.intp]:
    """Assign each picture to a fold, `(N,)`, keeping a patient's pictures together."""
    names = np.random.default_rng(seed).permutation(np.unique(patients))
    fold_of = {name: i % folds for i, name in enumerate(names)}
    return np.array([fold_of[p] for p in patients])


@dataclass(frozen=True, slots=True)
class Course:
    """One network to fit, by itself or in another process.

    Attributes:
        lessons: all pictures.
        rows: which of them to learn from.
        recipe: how.
        seed: of everything random.
    """

    lessons: Lessons
    rows: NDArray[np.intp]
    recipe: Recipe
    seed: int


def follow(mirror: Path, course: Course) -> ChestNetwork:
    """Fit one network on one thread, starting from the upstream weights."""
    torch.set_num_threads(1)
    network = fit(load_frozen(mirror), course.lessons, course.rows, course.recipe, course.seed)
    print(f"network {course.seed}: learned {len(course.rows)} pictures", flush=True)
    return network


def cross_validate(
    mirror: Path, lessons: Lessons, fold: NDArray[np.intp], recipe: Recipe, workers: int
) -> tuple[NDArray[np.float64], ChestNetwork]:
    """Fit a network without each fold, and one on everything.

    Returns:
        `(N, 5)` logits, each picture's from the network that never saw its patient; and the
        network that saw all.
    """
    folds = [int(k) for k in np.unique(fold)]
    courses = [Course(lessons, np.flatnonzero(fold != k), recipe, k) for k in folds]
    courses.append(Course(lessons, np.arange(len(fold)), recipe, len(folds)))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        networks = list(pool.map(follow, [mirror] * len(courses), courses))
    logits = np.zeros(lessons.targets.shape)
    for held_out, network in zip(folds, networks, strict=False):
        rows = np.flatnonzero(fold == held_out)
        logits[rows] = predict_logits(network, lessons.stems[0, rows])
    return logits, networks[-1]
