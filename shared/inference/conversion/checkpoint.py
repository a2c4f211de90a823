"""Reads PyTorch checkpoints without running anything that they contain.

A `.pt` file is a pickle, and a pickle is a program. It is only read through `weights_only`,
which knows tensors and plain containers. Some published networks were saved as whole modules;
the names of those classes are bound to an inert one that keeps attributes and runs nothing.
"""

import importlib
import pickle
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_CHECKPOINT_BYTES = 2 * 1024 * 1024 * 1024
_MAX_MODULE_DEPTH = 12
_CONTAINERS = ("state_dict", "model_state_dict", "model")
_INERT_CLASSES = (
    "torchxrayvision.models.DenseNet",
    "torchxrayvision.models._DenseBlock",
    "torchxrayvision.models._DenseLayer",
    "torchxrayvision.models._Transition",
    "torchvision.models.densenet.DenseNet",
    "torchvision.models.densenet._DenseBlock",
    "torchvision.models.densenet._DenseLayer",
    "torchvision.models.densenet._Transition",
    "models.DenseNet",
    "models._DenseBlock",
    "models._DenseLayer",
    "models._Transition",
    "torch.nn.modules.activation.ReLU",
    "torch.nn.modules.batchnorm.BatchNorm2d",
    "torch.nn.modules.container.Sequential",
    "torch.nn.modules.conv.Conv2d",
    "torch.nn.modules.dropout.Dropout",
    "torch.nn.modules.linear.Linear",
    "torch.nn.modules.pooling.AdaptiveAvgPool2d",
    "torch.nn.modules.pooling.AvgPool2d",
    "torch.nn.modules.pooling.MaxPool2d",
)

Weights = Mapping[str, NDArray[np.float32]]


class CheckpointRefused(Exception):
    """A checkpoint cannot be read, or is not of the layout it is said to be."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint holds: weights by name, and the operating points it may carry."""

    weights: Weights
    operating_points: tuple[float, ...] | None
    """In the order of the network's outputs; not a number where there is none."""


class _Inert:
    """Stands for a class of the pickled network: keeps its attributes and runs nothing."""

    def __setstate__(self, attributes: object) -> None:
        if isinstance(attributes, dict):
            self.__dict__.update(attributes)


def import_torch() -> ModuleType:
    """PyTorch, which only conversions need.

    Raises:
        CheckpointRefused: it is not installed.
    """
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise CheckpointRefused(
            "reading a PyTorch checkpoint needs PyTorch: "
            ".venv/bin/python -m pip install 'torch>=2.13'"
        ) from error


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a `.pt`, `.pth` or `.ckpt` file.

    Raises:
        CheckpointRefused: it is too large, holds more than weights, or is damaged.
    """
    torch = import_torch()
    size = path.stat().st_size
    if size > MAX_CHECKPOINT_BYTES:
        raise CheckpointRefused(f"{path.name} has {size} bytes, allowed are {MAX_CHECKPOINT_BYTES}")
    inert = [(_Inert, name) for name in _INERT_CLASSES]
    try:
        # PyTorch warns about oddities of files that it then reads or refuses.
        with torch.serialization.safe_globals(inert), warnings.catch_warnings(action="ignore"):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointRefused(
            f"{path.name} holds more than weights, and what it holds is not run: {_first(error)}"
        ) from error
    except Exception as error:  # damaged bytes lead it to errors of every kind
        raise CheckpointRefused(f"{path.name} is not a checkpoint: {_first(error)}") from error
    tensors, points = _tensors(loaded)
    weights = {
        name.removeprefix("module."): _as_float32(name, tensor, torch)
        for name, tensor in tensors.items()
    }
    found = weights.pop("op_threshs", None)
    if found is not None:
        points = tuple(float(point) for point in found.reshape(-1))
    return Checkpoint(weights, points)


def _tensors(loaded: object) -> tuple[dict[str, Any], tuple[float, ...] | None]:
    """The named tensors of a state dict, a training checkpoint or a whole module."""
    if isinstance(loaded, _Inert):
        return dict(_module_tensors(loaded, "", 0)), _points(vars(loaded).get("op_threshs"))
    if isinstance(loaded, dict):
        for container in _CONTAINERS:
            if isinstance(loaded.get(container), dict | _Inert):
                tensors, points = _tensors(loaded[container])
                return tensors, points or _points(loaded.get("op_threshs"))
        tensors = {name: value for name, value in loaded.items() if hasattr(value, "shape")}
        if tensors and all(isinstance(name, str) for name in tensors):
            return tensors, _points(loaded.get("op_threshs"))
    raise CheckpointRefused("the checkpoint holds no named weights")


def _module_tensors(module: object, prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > _MAX_MODULE_DEPTH or not isinstance(module, _Inert):
        raise CheckpointRefused("the checkpoint's modules are not a tree of known layers")
    attributes = vars(module)
    for kind in ("_parameters", "_buffers"):
        for name, tensor in (attributes.get(kind) or {}).items():
            if tensor is not None:
                yield f"{prefix}{name}", tensor
    for name, child in (attributes.get("_modules") or {}).items():
        if child is not None:
            yield from _module_tensors(child, f"{prefix}{name}.", depth + 1)


def _points(found: object) -> tuple[float, ...] | None:
    if found is None:
        return None
    if hasattr(found, "tolist"):
        found = found.tolist()
    if isinstance(found, list | tuple) and all(isinstance(point, float | int) for point in found):
        return tuple(float(point) for point in found)
    return None


def _as_float32(name: str, tensor: Any, torch: ModuleType) -> NDArray[np.float32]:
    if not isinstance(tensor, torch.Tensor) or tensor.is_sparse or tensor.is_quantized:
        raise CheckpointRefused(f"{name} is not a plain tensor")
    array: NDArray[np.float32] = tensor.detach().to(torch.float32).contiguous().numpy()
    # Operating points are allowed to be absent: they are "not a number" then.
    if not name.endswith("op_threshs") and not np.isfinite(array).all():
        raise CheckpointRefused(f"{name} holds figures that are not finite")
    return array


def _first(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
