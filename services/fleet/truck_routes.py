"""The modern API of trucks, of the devices in them, and of their live pictures."""

import time
from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import StreamingResponse

from services.fleet.answers import etag_of, picture_answer
from services.fleet.dependencies import AdministratorDep, DevicesDep, ViewerDep
from services.fleet.domain import DeviceId, Truck, TruckId, Viewer
from services.fleet.errors import FrameNotFound, TruckNotFound
from services.fleet.live import BOUNDARY, LiveTiles
from services.fleet.repositories.frames import FrameRepository
from services.fleet.repositories.members import MemberRepository
from services.fleet.repositories.trucks import TruckRepository
from services.fleet.schemas import (
    PREFIX,
    CameraOut,
    DeviceChangeIn,
    DeviceOut,
    DevicesOut,
    EnrolmentOut,
    TruckChangeIn,
    TruckIn,
    TruckOut,
    TruckPageOut,
    number_from,
    to_cursor,
)
from shared.answers import INERT_HEADERS, binary_answer, is_known, not_modified, problem_answers
from shared.db import SessionDep

router = APIRouter(prefix=PREFIX, tags=["fleet"])

_LOOK_AGAIN_S = 15.0


async def _truck(session: AsyncSession, viewer: Viewer, truck_id: UUID) -> Truck:
    """A truck that may be seen; another one is as good as none."""
    if not viewer.sees(TruckId(truck_id)):
        raise TruckNotFound
    return await TruckRepository(session).get(TruckId(truck_id))


