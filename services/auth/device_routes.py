"""What fleet asks about devices; the gateway never forwards a client here."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from services.auth.dependencies import ServiceCallerDep, no_store
from services.auth.devices import ENROLLED_LIFETIME, Devices
from services.auth.domain import DeviceId
from services.auth.schemas import (
    DeviceChangeIn,
    DeviceIn,
    DeviceOut,
    DeviceTokenIn,
    DeviceTokenOut,
)
from services.auth.tokens import DEVICE_AUDIENCE, DeviceToken
from shared.problems import Forbidden


def require_fleet(caller: ServiceCallerDep) -> None:
    """Let fleet pass, the only service with devices."""
    if caller.subject != DEVICE_AUDIENCE:
        raise Forbidden("Only fleet has devices.")


router = APIRouter(
    prefix="/internal/devices",
    dependencies=[Depends(no_store), Depends(require_fleet)],
    include_in_schema=False,
)


async def get_devices(request: Request) -> Devices:
    """What knows devices."""
    devices: Devices = request.state.devices
    return devices


DevicesDep = Annotated[Devices, Depends(get_devices)]


@router.post("/register", response_model=DeviceTokenOut)
async def register(new: DeviceIn, devices: DevicesDep, response: Response) -> DeviceTokenOut:
    """Register a device under a name, or renew its token."""
    issued, is_new = await devices.register(
        new.name, new.password, new.address, may_create=new.may_create
    )
    response.status_code = 201 if is_new else 200
    return _to_out(issued)


@router.post("/enrol", status_code=201, response_model=DeviceOut)
async def enrol(devices: DevicesDep) -> DeviceOut:
    """Make a device whose key fleet knows."""
    return DeviceOut(device_id=await devices.enrol())


@router.post("/token", response_model=DeviceTokenOut)
async def mint_token(asked: DeviceTokenIn, devices: DevicesDep) -> DeviceTokenOut:
    """A token for a device whose key fleet has checked."""
    return _to_out(await devices.token(DeviceId(asked.device_id), ENROLLED_LIFETIME))


@router.post("/change", status_code=204)
async def change(asked: DeviceChangeIn, devices: DevicesDep) -> None:
    """Disable a device, or end its tokens."""
    await devices.change(
        DeviceId(asked.device_id),
        disabled=asked.disabled,
        ends_tokens=asked.ends_tokens,
        actor=asked.actor,
    )


def _to_out(issued: DeviceToken) -> DeviceTokenOut:
    return DeviceTokenOut(
        device_id=issued.device.id, token=issued.token, expires_in=issued.expires_in
    )
