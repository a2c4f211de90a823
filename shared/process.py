"""How the process is prepared for carrying many requests: collector, allocator, open files."""

import ctypes
import gc
import platform
import resource
from typing import Final

# From glibc's malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_KEPT_BYTES: Final = 64 * 1024 * 1024
#: Above a decoded picture of 1024 x 1024 px in four channels, and what glibc itself may learn.
_MAPPED_FROM_BYTES: Final = 16 * 1024 * 1024
#: New container objects between two looks at the young ones; 700 by default.
_GC_THRESHOLD: Final = 20_000


def settle() -> None:
    """Prepare a process that has opened everything it keeps."""
    # What exists now lives as long as the process, and a request leaves next to no cycles.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 20)
    _keep_freed_memory()
    _allow_many_files()


def _keep_freed_memory() -> None:
    """Use freed pages again instead of giving them back.

    glibc returns a freed piece of 128 KB and more to the kernel at once, and the next one is mapped
    and zeroed page by page: half of the work of carrying an upload (bench/gateway, POST 1 MB).
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        # What the start left behind goes back once; from here on pages are kept.
        libc.malloc_trim(0)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM_BYTES)


def _allow_many_files() -> None:
    """Every connection is an open file, and many systems begin with 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
