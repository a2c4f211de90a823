"""One's own API keys and sessions."""

from uuid import UUID

from fastapi import APIRouter, Depends, Response

from services.auth.dependencies import (
    DESCRIBED_CREDENTIALS,
    ApiKeysDep,
    CursorDep,
    LimitDep,
    RenewalDep,
    SignedInDep,
    no_store,
)
from services.auth.domain import ApiKey, ApiKeyId, SessionId, SignInSession
from services.auth.schemas import (
    ApiKeyIn,
    ApiKeyOut,
    ApiKeysOut,
    NewApiKeyOut,
    SessionOut,
    SessionsOut,
)
from shared.assertions import CallerDep

router = APIRouter(
    prefix="/api/v2/auth", tags=["auth"], dependencies=[Depends(no_store), *DESCRIBED_CREDENTIALS]
)


@router.post("/api-keys", status_code=201, response_model=NewApiKeyOut)
async def create_api_key(
    new: ApiKeyIn, user_id: SignedInDep, api_keys: ApiKeysDep, response: Response
) -> NewApiKeyOut:
    """Make an API key; `key` is shown in this answer and never again."""
    made = await api_keys.create(user_id, new.name, frozenset(new.scopes), new.expires_at)
    response.headers["Location"] = f"/api/v2/auth/api-keys/{made.key.id}"
    return NewApiKeyOut(**_to_key_out(made.key).model_dump(), key=made.secret)


@router.get("/api-keys", response_model=ApiKeysOut)
async def list_api_keys(
    user_id: SignedInDep, api_keys: ApiKeysDep, cursor: CursorDep = None, limit: LimitDep = 50
) -> ApiKeysOut:
    """One's own API keys, oldest first, without their secrets."""
    found = await api_keys.page(user_id, cursor, limit + 1)
    return ApiKeysOut(
        items=[_to_key_out(key) for key in found[:limit]],
        next_cursor=found[limit - 1].id if len(found) > limit else None,
    )


@router.delete("/api-keys/{key_id}", status_code=204, response_model=None)
async def revoke_api_key(key_id: UUID, user_id: SignedInDep, api_keys: ApiKeysDep) -> None:
    """Revoke one of one's own API keys; it is refused within a second."""
    await api_keys.revoke(ApiKeyId(key_id), user_id)


@router.get("/sessions", response_model=SessionsOut)
async def list_sessions(
    user_id: SignedInDep,
    caller: CallerDep,
    renewal: RenewalDep,
    cursor: CursorDep = None,
    limit: LimitDep = 50,
) -> SessionsOut:
    """One's own open sessions, newest first, those of old APIs included."""
    found = await renewal.page(user_id, cursor, limit + 1)
    return SessionsOut(
        items=[_to_session_out(opened, caller.session_id) for opened in found[:limit]],
        next_cursor=found[limit - 1].id if len(found) > limit else None,
    )


@router.delete("/sessions/{session_id}", status_code=204, response_model=None)
async def end_session(session_id: UUID, user_id: SignedInDep, renewal: RenewalDep) -> None:
    """End one of one's own sessions; its tokens are refused within a second."""
    await renewal.end(SessionId(session_id), user_id)


def _to_key_out(key: ApiKey) -> ApiKeyOut:
    return ApiKeyOut(
        id=key.id,
        name=key.name,
        hint=key.hint,
        scopes=sorted(key.scopes),
        created_at=key.created_at,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
    )


def _to_session_out(opened: SignInSession, current: str | None) -> SessionOut:
    return SessionOut(
        id=opened.id,
        kind=opened.kind,
        api=opened.api,
        address=opened.address,
        created_at=opened.created_at,
        last_used_at=opened.last_used_at,
        expires_at=opened.expires_at,
        current=str(opened.id) == current,
    )
