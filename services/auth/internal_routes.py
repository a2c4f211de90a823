"""What the platform's own processes ask; the gateway never forwards a client here."""

import base64
import binascii

from fastapi import APIRouter, Depends

from services.auth.dependencies import (
    AccountsDep,
    ApiKeysDep,
    ServiceCallerDep,
    SignInDep,
    no_store,
)
from services.auth.domain import LEGACY_APIS, LegacyApi, UserId
from services.auth.errors import WrongCredentials
from services.auth.schemas import (
    IntrospectIn,
    IntrospectOut,
    LegacyChangeIn,
    LegacyCredentialsIn,
    LegacyTokenOut,
)
from services.auth.tokens import LegacyToken
from shared.assertions import Caller
from shared.problems import Forbidden

router = APIRouter(prefix="/internal", dependencies=[Depends(no_store)], include_in_schema=False)


@router.post("/introspect", response_model=IntrospectOut)
async def introspect(
    shown: IntrospectIn, _: ServiceCallerDep, sign_in: SignInDep, api_keys: ApiKeysDep
) -> IntrospectOut:
    """Whom a Basic credential (its base64 part) or an API key speaks for."""
    if shown.scheme == "api-key":
        holder = await api_keys.check(shown.credential)
        return IntrospectOut(
            subject=holder.user.id,
            kind="user",
            username=holder.user.username,
            roles=list(holder.user.roles),
            scopes=sorted(holder.scopes),
            token_id=str(holder.key.id),
            session_id=None,
            expires_at=holder.key.expires_at,
        )
    username, password = _read_basic(shown.credential)
    user = await sign_in.with_basic(username, password, shown.address)
    return IntrospectOut(
        subject=user.id,
        kind="user",
        username=user.username,
        roles=list(user.roles),
        scopes=sorted(user.scopes),
        token_id=None,
        session_id=None,
        expires_at=None,
    )


@router.post("/legacy/sign-up", status_code=201, response_model=LegacyTokenOut)
async def legacy_sign_up(
    new: LegacyCredentialsIn, caller: ServiceCallerDep, accounts: AccountsDep, sign_in: SignInDep
) -> LegacyTokenOut:
    """Make an account for somebody who signs up through an old API, and sign them in."""
    api = _api_of(caller, new.api)
    user = await accounts.sign_up(api, new.username, new.password)
    return _to_out(await sign_in.open_old_api(api, user, new.address))


@router.post("/legacy/login", response_model=LegacyTokenOut)
async def legacy_login(
    known: LegacyCredentialsIn, caller: ServiceCallerDep, sign_in: SignInDep
) -> LegacyTokenOut:
    """Sign somebody in through an old API."""
    api = _api_of(caller, known.api)
    return _to_out(
        await sign_in.through_old_api(api, known.username, known.password, known.address)
    )


@router.post("/legacy/change", response_model=LegacyTokenOut)
async def legacy_change(
    change: LegacyChangeIn, caller: ServiceCallerDep, accounts: AccountsDep, sign_in: SignInDep
) -> LegacyTokenOut:
    """Change an account that was made through an old API, and sign it in anew."""
    api = _api_of(caller, change.api)
    user = await accounts.change_through_old_api(
        api, UserId(change.user_id), change.password, actor=change.actor
    )
    return _to_out(await sign_in.open_old_api(api, user, change.address))


def _api_of(caller: Caller, name: str) -> LegacyApi:
    """The old API, if the caller is the service that speaks it."""
    if caller.subject != name:
        raise Forbidden("A service signs people in for its own API alone.")
    return LEGACY_APIS[name]


def _read_basic(credential: str) -> tuple[str, str]:
    """User name and password of RFC 7617, in UTF-8."""
    try:
        decoded = base64.b64decode(credential, validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise WrongCredentials("The user name or the password is wrong.") from error
    username, colon, password = decoded.partition(":")
    if not colon:
        raise WrongCredentials("The user name or the password is wrong.")
    return username, password


def _to_out(issued: LegacyToken) -> LegacyTokenOut:
    return LegacyTokenOut(
        user_id=issued.user.id,
        username=issued.user.username,
        token=issued.token,
        expires_in=issued.expires_in,
    )
