"""The lesion network: a U-Net on MobileNetV2 that answers at the resolution of its input."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.netra.training.backbone import CHANNELS, Backbone

LESIONS = ("microaneurysm", "haemorrhage", "hard_exudate", "soft_exudate")
#: The last block of each resolution, from a half to a sixteenth, that the decoder reads.
SKIPS = (0, 2, 5, 12)
DEPTH = SKIPS[-1] + 1
#: Blocks whose weights stay as ImageNet made them; they cost the most to train.
FROZEN = 2
WIDTHS = (24, 32, 48)


class Layer(nn.Sequential):
    """Mix channels, then look around each: a separable convolution with normalisation."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__(
            nn.Conv2d(inside, outside, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(),
            nn.Conv2d(outside, outside, 3, padding=1, groups=outside, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(),
        )


class LesionNetwork(nn.Module):
    """`(N, 3, H, W)` in [-1, 1] to `(N, 4, H, W)` logits; sides are multiples of 16."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        skip_channels = [CHANNELS[i] for i in SKIPS]
        self.up = nn.ModuleList()
        self.mix = nn.ModuleList()
        inside = skip_channels[-1]
        for level in (2, 1, 0):
            width = WIDTHS[level]
            self.up.append(nn.Conv2d(inside, width, 1))
            self.mix.append(
                nn.Sequential(Layer(width + skip_channels[level], width), Layer(width, width))
            )
            inside = width
        # Four places of each pixel at half resolution, which `pixel_shuffle` spreads out.
        self.head = nn.Conv2d(inside, 4 * len(LESIONS), 1)
        nn.init.constant_(self.head.bias, -4.0)
        for parameter in self.frozen_parameters():
            parameter.requires_grad_(False)

    def frozen_parameters(self) -> list[nn.Parameter]:
        """Those that training leaves alone."""
        blocks = self.backbone.blocks[:FROZEN]
        return [*self.backbone.stem.parameters(), *blocks.parameters()]

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        with torch.no_grad():
            x = functional.relu6(self.backbone.stem(image))
            maps = []
            for block in self.backbone.blocks[:FROZEN]:
                x = block(x)
                maps.append(x)
        for block in self.backbone.blocks[FROZEN:]:
            x = block(x)
            maps.append(x)
        for level, up, mix in zip((2, 1, 0), self.up, self.mix, strict=True):
            skip = maps[SKIPS[level]]
            x = functional.interpolate(up(x), scale_factor=2.0, mode="nearest")
            x = mix(torch.cat([x, skip], dim=1))
        return functional.pixel_shuffle(self.head(x), 2)
