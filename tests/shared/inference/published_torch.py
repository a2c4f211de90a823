"""Published networks in PyTorch, as their papers define them: what conversions are compared with.

The group convolutions are computed pose by pose on five axes, not as plain ones, so that a slip
in one of the two shows as a difference.
"""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

State = Mapping[str, Any]


def p4m_densenet(state: State, image: Any, blocks: int) -> Any:
    """The logits of a p4m-equivariant DenseNet."""
    tensor = torch.stack(
        [functional.conv2d(image, _posed(state["c1.weight"], pose)) for pose in range(8)], dim=2
    )
    for block in range(blocks):
        name = f"block_layers.{block}"
        new = _group_convolution(
            _norm_relu(state, tensor, f"{name}.bn"), state[f"{name}.conv.weight"]
        )
        tensor = torch.cat([new, tensor[..., 1:-1, 1:-1]], dim=1)
        if block < blocks - 1:
            name = f"trans_layers.{block}"
            tensor = _norm_relu(state, tensor, f"{name}.bn")
            tensor = _group_convolution(tensor, state[f"{name}.conv.weight"])
            tensor = functional.avg_pool3d(tensor, (1, 2, 2))
    tensor = _group_convolution(_norm_relu(state, tensor, "bn_out"), state["c_out.weight"])
    return tensor.mean(dim=(2, 3, 4))


def _group_convolution(tensor: Any, weight: Any) -> Any:
    """Every output pose reads every input pose through the filter that lies between them."""
    outputs = []
    for pose in range(8):
        total = 0
        for read in range(8):
            total = total + functional.conv2d(
                tensor[:, :, read], _posed(weight[:, :, _between(pose, read)], pose)
            )
        outputs.append(total)
    return torch.stack(outputs, dim=2) * math.pi


def _between(pose: int, read: int) -> int:
    """The pose that leads from `pose` to `read`, in a group of turns and mirrorings."""
    turns, mirrored = pose % 4, pose >= 4
    half = (read >= 4) != mirrored
    # Among mirrored poses turning goes the other way round.
    place = (read % 4 + turns) % 4 if half else (read % 4 - turns) % 4
    return place + 4 * half


def _posed(weight: Any, pose: int) -> Any:
    turned = torch.rot90(weight, pose % 4, dims=(-2, -1))
    return torch.flip(turned, dims=(-2,)) if pose >= 4 else turned


def _norm_relu(state: State, tensor: Any, name: str) -> Any:
    return functional.relu(
        functional.batch_norm(
            tensor, state[f"{name}.running_mean"], state[f"{name}.running_var"],
            state[f"{name}.weight"], state[f"{name}.bias"], training=False, eps=2e-5,
        )
    )  # fmt: skip


def wnet(state: State, image: Any, depth: int) -> Any:
    """The logits of a W-Net's second U-Net."""
    first = _unet(state, image, "unet1", depth)
    return _unet(state, torch.cat([image, first], dim=1), "unet2", depth)


def _unet(state: State, image: Any, name: str, depth: int) -> Any:
    levels = [_block(state, image, f"{name}.first")]
    for level in range(depth):
        smaller = functional.max_pool2d(levels[-1], 2)
        levels.append(_block(state, smaller, f"{name}.down_path.{level}"))
    tensor = levels[-1]
    for level in range(depth):
        step = f"{name}.up_path.{level}"
        up = f"{step}.up_layer.block.0"
        larger = functional.conv_transpose2d(
            tensor, state[f"{up}.weight"], state[f"{up}.bias"], stride=2
        )
        bridge = _layer(state, levels[-2 - level], f"{step}.conv_bridge_layer.block", 0)
        tensor = _block(state, torch.cat([larger, bridge], dim=1), f"{step}.conv_layer")
    return functional.conv2d(tensor, state[f"{name}.final.weight"], state[f"{name}.final.bias"])