@router.get("/trucks", response_model=TruckPageOut, responses=problem_answers(401, 403, 422))
async def list_trucks(
    viewer: ViewerDep,
    session: SessionDep,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> TruckPageOut:
    """The trucks that you may see, newest first."""
    conditions, given = [], {}
    if cursor is not None:
        conditions.append("t.number < :cursor")
        given["cursor"] = number_from(cursor)
    found, _ = await TruckRepository(session).page(
        trucks=viewer.trucks, conditions=conditions, parameters=given, limit=limit + 1
    )
    return TruckPageOut(
        items=[TruckOut.of(truck) for truck in found[:limit]],
        next_cursor=to_cursor(str(found[limit - 1].number)) if len(found) > limit else None,
    )


@router.post(
    "/trucks", status_code=201, response_model=TruckOut, responses=problem_answers(403, 409, 422)
)
async def add_truck(new: TruckIn, _: AdministratorDep, session: SessionDep) -> TruckOut:
    """Make a truck, which devices can then enrol into."""
    return TruckOut.of(await TruckRepository(session).add(new.name))


@router.get("/trucks/{truck_id}", response_model=TruckOut, responses=problem_answers(404))
async def get_truck(truck_id: UUID, viewer: ViewerDep, session: SessionDep) -> TruckOut:
    """One truck."""
    return TruckOut.of(await _truck(session, viewer, truck_id))


@router.patch("/trucks/{truck_id}", response_model=TruckOut, responses=problem_answers(403, 404))
async def change_truck(
    truck_id: UUID, change: TruckChangeIn, viewer: AdministratorDep, session: SessionDep
) -> TruckOut:
    """Hold everything of a truck, so that nothing of it ages away, or let it go."""
    truck = await _truck(session, viewer, truck_id)
    trucks = TruckRepository(session)
    await trucks.set_hold(truck.id, held=change.legal_hold)
    return TruckOut.of(await trucks.get(truck.id))


@router.get(
    "/trucks/{truck_id}/frame",
    response_class=Response,
    responses=binary_answer("image/jpeg", "image/png", "image/webp") | problem_answers(404),
)
async def get_last_frame(
    truck_id: UUID,
    request: Request,
    viewer: ViewerDep,
    session: SessionDep,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The newest picture of a truck; with its ETag an unchanged one costs nothing."""
    truck = await _truck(session, viewer, truck_id)
    frame = await FrameRepository(session).last_of(truck.id)
    if frame is None:
        raise FrameNotFound
    etag = etag_of(frame.sha256, frame.number)
    if is_known(etag, if_none_match):
        return not_modified(etag)
    tiles: LiveTiles = request.state.tiles
    return picture_answer(await tiles.picture(frame), frame.number, etag)


@router.get(
    "/trucks/{truck_id}/live",
    response_class=Response,
    responses=binary_answer("multipart/x-mixed-replace") | problem_answers(404, 503),
)
async def watch_truck(truck_id: UUID, request: Request, viewer: ViewerDep) -> Response:
    """The pictures of a truck as they come (MJPEG); who reads slowly skips some."""
    async with request.state.sessions.begin() as session:
        truck = await _truck(session, viewer, truck_id)
    tiles: LiveTiles = request.state.tiles
    tiles.admit()
    return StreamingResponse(
        _while_seen(request, viewer, truck.id, tiles),
        headers={
            **INERT_HEADERS,
            "Content-Type": f"multipart/x-mixed-replace; boundary={BOUNDARY}",
            "Cache-Control": "no-store",
        },
    )


async def _while_seen(
    request: Request, viewer: Viewer, truck_id: TruckId, tiles: LiveTiles
) -> AsyncIterator[bytes]:
    """The stream, until the viewer may not see the truck any more."""
    looked_at = time.monotonic()
    async for part in tiles.stream(truck_id):
        if time.monotonic() - looked_at > _LOOK_AGAIN_S:
            looked_at = time.monotonic()
            async with request.state.sessions.begin() as session:
                now = await MemberRepository(session).viewer_of(
                    viewer.user_id, viewer.username, viewer.scopes
                )
            if not now.sees(truck_id):
                return
        yield part


@router.get(
    "/trucks/{truck_id}/camera",
    response_model=CameraOut,
    responses=problem_answers(404),
)
async def get_camera(truck_id: UUID, viewer: ViewerDep, session: SessionDep) -> CameraOut:
    """What a truck's picture looked like when it was last judged."""
    truck = await _truck(session, viewer, truck_id)
    found = await FrameRepository(session).camera_of(truck.id)
    if found is None:
        raise FrameNotFound
    return CameraOut.model_validate(dict(found))


@router.get("/trucks/{truck_id}/devices", response_model=DevicesOut, responses=problem_answers(404))
async def list_devices(truck_id: UUID, viewer: ViewerDep, session: SessionDep) -> DevicesOut:
    """The devices of a truck."""
    truck = await _truck(session, viewer, truck_id)
    found = await TruckRepository(session).devices_of(truck.id)
    return DevicesOut(items=[DeviceOut.of(device) for device in found])


@router.post(
    "/trucks/{truck_id}/enrolments",
    status_code=201,
    response_model=EnrolmentOut,
    responses=problem_answers(403, 404),
)
async def add_enrolment(
    truck_id: UUID,
    viewer: AdministratorDep,
    devices: DevicesDep,
    session: SessionDep,
    response: Response,
) -> EnrolmentOut:
    """A code by which one device enrols into this truck, once and for an hour."""
    truck = await _truck(session, viewer, truck_id)
    made = await devices.new_code(truck.id, viewer.user_id)
    response.headers["Cache-Control"] = "no-store"
    return EnrolmentOut(code=made.code, truck_id=made.truck_id, expires_at=made.expires_at)


@router.patch("/devices/{device_id}", response_model=DeviceOut, responses=problem_answers(403, 404))
async def change_device(
    device_id: UUID, change: DeviceChangeIn, viewer: AdministratorDep, devices: DevicesDep
) -> DeviceOut:
    """Shut a device out, which it feels within a second, or let it in again."""
    device = await devices.disable(
        DeviceId(device_id), disabled=change.disabled, actor=str(viewer.user_id)
    )
    return DeviceOut.of(device)
