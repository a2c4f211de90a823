"""The modern API: `/api/v2/bqat`."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated, Any, BinaryIO, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.responses import Response, StreamingResponse

from services.bqat import exports
from services.bqat.dependencies import ScansDep, TaskIdDep, TenantDep
from services.bqat.domain import Dataset, Kind, Modality, Task, TaskId, Tenant, read_modality
from services.bqat.errors import InputRefused, NotPossibleNow, ScanNotFound
from services.bqat.profiles import ProfileRepository
from services.bqat.repository import TaskRepository
from services.bqat.schemas import (
    AssessmentOut,
    OutliersIn,
    OutliersOut,
    ProfileOut,
    ProfilesOut,
    ScanIn,
    ScanOut,
    ScansOut,
    from_cursor,
    to_cursor,
    whole_schema,
)
from services.bqat.service import ScanOrder, Scans
from services.bqat.uploads import Stored, files_of, keep_files, open_form, text_of
from shared.idempotency import PARAMETER, REPLAYED, Repeatable, idempotency_key_of
from shared.problems import InvalidRequest

router = APIRouter(prefix="/api/v2/bqat", tags=["bqat"])

_WAIT = re.compile(r"\bwait=(\d{1,4})\b")
_HTML = "text/html; charset=utf-8"
#: A report runs nothing, loads nothing and can be framed by nobody.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-store",
}
_MULTIPART = {
    "type": "object",
    "required": ["modality"],
    "properties": {
        "modality": {"type": "string", "enum": ["face", "fingerprint", "iris", "speech"]},
        "engine": {"type": "string"},
        "options": {"type": "string", "description": "JSON"},
        "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "archive": {"type": "string", "format": "binary", "description": "a zip of samples"},
    },
}
_SCAN_BODY: dict[str, Any] = {
    "parameters": [PARAMETER],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": whole_schema(ScanIn)},
            "multipart/form-data": {"schema": _MULTIPART},
        },
    },
}


@router.post("/scans", status_code=202, response_model=ScanOut, openapi_extra=_SCAN_BODY)
async def begin_scan(
    request: Request,
    response: Response,
    scans: ScansDep,
    tenant: TenantDep,
    prefer: Annotated[str | None, Header()] = None,
) -> ScanOut:
    """Scan uploaded files, an uploaded zip, a folder, named files, or a prefix of objects."""
    kind = request.headers.get("content-type", "").split(";", 1)[0].strip().lower()
    begin = _begin_upload if kind == "multipart/form-data" else _begin_on_server
    task, is_repeated = await begin(request, scans, tenant)
    if is_repeated:
        response.headers.update(REPLAYED)
    response.headers["Location"] = f"/api/v2/bqat/scans/{task.id}"
    if prefer is not None and _WAIT.search(prefer):
        task = await scans.wait(task)
        response.headers["Preference-Applied"] = "wait"
        if task.finished_at is not None:
            response.status_code = 200
    return ScanOut.from_task(task)


async def _read_order(request: Request) -> ScanIn:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > 1024 * 1024:
            raise InvalidRequest("The body is larger than 1 MB.")
    try:
        return ScanIn.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError(
            [{**found, "loc": ("body", *found["loc"])} for found in error.errors()]
        ) from error


async def _begin_on_server(request: Request, scans: Scans, tenant: Tenant) -> tuple[Task, bool]:
    """The scan, and whether the same request has begun it before."""
    order = await _read_order(request)
    wanted = ScanOrder(
        tenant,
        Modality(order.modality),
        engine=order.engine,
        options=order.options,
        begin=order.begin,
        repeatable=Repeatable.of(idempotency_key_of(request), order.model_dump_json()),
    )
    if (earlier := await scans.find_begun(wanted)) is not None:
        return earlier, True
    task = await _scan_source(order, wanted, scans)
    return task, task.id != wanted.id


async def _scan_source(order: ScanIn, wanted: ScanOrder, scans: Scans) -> Task:
    source = order.source
    given = [name for name in ("folder", "files", "objects") if getattr(source, name) is not None]
    if len(given) != 1:
        raise InputRefused("Name one source: `folder`, `files` or `objects`.")
    if source.folder is not None:
        return await scans.scan_folder(wanted, source.folder)
    if source.files is not None:
        return await scans.scan_names(wanted, source.files)
    return await scans.scan_objects(wanted, source.objects or "")


async def _begin_upload(request: Request, scans: Scans, tenant: Tenant) -> tuple[Task, bool]:
    """The scan, and whether the same request has begun it before."""
    key = idempotency_key_of(request)
    settings = scans.settings
    async with open_form(
        request,
        max_bytes=settings.bqat_max_upload_bytes,
        max_files=settings.bqat_max_upload_files,
    ) as form:
        modality = read_modality(text_of(form, "modality") or "")
        if modality is None:
            raise InputRefused("`modality` is face, fingerprint, iris or speech.")
        order = ScanOrder(
            tenant,
            modality,
            engine=text_of(form, "engine"),
            options=_options(text_of(form, "options")),
        )
        archives = files_of(form, "archive")
        files: list[Stored] = []
        content: object = None
        if archives and key is not None:
            content = await asyncio.to_thread(_digest, archives[0].file)
        elif not archives:
            content = files = await keep_files(
                files_of(form, "files", "file"),
                scans.objects,
                max_file_bytes=settings.bqat_max_file_bytes,
            )
        said = (order.modality, order.engine, order.options, content)
        order = replace(order, repeatable=Repeatable.of(key, *said))
        if (earlier := await scans.find_begun(order)) is not None:
            return earlier, True
        if archives:
            folder = await scans.unpack(archives[0].file, archives[0].filename or "")
            task = await scans.scan_folder(order, folder)
        else:
            task = await scans.scan_files(order, files, prefix="")
        return task, task.id != order.id


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := file.read(1024 * 1024):
        digest.update(piece)
    file.seek(0)
    return digest.hexdigest()


def _options(text: str | None) -> dict[str, Any]:
    if not text:
        return {}
    try:
        options = json.loads(text)
    except ValueError as error:
        raise InputRefused("`options` is no JSON.") from error
    if not isinstance(options, dict):
        raise InputRefused("`options` is no JSON object.")
    return options


@router.get("/scans", response_model=ScansOut)
async def list_scans(
    scans: ScansDep,
    tenant: TenantDep,
    cursor: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> ScansOut:
    """The caller's scans, newest first."""
    async with scans.sessions() as session:
        found = await TaskRepository(session).tasks(
            tenant, kind=Kind.SCAN, before=cursor, limit=limit + 1
        )
    following = str(found[limit - 1].number) if len(found) > limit else None
    return ScansOut(
        items=[ScanOut.from_task(task) for task in found[:limit]], next_cursor=following
    )


