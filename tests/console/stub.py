"""A platform that knows its answers beforehand: the console's files, and the API they speak to."""

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from services.chexray.domain import GATE_SENTENCES, GateReason
from services.chexray.training.phantom import chest_phantom
from shared.imaging import overlay, to_png

CONSOLE = Path(__file__).resolve().parents[2] / "console"
STUDIES = "/api/v2/chexray/studies"
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
#: As strict as a gateway may be; with trusted types no text can become markup at all.
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
SCOPES = ["chexray:read", "chexray:write"]
PASSWORD = "correct horse battery"

PROBABILITIES = {
    "atelectasis": (0.31, 0.42),
    "cardiomegaly": (0.87, 0.38),
    "consolidation": (0.09, 0.27),
    "edema": (0.44, 0.51),
    "pleural_effusion": (0.63, 0.47),
}
#: Where the stub's network looked, as centre and radius in parts of the picture.
HEAT = {
    "atelectasis": (0.34, 0.66, 0.12),
    "cardiomegaly": (0.57, 0.60, 0.18),
    "consolidation": (0.32, 0.42, 0.10),
    "edema": (0.50, 0.45, 0.22),
    "pleural_effusion": (0.72, 0.72, 0.12),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that came."""

    method: str
    path: str
    query: dict[str, str]
    headers: Message
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        """The fields of a URL-encoded body."""
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}

    @property
    def parts(self) -> dict[str, bytes]:
        """The parts of a multipart body."""
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        found = {}
        for part in message_from_bytes(head + self.body).walk():
            name = part.get_param("name", header="content-disposition")
            content = part.get_payload(decode=True)
            if isinstance(name, str) and isinstance(content, bytes):
                found[name] = content
        return found


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back."""

    status: int = 200
    body: bytes = b""
    media_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, body: Any, status: int = 200) -> "Answer":
        """A JSON answer."""
        return cls(status, json.dumps(body).encode())

    @classmethod
    def problem(cls, status: int, title: str, detail: str, **headers: str) -> "Answer":
        """A problem as the platform words it."""
        body = {
            "type": "/problems/some-problem",
            "title": title,
            "status": status,
            "detail": detail,
            "request_id": "0af7651916cd43dd",
        }
        return cls(status, json.dumps(body).encode(), "application/problem+json", headers)