def _block(state: State, tensor: Any, name: str) -> Any:
    inner = _layer(state, _layer(state, tensor, f"{name}.block", 0), f"{name}.block", 3)
    short = functional.conv2d(tensor, state[f"{name}.shortcut.0.weight"])
    return inner + _norm(state, short, f"{name}.shortcut.1")


def _layer(state: State, tensor: Any, name: str, place: int) -> Any:
    convolved = functional.conv2d(
        tensor, state[f"{name}.{place}.weight"], state[f"{name}.{place}.bias"], padding=1
    )
    return _norm(state, functional.relu(convolved), f"{name}.{place + 2}")


def _norm(state: State, tensor: Any, name: str) -> Any:
    return functional.batch_norm(
        tensor, state[f"{name}.running_mean"], state[f"{name}.running_var"],
        state[f"{name}.weight"], state[f"{name}.bias"], training=False,
    )  # fmt: skip


def p4m_state(blocks: int, width: int, generator: Any) -> dict[str, Any]:
    """Random weights of a p4m DenseNet."""
    state = {"c1.weight": _random(generator, width, 3, 3, 3)}
    channels = width
    for block in range(blocks):
        name = f"block_layers.{block}"
        state |= _random_norm(generator, f"{name}.bn", channels)
        state[f"{name}.conv.weight"] = _random(generator, width, channels, 8, 3, 3) / 20
        channels += width
        if block < blocks - 1:
            name = f"trans_layers.{block}"
            state |= _random_norm(generator, f"{name}.bn", channels)
            state[f"{name}.conv.weight"] = _random(generator, channels, channels, 8, 1, 1) / 10
    state |= _random_norm(generator, "bn_out", channels)
    state["c_out.weight"] = _random(generator, 2, channels, 8, 1, 1)
    return state


def wnet_state(layers: tuple[int, ...], generator: Any) -> dict[str, Any]:
    """Random weights of a W-Net."""
    state: dict[str, Any] = {}

    def convolution(name: str, outputs: int, inputs: int, side: int) -> None:
        state[f"{name}.weight"] = _random(generator, outputs, inputs, side, side) / 4
        state[f"{name}.bias"] = _random(generator, outputs)

    def layer(name: str, place: int, outputs: int, inputs: int) -> None:
        convolution(f"{name}.{place}", outputs, inputs, 3)
        state.update(_random_norm(generator, f"{name}.{place + 2}", outputs))

    def block(name: str, outputs: int, inputs: int) -> None:
        layer(f"{name}.block", 0, outputs, inputs)
        layer(f"{name}.block", 3, outputs, outputs)
        state[f"{name}.shortcut.0.weight"] = _random(generator, outputs, inputs, 1, 1)
        state.update(_random_norm(generator, f"{name}.shortcut.1", outputs))

    for name, inputs in (("unet1", 3), ("unet2", 4)):
        block(f"{name}.first", layers[0], inputs)
        for level, (above, below) in enumerate(itertools.pairwise(layers)):
            block(f"{name}.down_path.{level}", below, above)
        upward = layers[::-1]
        for level, (below, above) in enumerate(itertools.pairwise(upward)):
            step = f"{name}.up_path.{level}"
            state[f"{step}.up_layer.block.0.weight"] = _random(generator, below, above, 2, 2) / 4
            state[f"{step}.up_layer.block.0.bias"] = _random(generator, above)
            layer(f"{step}.conv_bridge_layer.block", 0, above, above)
            block(f"{step}.conv_layer", above, 2 * above)
        convolution(f"{name}.final", 1, layers[0], 1)
    return state


def _random(generator: Any, *shape: int) -> Any:
    return torch.randn(shape, generator=generator)


def _random_norm(generator: Any, name: str, width: int) -> dict[str, Any]:
    return {
        f"{name}.weight": 1 + _random(generator, width) / 10,
        f"{name}.bias": _random(generator, width) / 10,
        f"{name}.running_mean": _random(generator, width) / 10,
        f"{name}.running_var": 1 + _random(generator, width).abs(),
    }
