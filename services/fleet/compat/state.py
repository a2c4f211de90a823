"""What the old wire needs beside what every route does, and who speaks on it."""

from typing import TypedDict
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request

from services.fleet.compat.envelope import Refused
from services.fleet.compat.fields import NO_PERMISSION, NO_USER, WRONG_TOKEN
from services.fleet.devices import DeviceRates
from services.fleet.domain import Device, DeviceId, Viewer
from services.fleet.repositories.members import MemberRepository
from services.fleet.repositories.trucks import TruckRepository
from shared.assertions import Caller, get_caller
from shared.body_tokens import BodyTokens
from shared.tokens import TokenRefused, TokenType


class CompatState(TypedDict):
    """What the lifespan opens for the old wire alone."""

    body_tokens: BodyTokens
    device_rates: DeviceRates
    allowed_origins: frozenset[str]
    """Web origins that may call, beside the same origin and localhost."""


async def viewer_in(session: AsyncSession, caller: Caller) -> Viewer:
    """Who reads, once it is somebody who may."""
    viewer = await MemberRepository(session).find_viewer(caller)
    if viewer is None:
        raise Refused(400, NO_USER)
    if not viewer.may_read:
        raise Refused(400, NO_PERMISSION)
    return viewer


def caller_of_query(request: Request) -> Caller:
    """Who shows a token in the address or a header; the gateway has checked and removed it."""
    caller = get_caller(request)
    if caller.kind == "user":
        return caller
    if caller.kind == "device":
        raise Refused(400, NO_USER)
    if caller.refusal is None:
        raise Refused(400, 'Missing "token" field in payload')
    raise Refused(400, WRONG_TOKEN)


async def caller_of_body(request: Request, token: object) -> Caller:
    """The person whose token stands in a body; without one, who shows one elsewhere."""
    if not token:
        return caller_of_query(request)
    tokens: BodyTokens = request.state.body_tokens
    try:
        return await tokens.find_caller(token if isinstance(token, str) else "")
    except TokenRefused as error:
        raise Refused(400, WRONG_TOKEN) from error


async def device_id_of(request: Request, token: object) -> DeviceId:
    """The device whose token stands in a body, within its rate."""
    tokens: BodyTokens = request.state.body_tokens
    try:
        claims = await tokens.verify(token if isinstance(token, str) else "", TokenType.DEVICE)
        device_id = DeviceId(UUID(claims.subject))
    except (TokenRefused, ValueError) as error:
        raise Refused(400, WRONG_TOKEN) from error
    request.scope["state"]["caller"] = Caller(subject=claims.subject, kind="device")
    rates: DeviceRates = request.state.device_rates
    rates.take(device_id)
    return device_id


async def device_in(session: AsyncSession, device_id: DeviceId) -> Device:
    """The device and its truck."""
    return await TruckRepository(session).get_device(device_id)