@dataclass
class StubPlatform:
    """The state behind the stub; a test sets it up and looks at what was asked."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    instead: dict[tuple[str, str], list[Answer]] = field(default_factory=dict)
    """Answers to be given once each, first come first, before the usual one."""
    studies: list[dict[str, Any]] = field(default_factory=list)
    """Newest first."""
    expires_in: int = 900
    scopes: list[str] = field(default_factory=lambda: list(SCOPES))
    ready: bool = True
    evidence: str = "demo"
    reasons: tuple[GateReason, ...] = ()
    image_type: str = "image/png"
    exchanges: int = 0
    mint: Callable[[int], str] = "access-{}".format
    """The access token of the n-th exchange."""
    gone: set[str] = field(default_factory=set)
    """Access tokens that are refused."""

    def of(self, method: str, path: str) -> list[Asked]:
        """The requests of one kind."""
        return [asked for asked in self.asked if (asked.method, asked.path) == (method, path)]

    def answer(self, asked: Asked) -> Answer:
        """The answer to one request."""
        self.asked.append(asked)
        waiting = self.instead.get((asked.method, asked.path))
        if waiting:
            return waiting.pop(0)
        fixed: dict[tuple[str, str], Callable[[Asked], Answer]] = {
            ("GET", "/readyz"): self._readyz,
            ("POST", "/api/v2/auth/token"): self._token,
            ("POST", "/api/v2/auth/revoke"): lambda _: Answer(204),
            ("GET", "/api/v2/auth/users/me"): self._signed_in(self._me),
            ("POST", STUDIES): self._signed_in(self._read),
            ("GET", STUDIES): self._signed_in(self._list),
        }
        handle = fixed.get((asked.method, asked.path))
        if handle is None and asked.path.startswith(STUDIES):
            handle = self._signed_in(self._study)
        return handle(asked) if handle else _file(asked.path)

    def add(self, title: str, **members: Any) -> dict[str, Any]:
        """Keep a study, as if it had been read."""
        number = len(self.studies) + 1
        study_id = f"01900000-0000-7000-8000-{number:012d}"
        accepted = not self.reasons
        study = {
            "id": study_id,
            "title": title,
            "created_at": f"2026-11-{number:02d}T09:30:00.123456Z",
            "image_url": f"{STUDIES}/{study_id}/image",
            "heatmap_url": f"{STUDIES}/{study_id}/heatmap" if accepted else None,
            "report_url": f"{STUDIES}/{study_id}/report.dcm" if accepted else None,
            "image": {"format": "png", "width_px": 256, "height_px": 256, "size_bytes": 38211},
            "findings": [
                {
                    "label": label,
                    "probability": probability,
                    "operating_point": operating_point,
                    "positive": probability >= operating_point,
                }
                for label, (probability, operating_point) in PROBABILITIES.items()
                if accepted
            ],
            "gate": {
                "accepted": accepted,
                "reasons": list(self.reasons),
                "explanations": [GATE_SENTENCES[reason] for reason in self.reasons],
                "method": "rules",
                "turned_left_deg": 0,
            },
            "model": {"id": "chexray-mobilenet", "version": "1.0", "sha256": "5e" * 32},
            "evidence": self.evidence,
            "calibrated": False,
            "withheld": False,
            **members,
        }
        self.studies.insert(0, study)
        return study

    def _readyz(self, _: Asked) -> Answer:
        services = {
            "auth": {"ready": True, "checks": {"database": {"ready": True, "detail": "18.6"}}},
            "chexray": {
                "ready": self.ready,
                "checks": {"network": {"ready": self.ready, "detail": "chexray-mobilenet@1.0"}},
            },
            "gateway": {"ready": True, "keys_age_s": 12, "revocations": "current"},
        }
        status = "ready" if self.ready else "not ready"
        return Answer.of({"status": status, "services": services}, 200 if self.ready else 503)

    def _token(self, asked: Asked) -> Answer:
        form = asked.form
        if form["grant_type"] == "password" and form["password"] != PASSWORD:
            return Answer.problem(
                400, "Credentials not accepted", "The user name or password is wrong."
            )
        self.exchanges += 1
        return Answer.of(
            {
                "access_token": self.mint(self.exchanges),
                "token_type": "bearer",
                "expires_in": self.expires_in,
                "refresh_token": f"refresh-{self.exchanges}",
            }
        )

    def _signed_in(self, handle: Callable[[Asked], Answer]) -> Callable[[Asked], Answer]:
        def checked(asked: Asked) -> Answer:
            token = (asked.headers["Authorization"] or "").removeprefix("Bearer ")
            if not token.startswith("access-") or token in self.gone:
                return Answer.problem(401, "Authentication needed", "The credential is not good.")
            return handle(asked)

        return checked

    def _me(self, _: Asked) -> Answer:
        member = {"id": "01900000-0000-7000-8000-0000000000aa", "email": None}
        return Answer.of(
            {**member, "username": "dr.okafor", "roles": ["clinician"], "scopes": self.scopes}
        )

    def _read(self, asked: Asked) -> Answer:
        title = asked.parts.get("title", b"").decode()
        return Answer.of(self.add(title), 201)

    def _list(self, asked: Asked) -> Answer:
        start, limit = int(asked.query.get("cursor", "0")), int(asked.query["limit"])
        end = start + limit
        more = str(end) if end < len(self.studies) else None
        return Answer.of({"items": self.studies[start:end], "next_cursor": more})

    def _study(self, asked: Asked) -> Answer:
        study_id, _, part = asked.path.removeprefix(f"{STUDIES}/").partition("/")
        study = next((known for known in self.studies if known["id"] == study_id), None)
        if study is None:
            return Answer.problem(404, "Study not found", "There is no such study among yours.")
        if asked.method == "DELETE":
            self.studies.remove(study)
            return Answer(204)
        if part == "image":
            return Answer(200, radiograph(), self.image_type)
        if part == "heatmap":
            return Answer(200, heatmap(asked.query["label"]), "image/png")
        if part == "report.dcm":
            return Answer(200, bytes(128) + b"DICM", "application/dicom")
        return Answer.of(study)


def radiograph() -> bytes:
    """A drawn chest with a large heart: a PNG of nobody."""
    return to_png(np.asarray(chest_phantom(heart_radius=0.24, effusion=0.3)))


def heatmap(label: str) -> bytes:
    """The drawn chest with a warm spot."""
    pixels = np.asarray(chest_phantom(heart_radius=0.24, effusion=0.3))
    y, x = np.mgrid[0:64, 0:64] / 63.0
    centre_x, centre_y, radius = HEAT[label]
    heat = np.exp(-((x - centre_x) ** 2 + (y - centre_y) ** 2) / radius**2)
    return to_png(overlay(pixels, heat))


@contextmanager
def running_stub() -> Generator[StubPlatform]:
    """The stub on a free loopback port."""
    platform = StubPlatform()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            """Record the request and send the stub's answer."""
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            split = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(split.query).items()}
            answer = platform.answer(Asked(self.command, split.path, query, self.headers, body))
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.media_type)
            self.send_header("Content-Length", str(len(answer.body)))
            self.send_header("Content-Security-Policy", POLICY)
            self.send_header("X-Content-Type-Options", "nosniff")
            for name, value in answer.headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = do_DELETE = handle_any  # noqa: N815 - the base class looks for these

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Keep quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            """A tab that closes in the middle of an answer is no news."""

    with Server(("127.0.0.1", 0), Handler) as server:
        platform.url = f"http://127.0.0.1:{server.server_address[1]}/"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield platform
        finally:
            server.shutdown()
            thread.join()


def _file(path: str) -> Answer:
    """One of the console's files, as the gateway serves them."""
    if path == "/docs":
        return Answer(200, b"<!doctype html><title>Docs</title>", "text/html")
    name = "index.html" if path == "/" else path.removeprefix("/console/")
    file = CONSOLE / name
    if "/" in name or file.suffix not in TYPES or not file.is_file():
        return Answer.problem(404, "Not found", "There is nothing at this address.")
    return Answer(200, file.read_bytes(), f"{TYPES[file.suffix]}; charset=utf-8")
