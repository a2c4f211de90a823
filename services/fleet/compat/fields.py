"""The original server's field rules and its exact sentences (Q3 to Q7)."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, Final, TypeVar

from pydantic_core import from_json
from starlette.datastructures import QueryParams

from services.fleet.compat.envelope import Refused
from services.fleet.domain import Role, read_old_time

NO_INPUT: Final = "No input data provided"
WRONG_TOKEN: Final = "Wrong token"  # noqa: S105  # a sentence
NO_PERMISSION: Final = "Current user don't has permission"
NO_USER: Final = "User doesn't exists"
NO_TRUCK: Final = "Truck_id doesn't exists."
NO_ALERT: Final = "Alert_id doesn't exists or is close."
UNKNOWN_BEHAVIOR: Final = "Behavior Unknow."
WRONG_DATE: Final = "date fields must be in '%Y-%m-%d %H:%M:%S' format."
WRONG_FRAME: Final = "Frame doesn't has correct format."
WRONG_MAC: Final = "Mac doesn't has correct format."
WRONG_EMAIL: Final = "Email doesn't has correct format."
WRONG_LOGIN: Final = "Wrong username or password"
USERNAME_TAKEN: Final = "Username already register."
TRUCK_TAKEN: Final = "Truck already register."
NO_ROLE: Final = "Role doesn't exists."
NO_DEVICE: Final = "Jetson device dosen't exists"
LARGE_PASSWORD: Final = "Password is too large."  # noqa: S105  # a sentence
SHORT_PASSWORD: Final = "Password is too short."  # noqa: S105  # a sentence
CONFLICT: Final = "Confict in Database: "

MAX_PASSWORD: Final = 254
_MAX_LIMIT: Final = 1000
_MAX_PAGE: Final = 1_000_000
_MAC = re.compile(r"[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}")
_EMAIL = re.compile(r"[^@\s\x00]{1,64}@[^@\s\x00]{1,189}")

Value = TypeVar("Value")
Body = dict[str, Any]


def read_body(content: bytes) -> Body:
    """The JSON object of a body, whatever its content type says (Q3)."""
    try:
        found = from_json(content) if content else None
    except (ValueError, RecursionError) as error:
        raise Refused(400, NO_INPUT) from error
    if not isinstance(found, dict) or not found:
        raise Refused(400, NO_INPUT)
    return found


def require(body: Mapping[str, Any], *names: str) -> None:
    """Refuse what is missing, and what counts as missing: empty, false and 0 (Q4)."""
    for name in names:
        if name not in body:
            raise Refused(400, f'Missing "{name}" field in payload')
        if not body[name]:
            raise Refused(400, f'Missing value for "{name}" field in payload')


def text(body: Mapping[str, Any], name: str, *, most: int = 255) -> str:
    """A field that is text; numbers are taken as their digits, as the original's schema did."""
    value = body[name]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or "\0" in value or len(value) > most:
        raise Refused(400, str({name: ["Not a valid string."]}))
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Refused(400, str({name: ["Not a valid string."]})) from error
    return value


def number(value: object, name: str) -> int:
    """A field that is a whole number, or its digits."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return value
    if isinstance(value, str) and len(value) < 19 and re.fullmatch(r"-?[0-9]+", value):
        return int(value)
    raise Refused(400, str({name: ["Not a valid integer."]}))


def moment(value: object, zone: tzinfo) -> datetime:
    """A field that is a time (Q6)."""
    try:
        return read_old_time(value if isinstance(value, str) else "", zone)
    except (ValueError, OverflowError) as error:
        raise Refused(400, WRONG_DATE) from error


def mac(value: str) -> str:
    """A network address in one spelling; the example's angle brackets go (Q7)."""
    address = value.strip().strip("<>").lower()
    if _MAC.fullmatch(address) is None:
        raise Refused(400, WRONG_MAC)
    return address.replace("-", ":")


def email(value: str) -> str:
    """An e-mail address."""
    if _EMAIL.fullmatch(value) is None:
        raise Refused(400, WRONG_EMAIL)
    return value


def role(value: object) -> Role:
    """One of the four roles."""
    try:
        return Role(str(value))
    except ValueError as error:
        raise Refused(409, NO_ROLE) from error


def is_true(value: str) -> bool:
    """`True` and `False` in the spellings that clients use (Q8)."""
    lowered = value.strip().lower()
    if lowered in ("true", "1"):
        return True
    if lowered in ("false", "0"):
        return False
    raise Refused(400, str({"started": ["Not a valid boolean."]}))


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters of a list; an empty one counts as absent."""

    parameters: QueryParams
    zone: tzinfo

    def get(self, name: str, read: Callable[[str], Value]) -> Value | None:
        """The parameter as `read` understands it, None without one."""
        value = self.parameters.get(name, "")
        return read(value) if value else None

    def text(self, name: str) -> str | None:
        """A parameter that is text."""
        return self.get(name, lambda value: text({name: value}, name))

    def number(self, name: str) -> int | None:
        """A parameter that is a whole number."""
        return self.get(name, lambda value: number(value, name))

    def moment(self, name: str) -> datetime | None:
        """A parameter that is a time."""
        return self.get(name, lambda value: moment(value, self.zone))

    def paging(self, default_limit: int) -> tuple[int, int]:
        """How many, and from where: `limit` and `page`, which begins with 1."""
        limit = self.number("limit") or default_limit
        page = self.number("page") or 1
        limit = min(max(limit, 1), _MAX_LIMIT)
        return limit, (min(max(page, 1), _MAX_PAGE) - 1) * limit

    def order(self, columns: Mapping[str, str], default: str) -> str:
        """`ORDER BY` from `sort_name` and `sort_order`; only known words make it there (Q9)."""
        column = columns.get(self.parameters.get("sort_name", ""))
        if column is None:
            return default
        is_up = self.parameters.get("sort_order", "").strip().lower() == "asc"
        return f"{column} {'ASC' if is_up else 'DESC'}, {default}"


def pages(total: int, limit: int) -> int:
    """How many pages there are."""
    return -(-total // limit)
