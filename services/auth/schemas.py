"""What travels over auth's wire."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.auth.domain import Role

AssignableRole = Literal[Role.ADMIN, Role.CLINICIAN, Role.OPERATOR, Role.ANALYST, Role.DEVELOPER]
Username = Annotated[str, Field(min_length=1, max_length=150, examples=["dr.grant"])]
Password = Annotated[str, Field(min_length=1, examples=["nine grey herons over the fen"])]
Email = Annotated[str, Field(max_length=254, pattern=r"^[^@\s\x00]+@[^@\s\x00]+$")]
Roles = Annotated[list[AssignableRole], Field(max_length=5, examples=[["clinician"]])]
Scope = Annotated[str, Field(pattern=r"^[a-z]+:[a-z]+$", max_length=64)]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]


class In(BaseModel):
    """What a client sends; a member that nobody asked for is an error, not a wish."""

    model_config = ConfigDict(extra="forbid")


class Out(BaseModel):
    """What a client gets: these members and no others."""

    model_config = ConfigDict(from_attributes=True)


class TokenOut(Out):
    """A pair of tokens (RFC 6749, section 5.1)."""

    access_token: str
    token_type: Literal["bearer"]
    expires_in: Annotated[int, Field(description="Seconds for which the access token is good.")]
    refresh_token: Annotated[str, Field(description="Good once, for the next pair.")]
    scope: str


class RevokeIn(In):
    """The token that is to be worthless."""

    token: Annotated[str, Field(min_length=1, max_length=8192)]


class MeOut(Out):
    """The caller's own account, and what the credential in use may do."""

    id: UUID
    username: str
    email: str | None
    roles: list[Role]
    scopes: list[str]


class UserIn(In):
    """A new account."""

    username: Username
    password: Password
    email: Email | None = None
    roles: Roles


class UserChangeIn(In):
    """What is to change of an account; what is left out stays."""

    roles: Roles | None = None
    disabled: bool | None = None
    password: Password | None = None
    email: Email | None = None


class UserOut(Out):
    """An account."""

    id: UUID
    username: str
    email: str | None
    roles: list[Role]
    scopes: list[str]
    disabled: bool
    created_at: datetime


class UsersOut(Out):
    """A page of accounts, oldest first."""

    items: list[UserOut]
    next_cursor: UUID | None


class PasswordChangeIn(In):
    """A change of one's own password."""

    current_password: Password
    new_password: Password


class ApiKeyIn(In):
    """A new API key."""

    name: Annotated[Name, Field(examples=["night batch"])]
    scopes: Annotated[list[Scope], Field(max_length=64, examples=[["chexray:read"]])]
    expires_at: AwareDatetime | None = None


class ApiKeyOut(Out):
    """An API key, without its secret."""

    id: UUID
    name: str
    hint: Annotated[str, Field(description="The last four characters.")]
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class NewApiKeyOut(ApiKeyOut):
    """An API key at the one moment when its secret is shown."""

    key: Annotated[str, Field(examples=["vdt_…"])]


class ApiKeysOut(Out):
    """A page of API keys, oldest first."""

    items: list[ApiKeyOut]
    next_cursor: UUID | None


class SessionOut(Out):
    """One sign-in of one client."""

    id: UUID
    kind: Literal["modern", "legacy"]
    api: Annotated[str | None, Field(description="The old API it was opened through.")]
    address: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    current: Annotated[bool, Field(description="Whether this request belongs to it.")]


class SessionsOut(Out):
    """A page of open sessions, newest first."""

    items: list[SessionOut]
    next_cursor: UUID | None


class SigningKeyOut(Out):
    """A signing key, without its private half."""

    id: str
    state: Literal["next", "active", "retired"]
    created_at: datetime
    activated_at: datetime | None
    retired_at: datetime | None
    expires_at: Annotated[datetime | None, Field(description="Accepted until then.")]


class SigningKeysOut(Out):
    """Every signing key that is published."""

    items: list[SigningKeyOut]


class AuditEventOut(Out):
    """One security event."""

    id: UUID
    at: datetime
    event: str
    actor: str | None
    subject: str | None
    address: str | None
    detail: dict[str, str]


class AuditOut(Out):
    """A page of security events, newest first."""

    items: list[AuditEventOut]
    next_cursor: UUID | None


class IntrospectIn(In):
    """A credential that only auth can check."""

    scheme: Literal["basic", "api-key"]
    credential: Annotated[str, Field(max_length=8192)]
    address: Annotated[str, Field(max_length=128)]


class IntrospectOut(Out):
    """Whom the credential speaks for."""

    subject: UUID
    kind: Literal["user"]
    username: str
    roles: list[Role]
    scopes: list[str]
    token_id: str | None
    session_id: str | None
    expires_at: datetime | None


class LegacyCredentialsIn(In):
    """A user name and password that came through an old API."""

    api: Literal["chexray", "netra", "fleet", "bqat", "scancer"]
    username: Annotated[str, Field(max_length=8192)]
    password: str
    address: Annotated[str, Field(max_length=128)]


class LegacyTokenOut(Out):
    """The token that the old API hands to its client."""

    user_id: UUID
    username: str
    token: str
    expires_in: int


class LegacyChangeIn(In):
    """What somebody changes of an account through an old API."""

    api: Literal["fleet"]
    user_id: UUID
    password: str | None = None
    address: Annotated[str, Field(max_length=128)]
    actor: Annotated[str, Field(max_length=128)]


class DeviceIn(In):
    """A device that registers under a name."""

    name: Annotated[str, Field(min_length=1, max_length=150)]
    password: str
    address: Annotated[str, Field(max_length=128)]
    may_create: bool = True


class DeviceOut(Out):
    """A device that was made."""

    device_id: UUID


class DeviceTokenIn(In):
    """A device that has proved itself to its service."""

    device_id: UUID


class DeviceTokenOut(Out):
    """A device's token."""

    device_id: UUID
    token: str
    expires_in: int


class DeviceChangeIn(In):
    """What is to change of a device."""

    device_id: UUID
    disabled: bool | None = None
    ends_tokens: bool = False
    actor: Annotated[str, Field(max_length=128)]
