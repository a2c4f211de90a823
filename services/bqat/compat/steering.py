"""Pausing and resuming from below `/scan`, and its word on what is queued."""

from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse

from services.bqat.compat.answers import LegacyProblem, LegacyRoute, read_task_id
from services.bqat.dependencies import AdministratorDep, ScansDep, TenantDep
from services.bqat.domain import Kind, Task, Tenant
from services.bqat.errors import NotPossibleNow, ScanNotFound
from services.bqat.repository import TaskRepository
from services.bqat.service import Scans
from services.bqat.tables import TASKS
from shared.jobs import LIVE, JobStatus

router = APIRouter(prefix="/scan", route_class=LegacyRoute, deprecated=True, tags=["bqat"])

_UNFINISHED = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PAUSED)


async def live_tasks(
    scans: Scans, tenant: Tenant, *, kind: Kind | None = None, statuses: tuple[str, ...] = LIVE
) -> list[Task]:
    """The tenant's tasks that are not finished."""
    async with scans.sessions() as session:
        return await TaskRepository(session).tasks(tenant, kind=kind, statuses=statuses)


@router.get("/status")
async def show_status(scans: ScansDep, tenant: TenantDep) -> JSONResponse:
    """What waits and runs."""
    tasks = await live_tasks(scans, tenant, kind=Kind.SCAN, statuses=_UNFINISHED)
    if not tasks:
        return JSONResponse({"status": "No task in the queue"}, 202)
    shown: list[dict[str, Any]] = [
        {
            "tid": str(task.id),
            "total": task.progress.total or 0,
            "done": task.progress.done,
            "eta": round(task.progress.eta_s or 0),
        }
        for task in tasks
    ]
    return JSONResponse({"status": f"[{len(tasks)}] tasks queuing", "tasks": shown})


@router.post("/pause", status_code=202)
async def pause_all(scans: ScansDep, tenant: TenantDep) -> dict[str, str]:
    """Let nobody work on any of the caller's tasks."""
    tasks = await live_tasks(scans, tenant, statuses=(JobStatus.QUEUED, JobStatus.RUNNING))
    async with scans.sessions.begin() as session:
        for task in tasks:
            await TASKS.pause(session, task.id)
    return {"message": "Successful, task queue paused."}


@router.post("/pause/{task_id}", status_code=202)
async def pause(task_id: str, scans: ScansDep, tenant: TenantDep) -> dict[str, str]:
    """Let nobody work on a task."""
    try:
        await scans.steer(read_task_id(task_id), tenant, "pause")
    except (ScanNotFound, NotPossibleNow) as error:
        raise LegacyProblem(404, "Task not found!") from error
    return {"message": f"Successful, task [{task_id}] paused."}


@router.post("/resume", status_code=202)
async def resume_all(scans: ScansDep, tenant: TenantDep) -> dict[str, str]:
    """Go on with everything that is paused."""
    tasks = await live_tasks(scans, tenant)
    if not tasks:
        raise LegacyProblem(404, "Task queue is empty")
    async with scans.sessions.begin() as session:
        for task in tasks:
            await TASKS.resume(session, task.id)
    return {"message": "Successful, task queue resumed."}


@router.post("/resume/{task_id}", status_code=202)
async def resume(task_id: str, scans: ScansDep, tenant: TenantDep) -> dict[str, str]:
    """Go on with a task; one that was never paused simply goes on."""
    try:
        task = await scans.find(read_task_id(task_id), tenant)
        if task.status not in LIVE:
            raise NotPossibleNow(task.status)
        async with scans.sessions.begin() as session:
            await TASKS.resume(session, task.id)
    except (ScanNotFound, NotPossibleNow) as error:
        raise LegacyProblem(404, f"Task [{task_id}] not found.") from error
    return {"message": f"Successful, task [{task_id}] resumed."}


@router.post("/clear", status_code=202)
async def clear(scans: ScansDep, _: AdministratorDep, tenant: TenantDep) -> str:
    """Cancel and forget everything that waits; for the administrator (Q13)."""
    async with scans.sessions.begin() as session:
        tasks = TaskRepository(session)
        for task in await tasks.waiting(tenant):
            await TASKS.cancel(session, task.id)
            await tasks.delete_task(task.id)
    return "Task queue cleared"
