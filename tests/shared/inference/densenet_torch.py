"""DenseNet-BC as PyTorch modules, with the names of the published checkpoints, random weights."""

from collections import OrderedDict
from typing import Any

import torch
from torch import nn


class DenseLayer(nn.Module):
    """Bottleneck and growth; its output is the input with the new features behind."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(width, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """`(N, C, H, W)` to `(N, C + growth, H, W)`."""
        new = self.conv1(self.relu1(self.norm1(image)))
        new = self.conv2(self.relu2(self.norm2(new)))
        return torch.cat([image, new], 1)


class Backbone(nn.Module):
    """All layers up to the last normalisation, as `features.…`."""

    def __init__(self, channels: int, layers: tuple[int, ...], growth: int, width: int) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False),
            norm0=nn.BatchNorm2d(width),
            relu0=nn.ReLU(),
            pool0=nn.MaxPool2d(3, stride=2, padding=1),
        )
        for block, count in enumerate(layers, start=1):
            dense: OrderedDict[str, nn.Module] = OrderedDict()
            for layer in range(1, count + 1):
                dense[f"denselayer{layer}"] = DenseLayer(width, growth)
                width += growth
            parts[f"denseblock{block}"] = nn.Sequential(dense)
            if block < len(layers):
                transition: OrderedDict[str, nn.Module] = OrderedDict(
                    norm=nn.BatchNorm2d(width),
                    relu=nn.ReLU(),
                    conv=nn.Conv2d(width, width // 2, 1, bias=False),
                    pool=nn.AvgPool2d(2, 2),
                )
                parts[f"transition{block}"] = nn.Sequential(transition)
                width //= 2
        parts["norm5"] = nn.BatchNorm2d(width)
        self.features = nn.Sequential(parts)
        self.width = width

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Features after the last rectifier."""
        features: torch.Tensor = torch.relu(self.features(image))
        return features


class TorchXRayVision(Backbone):
    """One channel, 18 outputs, average pooling and one linear classifier."""

    def __init__(self, layers: tuple[int, ...], growth: int, width: int) -> None:
        super().__init__(1, layers, growth, width)
        self.classifier = nn.Linear(self.width, 18)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The 18 logits."""
        pooled = super().forward(image).mean(dim=(2, 3))
        logits: torch.Tensor = self.classifier(pooled)
        return logits


class JfHealthcare(nn.Module):
    """Three channels, five heads with probabilistic class activation map pooling."""

    def __init__(self, layers: tuple[int, ...], growth: int, width: int) -> None:
        super().__init__()
        self.backbone = Backbone(3, layers, growth, width)
        for index in range(5):
            setattr(self, f"fc_{index}", nn.Conv2d(self.backbone.width, 1, 1))
            setattr(self, f"bn_{index}", nn.BatchNorm2d(self.backbone.width))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The five logits."""
        features = self.backbone(image)
        logits = []
        for index in range(5):
            head = getattr(self, f"fc_{index}")
            chance = torch.sigmoid(head(features))
            shares = chance / chance.sum(dim=(2, 3), keepdim=True)
            pooled = (features * shares).sum(dim=(2, 3), keepdim=True)
            logits.append(head(pooled).flatten(1))
        return torch.cat(logits, 1)


def seeded(model: nn.Module, input_range: float, seed: int = 0) -> Any:
    """Random weights and statistics under which no layer dies or explodes."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan = module.weight[0].numel()
            module.weight.data.normal_(0, (2 / fan) ** 0.5, generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.7, 1.1, generator=generator)
            module.bias.data.normal_(0, 0.1, generator=generator)
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
        if isinstance(module, nn.Conv2d) and module.kernel_size == (7, 7):
            module.weight.data /= input_range
        if isinstance(module, nn.Linear):
            module.weight.data.normal_(0, 0.05, generator=generator)
    return model.eval()
