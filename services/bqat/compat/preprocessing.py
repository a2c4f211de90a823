"""Resizing and converting pictures of the data folder, as tasks."""

from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from services.bqat.compat.answers import (
    LegacyProblem,
    LegacyRoute,
    read_task_id,
    refused_input,
    to_other_log,
)
from services.bqat.dependencies import ScansDep, TenantDep
from services.bqat.domain import ALL_EXTENSIONS, Kind, OptionsRefused, Task, Tenant
from services.bqat.errors import InputRefused, NotPossibleNow, ScanNotFound
from services.bqat.preprocessing import read_change
from services.bqat.repository import TaskRepository
from services.bqat.service import Scans
from services.bqat.sources import relative_name
from shared.jobs import JobStatus

router = APIRouter(
    prefix="/scan/preprocessing", route_class=LegacyRoute, deprecated=True, tags=["bqat"]
)


class PreprocessingOptions(BaseModel):
    """What is done to each picture."""

    scale: Annotated[float, Field(gt=0, le=20)] | None = 1.0
    resize: Annotated[int, Field(ge=20, le=10_000)] | None = None
    convert: Literal["png", "jpeg", "jpg", "bmp", "jp2"] | None = None
    mode: Literal["grayscale", "greyscale", "bw", "rgb"] | None = None
    pattern: str | None = Field(default=None, max_length=200)


class PreprocessingTask(BaseModel):
    """Which pictures are changed, and where they go."""

    source: str
    target: str | None = None
    input_format: list[str] = Field(default_factory=lambda: list(ALL_EXTENSIONS), max_length=10)
    options: PreprocessingOptions = Field(default_factory=PreprocessingOptions)


@router.post("", status_code=202)
async def begin(task: PreprocessingTask, scans: ScansDep, tenant: TenantDep) -> dict[str, str]:
    """Change the pictures of a folder."""
    options = task.options.model_dump(exclude_none=True)
    target = task.target or f"data/processed/{uuid4()}"
    try:
        read_change(options)
        if scans.data.kind_of(relative_name(task.source)) != "folder":
            raise refused_input(f"'{task.source}' not exist")
        relative_name(target)
    except (InputRefused, OptionsRefused) as error:
        raise refused_input(str(error)) from error
    async with scans.sessions.begin() as session:
        begun = await TaskRepository(session).add_task(
            tenant,
            Kind.PREPROCESSING,
            dataset_id=None,
            options=options,
            source={
                "kind": "folder",
                "source": task.source,
                "target": target,
                "input_format": task.input_format,
            },
        )
    return {"Preprocessing task in progress": str(begun.id)}


@router.get("/{task_id}")
async def show(task_id: str, scans: ScansDep, tenant: TenantDep) -> Response:
    """What became of it; 202 while it runs (Q14)."""
    task = await _task(scans, tenant, task_id)
    if task.status == JobStatus.COMPLETED:
        return JSONResponse(to_other_log(task))
    return JSONResponse({"Preprocessing task in progress": str(task.id)}, 202)


@router.delete("/{task_id}")
@router.delete("/{task_id}/log")
async def delete(task_id: str, scans: ScansDep, tenant: TenantDep) -> dict[str, Any]:
    """Forget the task; the pictures stay in the data folder (Q14)."""
    task = await _task(scans, tenant, task_id)
    try:
        await scans.delete(task.id, tenant)
    except NotPossibleNow as error:
        raise LegacyProblem(409, error.detail) from error
    return {"info": f"Preprocessing log of [{task_id}] deleted."}


async def _task(scans: Scans, tenant: Tenant, task_id: str) -> Task:
    try:
        task = await scans.find(read_task_id(task_id), tenant)
    except ScanNotFound as error:
        raise LegacyProblem(404, f"Preprocessing log of [{task_id}] not found") from error
    if task.kind is not Kind.PREPROCESSING:
        raise LegacyProblem(404, f"Preprocessing log of [{task_id}] not found")
    return task