@router.get("/scans/{scan_id}", response_model=ScanOut)
async def show_scan(task_id: TaskIdDep, scans: ScansDep, tenant: TenantDep) -> ScanOut:
    """One scan, and how far it is."""
    return ScanOut.from_task(await _scan(scans, task_id, tenant))


@router.delete("/scans/{scan_id}", status_code=204)
async def delete_scan(task_id: TaskIdDep, scans: ScansDep, tenant: TenantDep) -> None:
    """Forget a scan that has ended, with its profiles, outliers and report."""
    await scans.delete(task_id, tenant)


@router.get("/scans/{scan_id}/profiles", response_model=ProfilesOut)
async def list_profiles(
    task_id: TaskIdDep,
    scans: ScansDep,
    tenant: TenantDep,
    response: Response,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> ProfilesOut:
    """The profiles so far, in the order of the files."""
    dataset = await _dataset(scans, task_id, tenant)
    after = None
    if cursor is not None and (after := from_cursor(cursor)) is None:
        raise InvalidRequest("This is no cursor of ours.")
    async with scans.sessions() as session:
        found = await ProfileRepository(session).page(dataset.id, after=after, limit=limit + 1)
    following = to_cursor(found[limit - 1].place) if len(found) > limit else None
    response.headers["Vedette-Evidence"] = await scans.evidence_of(dataset.id)
    return ProfilesOut(
        items=[ProfileOut.from_kept(kept) for kept in found[:limit]], next_cursor=following
    )


@router.get("/scans/{scan_id}/profiles.csv", response_class=StreamingResponse)
async def export_csv(task_id: TaskIdDep, scans: ScansDep, tenant: TenantDep) -> StreamingResponse:
    """All profiles as CSV; texts that a spreadsheet would take for formulas begin with `'`."""
    dataset = await _dataset(scans, task_id, tenant)
    return _download(exports.to_csv(scans.sessions, dataset.id), "text/csv", f"{task_id}.csv")


@router.get("/scans/{scan_id}/profiles.parquet", response_class=StreamingResponse)
async def export_parquet(
    task_id: TaskIdDep, scans: ScansDep, tenant: TenantDep
) -> StreamingResponse:
    """All profiles as Parquet."""
    dataset = await _dataset(scans, task_id, tenant)
    body = exports.to_parquet(scans.sessions, dataset.id)
    return _download(body, "application/vnd.apache.parquet", f"{task_id}.parquet")


def _download(body: AsyncIterator[bytes], kind: str, name: str) -> StreamingResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return StreamingResponse(body, media_type=kind, headers=headers)


@router.get("/scans/{scan_id}/outliers", response_model=OutliersOut)
async def show_outliers(
    task_id: TaskIdDep,
    scans: ScansDep,
    tenant: TenantDep,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> OutliersOut:
    """The samples that stand out, and why; they are looked for now where nobody has yet."""
    dataset = await _dataset(scans, task_id, tenant)
    async with scans.sessions() as session:
        detection = await ProfileRepository(session).find_detection(dataset.id)
    if detection is None:
        await scans.require(await scans.detect(dataset))
    return await _outliers(scans, dataset, limit)


@router.post("/scans/{scan_id}/outliers", response_model=OutliersOut)
async def find_outliers(
    task_id: TaskIdDep, order: OutliersIn, scans: ScansDep, tenant: TenantDep
) -> OutliersOut:
    """Look for outliers anew, with another detector, other columns or another share."""
    dataset = await _dataset(scans, task_id, tenant)
    await scans.require(
        await scans.detect(
            dataset,
            detector=order.detector,
            columns=order.columns,
            contamination=order.contamination,
        )
    )
    return await _outliers(scans, dataset, 1000)


async def _outliers(scans: Scans, dataset: Dataset, limit: int) -> OutliersOut:
    async with scans.sessions() as session:
        profiles = ProfileRepository(session)
        detection = await profiles.find_detection(dataset.id)
        if detection is None:
            raise NotPossibleNow("The outliers were deleted meanwhile.")
        return OutliersOut.from_detection(
            detection, await profiles.outliers(dataset.id, limit=limit)
        )


@router.get("/scans/{scan_id}/report", response_class=Response)
async def show_report(
    task_id: TaskIdDep,
    scans: ScansDep,
    tenant: TenantDep,
    compare: Annotated[str | None, Query(max_length=100)] = None,
    renew: bool = False,
) -> Response:
    """The report, one self-contained page; written now where there is none.

    With `compare` it is set against another scan of the caller; with `renew` it is written anew.
    """
    dataset = await _dataset(scans, task_id, tenant)
    if compare is not None:
        async with scans.sessions() as session:
            other = await TaskRepository(session).get_dataset(tenant, compare)
        page = await scans.compare(dataset, other)
    else:
        page = b"" if renew else await scans.report_of(dataset) or b""
        if not page:
            await scans.require(await scans.write_report(dataset))
            page = await scans.report_of(dataset) or b""
    if not page:
        raise NotPossibleNow("The report was deleted meanwhile.")
    return Response(page, headers={**PAGE_HEADERS, "Content-Type": _HTML})


# Below every other POST, whose names its variable would take.
@router.post("/scans/{scan_id}/{wish}", response_model=ScanOut)
async def steer_scan(
    task_id: TaskIdDep,
    wish: Literal["pause", "resume", "cancel", "front"],
    scans: ScansDep,
    tenant: TenantDep,
) -> ScanOut:
    """Pause, resume or cancel a scan, or make it the next one of its owner."""
    return ScanOut.from_task(await scans.steer(task_id, tenant, wish))


@router.post("/assessments", response_model=AssessmentOut)
async def assess(request: Request, scans: ScansDep, tenant: TenantDep) -> AssessmentOut:
    """Assess one file at once; nothing of it is kept."""
    settings = scans.settings
    limit = settings.bqat_max_file_bytes
    async with open_form(request, max_bytes=limit + 64 * 1024, max_files=1) as form:
        modality = read_modality(text_of(form, "modality") or "")
        files = files_of(form, "file")
        if modality is None or not files:
            raise InputRefused("The form needs a `file` and a `modality`.")
        engine, options = text_of(form, "engine"), _options(text_of(form, "options"))
        name, content = files[0].filename or "", await files[0].read()
    found = await scans.assess(modality, content, file_name=name, engine=engine, options=options)
    if found.failure is not None:
        raise InputRefused(found.failure)
    return AssessmentOut(profile=found.to_document(), evidence=found.evidence, modality=modality)


@router.get("/specification")
async def show_specification() -> dict[str, dict[str, str]]:
    """What every column means, by modality and engine."""
    from services.bqat.engines.specification import SPECIFICATION

    return {name: dict(columns) for name, columns in SPECIFICATION.items()}


async def _scan(scans: Scans, task_id: TaskId, tenant: Tenant) -> Task:
    task = await scans.find(task_id, tenant)
    if task.kind is not Kind.SCAN:
        raise ScanNotFound
    return task


async def _dataset(scans: Scans, task_id: TaskId, tenant: Tenant) -> Dataset:
    """The dataset that a scan fills."""
    task = await _scan(scans, task_id, tenant)
    if task.dataset_name is None:
        raise ScanNotFound
    async with scans.sessions() as session:
        return await TaskRepository(session).get_dataset(tenant, task.dataset_name)
