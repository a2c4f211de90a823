"""Tokens: how one gets them, makes them worthless, and verifies them."""

import hashlib
import json
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from services.auth.dependencies import (
    AddressDep,
    GrantDep,
    KeyRingDep,
    PasswordGrant,
    RefreshGrant,
    RenewalDep,
    RevocationDep,
    SignInDep,
    no_store,
)
from services.auth.errors import UnsupportedGrantType
from services.auth.schemas import RevokeIn, TokenOut

#: Verifiers ask again after this; a rotation is also announced to them, so it may be long.
JWKS_MAX_AGE_S = 300

router = APIRouter(tags=["auth"])

_REVOCATION_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            media_type: {"schema": RevokeIn.model_json_schema()}
            for media_type in ("application/json", "application/x-www-form-urlencoded")
        },
    }
}


@router.post("/api/v2/auth/token", response_model=TokenOut, dependencies=[Depends(no_store)])
async def issue_token(
    grant: GrantDep, sign_in: SignInDep, renewal: RenewalDep, address: AddressDep
) -> dict[str, object]:
    """Exchange a user name and password, or a refresh token, for a pair of tokens.

    Refresh tokens are good once. The same one again within ten seconds gives the same answer;
    later it ends the whole session, because two parties hold it.
    """
    match grant:
        case PasswordGrant(username, password):
            pair = await sign_in.with_password(username, password, address)
        case RefreshGrant(refresh_token):
            pair = await renewal.refresh(refresh_token, address)
        case _:
            raise UnsupportedGrantType("Use the grant type password or refresh_token.")
    return {
        "access_token": pair.access_token,
        "token_type": "bearer",
        "expires_in": pair.expires_in,
        "refresh_token": pair.refresh_token,
        "scope": pair.scope,
    }


@router.post(
    "/api/v2/auth/revoke",
    status_code=204,
    response_model=None,
    openapi_extra=_REVOCATION_BODY,
    dependencies=[Depends(no_store)],
)
async def revoke_token(token: RevocationDep, renewal: RenewalDep, address: AddressDep) -> None:
    """Make a token worthless; the token itself is all this needs (RFC 7009).

    A refresh token takes its session with it. What is no token of ours is answered alike.
    """
    await renewal.revoke(token, address)


@router.get("/.well-known/jwks.json", response_model=None)
@router.head("/.well-known/jwks.json", response_model=None, include_in_schema=False)
async def publish_keys(request: Request, key_ring: KeyRingDep) -> Response:
    """The public keys that verify this platform's tokens (RFC 7517)."""
    document = json.dumps(await key_ring.publish(), separators=(",", ":")).encode()
    etag = f'"{hashlib.sha256(document).hexdigest()[:32]}"'
    headers = {"Cache-Control": f"public, max-age={JWKS_MAX_AGE_S}", "ETag": etag}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(document, headers=headers, media_type="application/jwk-set+json")
