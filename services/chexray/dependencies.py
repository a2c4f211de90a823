"""What routes ask for by type."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, TypedDict
from uuid import UUID

from fastapi import Depends, Path, Request
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.chexray.domain import (
    MAX_TITLE_CHARACTERS,
    ActivationMaps,
    OwnerId,
    Study,
    StudyId,
)
from services.chexray.errors import StudyNotFound
from services.chexray.repository import NewStudy, Quota, StudyRepository, add_alone
from services.chexray.service import Illustrator, Keep, StudyReader, Upload
from shared.assertions import Caller, require
from shared.db import FetchRow, SessionDep
from shared.idempotency import idempotency_key_of
from shared.multipart import FilePart, read_multipart
from shared.problems import Forbidden, InvalidRequest


class State(TypedDict):
    """What the lifespan opens."""

    sessions: async_sessionmaker[AsyncSession]
    fetch_row: FetchRow
    reader: StudyReader
    illustrator: Illustrator
    quota: Quota
    max_upload_bytes: int


# All of these are coroutines, because FastAPI sends plain functions to a thread.


async def get_studies(request: Request, session: SessionDep) -> StudyRepository:
    """The studies, in this request's transaction."""
    return StudyRepository(session, request.state.quota)


async def get_reader(request: Request) -> StudyReader:
    """What reads radiographs."""
    reader: StudyReader = request.state.reader
    return reader


async def get_illustrator(request: Request) -> Illustrator:
    """What draws."""
    illustrator: Illustrator = request.state.illustrator
    return illustrator


StudiesDep = Annotated[StudyRepository, Depends(get_studies, scope="function")]
ReaderDep = Annotated[StudyReader, Depends(get_reader)]
IllustratorDep = Annotated[Illustrator, Depends(get_illustrator)]


def owner_of(caller: Caller) -> OwnerId:
    """The account whose studies the caller may see."""
    try:
        return OwnerId(UUID(caller.subject))
    except ValueError as error:
        raise Forbidden("Studies belong to people; this credential is not a person's.") from error


_require_read = require("chexray:read")
_require_write = require("chexray:write")


async def get_viewer(request: Request) -> OwnerId:
    """The account that reads."""
    return owner_of(_require_read(request))


async def get_author(request: Request) -> OwnerId:
    """The account that changes something."""
    return owner_of(_require_write(request))


ViewerDep = Annotated[OwnerId, Depends(get_viewer)]
AuthorDep = Annotated[OwnerId, Depends(get_author)]


async def get_study_id(
    study_id: Annotated[str, Path(json_schema_extra={"format": "uuid"})],
) -> StudyId:
    """The identifier in the path; what is none names no study."""
    try:
        return StudyId(UUID(study_id))
    except ValueError as error:
        raise StudyNotFound from error


StudyIdDep = Annotated[StudyId, Depends(get_study_id)]


@dataclass(frozen=True, slots=True)
class Illustrated:
    """A study with what is needed to draw on it."""

    study: Study
    maps: ActivationMaps | None


async def find_illustrated(
    study_id: StudyIdDep, viewer: ViewerDep, request: Request
) -> Illustrated:
    """The caller's study, read in a transaction that has ended before anything is drawn."""
    async with request.state.sessions.begin() as session:
        studies = StudyRepository(session, request.state.quota)
        study = await studies.get(study_id, viewer)
        return Illustrated(study, await studies.find_maps(study.id))


IllustratedDep = Annotated[Illustrated, Depends(find_illustrated)]


async def read_upload(request: Request) -> Upload:
    """The parts `image` and `title` of a multipart form; other parts are ignored."""
    author = owner_of(_require_write(request))
    idempotency_key = idempotency_key_of(request)
    form = await read_multipart(request, request.state.max_upload_bytes)
    image, title = form.get("image"), form.get("title", "")
    if not isinstance(image, FilePart):
        raise InvalidRequest("The form needs a file in the part `image`.")
    if not isinstance(title, str) or len(title) > MAX_TITLE_CHARACTERS or "\0" in title:
        raise InvalidRequest(
            f"`title` is text of at most {MAX_TITLE_CHARACTERS} characters without NUL."
        )
    return Upload(
        owner=author,
        title=title.strip(),
        file_name=image.name,
        image=image.content,
        idempotency_key=idempotency_key,
    )


def keeper_of(request: Request, upload: Upload) -> Keep:
    """What keeps the upload's study: one statement alone, or with its key in a transaction."""
    quota: Quota = request.state.quota
    key = upload.idempotency_key
    if key is None:
        return partial(add_alone, request.state.fetch_row, quota)

    async def keep_once(study: NewStudy) -> Study:
        async with request.state.sessions.begin() as session:
            studies = StudyRepository(session, quota)
            return await studies.add_once(study, key, upload.request_sha256)

    return keep_once
