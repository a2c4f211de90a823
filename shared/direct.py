"""Answers a service's busiest paths before its framework looks for a route.

Finding a route, resolving what it depends on and unwinding what was wrapped around it costs
FastAPI more than such a path does itself. The routes stay declared there too: the API document is
made of them, and they answer what is not spelled as usual.
"""

from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.problems import ProblemResponse, problem_of, request_id_of

Handler = Callable[[Request], Awaitable[Response]]


class DirectRoute:
    """A path whose parameters are texts without slashes, and what answers it."""

    def __init__(self, path: str, methods: Sequence[str], handle: Handler) -> None:
        """Make a route.

        Args:
            path: a template as FastAPI's; metrics and logs call it by this name.
            methods: the verbs that it takes; others are left to the framework.
            handle: answers; its failures become problems.
        """
        self.path = path
        self.methods = frozenset(methods)
        self.handle = handle
        self._match = compile_path(path)[0].match

    def params_of(self, scope: Scope) -> dict[str, str] | None:
        """The parameters in the path of a request; None where it is not for this route."""
        if scope["method"] not in self.methods:
            return None
        found = self._match(scope["path"])
        return None if found is None else found.groupdict()


class DirectRoutes:
    """Passes on what none of its routes answers (plain ASGI)."""

    def __init__(self, app: ASGIApp, routes: Sequence[DirectRoute]) -> None:
        self._app = app
        self._routes = tuple(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] == "http":
            for route in self._routes:
                params = route.params_of(scope)
                if params is not None:
                    scope["path_params"] = params
                    scope["route"] = route
                    response = await _answer(route, Request(scope, receive))
                    await response(scope, receive, send)
                    return
        await self._app(scope, receive, send)


async def _answer(route: DirectRoute, request: Request) -> Response:
    try:
        return await route.handle(request)
    except Exception as error:
        problem = problem_of(error)
        if problem is None:
            raise
        return ProblemResponse(problem, request_id_of(request.scope))
