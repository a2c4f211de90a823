"""The old paths. Every answer is 200 on the wire; its own status is inside (Q1)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import structlog
from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy.exc import TimeoutError as PoolTimeout

from services.netra.answers import marks_of
from services.netra.compat import errors, patients
from services.netra.compat.describing import describe
from services.netra.compat.errors import OldError
from services.netra.compat.images import MAX_ARCHIVE_BYTES, MAX_IMAGE_BYTES, decode_image
from services.netra.compat.parsing import (
    LARGE_BYTES,
    MAX_SMALL_BODY_BYTES,
    Fields,
    plain_name,
    read_fields,
    text_of,
)
from services.netra.compat.translate import (
    Body,
    to_error,
    to_queued,
    to_result,
    to_status,
    to_token,
)
from services.netra.dependencies import owner_of
from services.netra.dependencies import plain_name as plain_file_name
from services.netra.domain import MAX_LABEL_CHARACTERS, OwnerId
from services.netra.errors import AnalysisNotFound, NoCredits
from services.netra.job import AnalysisJob
from services.netra.repositories.analyses import AnalysisRepository
from services.netra.repositories.ledger import Ledger
from services.netra.service import Photograph, Submission, Visit
from shared.assertions import Caller, client_address
from shared.auth_client import Account, Credentials, CredentialsRefused, WrongCredentials
from shared.inference import EvidenceRefused
from shared.problems import Problem, TooManyRequests
from shared.tokens import TokenRefused

log = structlog.get_logger(__name__)

REQUEST_TYPE = "DIAB_RETINA"
#: Base64 is a third longer than what it stands for, and escaped base64 longer still.
_MAX_BODY_BYTES = 4 * MAX_IMAGE_BYTES
_MAX_TWO_IMAGES_BYTES = 2 * _MAX_BODY_BYTES
_MAX_ARCHIVE_BODY_BYTES = MAX_ARCHIVE_BYTES * 3 // 2
_NO_STORE = {"Cache-Control": "no-store"}


@dataclass
class Call:
    """One request, and what is known of it when it fails."""

    request: Request
    fields: Fields
    caller: Caller | None = None

    def text(self, name: str) -> str:
        """A short field, without blanks around it."""
        return text_of(self.fields, name).strip()

    async def authenticate(self, scope: str) -> OwnerId:
        """The account behind the token in the body.

        Raises:
            OldError: there is no token, or it is not good, or its account lacks the right.
        """
        token = self.text("token")
        if not token:
            raise errors.missing("token")
        try:
            self.caller = await self.request.state.body_tokens.find_caller(token)
        except TokenRefused as error:
            raise errors.bad_token() from error
        # The log's line names them, as it names whom the gateway has found.
        self.request.state.caller = self.caller
        if scope not in self.caller.scopes:
            raise errors.no_rights()
        return owner_of(self.caller)

    async def remaining(self) -> int:
        """The caller's credits."""
        assert self.caller is not None
        async with self.request.state.sessions.begin() as session:
            ledger = Ledger(session, self.request.state.first_credits)
            return await ledger.remaining(owner_of(self.caller))


Work = Callable[[Call], Awaitable[Response]]


def old_route(work: Work, max_bytes: int, *, job_status: str | None = None) -> Any:
    """An endpoint that answers every failure as the old API did.

    Args:
        work: what the path does.
        max_bytes: the longest body.
        job_status: what `statusJob` says when it fails.
    """

    async def answer(request: Request) -> Response:
        call = Call(request, {})
        try:
            call.fields = await read_fields(request, max_bytes)
            return await work(call)
        except (OldError, Problem, PoolTimeout) as failure:
            error = _to_old(failure)
            remaining = await _remaining(call, error)
            body = to_error(error, job_status=job_status, remaining=remaining)
            log.info("old_wire_refused", message=error.message)
            return _answer(body)

    answer.__doc__ = work.__doc__
    return answer


def _to_old(failure: OldError | Problem | PoolTimeout) -> OldError:
    """Today's refusals in the old API's form."""
    match failure:
        case OldError():
            return failure
        case NoCredits():
            return errors.no_credits()
        case AnalysisNotFound():
            return errors.no_such_job()
        case TooManyRequests():
            return errors.too_many_requests()
        case EvidenceRefused():
            return errors.evidence_refused()
        case Problem() if failure.status < errors.API_ERROR:
            return errors.bad_body()
        case _:
            return errors.unavailable()


async def _remaining(call: Call, error: OldError) -> int | None:
    """The caller's credits beside a refusal, where they can be told."""
    if call.caller is None or error.status != errors.SPECIFIC_ERROR:
        return None
    try:
        return await call.remaining()
    except (Problem, PoolTimeout):
        return None


