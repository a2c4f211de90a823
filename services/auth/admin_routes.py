"""Signing keys and security events, for administrators."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from services.auth.dependencies import (
    DESCRIBED_CREDENTIALS,
    AdministratorDep,
    AuditLogDep,
    AuditorDep,
    CursorDep,
    KeyRingDep,
    LimitDep,
    no_store,
)
from services.auth.key_ring import KeyRing
from services.auth.schemas import AuditEventOut, AuditOut, SigningKeyOut, SigningKeysOut

router = APIRouter(
    prefix="/api/v2/auth", tags=["auth"], dependencies=[Depends(no_store), *DESCRIBED_CREDENTIALS]
)


@router.get("/keys", response_model=SigningKeysOut)
async def list_keys(_: AdministratorDep, key_ring: KeyRingDep) -> SigningKeysOut:
    """The signing keys that are published: the next one, the active one, the retired ones."""
    return _to_out(key_ring)


@router.post("/keys/rotate", response_model=SigningKeysOut)
async def rotate_keys(administrator: AdministratorDep, key_ring: KeyRingDep) -> SigningKeysOut:
    """Sign with the next key from now on; what the active one has signed stays good."""
    await key_ring.rotate(administrator.subject)
    return _to_out(key_ring)


@router.get("/audit", response_model=AuditOut)
async def list_events(
    _: AuditorDep,
    audit_log: AuditLogDep,
    event: Annotated[str | None, Query(pattern=r"^[a-z_]{1,64}$")] = None,
    cursor: CursorDep = None,
    limit: LimitDep = 50,
) -> AuditOut:
    """Security events, newest first; `event` names one kind of them."""
    found = await audit_log.page(event, cursor, limit + 1)
    return AuditOut(
        items=[AuditEventOut.model_validate(item) for item in found[:limit]],
        next_cursor=found[limit - 1].id if len(found) > limit else None,
    )


def _to_out(key_ring: KeyRing) -> SigningKeysOut:
    return SigningKeysOut(items=[SigningKeyOut.model_validate(key) for key in key_ring.keys])
