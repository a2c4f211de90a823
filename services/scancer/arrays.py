"""A network's input as NumPy writes arrays into files (`numpy.save`), instead of a picture.

Only the header that NumPy itself and its imitators write for an array of numbers is read, and by
nothing that evaluates it: NumPy's own reader takes it for a Python expression.
"""

import math
import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.scancer.errors import UnreadableBody

_MAGIC: Final = b"\x93NUMPY"
_FIRST_VERSION: Final = b"\x01\x00"
#: Magic, version and the header's length.
_PRELUDE_BYTES: Final = 10
#: Of a plain array's, which has 118.
_MOST_HEADER_BYTES: Final = 1024
#: Beyond any network's; NumPy has none with more than 64.
_MOST_AXES: Final = 8
_is_header = re.compile(
    rb"\{'descr': '([<>|=][fiu][1248])', 'fortran_order': (False|True), "
    rb"'shape': \(((?:\d{1,9}, ?)*(?:\d{1,9})?)\), *\} *\n"
).fullmatch


def is_array(data: bytes) -> bool:
    """Whether `data` is such a file, by its first bytes."""
    return data.startswith(_MAGIC)


def read_array(data: bytes) -> NDArray[np.float32]:
    """The array in a `.npy` file.

    Returns:
        What it holds as float32, in its own shape; perhaps read-only.

    Raises:
        UnreadableBody: it is damaged, holds something else than numbers, or some that are not
            finite.

    Source:
        NumPy Enhancement Proposal 1, a simple file format for NumPy arrays.
    """
    begin = _PRELUDE_BYTES + int.from_bytes(data[8:_PRELUDE_BYTES], "little")
    header = None
    if data[6:8] == _FIRST_VERSION and begin <= _MOST_HEADER_BYTES:
        header = _is_header(data, _PRELUDE_BYTES, begin)
    if header is None:
        raise UnreadableBody("The array's header is not that of an array of numbers.")
    shape = tuple(int(side) for side in header[3].split(b",") if side.strip())
    dtype = _dtype(header[1].decode())
    figures = math.prod(shape)
    if figures == 0 or len(shape) > _MOST_AXES:
        raise UnreadableBody(f"An array has 1 to {_MOST_AXES} axes here, and none is empty.")
    if len(data) - begin != figures * dtype.itemsize:
        raise UnreadableBody(
            f"The array's header speaks of {figures * dtype.itemsize} bytes, and "
            f"{len(data) - begin} are there."
        )
    array = _as_float32(np.frombuffer(data, dtype, figures, begin))
    if not np.isfinite(array).all():
        raise UnreadableBody("The array holds figures that are not finite.")
    return array.reshape(shape, order="F" if header[2] == b"True" else "C")


def _dtype(description: str) -> np.dtype[np.generic]:
    try:
        return np.dtype(description)
    except TypeError as error:
        raise UnreadableBody(f"NumPy knows no numbers of the kind {description!r}.") from error


def _as_float32(array: NDArray[np.generic]) -> NDArray[np.float32]:
    if array.dtype == np.float32:
        return array.view(np.float32)
    # What is too large becomes infinite, and is refused for that.
    with np.errstate(over="ignore"):
        return array.astype(np.float32)
