"""Users and login of the original server."""

from starlette.requests import Request
from starlette.responses import Response

from services.fleet.auth_client import AccountOfOthers, FleetAuth
from services.fleet.compat import fields
from services.fleet.compat.envelope import Refused, answer
from services.fleet.compat.fields import Body, Query
from services.fleet.compat.state import caller_of_body, caller_of_query, viewer_in
from services.fleet.compat.translate import to_user
from services.fleet.domain import Role, UserId, Viewer
from services.fleet.errors import NameTaken
from services.fleet.repositories.members import MemberRepository
from shared.assertions import Caller, client_address
from shared.auth_client import (
    Account,
    Credentials,
    CredentialsRefused,
    PasswordTooCommon,
    PasswordTooShort,
    UsernameTaken,
    WrongCredentials,
)

_PER_PAGE = 20
_COLUMNS = {
    "id": "number",
    "account_id": "account_number",
    "username": "username",
    "email": "email",
    "role": "role",
}


def _auth(request: Request) -> FleetAuth:
    auth: FleetAuth = request.state.auth
    return auth


def _new_user(body: Body) -> Body:
    """The `new_user` of today's documents, or the flat body of the oldest ones (Q10)."""
    found = body.get("new_user")
    if found is None and "username" in body:
        return body
    fields.require(body, "new_user")
    if not isinstance(found, dict):
        raise Refused(400, fields.NO_INPUT)
    return found


def _token_in(body: Body) -> object:
    """The token beside `new_user`, or the one inside `cur_user` (Q10)."""
    current = body.get("cur_user")
    inside = current.get("token") if isinstance(current, dict) else None
    return body.get("token") or inside


def _password(new: Body) -> str:
    value = new["password"]
    if not isinstance(value, str) or "\0" in value:
        raise Refused(400, str({"password": ["Not a valid string."]}))
    if len(value) > fields.MAX_PASSWORD:
        raise Refused(413, fields.LARGE_PASSWORD)
    return value


async def log_in(request: Request) -> Response:
    """Give a token; the password is checked (Q11)."""
    body = fields.read_body(await request.body())
    fields.require(body, "username", "password")
    try:
        account = await _auth(request).log_in(
            Credentials(
                fields.text(body, "username"), str(body["password"]), client_address(request)
            )
        )
    except (WrongCredentials, CredentialsRefused) as error:
        raise Refused(401, fields.WRONG_LOGIN) from error
    async with request.state.sessions.begin() as session:
        await MemberRepository(session).know(UserId(account.user_id), account.username)
    return answer({"token": account.token})


async def log_out(request: Request) -> Response:
    """Say that all is well; the token lives on until it expires (Q25)."""
    return answer()


async def list_users(request: Request) -> Response:
    """People, for administrators; others see themselves."""
    caller = caller_of_query(request)
    query = Query(request.query_params, request.state.zone)
    limit, offset = query.paging(_PER_PAGE)
    conditions: list[str] = []
    parameters: dict[str, object] = {}
    async with request.state.sessions.begin() as session:
        viewer = await viewer_in(session, caller)
        if not viewer.may_administer:
            conditions.append("user_id = :user_id")
            parameters["user_id"] = viewer.user_id
        # The first of these that is given is the only one that counts.
        if (number := query.number("user_id")) is not None:
            conditions.append("number = :number")
            parameters["number"] = number
        elif (email := query.text("email")) is not None:
            conditions.append("email = :email")
            parameters["email"] = email
        elif (username := query.text("username")) not in (None, viewer.username):
            # Documents have clients send their own name with every request; it filters nothing.
            conditions.append("username = :username")
            parameters["username"] = username
        if (role := query.text("role")) is not None:
            conditions.append("coalesce(role, 'Admin') = :role")
            parameters["role"] = role
        found, total = await MemberRepository(session).page(
            conditions=conditions,
            parameters=parameters,
            order=query.order(_COLUMNS, "number DESC"),
            limit=limit,
            offset=offset,
        )
    return answer(
        {
            "users": [to_user(member) for member in found],
            "totalPages": fields.pages(total, limit),
            "totalItems": total,
            "perPage": limit,
        }
    )


