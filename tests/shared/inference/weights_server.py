"""An HTTP server that holds one file and can be as unhelpful as real ones are."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class WeightsServer:
    """What the server does, and what it was asked.

    Attributes:
        body: the file.
        knows_ranges: whether it continues where it is asked to.
        breaks_after: how many bytes each answer holds before the connection ends; None for all.
        announces: the length it claims; None for the right one.
        endless: whether it never stops sending.
        redirect: where it sends everybody.
        status: what it answers in place of 200.
    """

    body: bytes = b""
    knows_ranges: bool = True
    breaks_after: int | None = None
    announces: int | None = None
    endless: bool = False
    redirect: str | None = None
    status: int | None = None
    content_range: str | None = None
    encoding: str | None = None
    asked: list[str | None] = field(default_factory=list)
    """The `Range` of every request, None where there was none."""
    url: str = ""


@contextmanager
def serving(server: WeightsServer) -> Iterator[WeightsServer]:
    """Run the server at `server.url` for a while."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that http.server calls
            _answer(self, server)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
            """Say nothing."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    server.url = f"http://127.0.0.1:{listening.server_address[1]}"
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


def _answer(handler: BaseHTTPRequestHandler, server: WeightsServer) -> None:
    asked = handler.headers.get("Range")
    server.asked.append(asked)
    if server.redirect is not None:
        handler.send_response(302)
        handler.send_header("Location", server.redirect)
        handler.end_headers()
        return
    if server.status is not None:
        handler.send_response(server.status)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.knows_ranges else 0
    rest = server.body[start:]
    handler.send_response(206 if start else 200)
    if start:
        stated = server.content_range or f"bytes {start}-{len(server.body) - 1}/{len(server.body)}"
        handler.send_header("Content-Range", stated)
    if server.encoding is not None:
        handler.send_header("Content-Encoding", server.encoding)
    if not server.endless:
        handler.send_header("Content-Length", str(server.announces or len(rest)))
    handler.end_headers()
    try:
        handler.wfile.write(rest[: server.breaks_after])
        while server.endless:
            handler.wfile.write(bytes(1 << 16))
    except OSError:
        pass  # The client has had enough, as it should.
    handler.close_connection = True
