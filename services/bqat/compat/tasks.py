"""Everything below `/task`."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import JSONResponse

from services.bqat.compat.answers import (
    BACKEND,
    VERSION,
    LegacyProblem,
    LegacyRoute,
    read_task_id,
    to_other_log,
    to_scan_log,
    to_task_log,
)
from services.bqat.compat.steering import live_tasks
from services.bqat.dependencies import ScansDep, TenantDep
from services.bqat.domain import (
    ALL_EXTENSIONS,
    Kind,
    Modality,
    OptionsRefused,
    Task,
    Tenant,
    Wanted,
    wanted_files,
)
from services.bqat.errors import InputRefused, NotPossibleNow, ScanNotFound
from services.bqat.repository import TaskRepository
from services.bqat.service import Scans
from services.bqat.sources import DATA_PREFIX, relative_name
from services.bqat.tables import TASKS
from shared.jobs import LIVE, JobStatus

router = APIRouter(prefix="/task", route_class=LegacyRoute, deprecated=True, tags=["bqat"])

KindName = Literal["scan", "report", "outlier", "preprocessing"]
_NO_TASK = "Task not found!"
_NO_LOG = "Task log not found!"
_MOST_FOLDERS = 100_000


class EditTaskLog(BaseModel):
    """What of a task's log may be changed (Q15)."""

    options: dict[str, Any] | None = None


@router.get("/")
async def list_tasks(scans: ScansDep, tenant: TenantDep) -> list[dict[str, Any]]:
    """Every scan, in the order in which they were begun."""
    return [to_task_log(task) for task in reversed(await _of_kind(scans, tenant, Kind.SCAN))]


@router.get("/info")
async def show_info() -> dict[str, str]:
    """The version."""
    return {"backend": BACKEND, "version": VERSION}


@router.get("/logs/{kind}")
async def list_logs(kind: KindName, scans: ScansDep, tenant: TenantDep) -> list[dict[str, Any]]:
    """Every task of a kind, the last changed first."""
    tasks = await _of_kind(scans, tenant, Kind(kind))
    return [_log(task) for task in sorted(tasks, key=lambda task: task.modified_at, reverse=True)]


@router.get("/logs/{kind}/{task_id}")
async def show_log(
    kind: KindName, task_id: str, scans: ScansDep, tenant: TenantDep
) -> list[dict[str, Any]]:
    """An array with the task, or without it where there is none."""
    try:
        task = await scans.find(read_task_id(task_id), tenant)
    except ScanNotFound:
        return []
    return [_log(task)] if task.kind is Kind(kind) else []


def _log(task: Task) -> dict[str, Any]:
    return to_scan_log(task) if task.kind is Kind.SCAN else to_other_log(task)


@router.get("/queue")
async def list_queue(scans: ScansDep, tenant: TenantDep) -> list[str]:
    """The tasks that wait; the next one is the last (Q16)."""
    async with scans.sessions() as session:
        waiting = await TaskRepository(session).waiting(tenant)
    return [str(task.id) for task in reversed(waiting)]


@router.delete("/queue")
async def clear_queue(scans: ScansDep, tenant: TenantDep) -> dict[str, str]:
    """Pause everything that waits, as tasks that are no longer queued (Q16)."""
    async with scans.sessions.begin() as session:
        for task in await TaskRepository(session).waiting(tenant):
            await TASKS.pause(session, task.id)
    return {"message": "Successful, task queue cleared."}


@router.post("/queue/push")
async def push(tid: str, scans: ScansDep, tenant: TenantDep) -> dict[str, str]:
    """Queue a task that is paused."""
    task = await _find(scans, tenant, tid, _NO_LOG)
    async with scans.sessions.begin() as session:
        await TASKS.resume(session, task.id)
    return {"message": "Successful, task queue item appended."}


