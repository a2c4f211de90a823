"""MobileNetV2 without its classifier, as a PyTorch module with named depths.

The upstream weights have batch normalisation already folded into the convolutions, so a
block is three convolutions and, where the shapes allow, a sum.

Source:
    Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018,
    Table 2. Weights: ImageNet, from google-coral/test_data (Apache-2.0), 8-bit quantised.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.inference.conversion.convolutions import Convolution, WrongWeights, load_convolutions

UPSTREAM_SHA256 = "5d3137241276e79c86d14a74fe43581398ae0e815191d3dba45495b810840e8c"

# (expansion, output channels, repeats, first stride) of Table 2.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STEM_CHANNELS = 32
BLOCK_CHANNELS = tuple(out for _, out, repeats, _ in STAGES for _ in range(repeats))


class Conv(nn.Module):
    """A convolution padded as TensorFlow's SAME does, then ReLU6 unless it is a projection."""

    def __init__(
        self, channels: tuple[int, int], kernel: int, stride: int, groups: int, activated: bool
    ) -> None:
        super().__init__()
        inside, outside = channels
        self.weight = nn.Parameter(torch.zeros(outside, inside // groups, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outside))
        self.stride, self.groups, self.activated = stride, groups, activated
        # SAME on an even side puts the odd row and column after the picture when it strides.
        before, after = ((0, 1) if stride == 2 else (1, 1)) if kernel == 3 else (0, 0)
        self.padding = (before, after, before, after)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, I, H, W)` to `(N, O, H / stride, W / stride)`."""
        if any(self.padding):
            x = functional.pad(x, self.padding)
        x = functional.conv2d(x, self.weight, self.bias, self.stride, groups=self.groups)
        return functional.relu6(x) if self.activated else x


class Block(nn.Module):
    """An inverted residual: expand, filter each channel, project."""

    def __init__(self, inside: int, outside: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = inside * expansion
        self.convs = nn.Sequential(
            *([] if expansion == 1 else [Conv((inside, wide), 1, 1, 1, True)]),
            Conv((wide, wide), 3, stride, wide, True),
            Conv((wide, outside), 1, 1, 1, False),
        )
        self.residual = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, I, H, W)` to `(N, O, H / stride, W / stride)`."""
        y: Tensor = self.convs(x)
        return x + y if self.residual else y


class Backbone(nn.Module):
    """The stem, the first `depth` of MobileNetV2's 17 blocks, and no classifier."""

    def __init__(self, depth: int = len(BLOCK_CHANNELS)) -> None:
        super().__init__()
        self.stem = Conv((3, STEM_CHANNELS), 3, 2, 1, True)
        strides = [s if i == 0 else 1 for _, _, repeats, s in STAGES for i in range(repeats)]
        expansions = [e for e, _, repeats, _ in STAGES for _ in range(repeats)]
        widths = list(pairwise((STEM_CHANNELS, *BLOCK_CHANNELS)))
        self.blocks = nn.ModuleList(
            Block(inside, outside, expansion, stride)
            for (inside, outside), expansion, stride in zip(
                widths, expansions, strides, strict=True
            )
        )[:depth]

    def forward(self, image: Tensor) -> Tensor:
        """Map `(N, 3, H, W)` in [-1, 1] to the last block's `(N, C, h, w)`."""
        return self.run_blocks(self.stem(image), 0, len(self.blocks))

    def run_blocks(self, x: Tensor, first: int, last: int) -> Tensor:
        """Apply the blocks `first` up to, but not including, `last`."""
        for i in range(first, last):
            x = self.blocks[i](x)
        return x


def load_backbone(mirror: Path, depth: int = len(BLOCK_CHANNELS)) -> Backbone:
    """Build a backbone that carries the upstream ImageNet weights.

    Args:
        mirror: folder of upstream files, each named by its SHA-256.
        depth: how many of the 17 blocks to keep.

    Raises:
        WrongWeights: the file is absent, altered, or has other shapes.
    """
    backbone = Backbone(depth)
    copy_weights(backbone, load_convolutions(mirror / UPSTREAM_SHA256, UPSTREAM_SHA256))
    return backbone


def copy_weights(backbone: Backbone, convolutions: Sequence[Convolution]) -> None:
    """Copy the upstream convolutions, in the order of execution, into a backbone."""
    targets = [module for module in backbone.modules() if isinstance(module, Conv)]
    with torch.no_grad():
        for target, source in zip(targets, convolutions, strict=False):
            if tuple(target.weight.shape) != source.weight.shape:
                raise WrongWeights(
                    f"expected {tuple(target.weight.shape)}, found {source.weight.shape}"
                )
            target.weight.copy_(torch.from_numpy(source.weight))
            target.bias.copy_(torch.from_numpy(source.bias))
