"""Files of NumPy: numbers are read, and nothing else is."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.scancer.arrays import is_array, read_array
from services.scancer.errors import UnreadableBody
from tests.services.scancer.support import npy

PLAIN = npy(np.arange(24, dtype=np.float32).reshape(2, 3, 4))


def with_header(text: str, content: bytes = b"") -> bytes:
    """A file of version 1.0 with any header."""
    header = text.encode("latin-1") + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", "<f2", "u1", "i1", "<u2", ">i4", "<i8"])
@pytest.mark.parametrize("lay", [np.ascontiguousarray, np.asfortranarray])
def test_numbers_come_as_they_were_saved(kind: str, lay: Any) -> None:
    saved: NDArray[Any] = lay(np.arange(24).reshape(2, 3, 4).astype(kind))
    found = read_array(npy(saved))

    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, saved.astype(np.float32))


class _Harm:
    """Says so if anybody unpickles it."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return pytest.fail, ("it was unpickled",)


def _pickled() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([_Harm()], object), allow_pickle=True)
    return file.getvalue()


REFUSED: dict[str, bytes] = {
    "nothing behind the magic": PLAIN[:6],
    "no header": PLAIN[:9],
    "half a header": PLAIN[:60],
    "a byte too few": PLAIN[:-1],
    "a byte too many": PLAIN + b"\0",
    "another version": PLAIN[:6] + b"\x02\x00" + PLAIN[8:],
    "objects": _pickled(),
    "records": npy(np.zeros(3, [("a", "<f4"), ("b", "<f4")])),
    "texts": npy(np.array(["one", "two"])),
    "truths": npy(np.array([True])),
    "complex": npy(np.ones(3, np.complex64)),
    "times": npy(np.array(["2020-01-01"], "datetime64[D]")),
    "no figures": npy(np.zeros((3, 0), np.float32)),
    "not a number": npy(np.array([1, np.nan], np.float32)),
    "endless": npy(np.array([1, -np.inf], np.float64)),
    "beyond float32": npy(np.array([1e300])),
    "a header that is no dictionary": with_header("(1, 2)"),
    "a header that calls": with_header("__import__('os').abort()"),
    "a header that nests": with_header("(" * 900 + ")" * 900),
    "a long header": with_header(" " * 60_000),
    "more than there is": with_header(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000000), }", bytes(64)
    ),
    "a hundred axes": with_header(
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'1, ' * 100}), }}", bytes(4)
    ),
    "less than nothing": with_header(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -16), }", bytes(64)
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_all_else_is_refused(name: str) -> None:
    assert is_array(REFUSED[name])
    with pytest.raises(UnreadableBody):
        read_array(REFUSED[name])


@given(st.binary(max_size=200), st.integers(6, len(PLAIN)))
def test_garbage_is_refused_or_read(garbage: bytes, begin: int) -> None:
    """Whatever is in the file, nothing else is raised."""
    damaged = PLAIN[:begin] + garbage + PLAIN[begin + len(garbage) :]
    try:
        found = read_array(damaged)
    except UnreadableBody:
        return

    assert np.isfinite(found).all()
