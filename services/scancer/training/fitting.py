"""The recipe: how one network is fitted to a set of patches."""

import copy
import hashlib
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from services.scancer.training.network import Answers, PatchNetwork, Shape, predict_logits
from services.scancer.training.patches import middles, varied
from services.scancer.training.teacher import LOCAL_HINTS, LocalHints, Teaching

_TELL_EVERY = 200


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that was chosen; the same for every fold and for the shipped network."""

    shape: Shape = field(default_factory=Shape)
    crops: int = 128_000
    """How many crops are learned from in all."""
    labelled_share: float = 0.4
    """How many of them are of labelled patches."""
    learning_rate: float = 5e-3
    batch: int = 64
    weight_decay: float = 0.02
    warm_up_steps: int = 75
    soft_share: float = 0.7
    """How much of a labelled patch's target is the teacher's probability rather than the label."""
    soft_temperature: float = 1.5
    hint_weight: float = 1.0
    local_weight: float = 1.0
    stain_spread: float = 0.15
    average_decay: float = 0.99
    gradient_limit: float = 2.0
    sixteen_bit: bool = True
    """Whether sums are made of 16-bit products; a processor that has none imitates them slowly."""


@dataclass(frozen=True, slots=True)
class Lessons:
    """What there is to learn from.

    Attributes:
        pixels: `(M, 96, 96, 3)`, 0 to 255: N labelled patches, and further ones; row i of those
            is made of labelled patch i % N.
        tumor: `(N,)`, 0 or 1.
        teaching: what the teacher says of all M.
    """

    pixels: NDArray[np.uint8]
    tumor: NDArray[np.int64]
    teaching: Teaching

    def made_of(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """The rows of the further patches that are made of these labelled ones."""
        every = np.arange(len(self.tumor), len(self.pixels))
        return every[np.isin(every % len(self.tumor), rows)]


@dataclass(frozen=True, slots=True)
class Course:
    """One network to fit, by itself or in another process.

    Attributes:
        name: for what is printed.
        rows: which patches to learn from.
        held_out: which to predict afterwards; none for the network that is shipped.
        recipe: how.
        seed: of everything random.
    """

    name: str
    rows: NDArray[np.intp]
    held_out: NDArray[np.intp]
    recipe: Recipe
    seed: int

    @property
    def digest(self) -> str:
        """Tells this course from one with other patches or another recipe."""
        told = hashlib.sha256(f"{self.recipe} {self.seed}".encode())
        told.update(self.rows.tobytes())
        return told.hexdigest()[:12]


class _Rounds:
    """Rows in random order, again and again."""

    def __init__(self, rows: NDArray[np.intp], random: np.random.Generator) -> None:
        self._random = random
        self._order = random.permutation(rows)
        self._place = 0

    def take(self, count: int) -> NDArray[np.intp]:
        if self._place + count > len(self._order):
            self._order = self._random.permutation(self._order)
            self._place = 0
        self._place += count
        return self._order[self._place - count : self._place]


def fit(lessons: Lessons, course: Course) -> PatchNetwork:
    """Fit one network on the patches `course.rows`, and on the further ones made of them.

    AdamW with warm-up and a cosine schedule; every crop is stained anew and shifted; the result is
    the moving average of the weights.
    """
    recipe, teaching = course.recipe, lessons.teaching
    torch.manual_seed(course.seed)
    random = np.random.default_rng(course.seed)
    network = PatchNetwork(recipe.shape, teaching.hints.shape[1], LOCAL_HINTS)
    averaged = copy.deepcopy(network).eval()
    optimizer = _optimizer(network, recipe)
    target = _targets(lessons, recipe)
    hints = torch.from_numpy(teaching.hints)
    local = LocalHints.open(teaching.local_file)
    labelled = _Rounds(course.rows, random)
    further = _Rounds(lessons.made_of(course.rows), random)

    steps = recipe.crops // recipe.batch
    labelled_a_step = round(recipe.labelled_share * recipe.batch)
    total = 0.0
    began = time.monotonic()
    for step in range(steps):
        chosen = np.concatenate(
            [labelled.take(labelled_a_step), further.take(recipe.batch - labelled_a_step)]
        )
        warm = min(1.0, (step + 1) / recipe.warm_up_steps)
        fade = 0.5 * (1.0 + np.cos(np.pi * step / steps)) * warm
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * fade

        network.train()
        crops, shifts = varied(lessons.pixels[chosen], random, spread=recipe.stain_spread)
        wanted = Answers(target[chosen], hints[chosen], local.of(chosen, shifts))
        loss = _loss(network, crops, wanted, recipe)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), recipe.gradient_limit)
        optimizer.step()
        total += float(loss.detach())
        _follow(averaged, network, 1.0 - min(recipe.average_decay, (step + 1) / (step + 10)))
        if (step + 1) % _TELL_EVERY == 0:
            print(
                f"{course.name}: step {step + 1} of {steps}, loss {total / _TELL_EVERY:.3f},"
                f" {time.monotonic() - began:.0f} s",
                flush=True,
            )
            total = 0.0
    return averaged.eval()


def _targets(lessons: Lessons, recipe: Recipe) -> Tensor:
    """What the teacher thinks, and the labels of those that have one in it."""
    teacher = torch.from_numpy(lessons.teaching.logits)
    target = torch.sigmoid(teacher / recipe.soft_temperature)
    hard = torch.from_numpy(lessons.tumor).float()
    soft = target[: len(hard)]
    target[: len(hard)] = recipe.soft_share * soft + (1.0 - recipe.soft_share) * hard
    return target


def _optimizer(network: PatchNetwork, recipe: Recipe) -> torch.optim.Optimizer:
    """Filters decay; gains, offsets and biases do not."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    free = [p for p in network.parameters() if p.ndim <= 1]
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": recipe.weight_decay},
            {"params": free, "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
    )


