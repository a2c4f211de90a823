"""Accounts: one's own, and everybody's for administrators."""

from uuid import UUID

from fastapi import APIRouter, Depends, Response

from services.auth.accounts import Change
from services.auth.dependencies import (
    DESCRIBED_CREDENTIALS,
    AccountsDep,
    AddressDep,
    AdministratorDep,
    CursorDep,
    LimitDep,
    SignedInDep,
    UserCallerDep,
    no_store,
)
from services.auth.domain import User, UserId
from services.auth.schemas import (
    MeOut,
    PasswordChangeIn,
    UserChangeIn,
    UserIn,
    UserOut,
    UsersOut,
)

router = APIRouter(
    prefix="/api/v2/auth/users",
    tags=["auth"],
    dependencies=[Depends(no_store), *DESCRIBED_CREDENTIALS],
)


@router.get("/me", response_model=MeOut)
async def read_me(caller: UserCallerDep, accounts: AccountsDep) -> MeOut:
    """The account that the credential belongs to, and what the credential may do."""
    user = await accounts.get(UserId(UUID(caller.subject)))
    return MeOut(
        id=user.id,
        username=user.username,
        email=user.email,
        roles=list(user.roles),
        scopes=sorted(caller.scopes),
    )


@router.post("/me/password", status_code=204, response_model=None)
async def change_own_password(
    change: PasswordChangeIn, user_id: SignedInDep, accounts: AccountsDep, address: AddressDep
) -> None:
    """Change one's own password; every session ends, the present one too.

    A wrong current password is refused with 403 `wrong-password` and counts like a failed login:
    after a few of them the account takes none for a while (429).
    """
    await accounts.change_own_password(
        user_id, change.current_password, change.new_password, address
    )


@router.post("", status_code=201, response_model=UserOut)
async def create_user(
    new: UserIn, administrator: AdministratorDep, accounts: AccountsDep, response: Response
) -> UserOut:
    """Make an account."""
    user = await accounts.create(
        new.username, new.password, new.roles, email=new.email, actor=administrator.subject
    )
    response.headers["Location"] = f"/api/v2/auth/users/{user.id}"
    return _to_out(user)


@router.get("", response_model=UsersOut)
async def list_users(
    _: AdministratorDep, accounts: AccountsDep, cursor: CursorDep = None, limit: LimitDep = 50
) -> UsersOut:
    """Accounts, oldest first."""
    found = await accounts.page(cursor, limit + 1)
    return UsersOut(
        items=[_to_out(user) for user in found[:limit]],
        next_cursor=found[limit - 1].id if len(found) > limit else None,
    )


@router.get("/{user_id}", response_model=UserOut)
async def read_user(user_id: UUID, _: AdministratorDep, accounts: AccountsDep) -> UserOut:
    """One account."""
    return _to_out(await accounts.get(UserId(user_id)))


@router.patch("/{user_id}", response_model=UserOut)
async def change_user(
    user_id: UUID, change: UserChangeIn, administrator: AdministratorDep, accounts: AccountsDep
) -> UserOut:
    """Change an account's roles, password or address, or disable it.

    Tokens that state what is no longer true are refused within a second; a new password and
    disabling also end every session.
    """
    changed = await accounts.change(
        UserId(user_id),
        Change(
            roles=None if change.roles is None else tuple(change.roles),
            disabled=change.disabled,
            password=change.password,
            email=change.email,
        ),
        actor=administrator.subject,
    )
    return _to_out(changed)


def _to_out(user: User) -> UserOut:
    return UserOut(
        id=user.id,
        username=user.username,
        email=user.email,
        roles=list(user.roles),
        scopes=sorted(user.scopes),
        disabled=user.is_disabled,
        created_at=user.created_at,
    )
