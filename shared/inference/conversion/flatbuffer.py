"""Reads a TensorFlow Lite file without TensorFlow: tensors, constants and operators.

Such a file is a FlatBuffer: tables that point at a list of field offsets (the "vtable"), in which
each field has the number that the schema gives it.

Source:
    The numbers of fields and types: tensorflow/lite/schema/schema.fbs (Apache-2.0).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_STORED_AS: dict[int, str] = {0: "<f4", 1: "<f2", 2: "<i4", 4: "<i8"}
_MODEL_CODES, _MODEL_SUBGRAPHS, _MODEL_BUFFERS = 1, 2, 4
_GRAPH_TENSORS, _GRAPH_INPUTS, _GRAPH_OUTPUTS, _GRAPH_OPERATORS = 0, 1, 2, 3
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_BUFFER, _TENSOR_NAME = 0, 1, 2, 3
_OPERATOR_CODE, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS = 0, 1, 2
_OPERATOR_OPTIONS, _OPERATOR_CUSTOM = 4, 5
_CODE_SHORT, _CODE_CUSTOM, _CODE_LONG = 0, 1, 3
_MAX_TABLES = 100_000


class NotFlatBuffer(ValueError):
    """The bytes do not follow the format."""


class Table:
    """One table of a FlatBuffer."""

    def __init__(self, content: bytes, at: int) -> None:
        self._content = content
        self._at = at

    def number(self, field: int, kind: str = "i", default: int = 0) -> int:
        """A scalar field; `kind` is its `struct` code."""
        at = self._field(field)
        return default if at is None else int(self._unpack(kind, at))

    def table(self, field: int) -> "Table | None":
        """A field that is a table."""
        at = self._field(field)
        return None if at is None else Table(self._content, self._follow(at))

    def tables(self, field: int) -> list["Table"]:
        """A field that is a vector of tables."""
        start, count = self._vector(field)
        if count > _MAX_TABLES:
            raise NotFlatBuffer(f"a vector of {count} tables")
        return [Table(self._content, self._follow(start + 4 * place)) for place in range(count)]

    def array(self, field: int, kind: str) -> NDArray[np.generic]:
        """A field that is a vector of scalars; an absent one is empty."""
        start, count = self._vector(field)
        if start + count * np.dtype(kind).itemsize > len(self._content):
            raise NotFlatBuffer("a vector reaches beyond the end")
        return np.frombuffer(self._content, kind, count, start)

    def text(self, field: int) -> str:
        """A field that is text; an absent one is empty."""
        return self.array(field, "u1").tobytes().decode("utf-8", "replace")

    def _field(self, number: int) -> int | None:
        vtable = self._at - self._unpack("i", self._at)
        slot = 4 + 2 * number
        if slot >= self._unpack("H", vtable):
            return None
        offset = self._unpack("H", vtable + slot)
        return self._at + offset if offset else None

    def _vector(self, field: int) -> tuple[int, int]:
        at = self._field(field)
        if at is None:
            return 0, 0
        start = self._follow(at)
        return start + 4, self._unpack("I", start)

    def _follow(self, at: int) -> int:
        return at + self._unpack("I", at)

    def _unpack(self, kind: str, at: int) -> int:
        if at < 0:
            raise NotFlatBuffer("an offset leads before the beginning")
        try:
            return int(struct.unpack_from(f"<{kind}", self._content, at)[0])
        except struct.error as error:
            raise NotFlatBuffer("an offset leads beyond the end") from error


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor; `figures` are those of a constant, None for what is computed."""

    name: str
    shape: tuple[int, ...]
    figures: NDArray[np.generic] | None


@dataclass(frozen=True, slots=True)
class Operator:
    """One step: its code in the schema or its own name, and the places of its tensors."""

    code: int
    custom: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Table
    custom_options: bytes


@dataclass(frozen=True, slots=True)
class LiteGraph:
    """The first subgraph of a file."""

    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[Operator, ...]


#: Stands for the options of an operator that has none: every field has its default.
_NO_OPTIONS = Table(struct.pack("<HHi", 4, 4, 4), 4)


def lite_model(content: bytes) -> Table:
    """The root table of a `.tflite` file.

    Raises:
        NotFlatBuffer: it does not follow the format.
    """
    if content[4:8] != b"TFL3":
        raise NotFlatBuffer("the file is not of TensorFlow Lite")
    return Table(content, struct.unpack_from("<I", content)[0])


def read_lite_graph(content: bytes) -> LiteGraph:
    """Read a `.tflite` file.

    Raises:
        NotFlatBuffer: it does not follow the format.
    """
    model = lite_model(content)
    subgraphs = model.tables(_MODEL_SUBGRAPHS)
    if not subgraphs:
        raise NotFlatBuffer("the file holds no graph")
    graph = subgraphs[0]
    return LiteGraph(
        tuple(_tensors(graph, model.tables(_MODEL_BUFFERS))),
        _places(graph, _GRAPH_INPUTS),
        _places(graph, _GRAPH_OUTPUTS),
        tuple(_operators(graph, model.tables(_MODEL_CODES))),
    )


def _tensors(graph: Table, buffers: list[Table]) -> Iterator[Tensor]:
    for tensor in graph.tables(_GRAPH_TENSORS):
        shape = _places(tensor, _TENSOR_SHAPE)
        kind = tensor.number(_TENSOR_TYPE, "b")
        place = tensor.number(_TENSOR_BUFFER, "I")
        stored = b""
        if place < len(buffers):
            stored = buffers[place].array(0, "u1").tobytes()
        figures: NDArray[np.generic] | None = None
        if stored:
            if kind not in _STORED_AS:
                raise NotFlatBuffer(f"a constant of the unknown type {kind}")
            try:
                figures = np.frombuffer(stored, _STORED_AS[kind]).reshape(shape)
            except ValueError as error:
                raise NotFlatBuffer("a constant is larger or smaller than its shape") from error
        yield Tensor(tensor.text(_TENSOR_NAME), shape, figures)


def _operators(graph: Table, codes: list[Table]) -> Iterator[Operator]:
    for operator in graph.tables(_GRAPH_OPERATORS):
        place = operator.number(_OPERATOR_CODE, "I")
        if place >= len(codes):
            raise NotFlatBuffer("an operator without a code")
        code = codes[place]
        yield Operator(
            max(code.number(_CODE_SHORT, "b"), code.number(_CODE_LONG)),
            code.text(_CODE_CUSTOM),
            _places(operator, _OPERATOR_INPUTS),
            _places(operator, _OPERATOR_OUTPUTS),
            operator.table(_OPERATOR_OPTIONS) or _NO_OPTIONS,
            operator.array(_OPERATOR_CUSTOM, "u1").tobytes(),
        )


def _places(table: Table, field: int) -> tuple[int, ...]:
    return tuple(int(place) for place in table.array(field, "<i4").tolist())