def _loss(network: PatchNetwork, crops: Tensor, wanted: Answers, recipe: Recipe) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.sixteen_bit):
        given = network(crops.contiguous(memory_format=torch.channels_last))
    wrong = functional.binary_cross_entropy_with_logits(given.logits.float(), wanted.logits)
    hints = functional.mse_loss(given.hints.float(), wanted.hints)
    local = functional.mse_loss(given.local.float(), wanted.local)
    return wrong + recipe.hint_weight * hints + recipe.local_weight * local


@torch.no_grad()
def _follow(averaged: PatchNetwork, network: PatchNetwork, blend: float) -> None:
    for mean, current in zip(averaged.parameters(), network.parameters(), strict=True):
        mean.lerp_(current, blend)
    for mean, current in zip(averaged.buffers(), network.buffers(), strict=True):
        mean.lerp_(current, blend)


def folds_of(count: int, folds: int, seed: int) -> NDArray[np.intp]:
    """Assign each patch to a fold, `(N,)`.

    The data set does not say which slide a patch is from, so patches of one slide, and even
    neighbours, may lie in different folds.
    """
    return np.random.default_rng(seed).permutation(count) % folds


def follow_course(
    lessons: Lessons, course: Course, cache: Path
) -> tuple[PatchNetwork, NDArray[np.float64]]:
    """Fit one network on one thread, and let it predict what it did not see.

    What came of a course is kept in `cache`: a training that was cut off goes on where it was.
    """
    torch.set_num_threads(1)
    kept = cache / f"{course.name.replace(' ', '-')}-{course.digest}.pt"
    if kept.exists():
        found = torch.load(kept, weights_only=True)
        network = PatchNetwork(course.recipe.shape, lessons.teaching.hints.shape[1], LOCAL_HINTS)
        network.load_state_dict(found["network"])
        return network.eval(), found["logits"].numpy()
    network = fit(lessons, course)
    logits = np.zeros(0)
    if len(course.held_out):
        predicted = predict_logits(network, middles(lessons.pixels[course.held_out]))
        logits = predicted.numpy().astype(np.float64)
    half = kept.with_suffix(".partial")
    torch.save({"network": network.state_dict(), "logits": torch.from_numpy(logits)}, half)
    half.rename(kept)
    return network, logits


def hold_out(
    lessons: Lessons, fold: NDArray[np.intp], recipe: Recipe, cache: Path
) -> tuple[NDArray[np.intp], NDArray[np.float64], PatchNetwork]:
    """Fit one network without the first fold, and measure it there.

    A sixth of the work of `cross_validate`, for a figure that rests on a fifth of the patches.

    Returns:
        Which patches were held out, `(M,)`; their logits, `(M,)`; and the network.
    """
    held_out = np.flatnonzero(fold == 0)
    course = Course("fold 0", np.flatnonzero(fold != 0), held_out, recipe, 0)
    network, logits = follow_course(lessons, course, cache)
    return held_out, logits, network


def cross_validate(
    lessons: Lessons, fold: NDArray[np.intp], recipe: Recipe, workers: int, cache: Path
) -> tuple[NDArray[np.float64], PatchNetwork]:
    """Fit a network without each fold, and one on everything.

    Returns:
        `(N,)` logits, each patch's from the network that did not learn from it; and the network
        that learned from all.
    """
    everything = np.arange(len(fold))
    courses = [
        Course(f"fold {k}", np.flatnonzero(fold != k), np.flatnonzero(fold == k), recipe, int(k))
        for k in np.unique(fold)
    ]
    courses.append(Course("all", everything, everything[:0], recipe, len(courses)))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        follow = partial(follow_course, lessons, cache=cache)
        results = list(pool.map(follow, courses))
    logits = np.zeros(len(fold))
    for course, (_, predicted) in zip(courses[:-1], results[:-1], strict=True):
        logits[course.held_out] = predicted
    return logits, results[-1][0]
