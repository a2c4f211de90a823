"""The paths of the original server and what answers them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from services.fleet.compat import lists, machines, people
from services.fleet.compat.envelope import Refused, message, refusal
from services.fleet.hot import HotRoute
from services.fleet.origins import add_headers, preflight
from shared.problems import Problem

Handler = Callable[[Request], Awaitable[Response]]

_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "integer"}
_TOKEN: Final = {"type": "string", "format": "password"}
_TIME: Final = {"type": "string", "example": "2020-02-19 12:59:02"}


@dataclass(frozen=True, slots=True)
class Operation:
    """What one method of a path does."""

    work: Handler
    body: Mapping[str, Any] | None = None
    query: Mapping[str, Any] | None = None

    @property
    def described(self) -> dict[str, Any]:
        """Its parameters for the OpenAPI document."""
        found: dict[str, Any] = {}
        if self.body is not None:
            schema = {"type": "object", "properties": dict(self.body)}
            found["requestBody"] = {"content": {"application/json": {"schema": schema}}}
        if self.query is not None:
            found["parameters"] = [
                {"name": name, "in": "query", "required": name == "token", "schema": schema}
                for name, schema in self.query.items()
            ]
        return found


_PAGE: Final = {"page": _NUMBER, "limit": _NUMBER, "sort_name": _TEXT, "sort_order": _TEXT}
_PERSON: Final = {"username": _TEXT, "password": _TOKEN, "role": _TEXT, "email": _TEXT}
_USER: Final = {
    "cur_user": {"type": "object", "properties": {"username": _TEXT, "token": _TOKEN}},
    "new_user": {"type": "object", "properties": _PERSON},
}
_DEVICE: Final = {"mac": _TEXT, "password": _TOKEN, "name": _TEXT, "role": _TEXT}
_FRAME: Final = {"token": _TOKEN, "frame_timestamp": _TIME, "frame": _TEXT, "frame_index": _NUMBER}
_TRUCKS: Final = {
    "token": _TOKEN, "id": _NUMBER, "name": _TEXT, "status": _TEXT, "include_last_alert": _TEXT,
    "last_alert_time_start": _TIME, "last_alert_time_end": _TIME, **_PAGE,
}  # fmt: skip
_ALERTS: Final = {
    "token": _TOKEN, "id": _NUMBER, "truck_id": _NUMBER, "truck_name": _TEXT, "behavior": _TEXT,
    "started": _TEXT, "alert_init": _TIME, "alert_init_start": _TIME, "alert_init_end": _TIME,
    "alert_finish_time_start": _TIME, "alert_finish_time_end": _TIME, **_PAGE,
}  # fmt: skip

OPERATIONS: Final[Mapping[str, Mapping[str, Operation]]] = {
    "user/register": {
        "GET": Operation(
            people.list_users,
            query={"token": _TOKEN, "user_id": _NUMBER, "email": _TEXT, "username": _TEXT,
                   "role": _TEXT, **_PAGE},
        ),
        "POST": Operation(people.register_user, body=_USER),
        "PUT": Operation(people.change_user, body=_USER),
    },
    "login": {"POST": Operation(people.log_in, body={"username": _TEXT, "password": _TOKEN})},
    "logout": {"GET": Operation(people.log_out)},
    "jetson/register": {
        "GET": Operation(lists.list_trucks, query=_TRUCKS),
        "POST": Operation(machines.register_device, body=_DEVICE),
        "PUT": Operation(machines.renew_device, body=_DEVICE),
    },
    "truck/list": {"GET": Operation(lists.list_trucks, query=_TRUCKS)},
    "truck/laststatus": {
        "GET": Operation(lists.last_status, query={"token": _TOKEN, "truck_id": _NUMBER})
    },
    "truck/currstatus": {"GET": Operation(lists.current_status)},
    "alert": {
        "GET": Operation(lists.list_alerts, query=_ALERTS),
        "POST": Operation(
            machines.open_alert,
            body={"token": _TOKEN, "truck_id": _NUMBER, "alert_init": _TIME, "behavior": _TEXT},
        ),
        "PUT": Operation(
            machines.end_alert, body={"token": _TOKEN, "alert_id": _NUMBER, "alert_end": _TIME}
        ),
    },
    "log": {
        "GET": Operation(
            lists.list_frames,
            query={"token": _TOKEN, "alert_id": _NUMBER, "frame_timestamp": _TIME,
                   "frame_index": _NUMBER, "page": _NUMBER, "limit": _NUMBER},
        ),
        "POST": Operation(machines.add_frame, body={"alert_id": _NUMBER, **_FRAME}),
    },
    "safe": {"POST": Operation(machines.add_safe_frame, body={"truck_id": _NUMBER, **_FRAME})},
}  # fmt: skip

_METHODS: Final = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD")


def _answering(work: Handler) -> Handler:
    """`work` with every failure in the original server's words."""

    async def respond(request: Request) -> Response:
        try:
            found = await work(request)
        except Refused as refused:
            found = refusal(refused.code, refused.error)
        except Problem as problem:
            found = refusal(problem.status, problem.detail, problem.headers)
        except ClientDisconnect:
            found = refusal(400, "No input data provided")
        found.headers["Cache-Control"] = "no-store"
        return add_headers(request, found)

    respond.__name__ = getattr(work, "__name__", "respond")
    respond.__doc__ = work.__doc__
    return respond


async def _other_method(request: Request) -> Response:
    """What a path answers to a method that it has nothing for (Q22)."""
    if request.method == "OPTIONS":
        return preflight(request)
    if request.method == "PATCH":
        return message(405, "The method is not allowed for the requested URL.")
    return refusal(401)


router = APIRouter(
    prefix="/api/v1", tags=["fleet, old API"], deprecated=True, default_response_class=Response
)
for _path, _operations in OPERATIONS.items():
    for _method, _operation in _operations.items():
        for _slash in ("/", ""):
            router.add_api_route(
                f"/{_path}{_slash}",
                _answering(_operation.work),
                methods=[_method],
                operation_id=f"fleet_old_{_method.lower()}_{_path.replace('/', '_')}",
                openapi_extra=_operation.described,
                description=_operation.work.__doc__,
                include_in_schema=bool(_slash),
                responses={400: {"description": "Bad Requests"}},
            )


HOT_ROUTES: list[BaseRoute] = [
    HotRoute(f"/api/v1/{path}/", _answering(OPERATIONS[path]["POST"].work), methods=["POST"])
    for path in ("log", "safe")
]


def other_methods() -> list[BaseRoute]:
    """The same paths for the methods that do nothing there."""
    return [
        Route(
            f"/api/v1/{path}{slash}",
            _answering(_operation_of("GET", operations) if is_head else _other_method),
            methods=["HEAD"] if is_head else list(_METHODS),
            include_in_schema=False,
        )
        for path, operations in OPERATIONS.items()
        for slash in ("/", "")
        for is_head in (True, False)
        if not is_head or "GET" in operations
    ]


def _operation_of(method: str, operations: Mapping[str, Operation]) -> Handler:
    return operations[method].work
