"""Every query of scancer; domain objects in, domain objects out.

Changes take turns through one advisory lock, and tell every replica when they are committed.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.scancer.domain import PackageFacts, Registration, Scale, Terms
from services.scancer.errors import (
    AlreadyRegistered,
    DefaultVersionKept,
    ModelNotFound,
    TooManyVersions,
    VersionNotFound,
)
from services.scancer.tables import ModelRow, ShippedRow

#: Where replicas hear that the models have changed.
CHANNEL: Final = "vedette_scancer_models"
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('vedette-scancer-models', 0))")


class Models:
    """The registered models, in one transaction."""

    def __init__(self, session: AsyncSession, max_versions: int) -> None:
        self._session = session
        self._max_versions = max_versions

    async def all(self) -> list[Registration]:
        """Every version of every model."""
        rows = await self._session.scalars(select(ModelRow).order_by(ModelRow.name))
        return [_to_registration(row) for row in rows]

    async def find(self, name: str, version: str) -> Registration | None:
        """One version, if it is registered."""
        row = await self._session.get(ModelRow, (name, version))
        return None if row is None else _to_registration(row)

    async def add(
        self, name: str, url: str, package: PackageFacts, terms: Terms, *, is_shipped: bool = False
    ) -> Registration:
        """Register a version; a model's first one is its default.

        Raises:
            AlreadyRegistered: it is there.
            TooManyVersions: there are as many as there may be.
        """
        await self._session.execute(_LOCK)
        if await self.find(name, package.model_version) is not None:
            raise AlreadyRegistered(name, package.model_version)
        count = await self._session.scalar(select(func.count()).select_from(ModelRow)) or 0
        if count >= self._max_versions:
            raise TooManyVersions(f"There are {count} versions registered already.")
        others = select(ModelRow.name).where(ModelRow.name == name).limit(1)
        row = ModelRow(
            name=name,
            version=package.model_version,
            url=url,
            is_default=await self._session.scalar(others) is None,
            is_shipped=is_shipped,
            **_columns_of(package, terms),
        )
        self._session.add(row)
        await self._session.flush()
        await self._session.refresh(row)
        await self._announce()
        return _to_registration(row)

    async def scale(self, name: str, version: str | None, scale: Scale) -> Registration:
        """Change the number of workers of a version, or of the default one.

        Raises:
            ModelNotFound, VersionNotFound: it is not registered.
        """
        await self._session.execute(_LOCK)
        row = await self._get(name, version)
        row.min_workers, row.max_workers = scale.min_workers, scale.max_workers
        await self._session.flush()
        await self._announce()
        return _to_registration(row)

    async def set_default(self, name: str, version: str) -> None:
        """Let a version answer where none is named.

        Raises:
            ModelNotFound, VersionNotFound: it is not registered.
        """
        await self._session.execute(_LOCK)
        await self._get(name, version)
        for is_default in (False, True):
            await self._session.execute(
                update(ModelRow)
                .where(
                    ModelRow.name == name,
                    (ModelRow.version == version) if is_default else (ModelRow.version != version),
                )
                .values(is_default=is_default)
            )
        await self._announce()

    async def remove(self, name: str, version: str | None) -> list[Registration]:
        """Forget a model with all its versions, or one version of it.

        Raises:
            ModelNotFound, VersionNotFound: it is not registered.
            DefaultVersionKept: it is the default one, and there are others.
        """
        await self._session.execute(_LOCK)
        rows = list(await self._session.scalars(select(ModelRow).where(ModelRow.name == name)))
        if not rows:
            raise ModelNotFound(name)
        leaving = rows if version is None else [row for row in rows if row.version == version]
        if not leaving:
            raise VersionNotFound(name, str(version))
        if len(leaving) < len(rows) and leaving[0].is_default:
            raise DefaultVersionKept(name)
        removed = [_to_registration(row) for row in leaving]
        await self._session.execute(
            delete(ModelRow).where(
                ModelRow.name == name, ModelRow.version.in_([row.version for row in leaving])
            )
        )
        await self._announce()
        return removed

    async def note_shipped(self, archive_sha256: str) -> bool:
        """Remember a shipped package; False where it was known already."""
        await self._session.execute(_LOCK)
        found = await self._session.execute(
            insert(ShippedRow)
            .values(archive_sha256=archive_sha256)
            .on_conflict_do_nothing()
            .returning(ShippedRow.archive_sha256)
        )
        return found.first() is not None

    async def referenced_archives(self, sha256s: Sequence[str]) -> set[str]:
        """Which of these archives a version needs."""
        found = await self._session.scalars(
            select(ModelRow.archive_sha256).where(ModelRow.archive_sha256.in_(sha256s))
        )
        return set(found)

    async def _get(self, name: str, version: str | None) -> ModelRow:
        wanted = ModelRow.is_default if version is None else ModelRow.version == version
        row = await self._session.scalar(select(ModelRow).where(ModelRow.name == name, wanted))
        if row is not None:
            return row
        any_row = select(ModelRow.name).where(ModelRow.name == name).limit(1)
        if version is None or await self._session.scalar(any_row) is None:
            raise ModelNotFound(name)
        raise VersionNotFound(name, version)

    async def _announce(self) -> None:
        """Tell the replicas, when and if this transaction commits."""
        await self._session.execute(select(func.pg_notify(CHANNEL, "")))


def _columns_of(package: PackageFacts, terms: Terms) -> dict[str, Any]:
    return {
        "archive_sha256": package.archive_sha256,
        "model_id": package.model_id,
        "model_version": package.model_version,
        "network_sha256": package.network_sha256,
        "evidence": package.evidence,
        "task": package.task,
        "min_workers": terms.scale.min_workers,
        "max_workers": terms.scale.max_workers,
        "batch_size": terms.batch_size,
        "max_batch_delay_ms": terms.max_batch_delay_ms,
        "response_timeout_s": terms.response_timeout_s,
        "startup_timeout_s": terms.startup_timeout_s,
    }


def _to_registration(row: ModelRow) -> Registration:
    return Registration(
        name=row.name,
        version=row.version,
        url=row.url,
        package=PackageFacts(
            archive_sha256=row.archive_sha256,
            model_id=row.model_id,
            model_version=row.model_version,
            network_sha256=row.network_sha256,
            evidence=row.evidence,
            task=row.task,
        ),
        terms=Terms(
            scale=Scale(row.min_workers, row.max_workers),
            batch_size=row.batch_size,
            max_batch_delay_ms=row.max_batch_delay_ms,
            response_timeout_s=row.response_timeout_s,
            startup_timeout_s=row.startup_timeout_s,
        ),
        is_default=row.is_default,
        is_shipped=row.is_shipped,
        registered_at=row.registered_at,
    )
