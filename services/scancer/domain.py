"""Registered models, their versions, and the rules they obey; standard library only."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter

#: More runs at a time than this are asked for by mistake.
MAX_WORKERS = 64
MAX_BATCH_SIZE = 1024
MAX_TIME_S = 86_400

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class Scale:
    """How many runs of a version may go on at a time; 0 takes it out of memory."""

    min_workers: int
    max_workers: int


@dataclass(frozen=True, slots=True)
class Terms:
    """What a registration says beside its package."""

    scale: Scale
    batch_size: int = 1
    max_batch_delay_ms: int = 100
    response_timeout_s: int = 120
    startup_timeout_s: int = 120


@dataclass(frozen=True, slots=True)
class PackageFacts:
    """Which package a version is, and what its manifest says in short."""

    archive_sha256: str
    model_id: str
    model_version: str
    network_sha256: str
    evidence: str
    task: str


@dataclass(frozen=True, slots=True)
class Registration:
    """One version of one model."""

    name: str
    version: str
    url: str
    package: PackageFacts
    terms: Terms
    is_default: bool
    is_shipped: bool
    registered_at: datetime

    @property
    def key(self) -> str:
        """What the engine calls it."""
        return f"{self.name}/{self.version}"


def is_model_name(name: str) -> bool:
    """Whether a model may be called so."""
    return _NAME.fullmatch(name) is not None and ".." not in name


def by_name(registrations: Iterable[Registration]) -> dict[str, list[Registration]]:
    """The versions of each model, names sorted."""
    ordered = sorted(registrations, key=attrgetter("name", "registered_at", "version"))
    return {name: list(group) for name, group in groupby(ordered, key=attrgetter("name"))}


def shipped_scale(callers: int) -> Scale:
    """How a network that is shipped starts: with everything that the engine has."""
    workers = min(callers, MAX_WORKERS)
    return Scale(workers, workers)