async def get_token(call: Call) -> Response:
    """Give out a token that is good for two hours and for this API alone."""
    username, password = call.text("username"), text_of(call.fields, "password")
    for name, value in (("username", username), ("password", password)):
        if not value:
            raise errors.missing(name)
    if call.text("apiRequestType") not in ("", REQUEST_TYPE):
        raise errors.bad_request_type()
    try:
        account: Account = await call.request.state.auth.log_in(
            Credentials(username, password, client_address(call.request))
        )
    except (WrongCredentials, CredentialsRefused) as error:
        raise errors.wrong_login() from error
    valid_until = datetime.now(UTC) + timedelta(seconds=account.expires_in)
    async with call.request.state.sessions.begin() as session:
        ledger = Ledger(session, call.request.state.first_credits)
        remaining = await ledger.remaining(OwnerId(account.user_id))
    return _answer(to_token(account.token, remaining, valid_until))


async def do_analysis(call: Call) -> Response:
    """Take one image in; it costs one credit, which comes back if its analysis fails."""
    owner = await call.authenticate("netra:write")
    value = call.fields.get(plain_name("image"))
    if not value:
        raise errors.missing("image")
    name = plain_file_name(call.text("imageName"))
    if len(value) < LARGE_BYTES:
        image = decode_image(value)
    else:
        image = await to_thread.run_sync(decode_image, value)
    token, remaining = await _submit(
        call,
        owner,
        [Photograph(image, name)],
        label=call.text("bulkImgLabel")[:MAX_LABEL_CHARACTERS],
    )
    return _answer(to_queued(token[0], remaining))


async def get_status(call: Call) -> Response:
    """Tell where a job stands."""
    job, remaining = await _find_job(call)
    return _answer(to_status(job, remaining))


async def get_result(call: Call) -> Response:
    """Tell what was found."""
    job, remaining = await _find_job(call)
    call.request.state.guard.check(job)
    return _answer(to_result(job, remaining), marks_of(job.found))


async def do_patient_analysis(call: Call) -> Response:
    """Take the photographs of a patient's two eyes in; each costs one credit."""
    return await _do_patient(call, patients.both_eyes)


async def do_patient_multi_img_analysis(call: Call) -> Response:
    """Take an archive of a patient's photographs in; each costs one credit."""
    return await _do_patient(call, patients.archived)


async def _do_patient(call: Call, read: Callable[[Fields], list[Photograph]]) -> Response:
    owner = await call.authenticate("netra:write")
    visit = Visit(uuid4().hex, patients.patient_of(call.fields))
    photographs = await to_thread.run_sync(read, call.fields)
    tokens, remaining = await _submit(call, owner, photographs, visit=visit)
    jobs = [
        {"eye": str(photograph.eye).upper(), "imageName": photograph.image_name, "jobId": token}
        for photograph, token in zip(photographs, tokens, strict=True)
    ]
    return _answer(to_queued(tokens[0], remaining) | {"jobs": jobs, "examination": visit.reference})


async def _submit(
    call: Call,
    owner: OwnerId,
    photographs: list[Photograph],
    *,
    label: str = "",
    visit: Visit | None = None,
) -> tuple[list[str], int]:
    """Queue photographs; their names on this wire, and what is left of the credits."""
    assert call.caller is not None
    call.request.state.guard.check_upload()
    accepted = await call.request.state.analyses.submit(
        Submission(
            owner=owner,
            username=call.caller.username or call.caller.subject,
            photographs=photographs,
            label=label,
            visit=visit,
        )
    )
    return [token for _, token in accepted.analyses], accepted.remaining


async def _find_job(call: Call) -> tuple[AnalysisJob, int]:
    owner = await call.authenticate("netra:read")
    name = call.text("jobId")
    if not name:
        raise errors.missing("jobId")
    async with call.request.state.sessions.begin() as session:
        job = await AnalysisRepository(session).get_by_token(name, owner)
        ledger = Ledger(session, call.request.state.first_credits)
        return job, await ledger.remaining(owner)


def _answer(body: Body, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(body, headers=_NO_STORE | (headers or {}))


router = APIRouter(prefix="/v1", tags=["netra, old API"], deprecated=True)
for _name, _work, _max_bytes, _job_status in (
    ("getToken", get_token, MAX_SMALL_BODY_BYTES, None),
    ("doAnalysis", do_analysis, _MAX_BODY_BYTES, None),
    ("getStatus", get_status, MAX_SMALL_BODY_BYTES, "ERROR"),
    ("getResult", get_result, MAX_SMALL_BODY_BYTES, "ERROR"),
    ("doPatientAnalysis", do_patient_analysis, _MAX_TWO_IMAGES_BYTES, None),
    ("doPatientMultiImgAnalysis", do_patient_multi_img_analysis, _MAX_ARCHIVE_BODY_BYTES, None),
):
    for _slash in ("", "/"):
        router.add_api_route(
            f"/{_name}{_slash}",
            old_route(_work, _max_bytes, job_status=_job_status),
            methods=["POST"],
            name=f"old_{_name}",
            operation_id=f"netra_old_{_name}",
            include_in_schema=not _slash,
            **describe(_name),
        )
