"""MobileNetV2's convolutional part as a PyTorch module that hands out its inner maps.

The published weights have batch normalisation folded into the convolutions already, so a block is
three convolutions and, where the shapes allow, a sum.

Source:
    Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, Table 2.
    Weights: ImageNet, google-coral/test_data (Apache-2.0), `tf2_mobilenet_v2_1.0_224_ptq.tflite`.
"""

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.inference.conversion.convolutions import WrongWeights, load_convolutions

UPSTREAM_SHA256 = "5d3137241276e79c86d14a74fe43581398ae0e815191d3dba45495b810840e8c"

#: Expansion, output channels, repeats and first stride of Table 2.
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
CHANNELS = tuple(out for _, out, repeats, _ in STAGES for _ in range(repeats))


class Conv(nn.Module):
    """A convolution padded as TensorFlow's SAME does, then ReLU6 unless it is a projection."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int, groups: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outside, inside // groups, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outside))
        self.stride, self.groups = stride, groups
        # SAME on an even side puts the odd row and column after the picture when it strides.
        before, after = ((0, 1) if stride == 2 else (1, 1)) if kernel == 3 else (0, 0)
        self.padding = (before, after, before, after)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, I, H, W)` to `(N, O, H / stride, W / stride)`."""
        if any(self.padding):
            x = functional.pad(x, self.padding)
        return functional.conv2d(x, self.weight, self.bias, self.stride, groups=self.groups)


class Block(nn.Module):
    """An inverted residual: expand, filter each channel, project."""

    def __init__(self, inside: int, outside: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = inside * expansion
        self.expand = None if expansion == 1 else Conv(inside, wide, 1, 1, 1)
        self.filter = Conv(wide, wide, 3, stride, wide)
        self.project = Conv(wide, outside, 1, 1, 1)
        self.residual = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, I, H, W)` to `(N, O, H / stride, W / stride)`."""
        y = x if self.expand is None else functional.relu6(self.expand(x))
        y = self.project(functional.relu6(self.filter(y)))
        return x + y if self.residual else y


class Backbone(nn.Module):
    """The stem and the first `depth` of MobileNetV2's 17 blocks."""

    def __init__(self, depth: int = len(CHANNELS)) -> None:
        super().__init__()
        self.stem = Conv(3, STEM_CHANNELS, 3, 2, 1)
        strides = [s if i == 0 else 1 for _, _, repeats, s in STAGES for i in range(repeats)]
        expansions = [e for e, _, repeats, _ in STAGES for _ in range(repeats)]
        widths = list(pairwise((STEM_CHANNELS, *CHANNELS)))
        self.blocks = nn.ModuleList(
            Block(inside, outside, expansion, stride)
            for (inside, outside), expansion, stride in zip(
                widths, expansions, strides, strict=True
            )
        )[:depth]

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map `(N, 3, H, W)` in [-1, 1] to the output of every block."""
        x = functional.relu6(self.stem(image))
        maps = []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return maps


def load_backbone(mirror: Path, depth: int = len(CHANNELS)) -> Backbone:
    """Build a backbone that carries the published ImageNet weights.

    Args:
        mirror: folder of upstream files, each named by its SHA-256.
        depth: how many of the 17 blocks to keep.

    Raises:
        WrongWeights: the file is absent, altered, or has other shapes.
    """
    convolutions = load_convolutions(mirror / UPSTREAM_SHA256, UPSTREAM_SHA256)
    backbone = Backbone(depth)
    targets = [module for module in backbone.modules() if isinstance(module, Conv)]
    with torch.no_grad():
        for target, source in zip(targets, convolutions, strict=False):
            if tuple(target.weight.shape) != source.weight.shape:
                raise WrongWeights(
                    f"expected {tuple(target.weight.shape)}, found {source.weight.shape}"
                )
            target.weight.copy_(torch.from_numpy(source.weight))
            target.bias.copy_(torch.from_numpy(source.bias))
    return backbone
