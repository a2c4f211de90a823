"""Every query of chexray: domain objects in, domain objects out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Row,
    Select,
    delete,
    literal,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects import registry
from sqlalchemy.ext.asyncio import AsyncSession

from services.chexray.domain import (
    ActivationMaps,
    Finding,
    GateReason,
    GateVerdict,
    ImageFacts,
    ModelIdentity,
    OwnerId,
    Study,
    StudyId,
    findings_from,
)
from services.chexray.errors import QuotaExceeded, StudyNotFound
from services.chexray.tables import KEYS, SCHEMA, StudyRow, UsageRow
from shared.db import FetchRow


@dataclass(frozen=True, slots=True)
class Quota:
    """How much one account may keep."""

    studies: int
    image_bytes: int


@dataclass(frozen=True, slots=True)
class NewStudy:
    """A study before the database has given it its number and time."""

    id: StudyId
    owner: OwnerId
    title: str
    image: ImageFacts
    media_token: str
    gate: GateVerdict
    findings: tuple[Finding, ...]
    model: ModelIdentity
    maps: ActivationMaps | None


@dataclass(frozen=True, slots=True)
class Place:
    """A place in an owner's list of studies, newest first."""

    created_at: datetime
    id: StudyId


_MAP_COLUMNS = frozenset({"map_rows", "map_columns", "map_covers_xyxy", "map_values"})
_COLUMNS = [column for column in StudyRow.__table__.columns if column.name not in _MAP_COLUMNS]
_MADE_BY_DATABASE = frozenset({"number", "created_at"})


def _charged_insert(placeholder: Callable[[int, str], str]) -> str:
    """One statement that charges the owner's quota and, only if it holds, adds the study.

    Args:
        placeholder: how the value of that number and name is written.
    """
    dialect = registry.load("postgresql.asyncpg")()
    given = {name: placeholder(number, name) for number, name in enumerate(_GIVEN, 1)}
    columns = [
        column for column in StudyRow.__table__.columns if column.name not in _MADE_BY_DATABASE
    ]
    names = ", ".join(column.name for column in columns)
    values = ", ".join(
        f"CAST({given[column.name]} AS {column.type.compile(dialect=dialect)})"
        for column in columns
    )
    return f"""
        WITH charged AS (
            INSERT INTO {SCHEMA}.usage AS kept (owner, studies, image_bytes)
            VALUES (CAST({given["owner"]} AS UUID), 1, CAST({given["image_bytes"]} AS BIGINT))
            ON CONFLICT (owner) DO UPDATE SET
                studies = kept.studies + 1,
                image_bytes = kept.image_bytes + excluded.image_bytes
            WHERE kept.studies < CAST({given["quota_studies"]} AS BIGINT)
                AND kept.image_bytes + excluded.image_bytes
                    <= CAST({given["quota_bytes"]} AS BIGINT)
            RETURNING owner
        )
        INSERT INTO {SCHEMA}.studies ({names}) SELECT {values} FROM charged
        RETURNING number, created_at
        """  # noqa: S608 (made of the names in tables.py alone)


_QUOTA = ("quota_studies", "quota_bytes")
_GIVEN = (
    *(column.name for column in StudyRow.__table__.columns if column.name not in _MADE_BY_DATABASE),
    *_QUOTA,
)
_ADD = text(_charged_insert(lambda _, name: f":{name}"))
_ADD_IN_DRIVER = _charged_insert(lambda number, _: f"${number}")


async def add_alone(fetch_row: FetchRow, quota: Quota, study: NewStudy) -> Study:
    """Keep `study` in one statement, which is a transaction of its own.

    Raises:
        QuotaExceeded: the owner keeps as much as one account may; nothing is written.
    """
    values = _values_of(study, quota)
    added = await fetch_row(_ADD_IN_DRIVER, *(values[name] for name in _GIVEN))
    if added is None:
        raise _quota_exceeded(quota)
    return _added(study, added["number"], added["created_at"])


def _values_of(study: NewStudy, quota: Quota) -> dict[str, object]:
    size = study.image.size_bytes
    if quota.studies < 1 or size > quota.image_bytes:
        raise _quota_exceeded(quota)
    maps = study.maps
    return {
        "id": study.id,
        "owner": study.owner,
        "title": study.title,
        "image_sha256": study.image.sha256,
        "image_bytes": size,
        "image_format": study.image.format,
        "image_width_px": study.image.width_px,
        "image_height_px": study.image.height_px,
        "file_name": study.image.file_name,
        "media_token": study.media_token,
        "gate_reasons": [str(reason) for reason in study.gate.reasons],
        "gate_quarter_turns": study.gate.quarter_turns,
        "probabilities": [finding.probability for finding in study.findings],
        "operating_points": [finding.operating_point for finding in study.findings],
        "model_id": study.model.id,
        "model_version": study.model.version,
        "model_sha256": study.model.sha256,
        "evidence": study.model.evidence,
        "calibrated": study.model.calibrated,
        "map_rows": maps and maps.rows,
        "map_columns": maps and maps.columns,
        "map_covers_xyxy": maps and list(maps.covers_xyxy),
        "map_values": maps and maps.values,
        "quota_studies": quota.studies,
        "quota_bytes": quota.image_bytes,
    }


def _added(study: NewStudy, number: int, created_at: datetime) -> Study:
    return Study(
        id=study.id,
        number=number,
        owner=study.owner,
        title=study.title,
        created_at=created_at,
        image=study.image,
        media_token=study.media_token,
        gate=study.gate,
        findings=study.findings,
        model=study.model,
    )


