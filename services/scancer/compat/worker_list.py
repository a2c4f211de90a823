"""TorchServe's workers, of what this engine has instead.

There a worker is a process with a copy of the network. Here a replica has one copy, and a worker
is the right to one run of it at a time (Q11).
"""

import os
from datetime import UTC
from typing import Any

from services.scancer.catalogue import Version

#: TorchServe's first worker of a model is 9000.
_FIRST_ID = 9000


def workers_of(version: Version, *, is_on_gpu: bool) -> list[dict[str, Any]]:
    """The workers of a version in this replica; they share its memory."""
    if version.served is None or version.loaded_at is None:
        return []
    network = version.served.network
    began_at = version.loaded_at.astimezone(UTC).isoformat(timespec="milliseconds")
    return [
        {
            "id": str(_FIRST_ID + number),
            "startTime": began_at.replace("+00:00", "Z"),
            "status": "READY",
            "memoryUsage": network.resident_bytes // version.workers,
            "pid": os.getpid(),
            "gpu": is_on_gpu,
            "gpuUsage": "N/A",
        }
        for number in range(version.workers)
    ]


def ping_status(versions: list[Version]) -> str:
    """Whether the default versions have the workers that they should have (Q12)."""
    should = [
        each
        for each in versions
        if each.registration.is_default and each.registration.terms.scale.min_workers > 0
    ]
    working = [each for each in should if each.served is not None]
    if len(working) == len(should):
        return "Healthy"
    return "Partial Healthy" if working else "Unhealthy"
