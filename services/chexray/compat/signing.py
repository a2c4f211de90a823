"""Sign-up and login of the old API."""

from starlette.requests import Request

from services.chexray.compat import fields
from services.chexray.compat.accounts import LegacyAccounts
from services.chexray.compat.fields import InvalidForm
from services.chexray.compat.views import Answer, body_of
from services.chexray.domain import OwnerId
from shared.assertions import client_address
from shared.auth_client import (
    Account,
    Auth,
    Credentials,
    CredentialsRefused,
    PasswordTooCommon,
    PasswordTooShort,
    UsernameTaken,
    WrongCredentials,
)

NO_LOGIN = "Unable to log in with provided credentials."


async def sign_up(request: Request) -> Answer:
    """Make an account. Errors are 200, but for passwords that differ (Q8, Q9)."""
    try:
        form = fields.as_form(await body_of(request))
        new = fields.collect(
            username=lambda: fields.text_of(
                form, "username", fields.is_username, fields.at_most(fields.MAX_USERNAME)
            ),
            password=lambda: fields.text_of(form, "password", fields.at_most(fields.MAX_PASSWORD)),
            password2=lambda: fields.text_of(form, "password2"),
        )
    except InvalidForm as error:
        return Answer(200, error.errors)
    if new["password"] != new["password2"]:
        return Answer(400, {"password": "Passwords Must Match"})
    try:
        account = await _auth(request).sign_up(
            Credentials(new["username"], new["password"], client_address(request))
        )
    except UsernameTaken:
        return Answer(200, {"username": [fields.USERNAME_TAKEN]})
    except PasswordTooShort:
        return Answer(200, {"password": [fields.PASSWORD_TOO_SHORT]})
    except PasswordTooCommon:
        return Answer(200, {"password": [fields.PASSWORD_TOO_COMMON]})
    except CredentialsRefused:
        return Answer(200, {"username": [fields.USERNAME]})
    return Answer(
        200,
        {
            "response": "Successfully Signed Up",
            "username": account.username,
            "token": account.token,
        },
    )


async def log_in(request: Request) -> Answer:
    """Give a token."""
    try:
        form = fields.as_form(await body_of(request))
        known = fields.collect(
            username=lambda: fields.text_of(form, "username"),
            password=lambda: fields.text_of(form, "password", trims=False),
        )
        account = await _auth(request).log_in(
            Credentials(known["username"], known["password"], client_address(request))
        )
    except InvalidForm as error:
        return Answer(400, error.errors)
    except (WrongCredentials, CredentialsRefused):
        return Answer(400, {"non_field_errors": [NO_LOGIN]})
    number = await _number_of(request, account)
    return Answer(200, {"userid": number, "username": account.username, "token": account.token})


def _auth(request: Request) -> Auth:
    auth: Auth = request.state.auth
    return auth


async def _number_of(request: Request, account: Account) -> int:
    async with request.state.sessions.begin() as session:
        return await LegacyAccounts(session).number_of(OwnerId(account.user_id))
