"""Runs a checkpoint in PyTorch, as its authors defined it: what a conversion is compared with.

Written apart from the ONNX graph on purpose, and pooled as the papers say, so that a slip in one
of the two shows as a difference.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.inference.conversion.checkpoint import Weights, import_torch
from shared.inference.conversion.densenet import measure_backbone
from shared.inference.conversion.layouts import Layout, finding_rows, split


def run_in_torch(
    weights: Weights, layout: Layout, batch: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The logits of the platform's findings.

    Args:
        weights: all of the checkpoint's.
        layout: whose definition is followed.
        batch: `(N, C, H, W)`, prepared.

    Returns:
        `(N, findings)`.
    """
    torch = import_torch()
    backbone, head_weight, head_bias = split(weights, layout)
    with torch.inference_mode():
        tensors = {name: torch.from_numpy(np.array(weight)) for name, weight in backbone.items()}
        layers = measure_backbone(backbone).layers
        features = _features(torch, tensors, layers, torch.from_numpy(batch))
        weight = torch.from_numpy(np.array(head_weight))
        bias = torch.from_numpy(np.array(head_bias))
        if layout is Layout.TORCHXRAYVISION:
            pooled = torch.nn.functional.adaptive_avg_pool2d(features, (1, 1)).flatten(1)
            logits = torch.nn.functional.linear(pooled, weight, bias)
        else:
            heads = [
                _pcam(torch, features, weight[row : row + 1], bias[row : row + 1])
                for row in range(len(bias))
            ]
            logits = torch.cat(heads, dim=1)
        chosen: NDArray[np.float32] = logits[:, finding_rows(layout)].numpy()
    return chosen


def _features(torch: Any, tensors: dict[str, Any], layers: tuple[int, ...], image: Any) -> Any:
    functional = torch.nn.functional

    def norm_relu(tensor: Any, name: str) -> Any:
        normalised = functional.batch_norm(
            tensor,
            tensors[f"{name}.running_mean"],
            tensors[f"{name}.running_var"],
            tensors[f"{name}.weight"],
            tensors[f"{name}.bias"],
            training=False,
        )
        return functional.relu(normalised)

    tensor = functional.conv2d(image, tensors["features.conv0.weight"], stride=2, padding=3)
    tensor = functional.max_pool2d(norm_relu(tensor, "features.norm0"), 3, stride=2, padding=1)
    for block, count in enumerate(layers, start=1):
        for layer in range(1, count + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            new = norm_relu(tensor, f"{name}.norm1")
            new = functional.conv2d(new, tensors[f"{name}.conv1.weight"])
            new = norm_relu(new, f"{name}.norm2")
            new = functional.conv2d(new, tensors[f"{name}.conv2.weight"], padding=1)
            tensor = torch.cat([tensor, new], dim=1)
        if block < len(layers):
            name = f"features.transition{block}"
            tensor = norm_relu(tensor, f"{name}.norm")
            tensor = functional.conv2d(tensor, tensors[f"{name}.conv.weight"])
            tensor = functional.avg_pool2d(tensor, 2)
    return norm_relu(tensor, "features.norm5")


def _pcam(torch: Any, features: Any, weight: Any, bias: Any) -> Any:
    """One head: the features weighted by the probability at each place, then classified."""
    kernel = weight[:, :, None, None]
    chance = torch.sigmoid(torch.nn.functional.conv2d(features, kernel, bias))
    shares = chance / chance.sum(dim=(2, 3), keepdim=True)
    pooled = (features * shares).sum(dim=(2, 3), keepdim=True)
    return torch.nn.functional.conv2d(pooled, kernel, bias).flatten(1)
