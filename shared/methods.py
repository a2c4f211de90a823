"""Methods that a router's routes do not name themselves: `HEAD`, and a helpful refusal."""

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Receive, Scope, Send


class _OtherMethods:
    """Answers 405 with every method that a path takes; a route alone names its own only."""

    def __init__(self, methods: set[str]) -> None:
        self.allow = ", ".join(sorted(methods))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise HTTPException(405, headers={"Allow": self.allow})


def complete_methods(router: APIRouter) -> None:
    """Answer `HEAD` wherever `GET` is, and tell for other methods which ones there are."""
    methods_of: dict[str, set[str]] = {}
    for route in [route for route in router.routes if isinstance(route, APIRoute)]:
        own = route.methods or set()
        methods_of.setdefault(route.path, set()).update(own)
        if "GET" in own:
            methods_of[route.path].add("HEAD")
            path = route.path.removeprefix(router.prefix)
            router.add_api_route(path, route.endpoint, methods=["HEAD"], include_in_schema=False)
    for path, methods in methods_of.items():
        router.routes.append(Route(path, _OtherMethods(methods), include_in_schema=False))
