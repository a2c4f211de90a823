"""The network: MobileNetV2's blocks, global average pooling, one linear head.

Because the head is linear and sees only the average over positions, the logit is the mean
over positions of a class activation map (Zhou et al., "Learning Deep Features for
Discriminative Localization", CVPR 2016), plus a constant.
"""

import copy
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from services.chexray.training.backbone import Backbone, load_backbone
from services.chexray.training.radiographs import AUXILIARY_FINDINGS, LABELS, normalise

# Blocks before this one keep their ImageNet weights: edges and textures need no relearning,
# and their outputs can be computed once per augmented picture.
FIRST_TRAINED_BLOCK = 7
# The last of the blocks whose cells are 16 pixels wide.
MIDDLE_BLOCK = 12
CHEST_MEASURES = 5
AUXILIARY_TARGETS = len(AUXILIARY_FINDINGS) + 3


class ChestNetwork(nn.Module):
    """From the frozen stem's output to five logits (and, in training, auxiliary ones)."""

    def __init__(self, backbone: Backbone, dropout: float) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone)
        self.middle = self.backbone.blocks[MIDDLE_BLOCK]
        self.last = self.backbone.blocks[-1]
        # The last block ends in its filtered, activated channels: a linear head does not need
        # their projection to fewer channels.
        del self.last.convs[-1]
        self.last.residual = False
        self.channels = sum(
            int(conv.weight.shape[0]) for conv in (self.middle.convs[-2], self.last.convs[-1])
        )
        self.register_buffer("mean", torch.zeros(self.channels))
        self.register_buffer("scale", torch.ones(self.channels))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.channels, len(LABELS))
        self.auxiliary = nn.Linear(self.channels, AUXILIARY_TARGETS)
        self.geometry = nn.Linear(self.channels, CHEST_MEASURES)
        # A label may lean on what the other two heads say: they are learned from every picture.
        self.bridge = nn.Linear(AUXILIARY_TARGETS + CHEST_MEASURES, len(LABELS), bias=False)
        for parameter in (*self.head_parameters(), *self.side_parameters()):
            nn.init.zeros_(parameter)

    def head_parameters(self) -> list[nn.Parameter]:
        """Return what turns features and side outputs into the five logits."""
        return [self.head.weight, self.head.bias, self.bridge.weight]

    def side_parameters(self) -> list[nn.Parameter]:
        """Return the heads of the auxiliary targets and of the chest measures."""
        return [*self.auxiliary.parameters(), *self.geometry.parameters()]

    def features(self, stem: Tensor) -> Tensor:
        """Map the frozen part's `(N, 64, 14, 14)` to the final `(N, 1536, 7, 7)` features.

        They are the activated channels of the last block and, averaged to the same 7x7 cells,
        those of the last block with 14x14 cells, which still sees finer texture.
        """
        x = self.backbone.run_blocks(stem, FIRST_TRAINED_BLOCK, MIDDLE_BLOCK)
        fine = self.middle.convs[:-1](x)
        x = x + self.middle.convs[-1](fine)
        coarse = self.backbone.run_blocks(x, MIDDLE_BLOCK + 1, len(self.backbone.blocks))
        return torch.cat([functional.avg_pool2d(fine, 2), coarse], dim=1)

    def forward(self, stem: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map the frozen part's output to logits, auxiliary logits and chest measures.

        Returns:
            `(N, 5)`, `(N, 12)` and `(N, 5)`.
        """
        pooled = (self.features(stem).mean((2, 3)) - self.mean) / self.scale
        return self.heads(self.dropout(pooled))

    def heads(self, pooled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map standardised pooled features `(N, C)` to the three outputs of `forward`."""
        side, measured = self.auxiliary(pooled), self.geometry(pooled)
        return self.head(pooled) + self.bridge(torch.cat([side, measured], 1)), side, measured

    def folded_head(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the head as it applies to raw pooled features: `(5, C)` and `(5,)`."""
        side_weight = torch.cat([self.auxiliary.weight, self.geometry.weight])
        side_bias = torch.cat([self.auxiliary.bias, self.geometry.bias])
        weight = (self.head.weight + self.bridge.weight @ side_weight) / self.scale
        bias = self.head.bias + self.bridge.weight @ side_bias - weight @ self.mean
        return weight.detach().numpy(), bias.detach().numpy()


def load_frozen(mirror: Path) -> Backbone:
    """Load the upstream backbone, to be the frozen part and the start of training."""
    return load_backbone(mirror).eval()


@torch.inference_mode()
def run_frozen(
    backbone: Backbone, pixels: NDArray[np.uint8], batch: int = 16
) -> NDArray[np.float16]:
    """Run the part that is not trained.

    Args:
        backbone: the upstream network.
        pixels: `(N, 224, 224)` grey.
        batch: pictures per run.

    Returns:
        `(N, 64, 14, 14)`, the output of block 6.
    """
    parts = []
    for start in range(0, len(pixels), batch):
        image = torch.from_numpy(normalise(pixels[start : start + batch]))
        stem = backbone.run_blocks(backbone.stem(image), 0, FIRST_TRAINED_BLOCK)
        parts.append(stem.numpy().astype(np.float16))
    return np.concatenate(parts)


def to_tensor(stem: NDArray[np.float16]) -> Tensor:
    """Return cached features as 32-bit floats."""
    return torch.from_numpy(stem.astype(np.float32))


@torch.inference_mode()
def pool_features(
    network: ChestNetwork, stem: NDArray[np.float16], batch: int = 32
) -> NDArray[np.float32]:
    """Return the final features averaged over positions, `(N, 1536)`."""
    parts = [
        network.features(to_tensor(stem[start : start + batch])).mean((2, 3)).numpy()
        for start in range(0, len(stem), batch)
    ]
    return np.concatenate(parts)


@torch.inference_mode()
def average_maps(
    network: ChestNetwork, stem: NDArray[np.float16], batch: int = 32
) -> NDArray[np.float64]:
    """Return the head's maps averaged over pictures and their mirror images, `(5, 7, 7)`."""
    weight, _ = network.folded_head()
    total = np.zeros((len(weight), 7, 7))
    for start in range(0, len(stem), batch):
        features = network.features(to_tensor(stem[start : start + batch])).double().numpy()
        total += np.einsum("kc,nchw->khw", weight, features)
    mean = total / len(stem)
    return (mean + mean[:, :, ::-1]) / 2.0


@torch.inference_mode()
def predict_logits(
    network: ChestNetwork, stem: NDArray[np.float16], batch: int = 32
) -> NDArray[np.float64]:
    """Return the five logits of each picture, `(N, 5)`."""
    network.eval()
    parts = [
        network(to_tensor(stem[start : start + batch]))[0].numpy()
        for start in range(0, len(stem), batch)
    ]
    return np.concatenate(parts).astype(np.float64)
