"""Small TensorFlow Lite files, written field by field."""

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

flatbuffers: Any = pytest.importorskip("flatbuffers", reason="it comes with ONNX Runtime")

Scalar = tuple[str, int]
"""The `struct` code of a field, and its value."""
_TYPES = {"float32": 0, "float16": 1, "int32": 2}


@dataclass
class LiteStep:
    """One operator."""

    code: int
    inputs: list[int]
    output: int
    options: dict[int, Scalar] = field(default_factory=dict)
    custom: str = ""
    custom_options: bytes = b""


@dataclass
class LiteFile:
    """A network: tensors by shape, those with figures being constants, and steps."""

    tensors: list[tuple[int, ...] | NDArray[Any]]
    steps: list[LiteStep]
    inputs: list[int]
    outputs: list[int]

    def write(self) -> bytes:
        """The file."""
        builder = flatbuffers.Builder(1024)
        buffers = [_table(builder, {})]
        tensors = []
        for number, tensor in enumerate(self.tensors):
            buffer, kind = 0, "float32"
            shape = tensor if isinstance(tensor, tuple) else tensor.shape
            if not isinstance(tensor, tuple):
                kind = tensor.dtype.name
                data = builder.CreateNumpyVector(np.frombuffer(tensor.tobytes(), np.uint8))
                buffers.append(_table(builder, {0: data}))
                buffer = len(buffers) - 1
            place = builder.CreateNumpyVector(np.array(shape, np.int32))
            name = builder.CreateString(f"t{number}")
            scalars: dict[int, Scalar] = {1: ("b", _TYPES[kind]), 2: ("I", buffer)}
            tensors.append(_table(builder, {0: place, 3: name}, scalars))
        codes, operators = [], []
        for number, step in enumerate(self.steps):
            members = {1: builder.CreateString(step.custom)} if step.custom else {}
            code: dict[int, Scalar] = {0: ("b", min(step.code, 127)), 3: ("i", step.code)}
            codes.append(_table(builder, members, code))
            parts = {
                1: builder.CreateNumpyVector(np.array(step.inputs, np.int32)),
                2: builder.CreateNumpyVector(np.array([step.output], np.int32)),
                4: _table(builder, {}, step.options),
            }
            if step.custom_options:
                stored = np.frombuffer(step.custom_options, np.uint8)
                parts[5] = builder.CreateNumpyVector(stored)
            operators.append(_table(builder, parts, {0: ("I", number)}))
        graph = _table(
            builder,
            {
                0: _tables(builder, tensors),
                1: builder.CreateNumpyVector(np.array(self.inputs, np.int32)),
                2: builder.CreateNumpyVector(np.array(self.outputs, np.int32)),
                3: _tables(builder, operators),
            },
        )
        root = _table(
            builder,
            {
                1: _tables(builder, codes),
                2: _tables(builder, [graph]),
                4: _tables(builder, buffers),
            },
        )
        builder.Finish(root, file_identifier=b"TFL3")
        return bytes(builder.Output())


def _table(builder: Any, offsets: dict[int, int], scalars: dict[int, Scalar] | None = None) -> int:
    scalars = scalars or {}
    builder.StartObject(max([*offsets, *scalars], default=-1) + 1)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    for slot, (kind, figure) in scalars.items():
        prepend = {
            "b": builder.PrependInt8Slot, "i": builder.PrependInt32Slot,
            "I": builder.PrependUint32Slot,
        }[kind]  # fmt: skip
        prepend(slot, figure, -1 - struct.calcsize(kind) if kind != "I" else 2**32 - 1)
    return int(builder.EndObject())


def _tables(builder: Any, places: list[int]) -> int:
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):
        builder.PrependUOffsetTRelative(place)
    return int(builder.EndVector())