@router.post("/queue/pop")
async def pop(scans: ScansDep, tenant: TenantDep) -> JSONResponse:
    """Pause the next task, and name it."""
    async with scans.sessions.begin() as session:
        waiting = await TaskRepository(session).waiting(tenant)
        if not waiting:
            return JSONResponse(None)
        await TASKS.pause(session, waiting[0].id)
    return JSONResponse(str(waiting[0].id))


@router.post("/reload")
async def reload(scans: ScansDep, tenant: TenantDep) -> dict[str, str]:
    """Queue everything that is paused."""
    async with scans.sessions.begin() as session:
        for task in await TaskRepository(session).tasks(tenant, statuses=(JobStatus.PAUSED,)):
            await TASKS.resume(session, task.id)
    return {"message": "Successful, task queue reloaded from logs."}


@router.post("/clear")
async def clear(scans: ScansDep, tenant: TenantDep) -> dict[str, str]:
    """Cancel what waits and runs."""
    await _cancel(scans, await live_tasks(scans, tenant))
    return {"message": "Successful, task queue cleared."}


@router.post("/cancel")
async def cancel_all(scans: ScansDep, tenant: TenantDep) -> dict[str, str]:
    """Cancel everything; how many tasks that were."""
    return {"Tasks cancelled": str(await _cancel(scans, await live_tasks(scans, tenant)))}


@router.post("/cancel/{task_id}")
async def cancel(
    task_id: str,
    scans: ScansDep,
    tenant: TenantDep,
    type: str | None = None,  # noqa: A002
) -> dict[str, str]:
    """Cancel one task."""
    if type is not None and type not in set(Kind):
        raise LegacyProblem(400, "Task type not recognised!")
    task = await _find(scans, tenant, task_id, _NO_TASK)
    if type is not None and task.kind != type:
        raise LegacyProblem(404, _NO_TASK)
    if task.status not in LIVE:
        return {"message": "No tasks is running!"}
    return {"Tasks cancelled": str(await _cancel(scans, [task]))}


async def _cancel(scans: Scans, tasks: list[Task]) -> int:
    async with scans.sessions.begin() as session:
        for task in tasks:
            await TASKS.cancel(session, task.id)
    return len(tasks)


@router.get("/pending")
@router.get("/state")
@router.get("/metadata")
async def show_pending(scans: ScansDep, tenant: TenantDep) -> dict[str, Any]:
    """The task that runs, or an empty object."""
    running = await live_tasks(scans, tenant, statuses=(JobStatus.RUNNING,))
    return {} if not running else {**_log(running[-1]), "type": running[-1].kind.value}


@router.get("/inputs/folders")
async def list_folders(scans: ScansDep, _: TenantDep) -> list[str]:
    """Every folder of the data folder."""

    def find() -> list[str]:
        names = []
        for name in scans.data.folders():
            names.append(f"{DATA_PREFIX}/{name}")
            if len(names) == _MOST_FOLDERS:
                break
        return names

    return await asyncio.to_thread(find)


@router.get("/inputs/metadata")
async def count_inputs(
    scans: ScansDep,
    _: TenantDep,
    exts: Annotated[list[str] | None, Query()] = None,
    pattern: Annotated[str, Query(max_length=200)] = "",
    path: str = DATA_PREFIX,
) -> dict[str, Any]:
    """How many files of a folder would be scanned."""
    try:
        chosen = wanted_files(Modality.FACE, {"pattern": pattern}).pattern
        folder = relative_name(path)
    except (InputRefused, OptionsRefused) as error:
        raise LegacyProblem(422, str(error)) from error
    wanted = Wanted(frozenset(e.lower() for e in exts or ALL_EXTENSIONS), chosen)
    count = await asyncio.to_thread(lambda: sum(1 for _ in scans.data.files(folder, wanted)))
    return {"dir": path, "count": count}


