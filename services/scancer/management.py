"""What administrators do with models, told in the order in which it happens."""

import asyncio
from collections.abc import Coroutine
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
import structlog
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.scancer.catalogue import Catalogue, Version
from services.scancer.domain import (
    MAX_WORKERS,
    PackageFacts,
    Registration,
    Scale,
    Terms,
    is_model_name,
    shipped_scale,
)
from services.scancer.errors import (
    AlreadyRegistered,
    ParameterInvalid,
    TooManyVersions,
    WorkersFailed,
)
from services.scancer.intake import Intake
from services.scancer.repository import Models
from services.scancer.shelf import Shelf
from shared.inference.archive import pack
from shared.inference.package import read_manifest

log = structlog.get_logger(__name__)

#: Verifying a package takes a process and its memory.
_INTAKES_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a registration asks for."""

    url: str
    name: str | None
    sha256: str | None
    terms: Terms


class Management:
    """Changes the models in the database, and sees to it that this process follows."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        catalogue: Catalogue,
        intake: Intake,
        shelf: Shelf,
        max_versions: int,
    ) -> None:
        self._sessions = sessions
        self._catalogue = catalogue
        self._intake = intake
        self._shelf = shelf
        self._max_versions = max_versions
        self._intakes = anyio.CapacityLimiter(_INTAKES_AT_ONCE)
        self._started: set[asyncio.Task[None]] = set()

    async def all(self) -> list[Registration]:
        """Every registration, as the database has it."""
        async with self._sessions.begin() as session:
            return await self._models(session).all()

    async def register(self, wanted: Wanted, *, wait: bool) -> Registration:
        """Verify a package, keep it, and let it be found under its name.

        Args:
            wanted: the package and its terms.
            wait: whether to return only when its workers are there.

        Raises:
            Problem: it is refused, or its workers cannot start; nothing of it stays.
        """
        if wanted.name is not None and not is_model_name(wanted.name):
            raise ParameterInvalid(
                "Parameter model_name is up to 128 letters, digits, '.', '_' and '-'."
            )
        facts, name = await self._take_in(wanted)
        async with self._sessions.begin() as session:
            registration = await self._models(session).add(name, wanted.url, facts, wanted.terms)
        log.info("model_registered", model=registration.key, evidence=facts.evidence)
        await self._follow(registration, wait=wait)
        return registration

    async def scale(
        self, name: str, version: str | None, scale: Scale, *, wait: bool
    ) -> Registration:
        """Change how many runs of a version may go on at a time; 0 takes it out of memory.

        Raises:
            ModelNotFound, VersionNotFound: it is not registered.
            WorkersFailed: it cannot be brought into memory; it is as it was.
        """
        async with self._sessions.begin() as session:
            before = await self._find(session, name, version)
            registration = await self._models(session).scale(name, version, scale)
        log.info("model_scaled", model=registration.key, workers=scale.min_workers)
        if not wait:
            self._in_background(self._catalogue.refresh())
            return registration
        await self._catalogue.refresh()
        served = self._catalogue.find(name, registration.version)
        if not served.is_as_registered:
            why = served.failure
            if before is not None:
                async with self._sessions.begin() as session:
                    await self._models(session).scale(
                        name, registration.version, before.terms.scale
                    )
                await self._catalogue.refresh()
            raise WorkersFailed(f"Failed to start workers: {why}")
        return registration

    async def set_default(self, name: str, version: str) -> None:
        """Let a version answer where none is named.

        Raises:
            ModelNotFound, VersionNotFound: it is not registered.
        """
        async with self._sessions.begin() as session:
            await self._models(session).set_default(name, version)
        log.info("default_version_set", model=name, version=version)
        await self._catalogue.refresh()

    async def unregister(self, name: str, version: str | None) -> None:
        """Forget a model or one version of it; what has begun is answered.

        Raises:
            ModelNotFound, VersionNotFound: it is not registered.
            DefaultVersionKept: it is the default one, and there are others.
        """
        async with self._sessions.begin() as session:
            removed = await self._models(session).remove(name, version)
        log.info("model_unregistered", models=[each.key for each in removed])
        await self._catalogue.refresh()

    async def register_shipped(self, folder: Path) -> None:
        """Register a package of the project once; who removes it does not get it back."""
        with ExitStack() as opened:
            scratch = opened.enter_context(self._shelf.scratch())
            archive = scratch / "archive.zip"
            await asyncio.to_thread(pack, folder, archive)
            sha256 = await self._shelf.keep(archive)
        manifest = await asyncio.to_thread(read_manifest, folder)
        facts = PackageFacts(
            archive_sha256=sha256,
            model_id=manifest.id,
            model_version=manifest.version,
            network_sha256=manifest.sha256,
            evidence=str(manifest.evidence),
            task=manifest.task,
        )
        terms = Terms(shipped_scale(self._catalogue.engine.device.callers))
        async with self._sessions.begin() as session:
            models = self._models(session)
            if not await models.note_shipped(sha256):
                return
            if await models.find(manifest.id, manifest.version) is not None:
                log.warning("shipped_version_taken", model=manifest.name)
                return
            await models.add(manifest.id, f"{manifest.id}.zip", facts, terms, is_shipped=True)
            siblings = [each for each in await models.all() if each.name == manifest.id]
            if all(each.is_shipped for each in siblings):
                # A later release brings a better one; a choice of the administrator's stands.
                await models.set_default(manifest.id, manifest.version)
        log.info("shipped_model_registered", model=manifest.name)

    async def _take_in(self, wanted: Wanted) -> tuple[PackageFacts, str]:
        """Verify and keep the package, unless there is no place for it anyway."""
        with ExitStack() as opened:
            async with self._intakes:
                admitted = await anyio.to_thread.run_sync(
                    lambda: opened.enter_context(self._intake.admit(wanted.url, wanted.sha256))
                )
            name = wanted.name or admitted.manifest.id
            registered = await self.all()
            version = admitted.manifest.version
            if any((each.name, each.version) == (name, version) for each in registered):
                raise AlreadyRegistered(name, version)
            if len(registered) >= self._max_versions:
                raise TooManyVersions(f"There are {len(registered)} versions registered already.")
            return admitted.facts(await self._shelf.keep(admitted.archive)), name

    async def _follow(self, registration: Registration, *, wait: bool) -> None:
        """Bring a new version up here; a failure takes its registration back."""
        if not wait and registration.terms.scale.min_workers > 0:
            self._in_background(self._catalogue.refresh())
            return
        await self._catalogue.refresh()
        version = self._served_here(registration)
        if version is not None and version.is_as_registered and version.failure is None:
            return
        async with self._sessions.begin() as session:
            found = await self._models(session).find(registration.name, registration.version)
            if found is not None and not await self._is_needed_default(session, found):
                await self._models(session).remove(registration.name, registration.version)
        await self._catalogue.refresh()
        raise WorkersFailed(
            f"Failed to start workers: {version.failure if version is not None else 'removed'}"
        )

    async def _is_needed_default(self, session: AsyncSession, found: Registration) -> bool:
        others = [each for each in await self._models(session).all() if each.name == found.name]
        return found.is_default and len(others) > 1

    def _served_here(self, registration: Registration) -> Version | None:
        return next(
            (
                version
                for version in self._catalogue.all_versions()
                if version.registration.key == registration.key
            ),
            None,
        )

    async def _find(
        self, session: AsyncSession, name: str, version: str | None
    ) -> Registration | None:
        for each in await self._models(session).all():
            if each.name == name and (
                each.is_default if version is None else each.version == version
            ):
                return each
        return None

    def _in_background(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(work)
        self._started.add(task)
        task.add_done_callback(self._started.discard)

    def _models(self, session: AsyncSession) -> Models:
        return Models(session, self._max_versions)


def check_scale(min_workers: int, max_workers: int) -> Scale:
    """A scale that is possible.

    Raises:
        ParameterInvalid: it is not.
    """
    if max_workers < min_workers:
        raise ParameterInvalid("max_worker cannot be less than min_worker.")
    if min_workers < 0 or max_workers > MAX_WORKERS:
        raise ParameterInvalid(f"A model may have 0 to {MAX_WORKERS} workers.")
    return Scale(min_workers, max_workers)