class StudyRepository:
    """The studies of everybody; what belongs to one owner is asked for with that owner."""

    def __init__(self, session: AsyncSession, quota: Quota) -> None:
        self._session = session
        self._quota = quota

    async def add(self, study: NewStudy) -> Study:
        """Keep `study`.

        Raises:
            QuotaExceeded: the owner keeps as much as one account may; nothing is written.
        """
        values = _values_of(study, self._quota)
        added = (await self._session.execute(_ADD, values)).one_or_none()
        if added is None:
            raise _quota_exceeded(self._quota)
        return _added(study, added.number, added.created_at)

    async def add_once(self, study: NewStudy, key: str, request_sha256: str) -> Study:
        """Keep `study`, or find the one that the same request made before.

        Raises:
            QuotaExceeded: the owner keeps as much as one account may; nothing is written.
        """
        claimed = await KEYS.claim(self._session, study.owner, key, request_sha256, study.id)
        if claimed != study.id:
            return await self.get(StudyId(claimed), study.owner)
        return await self.add(study)

    async def get(self, study_id: StudyId, owner: OwnerId) -> Study:
        """The owner's study; raises `StudyNotFound` for a foreign one as for an unknown one."""
        study = await self._find(_studies().where(StudyRow.id == study_id, StudyRow.owner == owner))
        if study is None:
            raise StudyNotFound
        return study

    async def find_by_number(self, number: int) -> Study | None:
        """The study with this number, whoever owns it."""
        if not 0 < number < 2**63:
            return None
        return await self._find(_studies().where(StudyRow.number == number))

    async def find_by_media_token(self, token: str) -> Study | None:
        """The study whose picture has this unguessable name."""
        return await self._find(_studies().where(StudyRow.media_token == token))

    async def list_of(self, owner: OwnerId, *, after: Place | None, limit: int) -> list[Study]:
        """The owner's studies, newest first, beginning behind `after`."""
        query = _studies().where(StudyRow.owner == owner)
        if after is not None:
            place = tuple_(literal(after.created_at), literal(UUID(str(after.id))))
            query = query.where(tuple_(StudyRow.created_at, StudyRow.id) < place)
        query = query.order_by(StudyRow.created_at.desc(), StudyRow.id.desc()).limit(limit)
        return [_to_study(row) for row in await self._session.execute(query)]

    async def numbers_of(self, owner: OwnerId) -> list[int]:
        """The numbers of the owner's studies, newest first."""
        query = (
            select(StudyRow.number)
            .where(StudyRow.owner == owner)
            .order_by(StudyRow.created_at.desc(), StudyRow.id.desc())
        )
        return list(await self._session.scalars(query))

    async def find_maps(self, study_id: StudyId) -> ActivationMaps | None:
        """The activation maps of a study; None where the gate refused it."""
        query = select(
            StudyRow.map_rows, StudyRow.map_columns, StudyRow.map_covers_xyxy, StudyRow.map_values
        ).where(StudyRow.id == study_id)
        row = (await self._session.execute(query)).one_or_none()
        if row is None or row.map_values is None:
            return None
        left, top, right, bottom = row.map_covers_xyxy
        return ActivationMaps(
            row.map_rows, row.map_columns, (left, top, right, bottom), row.map_values
        )

    async def remove(self, study_id: StudyId, owner: OwnerId) -> None:
        """Forget the owner's study and give its share of the quota back.

        Raises:
            StudyNotFound: there is none, or it is somebody else's.
        """
        removed = (
            await self._session.execute(
                delete(StudyRow)
                .where(StudyRow.id == study_id, StudyRow.owner == owner)
                .returning(StudyRow.image_bytes)
            )
        ).one_or_none()
        if removed is None:
            raise StudyNotFound
        await self._session.execute(
            update(UsageRow)
            .where(UsageRow.owner == owner)
            .values(
                studies=UsageRow.studies - 1,
                image_bytes=UsageRow.image_bytes - removed.image_bytes,
            )
        )

    async def referenced_images(self, sha256s: Sequence[str]) -> set[str]:
        """Which of these objects a study still needs."""
        query = select(StudyRow.image_sha256).where(StudyRow.image_sha256.in_(sha256s))
        return set(await self._session.scalars(query))

    async def _find(self, query: Select[Any]) -> Study | None:
        row = (await self._session.execute(query)).one_or_none()
        return None if row is None else _to_study(row)


def _quota_exceeded(quota: Quota) -> QuotaExceeded:
    return QuotaExceeded(
        f"An account may keep {quota.studies} studies and {quota.image_bytes} bytes of pictures; "
        "delete some first.",
        max_studies=quota.studies,
        max_image_bytes=quota.image_bytes,
    )


def _studies() -> Select[Any]:
    return select(*_COLUMNS)


def _to_study(row: Row[Any]) -> Study:
    findings = findings_from(row.probabilities, row.operating_points) if row.probabilities else ()
    return Study(
        id=StudyId(row.id),
        number=row.number,
        owner=OwnerId(row.owner),
        title=row.title,
        created_at=row.created_at,
        image=ImageFacts(
            sha256=row.image_sha256,
            size_bytes=row.image_bytes,
            format=row.image_format,
            width_px=row.image_width_px,
            height_px=row.image_height_px,
            file_name=row.file_name,
        ),
        media_token=row.media_token,
        gate=GateVerdict(
            tuple(GateReason(reason) for reason in row.gate_reasons), row.gate_quarter_turns
        ),
        findings=findings,
        model=ModelIdentity(
            id=row.model_id,
            version=row.model_version,
            sha256=row.model_sha256,
            evidence=row.evidence,
            calibrated=row.calibrated,
        ),
    )
