"""What the gateway shows of itself: health, metrics, the documentation and the console."""

import asyncio
import importlib.util
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway.openapi import OpenApi
from gateway.readiness import Readiness
from gateway.scrape import Metrics
from shared.assertions import Caller
from shared.problems import Forbidden, NotFound, Problem, ProblemResponse, Unauthenticated

SCOPE_METRICS: Final = "metrics:read"
_CONSOLE: Final = Path(__file__).resolve().parent.parent / "console"
#: A package that carries Swagger UI 5, the first that can show OpenAPI 3.1.
_SWAGGER_PACKAGE: Final = "fastapi_offline"
_ASSETS: Final = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
}
_OWN_ASSETS: Final = {"docs.js": "text/javascript; charset=utf-8"}
_CONSOLE_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
_FORWARDED_BY_A_PROXY: Final = ("x-forwarded-for", "forwarded", "x-real-ip", "via")

#: Pages load nothing from elsewhere and run no inline script: hospitals and mines are offline.
_SECURE: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; connect-src 'self'; font-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
#: After an update no browser mixes files of two versions of the console.
_FRESH: Final = {"Cache-Control": "no-cache"}
_DOCS_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Vedette API</title>
<link rel="icon" href="/console/icon.svg">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<main id="docs"></main>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/docs.js"></script>
</body>
</html>
"""
_DOCS_SCRIPT: Final = """\
window.addEventListener("load", () => {
  SwaggerUIBundle({
    url: "/openapi.json",
    dom_id: "#docs",
    deepLinking: true,
    persistAuthorization: false,
    validatorUrl: null,
    tryItOutEnabled: true,
    docExpansion: "list",
  });
});
"""


def create_pages(readiness: Readiness, metrics: Metrics, openapi: OpenApi) -> ASGIApp:
    """The gateway's own pages as one ASGI application."""
    # Looked up among the files there are: no path is ever made of what a client sends.
    console_files = {
        file.name: file for file in sorted(_CONSOLE.glob("*")) if file.suffix in _CONSOLE_TYPES
    }

    async def livez(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> Response:
        is_ready, table = await readiness.look()
        return JSONResponse(table, 200 if is_ready else 503, {"Cache-Control": "no-store"})

    async def metrics_page(request: Request) -> Response:
        _require_metrics_right(request)
        return Response(await metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi_json(_: Request) -> Response:
        document = await openapi.document(asyncio.get_running_loop().time())
        return Response(document, media_type="application/json")

    async def docs(_: Request) -> Response:
        return Response(_DOCS_PAGE, media_type="text/html", headers=_SECURE)

    async def docs_asset(request: Request) -> Response:
        name = request.path_params["asset"]
        if name in _OWN_ASSETS:
            return Response(_DOCS_SCRIPT, headers={"Content-Type": _OWN_ASSETS[name]})
        if name not in _ASSETS:
            raise NotFound("There is nothing at this address.")
        return FileResponse(_swagger_folder() / name, media_type=_ASSETS[name])

    async def console(_: Request) -> Response:
        headers = {**_SECURE, **_FRESH}
        return FileResponse(_CONSOLE / "index.html", media_type="text/html", headers=headers)

    async def console_asset(request: Request) -> Response:
        asset = console_files.get(request.path_params["asset"])
        if asset is None:
            raise NotFound("There is nothing at this address.")
        return FileResponse(asset, media_type=_CONSOLE_TYPES[asset.suffix], headers=_FRESH)

    def page(path: str, show: Callable[[Request], Awaitable[Response]]) -> Route:
        return Route(path, show, methods=["GET"])

    return Starlette(
        routes=[
            page("/", console),
            page("/livez", livez),
            page("/readyz", readyz),
            page("/metrics", metrics_page),
            page("/openapi.json", openapi_json),
            page("/docs", docs),
            page("/docs/{asset}", docs_asset),
            page("/console/{asset}", console_asset),
        ],
        exception_handlers={Problem: _on_problem},
    )


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return ProblemResponse(error, request.state.request_id)


def _swagger_folder() -> Path:
    """Where the package's files lie; its code is not run."""
    found = importlib.util.find_spec(_SWAGGER_PACKAGE)
    assert found is not None
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / "static"


def _require_metrics_right(request: Request) -> None:
    """Metrics are for this machine itself and for who holds the scope.

    A proxy in front of the gateway makes everybody look local, so a request that came through one
    needs the scope.
    """
    caller: Caller = request.state.caller
    if SCOPE_METRICS in caller.scopes:
        return
    is_local = request.client is not None and _is_loopback(request.client.host)
    if is_local and not any(name in request.headers for name in _FORWARDED_BY_A_PROXY):
        return
    if caller.kind == "anonymous":
        raise Unauthenticated("This needs a credential.", headers={"WWW-Authenticate": "Bearer"})
    raise Forbidden(f"This needs the scope {SCOPE_METRICS}.")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
