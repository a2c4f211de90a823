"""The service that everything forwards to, once as FastAPI runs it and once as bare ASGI.

GET answers 1 KB. POST counts the bytes of the body; under `/service/` it is a FastAPI application
that hashes them, as the platform's services do with every image they keep.
"""

import sys
from hashlib import sha256

import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.types import Receive, Scope, Send

_BODY = b"x" * 1024
_HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"1024")]
SERVICE_PATH = "/api/v2/chexray/service/studies"
BARE_PATH = "/api/v2/chexray/bare/studies"


def create_service() -> FastAPI:
    """A small service in the platform's own framework."""
    app = FastAPI(openapi_url=None)

    @app.get(SERVICE_PATH)
    async def read_study() -> Response:
        return Response(_BODY, media_type="text/plain")

    @app.post(SERVICE_PATH)
    async def store_study(request: Request) -> dict[str, str]:
        return {"sha256": sha256(await request.body()).hexdigest()}

    return app


class Upstream:
    """Bare ASGI, so that it is rarely what limits a measurement; FastAPI where the path asks."""

    def __init__(self, jwks: bytes) -> None:
        self._jwks = jwks
        self._service = create_service()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["path"] == SERVICE_PATH:
            await self._service(scope, receive, send)
        elif scope["method"] == "POST":
            size, more = 0, True
            while more:
                message = await receive()
                size += len(message.get("body", b""))
                more = message.get("more_body", False)
            await _answer(send, str(size).encode())
        elif scope["path"] == "/.well-known/jwks.json":
            await _answer(send, self._jwks)
        else:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await send({"type": "http.response.body", "body": _BODY})


async def _answer(send: Send, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(
        Upstream(sys.stdin.buffer.read()),
        port=int(sys.argv[1]),
        http="httptools",
        loop="uvloop",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
    )
