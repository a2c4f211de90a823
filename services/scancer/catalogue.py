"""The registered models as this process serves them, kept in step with the database."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from services.scancer.domain import Registration
from services.scancer.errors import ModelNotFound, NoWorkers, VersionNotFound
from services.scancer.shelf import Shelf
from shared.inference import Engine, ModelPackage, OutOfMemory, PackageRefused, Served
from shared.inference.runtime import NetworkFailed
from shared.objects import ObjectNotFound
from shared.problems import Problem

log = structlog.get_logger(__name__)

ReadRegistrations = Callable[[], Awaitable[list[Registration]]]

#: What can stand between a registration and a network in memory; it is tried again later.
_CANNOT_SERVE = (Problem, PackageRefused, NetworkFailed, OutOfMemory, ObjectNotFound, OSError)


@dataclass(slots=True)
class Version:
    """One version in this process."""

    registration: Registration
    package: ModelPackage | None = None
    served: Served | None = None
    loaded_at: datetime | None = None
    load_s: float = 0.0
    failure: str | None = None

    @property
    def workers(self) -> int:
        """How many of its runs may go on at a time here."""
        return self.registration.terms.scale.min_workers if self.served is not None else 0

    @property
    def is_as_registered(self) -> bool:
        """Whether it has the workers that it should have."""
        return (self.served is not None) == (self.registration.terms.scale.min_workers > 0)

    def require_served(self) -> Served:
        """What answers to it.

        Raises:
            NoWorkers: nothing does.
        """
        if self.served is None:
            raise NoWorkers(self.registration.name)
        return self.served


@dataclass(slots=True)
class _Model:
    default: str
    versions: dict[str, Version] = field(default_factory=dict)


class Catalogue:
    """Finds the version that a request means; loads and lets go what the database says.

    A new state of things is brought up before the old one goes: a version is loaded before
    anything is sent to it, and unloaded only when nothing can be sent to it any more.
    """

    def __init__(self, engine: Engine, shelf: Shelf, read: ReadRegistrations) -> None:
        self.engine = engine
        self._shelf = shelf
        self._read = read
        self._models: dict[str, _Model] = {}
        self._turn = asyncio.Lock()
        self._asked = 0
        self._done = 0

    # Finding.

    def find(self, name: str, version: str | None = None) -> Version:
        """The version that answers to a name, the default one where none is stated.

        Raises:
            ModelNotFound, VersionNotFound: it is not registered.
        """
        model = self._models.get(name)
        if model is None:
            raise ModelNotFound(name)
        found = model.versions.get(model.default if version is None else version)
        if found is None:
            raise VersionNotFound(name, version or model.default)
        return found

    async def get(self, name: str, version: str | None = None) -> Version:
        """`find`, but asks the database before it says that there is no such version.

        Another replica may have registered it a moment ago.
        """
        try:
            return self.find(name, version)
        except (ModelNotFound, VersionNotFound):
            await self.refresh()
            return self.find(name, version)

    def names(self) -> list[str]:
        """All models, sorted."""
        return sorted(self._models)

    def versions_of(self, name: str) -> list[Version]:
        """All versions of a model, in the order in which they were registered.

        Raises:
            ModelNotFound: it is not registered.
        """
        model = self._models.get(name)
        if model is None:
            raise ModelNotFound(name)
        return sorted(
            model.versions.values(),
            key=lambda each: (each.registration.registered_at, each.registration.version),
        )

    def all_versions(self) -> list[Version]:
        """Every version of every model."""
        return [
            version for name in self.names() for version in self._models[name].versions.values()
        ]

    # Keeping in step.

    async def refresh(self) -> None:
        """Be as the database says, as of now or later; whoever asks meanwhile waits for one."""
        self._asked += 1
        ticket = self._asked
        async with self._turn:
            if self._done >= ticket:
                return
            covers = self._asked
            await self._become(await self._read())
            self._done = covers

    async def _become(self, registrations: Iterable[Registration]) -> None:
        wanted: dict[str, _Model] = {}
        for registration in registrations:
            model = wanted.setdefault(registration.name, _Model(registration.version))
            if registration.is_default:
                model.default = registration.version
            version = self._known(registration) or Version(registration)
            version.registration = registration
            model.versions[registration.version] = version
        for model in wanted.values():
            for version in model.versions.values():
                await self._bring_up(version)
        # From here on nobody finds what has gone.
        old, self._models = self._models, wanted
        kept = {id(version) for model in wanted.values() for version in model.versions.values()}
        for model in old.values():
            for version in model.versions.values():
                if id(version) not in kept:
                    self._let_go(version)
        for version in self.all_versions():
            if version.registration.terms.scale.min_workers == 0:
                self._let_go(version)
        self._limit_runs()
        await self._shelf.tidy(
            {version.registration.package.archive_sha256 for version in self.all_versions()}
        )

    def _known(self, registration: Registration) -> Version | None:
        model = self._models.get(registration.name)
        version = model.versions.get(registration.version) if model is not None else None
        if version is None or version.registration.registered_at != registration.registered_at:
            # Registered anew, perhaps as another package.
            return None
        return version

    async def _bring_up(self, version: Version) -> None:
        """Have the package at hand, and the network in memory where it has workers."""
        registration = version.registration
        try:
            if version.package is None:
                version.package = await self._shelf.open(registration.package.archive_sha256)
            if version.served is None and registration.terms.scale.min_workers > 0:
                began_at = time.perf_counter()
                version.served = await asyncio.to_thread(
                    self.engine.serve, _engine_name(version), version.package
                )
                version.load_s = time.perf_counter() - began_at
                version.loaded_at = datetime.now(UTC)
            version.failure = None
        except _CANNOT_SERVE as error:
            version.failure = f"{type(error).__name__}: {error}"
            log.error("version_not_served", version=registration.key, error=version.failure)

    def _let_go(self, version: Version) -> None:
        if version.served is None:
            return
        version.served = None
        version.loaded_at = None
        self.engine.withdraw(_engine_name(version))
        log.info("version_let_go", version=version.registration.key)

    def _limit_runs(self) -> None:
        """Let each network run as often at a time as its versions have workers together."""
        workers: dict[str, int] = {}
        for version in self.all_versions():
            if version.served is not None:
                name = version.served.network.name
                workers[name] = workers.get(name, 0) + version.workers
        for version in self.all_versions():
            if version.served is not None:
                network = version.served.network
                network.limit_runs(workers[network.name])


def _engine_name(version: Version) -> str:
    """Unlike any other, also where a version is registered anew while its old one drains."""
    return f"{version.registration.key}#{id(version):x}"
