"""What a process says about itself: JSON logs, Prometheus metrics, traces when asked for.

Logs carry the request id and the caller's id; never a token, an image or a name.
"""

import logging
import re
import sys
import time
from typing import Any

import structlog
from opentelemetry import trace
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.accesslog import METHODS, UNMATCHED, AccessLog
from shared.loglines import LogLines
from shared.problems import bug, send_problem
from shared.random_digits import RandomDigits
from shared.scopes import header_in
from shared.settings import Settings
from shared.tracing import configure_tracing, describe_answer, is_tracing, request_span

REQUEST_ID_HEADER = "X-Request-ID"
_REQUEST_ID_NAME = REQUEST_ID_HEADER.lower().encode()
_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f\x80-\x9f\u2028\u2029]")

_random_digits = RandomDigits()

log = structlog.get_logger(__name__)


def _harmless(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Keep a client's line breaks and terminal codes from forging lines on a person's screen.

    JSON escapes them anyway. A line break stays one, but what follows it is indented.
    """
    return {
        name: _CONTROL.sub("\ufffd", value).replace("\n", "\n    ")
        if isinstance(value, str)
        else value
        for name, value in event.items()
    }


def _without_repetition(
    _: Any, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Drop what uvicorn says a second time, in colour."""
    event.pop("color_message", None)
    return event


def configure_telemetry(service: str, settings: Settings) -> None:
    """Logs always, traces where an endpoint is set; metrics need no configuration."""
    configure_logging(service, settings)
    configure_tracing(service, settings)


def configure_logging(service: str, settings: Settings) -> None:
    """Send every log line, the libraries' too, through structlog to standard output."""
    shared_processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _without_repetition,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared_processors,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    is_for_people = settings.log_format == "console"
    renderers: list[structlog.typing.Processor] = [structlog.processors.JSONRenderer()]
    if is_for_people:
        renderers = [_harmless, structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())]
    handler = logging.StreamHandler(sys.stdout) if is_for_people else LogLines(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared_processors,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    # These speak of every request or statement; what matters of it is logged here.
    for name in ("httpx", "httpcore", "alembic", "asyncio", "python_multipart"):
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(service=service)


def request_id_from(candidate: str | None) -> str:
    """The client's request id if it is well-formed, else a new one of 128 random bits."""
    if candidate is not None and _REQUEST_ID.fullmatch(candidate):
        return candidate
    return _random_digits.take(32)


class TelemetryMiddleware:
    """Gives a request its id, counts it by route template, and logs one line (plain ASGI).

    The outermost middleware of a service, so that a bug anywhere inside is answered too.
    """

    def __init__(
        self, app: ASGIApp, service: str, tracers: trace.TracerProvider | None = None
    ) -> None:
        self._app = app
        self._access_log = AccessLog(service)
        # A span that nobody collects costs as much as everything else here.
        self._tracer = (
            trace.get_tracer(__name__, tracer_provider=tracers)
            if tracers is not None or is_tracing()
            else None
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, watching the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        request_id = request_id_from(header_in(scope, _REQUEST_ID_NAME))
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, request_id)
        bound = structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            if self._tracer is None:
                await self._answer(scope, receive, answer)
            else:
                with request_span(self._tracer, scope) as span:
                    try:
                        await self._answer(scope, receive, answer)
                    finally:
                        describe_answer(
                            span,
                            method=scope["method"] if scope["method"] in METHODS else "other",
                            route=_route(scope) or UNMATCHED,
                            status=answer.status,
                            request_id=request_id,
                        )
        finally:
            structlog.contextvars.reset_contextvars(**bound)
            caller = scope["state"].get("caller")
            self._access_log.record(
                method=scope["method"],
                # The template, never the path: nothing may grow with what clients make up.
                route=_route(scope),
                status=answer.status,
                seconds=time.perf_counter() - started_s,
                now=time.time(),
                request_id=request_id,
                caller=getattr(caller, "subject", None),
            )

    async def _answer(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        try:
            await self._app(scope, receive, answer)
        except Exception as error:  # whatever a bug raises is logged once and answered here
            log.error("request_failed", exc_info=error, route=_route(scope) or UNMATCHED)
            if not answer.has_begun:
                await send_problem(bug(), scope, receive, answer)


class _Answer:
    """Where an application sends its answer: marks it with the request's id, notes its status."""

    __slots__ = ("_id", "_send", "has_begun", "status")

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._id = request_id.encode()
        self.status = 500
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        """Send on."""
        if message["type"] == "http.response.start":
            self.status, self.has_begun = message["status"], True
            headers = [each for each in message.get("headers", ()) if each[0] != _REQUEST_ID_NAME]
            message["headers"] = [*headers, (_REQUEST_ID_NAME, self._id)]
        await self._send(message)


def _route(scope: Scope) -> str:
    """The template of the route that answered; empty where none did."""
    template: str = getattr(scope.get("route"), "path", "")
    return template


def metrics_response() -> Response:
    """Every metric of this process, as Prometheus text."""
    return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
