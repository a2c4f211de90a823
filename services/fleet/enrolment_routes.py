"""How a device enrols and gets its tokens: the only modern routes without a credential."""

import base64
import binascii

from fastapi import APIRouter, Response

from services.fleet.auth_client import DeviceToken
from services.fleet.dependencies import DevicesDep
from services.fleet.devices import CHALLENGE_LIFETIME_S
from services.fleet.domain import Device, DeviceId
from services.fleet.errors import KeyRefused
from services.fleet.schemas import (
    PREFIX,
    ChallengeOut,
    DeviceTokenIn,
    DeviceTokenOut,
    EnrolIn,
)
from shared.answers import problem_answers

router = APIRouter(prefix=f"{PREFIX}/devices", tags=["fleet"])


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise KeyRefused("Keys and signatures are sent as base64.") from error


def _told(token: DeviceToken, device: Device | None, response: Response) -> DeviceTokenOut:
    response.headers["Cache-Control"] = "no-store"
    return DeviceTokenOut(
        device_id=token.device_id,
        truck_id=None if device is None else device.truck_id,
        access_token=token.token,
        token_type="bearer",  # noqa: S106  # a word of RFC 6750
        expires_in=token.expires_in,
    )


@router.post(
    "/enrol",
    status_code=201,
    response_model=DeviceTokenOut,
    responses=problem_answers(401, 404, 422, 429),
)
async def enrol(shown: EnrolIn, devices: DevicesDep, response: Response) -> DeviceTokenOut:
    """Enrol with a code that works once, and leave the key that later requests sign with."""
    device, token = await devices.enrol(shown.code, _bytes(shown.public_key))
    return _told(token, device, response)


@router.post("/challenge", response_model=ChallengeOut)
async def challenge(devices: DevicesDep, response: Response) -> ChallengeOut:
    """Something to sign."""
    response.headers["Cache-Control"] = "no-store"
    return ChallengeOut(challenge=devices.challenge(), expires_in=CHALLENGE_LIFETIME_S)


@router.post("/token", response_model=DeviceTokenOut, responses=problem_answers(401, 422, 429))
async def get_token(
    shown: DeviceTokenIn, devices: DevicesDep, response: Response
) -> DeviceTokenOut:
    """An hour's token for the device that signed a challenge with its key."""
    token = await devices.token(DeviceId(shown.device_id), shown.challenge, _bytes(shown.signature))
    return _told(token, None, response)