@router.post("/{kind}/start", status_code=202)
async def start(
    kind: Literal["report", "outlier", "preprocessing"], scans: ScansDep, tenant: TenantDep
) -> dict[str, str]:
    """Begin what waits for its trigger."""
    names = {"report": "Report", "outlier": "Outlier detection", "preprocessing": "Preprocessing"}
    tasks = await live_tasks(scans, tenant, kind=Kind(kind))
    if not tasks:
        raise LegacyProblem(404, f"{names[kind]} queue is empty")
    async with scans.sessions.begin() as session:
        for task in tasks:
            await TASKS.resume(session, task.id)
    return {"message": f"Successful, {kind} queue started."}


@router.get("/{task_id}/status")
async def show_status(task_id: str, scans: ScansDep, tenant: TenantDep) -> dict[str, int]:
    """How far a task is; 404 as soon as it is finished, which the interface relies on (Q17)."""
    task = await _find(scans, tenant, task_id, _NO_LOG)
    if task.status in (JobStatus.FAILED, JobStatus.CANCELLED):
        raise LegacyProblem(404, "Task failed.")
    if task.status == JobStatus.COMPLETED:
        raise LegacyProblem(404, _NO_TASK)
    return {
        "total": task.progress.total or 0,
        "done": task.progress.done,
        "eta": round(task.progress.eta_s or 0),
    }


@router.get("/{task_id}/")
async def show_task(task_id: str, scans: ScansDep, tenant: TenantDep) -> dict[str, Any]:
    """A task as the original document shows it."""
    task = await _find(scans, tenant, task_id, "Not Found")
    return to_task_log(task) if task.kind is Kind.SCAN else to_other_log(task)


@router.put("/{task_id}")
async def edit_task(
    task_id: str, edit: EditTaskLog, scans: ScansDep, tenant: TenantDep
) -> dict[str, Any]:
    """Change the options of a task that has not begun (Q15)."""
    task = await _find(scans, tenant, task_id, _NO_LOG)
    if edit.options is not None:
        if task.status not in (JobStatus.QUEUED, JobStatus.PAUSED):
            raise LegacyProblem(409, "The task has begun; its options stand.")
        try:
            wanted_files(task.modality or Modality.FACE, edit.options)
        except OptionsRefused as error:
            raise LegacyProblem(422, str(error)) from error
        async with scans.sessions.begin() as session:
            await TaskRepository(session).set_options(task.id, edit.options)
    return _log(await scans.find(task.id, tenant))


@router.delete("/{task_id}")
@router.delete("/{task_id}/")
async def delete_task(task_id: str, scans: ScansDep, tenant: TenantDep) -> dict[str, str]:
    """Forget a task; its profiles stay."""
    task = await _find(scans, tenant, task_id, _NO_LOG)
    async with scans.sessions.begin() as session:
        await TASKS.cancel(session, task.id)
        await TaskRepository(session).delete_task(task.id)
    return {"message": "Successful, task log removed."}


@router.post("/{task_id}/top")
async def move_to_top(task_id: str, scans: ScansDep, tenant: TenantDep) -> dict[str, str]:
    """Make a task the next one."""
    task = await _find(scans, tenant, task_id, _NO_LOG)
    async with scans.sessions.begin() as session:
        await TASKS.move_to_front(session, task.id)
    return {"message": f"Successful, task [{task_id}] moved to front of the queue."}


@router.post("/{task_id}/stop")
async def stop(task_id: str, scans: ScansDep, tenant: TenantDep) -> dict[str, str]:
    """Pause a task."""
    try:
        await scans.steer(read_task_id(task_id), tenant, "pause")
    except ScanNotFound as error:
        raise LegacyProblem(404, _NO_TASK) from error
    except NotPossibleNow as error:
        raise LegacyProblem(409, error.detail) from error
    return {"message": f"Successful, task [{task_id}] stopped."}


async def _find(scans: Scans, tenant: Tenant, task_id: str, missing: str) -> Task:
    try:
        return await scans.find(read_task_id(task_id), tenant)
    except ScanNotFound as error:
        raise LegacyProblem(404, missing) from error


async def _of_kind(scans: Scans, tenant: Tenant, kind: Kind) -> list[Task]:
    async with scans.sessions() as session:
        return await TaskRepository(session).tasks(tenant, kind=kind)
