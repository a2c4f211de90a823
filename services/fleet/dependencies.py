"""What routes ask for by type."""

from collections.abc import Callable
from typing import Annotated, TypedDict
from uuid import UUID

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.fleet.alerting import Alerting
from services.fleet.auth_client import FleetAuth
from services.fleet.devices import Devices
from services.fleet.domain import Device, DeviceId, Viewer
from services.fleet.errors import NotADevice
from services.fleet.ingest import FrameWriter
from services.fleet.live import LiveTiles
from services.fleet.realtime.hub import Hub
from services.fleet.repositories.members import MemberRepository
from services.fleet.repositories.trucks import TruckRepository
from shared.assertions import get_caller
from shared.db import SessionDep
from shared.objects import Objects
from shared.problems import Forbidden, Unauthenticated
from shared.webhooks import Guard


class State(TypedDict):
    """What the lifespan opens."""

    sessions: async_sessionmaker[AsyncSession]
    objects: Objects
    writer: FrameWriter
    alerting: Alerting
    devices: Devices
    auth: FleetAuth
    hub: Hub
    tiles: LiveTiles
    guard: Guard
    max_frame_bytes: int


# All of these are coroutines, because FastAPI sends plain functions to a thread.


async def find_viewer(request: Request, session: AsyncSession) -> Viewer:
    """Who reads, once it is a person who may."""
    caller = get_caller(request)
    if caller.kind == "anonymous":
        raise Unauthenticated("A credential is needed.", headers={"WWW-Authenticate": "Bearer"})
    viewer = await MemberRepository(session).find_viewer(caller) if caller.kind == "user" else None
    if viewer is None:
        raise Forbidden("This is for people; the credential is not a person's.")
    if not viewer.may_read:
        raise Forbidden("This account may see nothing of the fleet.")
    return viewer


async def get_viewer(request: Request, session: SessionDep) -> Viewer:
    """Who reads."""
    return await find_viewer(request, session)


async def get_administrator(request: Request, session: SessionDep) -> Viewer:
    """Who changes people, trucks and devices."""
    viewer = await find_viewer(request, session)
    if not viewer.may_administer:
        raise Forbidden("This is for administrators of the fleet.")
    return viewer


def device_id_of(request: Request) -> DeviceId:
    """The device that calls.

    Raises:
        NotADevice: it is none.
    """
    caller = get_caller(request)
    if caller.kind == "anonymous":
        raise Unauthenticated("A credential is needed.", headers={"WWW-Authenticate": "Bearer"})
    if caller.kind != "device" or "fleet:ingest" not in caller.scopes:
        raise NotADevice("This is for devices; the credential is not a device's.")
    return DeviceId(UUID(caller.subject))


async def get_device(request: Request, session: SessionDep) -> Device:
    """The device that calls, and its truck."""
    return await TruckRepository(session).get_device(device_id_of(request))


def _of_state(name: str) -> Callable[[Request], object]:
    async def get(request: Request) -> object:
        return getattr(request.state, name)

    return get


ViewerDep = Annotated[Viewer, Depends(get_viewer, scope="function")]
AdministratorDep = Annotated[Viewer, Depends(get_administrator, scope="function")]
DeviceDep = Annotated[Device, Depends(get_device, scope="function")]
AlertingDep = Annotated[Alerting, Depends(_of_state("alerting"))]
DevicesDep = Annotated[Devices, Depends(_of_state("devices"))]
GuardDep = Annotated[Guard, Depends(_of_state("guard"))]
