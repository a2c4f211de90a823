"""What routes ask for by type."""

from typing import Annotated, TypedDict
from uuid import UUID

from fastapi import Depends, Path, Request
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.bqat.domain import ANONYMOUS_TENANT, TaskId, Tenant
from services.bqat.errors import ScanNotFound
from services.bqat.service import Scans
from services.bqat.settings import Settings
from shared.assertions import Caller, client_address, get_caller
from shared.imaging import Decoder
from shared.loopback import is_loopback
from shared.problems import Forbidden, Unauthenticated

_READS = frozenset({"GET", "HEAD"})
_ASK_FOR = {"WWW-Authenticate": 'Bearer, Basic realm="bqat"'}


class State(TypedDict):
    """What the lifespan opens."""

    sessions: async_sessionmaker[AsyncSession]
    scans: Scans
    settings: Settings
    decoder: Decoder


# All of these are coroutines, because FastAPI sends plain functions to a thread.


async def get_scans(request: Request) -> Scans:
    """Scans, and what is made of them."""
    scans: Scans = request.state.scans
    return scans


async def get_tenant(request: Request) -> Tenant:
    """Whose scans the caller works with.

    Without a credential it is the anonymous tenant, where the operator allows that and the caller
    is on this machine.
    """
    caller: Caller = get_caller(request)
    if caller.kind == "anonymous":
        settings: Settings = request.state.settings
        if (
            settings.bqat_anonymous
            and caller.refusal is None
            and is_loopback(client_address(request))
        ):
            return ANONYMOUS_TENANT
        raise Unauthenticated("A credential is needed.", headers=_ASK_FOR)
    needed = "bqat:read" if request.method in _READS else "bqat:write"
    if needed not in caller.scopes:
        raise Forbidden(f"This needs the scope {needed}.")
    return Tenant(caller.subject)


async def get_administrator(request: Request) -> Caller:
    """The administrator: what destroys everybody's data is nobody else's to do."""
    caller: Caller = get_caller(request)
    if caller.kind == "anonymous":
        raise Unauthenticated("This needs the administrator.", headers=_ASK_FOR)
    if "admin" not in caller.roles:
        raise Forbidden("This needs the administrator.")
    return caller


async def get_task_id(
    scan_id: Annotated[str, Path(json_schema_extra={"format": "uuid"})],
) -> TaskId:
    """The identifier in the path; what is none names no scan."""
    try:
        return TaskId(UUID(scan_id))
    except ValueError as error:
        raise ScanNotFound from error


ScansDep = Annotated[Scans, Depends(get_scans)]
TenantDep = Annotated[Tenant, Depends(get_tenant)]
AdministratorDep = Annotated[Caller, Depends(get_administrator)]
TaskIdDep = Annotated[TaskId, Depends(get_task_id)]
