"""Which networks are in memory: a limit, and who leaves when another needs the room."""

import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from shared.inference.errors import OutOfMemory

#: Weights are read, laid out anew for the processor and given room to compute.
_BYTES_PER_WEIGHT_BYTE = 2
_PAUSE_S = 0.002


class Resident(Protocol):
    """A network that takes up memory."""

    used_at: float
    resident_bytes: int

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    def leave_memory(self) -> bool:
        """Give the memory back, unless somebody is at work."""
        ...

    def count_resident(self, size_bytes: int) -> None:
        """Note how much memory it has."""
        ...


class Residents:
    """The networks in memory, and what they may take up together.

    Sizes are estimates: how much the process grew while a network was loaded, and never less than
    its file. Who loads holds `loading`, so that what is measured is one network.
    """

    def __init__(self, limit_bytes: int | None, patience_s: float = 0.5) -> None:
        """Make an empty memory.

        Args:
            limit_bytes: what networks may take up together; None for no limit.
            patience_s: how long to wait for a network that is at work to pause.
        """
        self.limit_bytes = limit_bytes
        self._patience_s = patience_s
        self.loading = threading.RLock()
        self._residents: set[Resident] = set()
        self._known_bytes: dict[str, int] = {}

    @property
    def used_bytes(self) -> int:
        """What the networks in memory take up."""
        return sum(resident.resident_bytes for resident in self._residents)

    def make_room(self, name: str, file_bytes: int) -> None:
        """Let idle networks leave, the longest unused first, until one more fits.

        A network that is alone in memory is let in whatever its size: that is for the system to
        refuse.

        Raises:
            OutOfMemory: those that are at work leave no room.
        """
        needed = self._known_bytes.get(name, _BYTES_PER_WEIGHT_BYTE * file_bytes)
        if self.limit_bytes is None:
            return
        until = time.monotonic() + self._patience_s
        while not self._shrink_to(max(0, self.limit_bytes - needed)):
            if time.monotonic() >= until:
                break
            time.sleep(_PAUSE_S)
        else:
            return
        raise OutOfMemory(
            f"{name} needs about {needed >> 20} MiB; networks may take up "
            f"{self.limit_bytes >> 20} MiB and those at work have {self.used_bytes >> 20} MiB.",
            headers={"Retry-After": "5"},
        )

    def enter(self, resident: Resident, file_bytes: int, grown_bytes: int) -> None:
        """Count a network that was loaded, and if it is larger than thought, make room again."""
        known = self._known_bytes.get(resident.name, 0)
        # The same network measured again after memory was freed seems to need none.
        size = max(file_bytes, grown_bytes, known)
        self._known_bytes[resident.name] = size
        resident.count_resident(size)
        self._residents.add(resident)
        if self.limit_bytes is not None:
            self._shrink_to(self.limit_bytes, spared=(resident,))

    def leave(self, resident: Resident) -> bool:
        """Let a network leave; False when it is at work."""
        with self.loading:
            if not resident.leave_memory():
                return False
            self._residents.discard(resident)
        return True

    def leave_all(self) -> None:
        """Let every network leave, and count those no more that cannot."""
        with self.loading:
            for resident in self._residents:
                if not resident.leave_memory():
                    resident.count_resident(0)
            self._residents.clear()

    def _shrink_to(self, size_bytes: int, spared: Iterable[Resident] = ()) -> bool:
        spared = tuple(spared)
        for resident in sorted(self._residents, key=lambda resident: resident.used_at):
            if self.used_bytes <= size_bytes:
                break
            if resident not in spared:
                self.leave(resident)
        return self.used_bytes <= size_bytes


def resident_memory_bytes() -> int:
    """How much memory this process has; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
