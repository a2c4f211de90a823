"""Tensors as the protocol carries them: in JSON, or as bytes behind a JSON header."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.scancer.protocol.errors import BadInference

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
#: What is turned into the network's float32; the protocol's name and numpy's.
_TYPES: Final[Mapping[str, str]] = {
    "FP32": "<f4", "FP64": "<f8", "FP16": "<f2", "UINT8": "u1", "INT8": "i1", "UINT16": "<u2",
    "INT16": "<i2", "UINT32": "<u4", "INT32": "<i4", "UINT64": "<u8", "INT64": "<i8",
}  # fmt: skip
_MAX_TENSORS: Final = 16
_MAX_AXES: Final = 8


@dataclass(frozen=True, slots=True)
class Question:
    """An inference request."""

    id: str | None
    inputs: Mapping[str, NDArray[np.float32]]
    outputs: tuple[str, ...]
    """Which outputs are wanted; none for all of them."""
    in_bytes: frozenset[str]
    """Which of them are wanted as bytes."""
    all_in_bytes: bool
    """Whether outputs that say nothing travel as bytes."""

    def is_in_bytes(self, name: str) -> bool:
        """Whether this output travels as bytes."""
        return name in self.in_bytes or (self.all_in_bytes and name not in self.outputs)


def read_question(body: bytes, header_length: str | None) -> Question:
    """Read the body of an inference request.

    Raises:
        BadInference: it is not of the protocol.
    """
    text, packed = body, b""
    if header_length is not None:
        if not header_length.isdecimal() or int(header_length) > len(body):
            raise BadInference(f"{HEADER_LENGTH} is not the length of the body's JSON.")
        text, packed = body[: int(header_length)], body[int(header_length) :]
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInference("The request is not JSON.") from error
    if not isinstance(document, dict):
        raise BadInference("The request is not a JSON object.")
    entries = _entries(document, "inputs")
    if not entries:
        raise BadInference("The request has no inputs.")
    inputs: dict[str, NDArray[np.float32]] = {}
    place = 0
    for entry in entries:
        name = _name(entry)
        if name in inputs:
            raise BadInference(f"The input {name!r} is there twice.")
        inputs[name], place = _read_tensor(name, entry, packed, place)
    if place != len(packed):
        raise BadInference("There are more bytes behind the JSON than the inputs have.")
    wanted = _entries(document, "outputs")
    chosen = _parameters(document).get("binary_data_output") is True
    return Question(
        id=document["id"] if isinstance(document.get("id"), str) else None,
        inputs=inputs,
        outputs=tuple(_name(entry) for entry in wanted),
        in_bytes=frozenset(
            _name(entry)
            for entry in wanted
            if _parameters(entry).get("binary_data", chosen) is True
        ),
        all_in_bytes=chosen,
    )


def write_answer(
    head: Mapping[str, Any], outputs: Mapping[str, NDArray[np.float32]], question: Question
) -> tuple[bytes, dict[str, str]]:
    """The body of an inference response, and the headers that tell how to read it.

    Raises:
        BadInference: a figure that is not finite is wanted in JSON, which has no word for it.
    """
    entries: list[dict[str, Any]] = []
    packed: list[bytes] = []
    for name, array in outputs.items():
        entry: dict[str, Any] = {"name": name, "datatype": "FP32", "shape": [*array.shape]}
        if question.is_in_bytes(name):
            raw = array.astype("<f4", copy=False).tobytes()
            entry["parameters"] = {"binary_data_size": len(raw)}
            packed.append(raw)
        else:
            if not np.isfinite(array).all():
                raise BadInference(f"{name!r} holds figures that JSON cannot carry; ask for bytes.")
            entry["data"] = array.reshape(-1).tolist()
        entries.append(entry)
    text = json.dumps({**head, "outputs": entries}).encode()
    if not packed:
        return text, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(text))}
    return b"".join([text, *packed]), headers


def _entries(document: Mapping[str, Any], kind: str) -> Sequence[Mapping[str, Any]]:
    entries = document.get(kind) or []
    if not isinstance(entries, list) or len(entries) > _MAX_TENSORS:
        raise BadInference(f"{kind} is a list of up to {_MAX_TENSORS} tensors.")
    if not all(isinstance(entry, dict) for entry in entries):
        raise BadInference(f"{kind} holds something that is no tensor.")
    return entries


def _name(entry: Mapping[str, Any]) -> str:
    name = entry.get("name")
    if not isinstance(name, str):
        raise BadInference("A tensor has no name.")
    return name


def _parameters(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = entry.get("parameters")
    return parameters if isinstance(parameters, dict) else {}


def _read_tensor(
    name: str, entry: Mapping[str, Any], packed: bytes, place: int
) -> tuple[NDArray[np.float32], int]:
    """One input, and where the next one's bytes begin."""
    shape, datatype = entry.get("shape"), entry.get("datatype")
    if (
        not isinstance(shape, list)
        or not 0 < len(shape) <= _MAX_AXES
        or not all(
            isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in shape
        )
    ):
        raise BadInference(f"The shape of {name!r} is no list of positive numbers.")
    kind = _TYPES.get(datatype) if isinstance(datatype, str) else None
    if kind is None:
        raise BadInference(f"The datatype of {name!r} is none of {', '.join(_TYPES)}.")
    figures = math.prod(shape)
    size = _parameters(entry).get("binary_data_size")
    try:
        if size is not None:
            needed = figures * np.dtype(kind).itemsize
            if size != needed or place + needed > len(packed):
                raise BadInference(f"{name!r} needs {needed} bytes.")
            array = np.frombuffer(packed, kind, figures, place)
            place += needed
        else:
            if "data" not in entry:
                raise BadInference(f"{name!r} has no data.")
            array = np.asarray(entry["data"], kind).reshape(-1)
            if array.size != figures:
                raise BadInference(f"{name!r} has {array.size} figures, its shape {figures}.")
        return array.astype(np.float32, copy=False).reshape(shape), place
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadInference(f"The data of {name!r} are not {datatype}.") from error
