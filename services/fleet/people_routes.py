"""The modern API of people: what they are in the fleet, and which trucks they may see."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from services.fleet.dependencies import AdministratorDep
from services.fleet.domain import TruckId, UserId
from services.fleet.repositories.members import MemberRepository
from services.fleet.repositories.trucks import TruckRepository
from services.fleet.schemas import (
    PREFIX,
    GrantIn,
    GrantOut,
    GrantsOut,
    MemberIn,
    MemberOut,
    MemberPageOut,
    number_from,
    to_cursor,
)
from shared.answers import problem_answers
from shared.db import SessionDep

router = APIRouter(
    prefix=f"{PREFIX}/members", tags=["fleet"], responses=problem_answers(401, 403, 404, 422)
)


@router.get("", response_model=MemberPageOut)
async def list_members(
    _: AdministratorDep,
    session: SessionDep,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> MemberPageOut:
    """Everybody who has to do with the fleet, newest first."""
    conditions, given = [], {}
    if cursor is not None:
        conditions.append("number < :cursor")
        given["cursor"] = number_from(cursor)
    found, _total = await MemberRepository(session).page(
        conditions=conditions, parameters=given, limit=limit + 1
    )
    return MemberPageOut(
        items=[MemberOut.of(member) for member in found[:limit]],
        next_cursor=to_cursor(str(found[limit - 1].number)) if len(found) > limit else None,
    )


@router.put("/{user_id}", response_model=MemberOut)
async def set_role(
    user_id: UUID, wanted: MemberIn, _: AdministratorDep, session: SessionDep
) -> MemberOut:
    """Say what an account is in the fleet; open connections feel it at once."""
    members = MemberRepository(session)
    await members.know(UserId(user_id), wanted.username)
    return MemberOut.of(await members.change(UserId(user_id), role=wanted.role))


@router.get("/{user_id}/trucks", response_model=GrantsOut)
async def list_grants(user_id: UUID, _: AdministratorDep, session: SessionDep) -> GrantsOut:
    """The trucks that somebody was granted."""
    members = MemberRepository(session)
    member = await members.get(UserId(user_id))
    return GrantsOut(
        items=[GrantOut.of(grant) for grant in await members.grants_of(member.user_id)]
    )


@router.put("/{user_id}/trucks/{truck_id}", status_code=204)
async def grant_truck(
    user_id: UUID, truck_id: UUID, wanted: GrantIn, _: AdministratorDep, session: SessionDep
) -> None:
    """Let somebody see a truck, for good or until a time."""
    members = MemberRepository(session)
    member = await members.get(UserId(user_id))
    truck = await TruckRepository(session).get(TruckId(truck_id))
    await members.grant(member.user_id, truck.id, wanted.expires_at)


@router.delete("/{user_id}/trucks/{truck_id}", status_code=204)
async def revoke_truck(
    user_id: UUID, truck_id: UUID, _: AdministratorDep, session: SessionDep
) -> None:
    """Take the sight of a truck away; open connections feel it at once."""
    members = MemberRepository(session)
    member = await members.get(UserId(user_id))
    await members.revoke(member.user_id, TruckId(truck_id))
