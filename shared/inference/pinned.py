"""Memory that a GPU can read by itself, for the buffers that batches are staged in.

The system may move ordinary memory at any time, so the driver copies it twice. Memory that is
registered with the driver stays where it is and is copied once. Where there is no driver, or it
refuses, ordinary memory does the same, slower.
"""

import ctypes
import math
import mmap
import weakref
from functools import cache
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

log = structlog.get_logger(__name__)

# CU_MEMHOSTREGISTER_PORTABLE: pinned for every context of the process.
_PORTABLE = 1


class _Pages:
    """Whole pages of zeros that numpy can look into; registered until nobody looks any more."""

    def __init__(self, shape: tuple[int, ...], ordinal: int) -> None:
        size = max(1, math.prod(shape) * np.dtype(np.float32).itemsize)
        memory = mmap.mmap(-1, size)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self.__array_interface__: dict[str, Any] = {
            "version": 3,
            "shape": shape,
            "typestr": np.dtype(np.float32).str,
            "data": (address, False),
        }
        self.is_pinned = _register(address, size, ordinal)
        # The finalizer's arguments keep the memory until it is unregistered.
        ending = weakref.finalize(self, _release, memory, address, ordinal, self.is_pinned)
        ending.atexit = False


def pinned_buffer(shape: tuple[int, ...], ordinal: int = 0) -> NDArray[np.float32]:
    """Make a float32 array of zeros, registered with the CUDA driver if it can be.

    Args:
        shape: of the array.
        ordinal: the GPU that will read it.
    """
    pages = _Pages(shape, ordinal)
    if not pages.is_pinned:
        log.warning("buffer_not_pinned", gpu=ordinal)
    return np.asarray(pages)


def _register(address: int, size: int, ordinal: int) -> bool:
    return _in_context(ordinal, "cuMemHostRegister_v2", ctypes.c_void_p(address), size, _PORTABLE)


def _release(memory: mmap.mmap, address: int, ordinal: int, is_pinned: bool) -> None:
    if is_pinned:
        _in_context(ordinal, "cuMemHostUnregister", ctypes.c_void_p(address))
    del memory


def _in_context(ordinal: int, function: str, *arguments: Any) -> bool:
    """Call a driver function in the context that ONNX Runtime uses too; False if it fails."""
    driver = _driver()
    if driver is None:
        return False
    device, context = ctypes.c_int(), ctypes.c_void_p()
    if (
        driver.cuInit(0)
        or driver.cuDeviceGet(ctypes.byref(device), ordinal)
        or driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
    ):
        return False
    try:
        if driver.cuCtxPushCurrent_v2(context):
            return False
        try:
            return not getattr(driver, function)(*arguments)
        finally:
            driver.cuCtxPopCurrent_v2(ctypes.byref(context))
    finally:
        driver.cuDevicePrimaryCtxRelease_v2(device)


@cache
def _driver() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
