"""How the old server answers: `{"detail": …}` for failures, its own words for everything else."""

from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.bqat.domain import Dataset, Kind, SourceKind, Task, TaskId
from shared.jobs import JobStatus
from shared.problems import Problem

#: What the old server calls the states of a task (Q7).
STATUS: Final[Mapping[str, int]] = {
    JobStatus.QUEUED: 0,
    JobStatus.PAUSED: 0,
    JobStatus.HELD: 0,
    JobStatus.RUNNING: 1,
    JobStatus.COMPLETED: 2,
    JobStatus.FAILED: 3,
    JobStatus.CANCELLED: 3,
}
VERSION: Final = "1.3.2 beta"
BACKEND: Final = "Biometric Quality Assessment Tool (BQAT) - Core"


class LegacyProblem(Problem):
    """A failure with a status and a sentence of the old server's."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.code = status


class LegacyRoute(APIRoute):
    """Answers a failure as the old server did: its status and a `detail` (Q1)."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the route's own handler."""
        handle = super().get_route_handler()

        async def handle_legacy(request: Request) -> Response:
            try:
                return await handle(request)
            except LegacyProblem as problem:
                return JSONResponse({"detail": problem.detail}, problem.code)
            except RequestValidationError as error:
                # What was sent is not repeated: it may be a picture.
                found = [{k: v for k, v in e.items() if k != "input"} for e in error.errors()]
                return JSONResponse({"detail": jsonable_encoder(found)}, 422)
            except Problem as problem:
                return JSONResponse(
                    {"detail": problem.detail}, problem.status, headers=problem.headers
                )

        return handle_legacy


def refused_input(detail: str) -> RequestValidationError:
    """What pydantic said of an `input` that is not there (Q2)."""
    return RequestValidationError(
        [{"type": "value_error", "loc": ("body", "input"), "msg": f"Value error, {detail}"}]
    )


def read_task_id(text: str) -> TaskId:
    """The identifier of a task; what is none is 422, as a path parameter of type UUID was."""
    try:
        return TaskId(UUID(text))
    except ValueError as error:
        raise RequestValidationError(
            [
                {
                    "type": "uuid_parsing",
                    "loc": ("path", "task_id"),
                    "msg": "Input should be a valid UUID",
                }
            ]
        ) from error


def naive(at: datetime) -> str:
    """A time as the old server wrote it: ISO 8601 without a zone, UTC (Q6)."""
    return at.replace(tzinfo=None).isoformat()


def options_of(task: Task) -> dict[str, Any]:
    """A task's options as the old server kept them."""
    options: dict[str, Any] = {"mode": task.modality} if task.modality else {}
    if task.engine:
        options["engine"] = task.engine
    options |= dict(task.options)
    if task.source.get("kind") == SourceKind.UPLOAD:
        options["uploaded"] = True
    return options


def to_task_log(task: Task) -> dict[str, Any]:
    """A scan as version 1.3 shows it."""
    return {
        "_id": str(task.id),
        "tid": str(task.id),
        "options": options_of(task),
        "collection": task.dataset_name,
        "status": STATUS[task.status],
        "input": task.progress.total or 0,
        "finished": task.progress.done,
        "elapse": round(task.progress.elapsed_s, 3),
    }


def input_of(task: Task) -> str:
    """Where a scan's samples were, as a path."""
    kind, path = task.source.get("kind"), str(task.source.get("path") or "")
    if kind == SourceKind.FILES:
        return ", ".join(task.source.get("names", ())[:3])
    return path or "temp/"


def to_scan_log(task: Task) -> dict[str, Any]:
    """A scan as version 1.4 shows it."""
    return {
        "options": options_of(task),
        "collection": task.dataset_name,
        "status": STATUS[task.status],
        "tid": str(task.id),
        "input": input_of(task),
        "total": task.progress.total or 0,
        "finished": task.progress.done,
        "elapse": round(task.progress.elapsed_s, 3),
        "modified": naive(task.modified_at),
        "logs": [] if task.error is None else [{task.error_code or "error": task.error}],
    }


def to_other_log(task: Task) -> dict[str, Any]:
    """A task of another kind as version 1.4 shows it."""
    log: dict[str, Any] = {"options": dict(task.options), "status": STATUS[task.status]}
    if task.kind is Kind.PREPROCESSING:
        source = task.source
        log |= {name: source.get(name) for name in ("source", "target", "input_format")}
    else:
        log["collection"] = task.dataset_name
    if task.kind is Kind.REPORT:
        log |= {
            "metadata": {"mode": task.modality},
            "external_input": task.source.get("path"),
            "file_id": (task.result or {}).get("sha256"),
            "filename": None if task.result is None else f"{task.dataset_name}.html",
        }
    return log | {"tid": str(task.id), "modified": naive(task.modified_at)}


def to_dataset_log(dataset: Dataset) -> dict[str, Any]:
    """A dataset as the old server shows it."""
    return {
        "collection": dataset.name,
        "options": dict(dataset.options),
        "created": naive(dataset.created_at),
        "modified": naive(dataset.modified_at),
        "samples": dataset.samples,
    }
