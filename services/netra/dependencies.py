"""What routes ask for by type."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Final, TypedDict
from uuid import UUID

from fastapi import Depends, Path, Request
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.netra.announcing import Endings
from services.netra.domain import MAX_LABEL_CHARACTERS, AnalysisId, OwnerId
from services.netra.errors import AnalysisNotFound
from services.netra.evidence import EvidenceGuard
from services.netra.illustrating import Illustrator
from services.netra.job import (
    MAX_IMAGE_NAME_CHARACTERS,
    MAX_REFERENCE_CHARACTERS,
    AnalysisJob,
    Eye,
    Patient,
)
from services.netra.repositories.analyses import AnalysisRepository
from services.netra.service import Analyses, Photograph, Submission, Visit
from shared.assertions import Caller, require
from shared.db import SessionDep
from shared.idempotency import idempotency_key_of
from shared.multipart import FilePart, read_multipart
from shared.problems import Forbidden, InvalidRequest
from shared.webhooks import Guard

_MAX_PRIORITY: Final = 9
#: So long may a client that asks for it wait for the end of its analysis.
MAX_WAIT_S: Final = 60
_is_whole_number = re.compile(r"-?\d{1,2}", re.ASCII).fullmatch
_wait_s = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,4})", re.ASCII | re.IGNORECASE).search


class State(TypedDict):
    """What the lifespan opens."""

    sessions: async_sessionmaker[AsyncSession]
    analyses: Analyses
    illustrator: Illustrator
    endings: Endings
    webhook_addresses: Guard
    guard: EvidenceGuard
    first_credits: int
    max_upload_bytes: int


# All of these are coroutines, because FastAPI sends plain functions to a thread.


async def get_repository(session: SessionDep) -> AnalysisRepository:
    """The analyses' rows, in this request's transaction."""
    return AnalysisRepository(session)


async def get_analyses(request: Request) -> Analyses:
    """The use cases."""
    analyses: Analyses = request.state.analyses
    return analyses


async def get_illustrator(request: Request) -> Illustrator:
    """What draws."""
    illustrator: Illustrator = request.state.illustrator
    return illustrator


async def get_guard(request: Request) -> EvidenceGuard:
    """What keeps answers back that this installation does not give."""
    guard: EvidenceGuard = request.state.guard
    return guard


RepositoryDep = Annotated[AnalysisRepository, Depends(get_repository, scope="function")]
AnalysesDep = Annotated[Analyses, Depends(get_analyses)]
IllustratorDep = Annotated[Illustrator, Depends(get_illustrator)]
GuardDep = Annotated[EvidenceGuard, Depends(get_guard)]


def owner_of(caller: Caller) -> OwnerId:
    """The account whose analyses the caller may see."""
    try:
        return OwnerId(UUID(caller.subject))
    except ValueError as error:
        raise Forbidden("Analyses belong to people; this credential is not a person's.") from error


_require_read = require("netra:read")
_require_write = require("netra:write")
_require_admin = require("netra:admin")


async def get_viewer(request: Request) -> OwnerId:
    """The account that reads."""
    return owner_of(_require_read(request))


async def get_author(request: Request) -> OwnerId:
    """The account that changes something."""
    return owner_of(_require_write(request))


async def get_administrator(request: Request) -> OwnerId:
    """The account that changes other people's credits."""
    return owner_of(_require_admin(request))


ViewerDep = Annotated[OwnerId, Depends(get_viewer)]
AuthorDep = Annotated[OwnerId, Depends(get_author)]
AdministratorDep = Annotated[OwnerId, Depends(get_administrator)]


async def get_analysis_id(
    analysis_id: Annotated[str, Path(json_schema_extra={"format": "uuid"})],
) -> AnalysisId:
    """The identifier in the path; what is none names no analysis."""
    try:
        return AnalysisId(UUID(analysis_id))
    except ValueError as error:
        raise AnalysisNotFound from error


AnalysisIdDep = Annotated[AnalysisId, Depends(get_analysis_id)]


async def find_job(analysis_id: AnalysisIdDep, viewer: ViewerDep, request: Request) -> AnalysisJob:
    """The caller's analysis, read in a transaction that has ended before anything is drawn."""
    async with request.state.sessions.begin() as session:
        return await AnalysisRepository(session).get(analysis_id, viewer)


JobDep = Annotated[AnalysisJob, Depends(find_job)]


def wait_of(request: Request) -> float:
    """For how long the client prefers to wait (RFC 7240, section 4.3)."""
    found = _wait_s(request.headers.get("prefer", ""))
    return 0.0 if found is None else float(min(int(found[1]), MAX_WAIT_S))


async def read_submission(request: Request) -> Submission:
    """The parts of a multipart form; those that are not known are ignored."""
    caller = _require_write(request)
    owner = owner_of(caller)
    key = idempotency_key_of(request)
    form = await read_multipart(request, request.state.max_upload_bytes)
    image = form.get("image")
    if not isinstance(image, FilePart):
        raise InvalidRequest("The form needs a file in the part `image`.")
    reference = text_of(form, "examination", MAX_REFERENCE_CHARACTERS)
    return Submission(
        owner=owner,
        username=caller.username or caller.subject,
        photographs=[
            Photograph(image.content, plain_name(image.name), _eye_of(text_of(form, "eye", 16)))
        ],
        label=text_of(form, "label", MAX_LABEL_CHARACTERS),
        visit=Visit(reference, _patient_of(form)) if reference else None,
        priority=_priority_of(text_of(form, "priority", 8)),
        idempotency_key=key,
    )


def text_of(form: Mapping[str, str | FilePart], name: str, limit: int) -> str:
    """A field of a form, without blanks around it.

    Raises:
        InvalidRequest: it is a file, too long, or holds what no text does.
    """
    value = form.get(name, "")
    if not isinstance(value, str) or len(value) > limit or not _is_text(value):
        raise InvalidRequest(f"`{name}` is text of at most {limit} characters.")
    return value.strip()


def plain_name(name: str) -> str:
    """A file's name without its folders and without anything that is no text; only ever shown."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(letter for letter in base if letter.isprintable()).strip()
    return shown[-MAX_IMAGE_NAME_CHARACTERS:]


def _is_text(value: str) -> bool:
    return "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _eye_of(text: str) -> Eye | None:
    try:
        return Eye(text.lower()) if text else None
    except ValueError as error:
        raise InvalidRequest("`eye` is left or right.") from error


def _priority_of(text: str) -> int:
    if not text:
        return 0
    if not _is_whole_number(text) or abs(int(text)) > _MAX_PRIORITY:
        raise InvalidRequest(
            f"`priority` is a whole number from -{_MAX_PRIORITY} to {_MAX_PRIORITY}."
        )
    return int(text)


def _patient_of(form: Mapping[str, str | FilePart]) -> Patient:
    born, sex = text_of(form, "patient_birth_date", 10), text_of(form, "patient_sex", 1).upper()
    try:
        birth_date = date.fromisoformat(born) if born else None
    except ValueError as error:
        raise InvalidRequest("`patient_birth_date` is a date: 1958-03-27.") from error
    if sex not in ("", "M", "F", "O"):
        raise InvalidRequest("`patient_sex` is M, F or O.")
    return Patient(
        id=text_of(form, "patient_id", 64),
        name=text_of(form, "patient_name", 128),
        birth_date=birth_date,
        sex=sex,
    )
