"""What a process that reads hostile files may use."""

import resource
from pathlib import Path


def limit_memory(extra_bytes: int) -> None:
    """Let this process grow by `extra_bytes` of address space, and write no files."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    ceiling = pages * resource.getpagesize() + extra_bytes
    resource.setrlimit(resource.RLIMIT_AS, (ceiling, ceiling))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
