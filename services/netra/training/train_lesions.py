"""Trains the lesion network on some photographs and measures it on the others.

    python -m services.netra.training.train_lesions --assets DIR --mirror DIR --cache DIR
        --fold 0 --steps 2500 --threads 1

A run may be stopped at any time: what it had is in DIR/lesions-<fold>.pt, every 250 steps. With
`--finish` a run starts there, at a lower rate that falls to nothing.
"""

import argparse
import copy
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from services.netra.training.backbone import load_backbone
from services.netra.training.lesion_data import Outlined, draw_batch, load_outlined
from services.netra.training.segmenter import DEPTH, LesionNetwork

BATCH = 8
FOLDS = 5
SEED = 20
HEAD_RATE, BACKBONE_RATE = 3e-3, 8e-4
AVERAGED = 0.995
#: What `--finish` adds to the seed beside its steps, and its share of the learning rates.
FINISHING, FINISHING_SHARE = 100, 0.4


def fold_of(number: int) -> int:
    """The fold of a photograph: every fifth, so that each holds early and late ones."""
    return number % FOLDS


def loss_of(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy, weighted for how rare lesions are, plus one minus the soft Dice of each type.

    Args:
        logits: `(N, 4, H, W)`.
        target: the same shape, 0 to 1.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, target)
    probability = logits.sigmoid()
    together = (probability * target).sum(dim=(0, 2, 3))
    either = (probability.square() + target.square()).sum(dim=(0, 2, 3))
    dice = (2 * together + 20) / (either + 20)
    return 12 * entropy + (1 - dice).mean()


def train(
    network: LesionNetwork,
    photographs: list[Outlined],
    steps: int,
    seed: int,
    checkpoint: Path,
    share: float = 1.0,
) -> LesionNetwork:
    """Fit a network; what is returned, and kept in `checkpoint`, is its running average.

    Args:
        network: where to begin; it is changed.
        photographs: what to learn from.
        steps: batches.
        seed: of patches and their changes.
        checkpoint: the file to keep.
        share: of the usual learning rates.
    """
    random = np.random.default_rng(seed)
    average = copy.deepcopy(network)
    backbone = [p for p in network.backbone.parameters() if p.requires_grad]
    decoder = [p for n, p in network.named_parameters() if not n.startswith("backbone.")]
    optimiser = torch.optim.AdamW(
        [{"params": backbone, "lr": BACKBONE_RATE}, {"params": decoder, "lr": HEAD_RATE}],
        weight_decay=0.01,
    )
    bases = [share * BACKBONE_RATE, share * HEAD_RATE]
    began_at, summed = time.perf_counter(), 0.0
    for step in range(steps):
        rate = min(1.0, (step + 1) / min(100, steps // 10)) * (
            0.5 + 0.5 * math.cos(math.pi * step / steps)
        )
        for group, base in zip(optimiser.param_groups, bases, strict=True):
            group["lr"] = base * max(rate, 0.01)
        patches, targets = draw_batch(photographs, BATCH, random)
        image = torch.from_numpy(patches).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(image)
        loss = loss_of(logits.float(), torch.from_numpy(targets))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        fade = min(AVERAGED, (step + 1) / (step + 10))
        with torch.no_grad():
            for kept, fresh in zip(
                average.state_dict().values(), network.state_dict().values(), strict=True
            ):
                if kept.dtype.is_floating_point:
                    kept.lerp_(fresh, 1 - fade)
                else:
                    kept.copy_(fresh)
        summed += float(loss)
        if (step + 1) % 50 == 0:
            took = time.perf_counter() - began_at
            print(f"step {step + 1} loss {summed / 50:.4f} {took:.0f} s", flush=True)
            summed = 0.0
        if (step + 1) % 250 == 0 or step + 1 == steps:
            torch.save(average.state_dict(), checkpoint)
    return average.eval()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("assets", "mirror", "cache"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--finish", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    photographs = load_outlined(options.assets, options.cache / "lesions")
    seen = [p for p in photographs if fold_of(p.number) != options.fold]
    checkpoint = options.cache / f"lesions-{options.fold}.pt"
    seed = SEED + options.fold
    torch.manual_seed(seed)
    network = LesionNetwork(load_backbone(options.mirror, DEPTH))
    if options.finish:
        network.load_state_dict(torch.load(checkpoint, weights_only=True))
        train(
            network,
            seen,
            options.steps,
            seed + FINISHING + options.steps,
            checkpoint,
            FINISHING_SHARE,
        )
    else:
        train(network, seen, options.steps, seed, checkpoint)


if __name__ == "__main__":
    main()
