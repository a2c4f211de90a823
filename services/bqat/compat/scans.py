"""Beginning scans: `/scan/`, `/scan/local`, `/scan/uploaded`, `/scan/remote`."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, field_validator

from services.bqat.compat.answers import LegacyProblem, LegacyRoute, refused_input
from services.bqat.dependencies import ScansDep, TenantDep
from services.bqat.domain import Modality, Task, Tenant, read_modality
from services.bqat.errors import InputRefused
from services.bqat.service import ScanOrder, Scans
from services.bqat.uploads import files_of, keep_files, open_form

router = APIRouter(prefix="/scan", route_class=LegacyRoute, deprecated=True, tags=["bqat"])

#: What uploaded files are called below (Q3).
UPLOADED = "temp/"
_FORMATS = Literal["png", "jpeg", "jpg", "bmp", "jp2", "wsq", "wav"]
_ENGINES = ("bqat", "ofiq", "biqt", "fusion", "default")


class ScanOptions(BaseModel):
    """The options of a scan."""

    mode: str | None = None
    engine: Literal["bqat", "ofiq", "biqt", "fusion", "default"] | None = None
    source: list[_FORMATS] | None = None
    target: _FORMATS | None = None
    extension: list[_FORMATS] | None = None
    """Version 1.3's word for `source`."""
    confidence: float | None = Field(default=None, gt=0, le=1)
    pattern: str | None = Field(default=None, max_length=200)
    type: Literal["folder", "file"] | None = None
    batch: int | None = Field(default=None, gt=0)
    fusion: Literal[3, 5, 6, 7] | None = None
    cpu: float | None = None

    @field_validator("cpu")
    @classmethod
    def cpu_is_a_share(cls, cpu: float | None) -> float | None:
        """From 0 to 1, or -1 for all; how many processes there are is the operator's to say."""
        if cpu is not None and cpu != -1 and not 0 <= cpu <= 1:
            raise ValueError("cpu must be between 0 and 1, or -1")
        return cpu


class ScanTask(BaseModel):
    """What is to be scanned."""

    options: ScanOptions | None = None
    input: list[str] | str | None = Field(...)
    collection: str | None = Field(default=None, max_length=200)


Trigger = Annotated[bool, Query()]


def required_modality(text: str | None) -> Modality:
    """The modality of the query; 400 in the old server's words where there is none."""
    modality = None if text is None else read_modality(text)
    if modality is None:
        raise LegacyProblem(400, "modality not supported")
    return modality


def options_of(modality: Modality, given: ScanOptions | None) -> dict[str, Any]:
    """The options with what the old server fills in."""
    options = {} if given is None else given.model_dump(exclude_none=True)
    if "extension" in options and "source" not in options:
        options["source"] = options.pop("extension")
    defaults: dict[str, Any] = {}
    if modality is Modality.FACE:
        defaults = {"confidence": 0.7}
    elif modality is Modality.FINGERPRINT:
        defaults = {"source": ["jpg", "jpeg", "bmp", "jp2", "wsq", "png"], "target": "png"}
    elif modality is Modality.SPEECH:
        defaults = {"type": "file"}
    return {"mode": str(modality), **defaults, **options}


def engine_of(name: str | None) -> str | None:
    """The engine that is asked for; `default` was version 1.3's word for none."""
    if name is None or name in ("", "default"):
        return None
    if name not in _ENGINES:
        raise LegacyProblem(400, "task options error found")
    return name


@router.post("/", status_code=201)
@router.post("/local", status_code=201)
async def begin_local(
    task: ScanTask,
    scans: ScansDep,
    tenant: TenantDep,
    modality: str | None = None,
    trigger: Trigger = True,
) -> dict[str, str]:
    """Scan a folder, or files, below the data folder."""
    of = required_modality(modality)
    options = options_of(of, task.options)
    order = ScanOrder(
        tenant,
        of,
        engine=engine_of(options.get("engine")),
        options={name: value for name, value in options.items() if name != "engine"},
        dataset=task.collection or None,
        begin=trigger,
    )
    return {"tid": str((await _begin(scans, order, task.input)).id)}


async def _begin(scans: Scans, order: ScanOrder, where: list[str] | str | None) -> Task:
    if where is None:
        raise LegacyProblem(400, "illegal input")
    if not where:
        raise LegacyProblem(400, "empty input")
    try:
        if isinstance(where, str):
            return await scans.scan_folder(order, where)
        return await scans.scan_names(order, where)
    except InputRefused as error:
        raise refused_input(error.detail) from error


@router.post("/uploaded", status_code=201)
async def begin_uploaded(
    request: Request, scans: ScansDep, tenant: TenantDep, modality: str | None = None
) -> dict[str, str]:
    """Scan uploaded files, as version 1.3 does."""
    return {"tid": str((await _upload(request, scans, tenant, modality, {}, None)).id)}


@router.post("/remote", status_code=201)
async def begin_remote(
    request: Request,
    scans: ScansDep,
    tenant: TenantDep,
    modality: str | None = None,
    engine: str | None = None,
    fusion: Annotated[int, Query(ge=1, le=7)] = 6,
    trigger: Trigger = True,
) -> dict[str, str]:
    """Scan uploaded files, as version 1.4 does."""
    options = {"fusion": fusion} if engine == "fusion" else {}
    task = await _upload(request, scans, tenant, modality, options, engine, begin=trigger)
    return {"tid": str(task.id)}


async def _upload(
    request: Request,
    scans: Scans,
    tenant: Tenant,
    modality: str | None,
    options: dict[str, Any],
    engine: str | None,
    *,
    begin: bool = True,
) -> Task:
    of = required_modality(modality)
    order = ScanOrder(
        tenant,
        of,
        engine=engine_of(engine),
        options={**options_of(of, None), **options},
        begin=begin,
    )
    settings = scans.settings
    async with open_form(
        request,
        max_bytes=settings.bqat_max_upload_bytes,
        max_files=settings.bqat_max_upload_files,
    ) as form:
        found = files_of(form, "files")
        if not found:
            raise refused_upload()
        files = await keep_files(found, scans.objects, max_file_bytes=settings.bqat_max_file_bytes)
    return await scans.scan_files(order, files, prefix=UPLOADED)


def refused_upload() -> Exception:
    """What FastAPI said of a form without its files."""
    return RequestValidationError(
        [{"type": "missing", "loc": ("body", "files"), "msg": "Field required"}]
    )