async def register_user(request: Request) -> Response:
    """Make an account; an administrator does, or anybody for the very first one (Q10)."""
    body = fields.read_body(await request.body())
    new = _new_user(body)
    fields.require(new, "username", "password")
    username, password = fields.text(new, "username", most=150), _password(new)
    email = fields.email(str(new["email"])) if new.get("email") else None
    token = _token_in(body)
    async with request.state.sessions.begin() as session:
        members = MemberRepository(session)
        is_first = (
            not token
            and request.state.first_user_open
            and request.state.caller.kind == "anonymous"
            and await members.is_empty()
        )
        role = fields.role(new.get("role") or (Role.ADMIN if is_first else Role.LIMITED))
        if not is_first:
            await _require_administrator(request, members, await caller_of_body(request, token))
        if email is not None and await members.is_email_taken(email):
            raise Refused(409, f"{fields.CONFLICT}email")
        account = await _sign_up(request, username, password)
        member = await members.add(UserId(account.user_id), account.username, email, role)
    return answer({"id": member.number, "token": account.token})


async def _require_administrator(
    request: Request, members: MemberRepository, caller: Caller
) -> Viewer:
    viewer = await members.find_viewer(caller)
    if viewer is None:
        raise Refused(400, fields.NO_USER)
    if not viewer.may_administer:
        raise Refused(400, fields.NO_PERMISSION)
    return viewer


async def _sign_up(request: Request, username: str, password: str) -> Account:
    try:
        return await _auth(request).sign_up(
            Credentials(username, password, client_address(request))
        )
    except UsernameTaken as error:
        raise Refused(409, fields.USERNAME_TAKEN) from error
    except (PasswordTooShort, PasswordTooCommon) as error:
        raise Refused(400, fields.SHORT_PASSWORD) from error
    except CredentialsRefused as error:
        raise Refused(400, str({"username": ["Not a valid string."]})) from error


async def change_user(request: Request) -> Response:
    """Change one's own account, or anybody's as an administrator; gives a new token."""
    body = fields.read_body(await request.body())
    new = _new_user(body)
    fields.require(new, "username")
    for name in ("password", "email", "role"):
        if name not in new:
            raise Refused(400, f'Missing "{name}" field in payload')
    username = fields.text(new, "username", most=150)
    password = _password(new) if new["password"] else None
    email = fields.email(str(new["email"])) if new["email"] else None
    role = fields.role(new["role"]) if new["role"] else None
    caller = await caller_of_body(request, _token_in(body))
    async with request.state.sessions.begin() as session:
        members = MemberRepository(session)
        viewer = await viewer_in(session, caller)
        member = await members.find_by_username(username)
        is_self = member is not None and member.user_id == viewer.user_id
        if not viewer.may_administer and not is_self:
            raise Refused(400, fields.NO_PERMISSION)
        if member is None:
            raise Refused(400, fields.NO_USER)
        changes_role = role is not None and role is not (member.role or Role.ADMIN)
        if changes_role and not viewer.may_administer:
            raise Refused(400, fields.NO_PERMISSION)
        try:
            member = await members.change(
                member.user_id, email=email, role=role if changes_role else None
            )
        except NameTaken as error:
            raise Refused(409, f"{fields.CONFLICT}email") from error
        account = await _change(request, member.user_id, password, viewer)
    return answer({"id": member.account_number, "token": account.token})


async def _change(
    request: Request, user_id: UserId, password: str | None, viewer: Viewer
) -> Account:
    try:
        return await _auth(request).change(
            user_id, password, client_address(request), str(viewer.user_id)
        )
    except AccountOfOthers as error:
        raise Refused(400, fields.NO_PERMISSION) from error
    except (PasswordTooShort, PasswordTooCommon) as error:
        raise Refused(400, fields.SHORT_PASSWORD) from error
