"""What auth's routes ask for."""

from dataclasses import dataclass
from typing import Annotated, TypedDict
from uuid import UUID

from fastapi import Depends, Form, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer, OAuth2PasswordBearer
from pydantic import ValidationError

from services.auth.accounts import Accounts
from services.auth.api_keys import ApiKeys
from services.auth.audit import AuditLog
from services.auth.devices import Devices
from services.auth.domain import UserId
from services.auth.errors import InvalidTokenRequest
from services.auth.key_ring import KeyRing
from services.auth.renewal import Renewal
from services.auth.schemas import RevokeIn
from services.auth.sign_in import SignIn
from shared.assertions import Caller, CallerDep, client_address, require
from shared.problems import Forbidden, Unauthenticated


class State(TypedDict):
    """What the lifespan opens and requests find in `request.state`."""

    sign_in: SignIn
    renewal: Renewal
    accounts: Accounts
    api_keys: ApiKeys
    key_ring: KeyRing
    audit_log: AuditLog
    devices: Devices


def _sign_in(request: Request) -> SignIn:
    found: SignIn = request.state.sign_in
    return found


def _renewal(request: Request) -> Renewal:
    found: Renewal = request.state.renewal
    return found


def _accounts(request: Request) -> Accounts:
    found: Accounts = request.state.accounts
    return found


def _api_keys(request: Request) -> ApiKeys:
    found: ApiKeys = request.state.api_keys
    return found


def _key_ring(request: Request) -> KeyRing:
    found: KeyRing = request.state.key_ring
    return found


def _audit_log(request: Request) -> AuditLog:
    found: AuditLog = request.state.audit_log
    return found


SignInDep = Annotated[SignIn, Depends(_sign_in)]
RenewalDep = Annotated[Renewal, Depends(_renewal)]
AccountsDep = Annotated[Accounts, Depends(_accounts)]
ApiKeysDep = Annotated[ApiKeys, Depends(_api_keys)]
KeyRingDep = Annotated[KeyRing, Depends(_key_ring)]
AuditLogDep = Annotated[AuditLog, Depends(_audit_log)]
AddressDep = Annotated[str, Depends(client_address)]
CursorDep = Annotated[UUID | None, Query(alias="cursor", description="From the page before.")]
LimitDep = Annotated[int, Query(alias="limit", ge=1, le=100)]


def no_store(response: Response) -> None:
    """Keep answers about accounts and credentials out of every cache."""
    response.headers["Cache-Control"] = "no-store"


#: They only describe the credentials; the gateway checks them, and the caller tells the result.
DESCRIBED_CREDENTIALS = (
    Security(HTTPBearer(scheme_name="bearer", auto_error=False)),
    Security(
        OAuth2PasswordBearer(
            tokenUrl="/api/v2/auth/token", scheme_name="password", auto_error=False
        )
    ),
)


def require_user(caller: CallerDep) -> Caller:
    """Let a user's credential pass, of whichever kind, if it may do anything at all."""
    if caller.kind == "anonymous":
        raise Unauthenticated("This needs a credential.", headers={"WWW-Authenticate": "Bearer"})
    if caller.kind != "user" or not caller.scopes:
        raise Forbidden("This credential may do nothing here.")
    return caller


def require_sign_in(caller: CallerDep) -> UserId:
    """Let a person pass who has signed in; a program's key does not manage its owner."""
    if caller.kind == "anonymous":
        raise Unauthenticated("This needs a credential.", headers={"WWW-Authenticate": "Bearer"})
    if caller.kind != "user" or caller.credential != "bearer":
        raise Forbidden("This needs an access token.")
    return UserId(UUID(caller.subject))


def require_service(caller: CallerDep) -> Caller:
    """Let one of the platform's own processes pass."""
    if caller.kind != "service":
        raise Unauthenticated("This is for the platform's own services.")
    return caller


UserCallerDep = Annotated[Caller, Depends(require_user)]
SignedInDep = Annotated[UserId, Depends(require_sign_in)]
ServiceCallerDep = Annotated[Caller, Depends(require_service)]
AdministratorDep = Annotated[Caller, Depends(require("users:admin"))]
AuditorDep = Annotated[Caller, Depends(require("audit:read"))]


@dataclass(frozen=True, slots=True)
class PasswordGrant:
    """A user name and password for a pair of tokens."""

    username: str
    password: str


@dataclass(frozen=True, slots=True)
class RefreshGrant:
    """A refresh token for the next pair."""

    refresh_token: str


@dataclass(frozen=True, slots=True)
class UnknownGrant:
    """A grant type that auth does not have."""


async def read_grant(
    request: Request,
    grant_type: Annotated[str, Form(examples=["password"])] = "",
    username: Annotated[str, Form(examples=["dr.grant"])] = "",
    password: Annotated[str, Form(json_schema_extra={"format": "password"})] = "",
    refresh_token: Annotated[str, Form()] = "",
) -> PasswordGrant | RefreshGrant | UnknownGrant:
    """Read a grant; unknown parameters are ignored, as RFC 6749, section 3.2, wants it.

    Raises:
        InvalidTokenRequest: a parameter is missing or given twice.
    """
    form = await request.form()
    if len(form.multi_items()) != len(form):
        raise InvalidTokenRequest("A parameter is given twice.")
    if not grant_type:
        raise InvalidTokenRequest("The parameter grant_type is missing.")
    if grant_type == "password":
        if not username or not password:
            raise InvalidTokenRequest("This grant needs username and password.")
        return PasswordGrant(username, password)
    if grant_type == "refresh_token":
        if not refresh_token:
            raise InvalidTokenRequest("This grant needs refresh_token.")
        return RefreshGrant(refresh_token)
    return UnknownGrant()


GrantDep = Annotated[PasswordGrant | RefreshGrant | UnknownGrant, Depends(read_grant)]


async def read_revocation(request: Request) -> str:
    """The token to revoke, from JSON, or from a form as RFC 7009 has it."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if content_type == "application/x-www-form-urlencoded":
            return RevokeIn.model_validate({"token": (await request.form()).get("token")}).token
        return RevokeIn.model_validate_json(await request.body()).token
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_context=False)) from error


RevocationDep = Annotated[str, Depends(read_revocation)]
