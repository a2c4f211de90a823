"""What is known of datasets: logs, profiles, outliers, reports."""

import csv
import io
from collections.abc import Mapping
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import HTMLResponse, JSONResponse, Response

from services.bqat.compat.answers import (
    BACKEND,
    VERSION,
    LegacyProblem,
    LegacyRoute,
    to_dataset_log,
)
from services.bqat.dependencies import ScansDep, TenantDep
from services.bqat.domain import (
    DEFAULT_COLUMNS,
    Dataset,
    DatasetId,
    Detector,
    Measured,
    Modality,
    Sample,
    Tenant,
    safe_file_name,
)
from services.bqat.errors import NothingToAnalyse
from services.bqat.profiles import ProfileRepository
from services.bqat.repository import TaskRepository
from services.bqat.routes import PAGE_HEADERS
from services.bqat.service import Scans
from services.bqat.uploads import files_of, open_form

router = APIRouter(prefix="/scan", route_class=LegacyRoute, deprecated=True, tags=["bqat"])

Skip = Annotated[int, Query(ge=0)]
Limit = Annotated[int, Query(ge=0)]
_MOST_CSV_BYTES = 64 * 1024 * 1024
_MOST_CSV_ROWS = 1_000_000


class DetectorOptions(BaseModel):
    """How outliers are looked for."""

    detector: Detector | None = None
    columns: list[str] | None = Field(default=None, max_length=50)
    contamination: float | None = Field(default=None, gt=0, lt=1)


class ReportOptions(BaseModel):
    """What a report holds."""

    minimal: bool | None = None
    downsample: float | None = Field(default=None, gt=0, le=1)


@router.get("/info")
async def show_info() -> dict[str, str]:
    """What the graphical interface asks for the version."""
    return {"backend": BACKEND, "version": VERSION}


@router.get("/detectors")
async def list_detectors() -> dict[str, list[str]]:
    """The detectors, under the names of both versions (Q8)."""
    names = [detector.value for detector in Detector]
    return {"outlier detectors": names, "Outlier detectors": names}


@router.get("/logs")
async def list_logs(scans: ScansDep, tenant: TenantDep) -> list[dict[str, Any]]:
    """Every dataset."""
    async with scans.sessions() as session:
        return [to_dataset_log(each) for each in await TaskRepository(session).datasets(tenant)]


@router.get("/logs/{dataset_id}")
async def show_log(dataset_id: str, scans: ScansDep, tenant: TenantDep) -> dict[str, Any]:
    """One dataset."""
    missing = f"Scan log of [{dataset_id}] not found"
    return to_dataset_log(await _dataset(scans, tenant, dataset_id, missing))


@router.delete("/logs/{dataset_id}")
async def delete_log(dataset_id: str, scans: ScansDep, tenant: TenantDep) -> dict[str, str]:
    """Forget a dataset, with its profiles (Q9)."""
    missing = f"Scan log of [{dataset_id}] not found"
    dataset = await _dataset(scans, tenant, dataset_id, missing)
    async with scans.sessions.begin() as session:
        await TaskRepository(session).delete_dataset(dataset.id)
    return {"info": f"Scan log of [{dataset_id}] deleted"}


@router.get("/{dataset_id}/profiles")
async def list_profiles(
    dataset_id: str,
    scans: ScansDep,
    tenant: TenantDep,
    skip: Skip = 0,
    limit: Limit = 0,
) -> JSONResponse:
    """A bare array of profiles in the order of the files; empty where nothing is known."""
    async with scans.sessions() as session:
        dataset = await TaskRepository(session).find_dataset(tenant, dataset_id)
        if dataset is None:
            return JSONResponse([])
        found = await ProfileRepository(session).listed(dataset.id, skip=skip, limit=limit)
    # Version 1.3's document names the confidence so, version 1.4 otherwise (Q4).
    profiles = [with_aliases(profile) for profile in found]
    evidence = await scans.evidence_of(dataset.id)
    return JSONResponse(profiles, headers={"Vedette-Evidence": evidence})


def with_aliases(profile: Mapping[str, Any]) -> dict[str, Any]:
    """A profile with the names of both versions (Q4)."""
    shown = dict(profile)
    if "confidence" in shown and "face_detection" not in shown:
        shown["face_detection"] = shown["confidence"]
    return shown


@router.get("/{dataset_id}/profiles/count")
async def count_profiles(dataset_id: str, scans: ScansDep, tenant: TenantDep) -> int:
    """How many there are."""
    async with scans.sessions() as session:
        dataset = await TaskRepository(session).find_dataset(tenant, dataset_id)
        return 0 if dataset is None else await ProfileRepository(session).count(dataset.id)


@router.delete("/{dataset_id}/profiles")
async def delete_profiles(dataset_id: str, scans: ScansDep, tenant: TenantDep) -> dict[str, Any]:
    """Forget all profiles; the answer is what MongoDB said of a dropped collection (Q10)."""
    async with scans.sessions.begin() as session:
        dataset = await TaskRepository(session).find_dataset(tenant, dataset_id)
        if dataset is None:
            return {"ok": 1.0}
        await ProfileRepository(session).delete_all(dataset.id)
    return {"nIndexesWas": 1, "ns": f"scan.{dataset_id}", "ok": 1.0}


@router.get("/{dataset_id}/profiles/{scan_id}")
async def show_profile(
    dataset_id: str, scan_id: str, scans: ScansDep, tenant: TenantDep
) -> dict[str, Any]:
    """One profile, by the SHA-1 of its file's name."""
    async with scans.sessions() as session:
        dataset = await TaskRepository(session).find_dataset(tenant, dataset_id)
        found = None
        if dataset is not None:
            found = await ProfileRepository(session).find_by_tag(dataset.id, scan_id)
    if found is None:
        raise LegacyProblem(404, f"Image profile of [{scan_id}] not found")
    return with_aliases(found)


@router.delete("/{dataset_id}/profiles/{scan_id}")
async def delete_profile(
    dataset_id: str, scan_id: str, scans: ScansDep, tenant: TenantDep
) -> dict[str, str]:
    """Forget one profile."""
    async with scans.sessions.begin() as session:
        dataset = await TaskRepository(session).find_dataset(tenant, dataset_id)
        if dataset is None or not await ProfileRepository(session).delete_by_tag(
            dataset.id, scan_id
        ):
            raise LegacyProblem(404, f"Image profile [{scan_id}] not found")
    return {"info": f"Image profile [{scan_id}] deleted"}


@router.post("/{dataset_id}/outliers/detect", status_code=202)
async def detect_outliers(
    dataset_id: str,
    options: DetectorOptions,
    scans: ScansDep,
    tenant: TenantDep,
    trigger: bool = True,
) -> dict[str, str]:
    """Look for outliers, as a task; the value is the task (Q11)."""
    missing = "failed to retrieve target columns: no such dataset"
    dataset = await _dataset(scans, tenant, dataset_id, missing, status=400)
    if not options.columns and not DEFAULT_COLUMNS.get(dataset.modality or Modality.SPEECH):
        raise LegacyProblem(
            400, f"failed to retrieve target columns: none for {dataset.modality or 'it'}"
        )
    task = await scans.detect(
        dataset,
        detector=options.detector or Detector.ECOD,
        columns=options.columns,
        contamination=None if options.contamination is None else min(0.5, options.contamination),
        begin=trigger,
    )
    return {"outlier detection task in progress": str(task.id)}


@router.get("/{dataset_id}/outliers")
async def list_outliers(
    dataset_id: str,
    scans: ScansDep,
    tenant: TenantDep,
    with_data: bool = False,
    skip: Skip = 0,
    limit: Limit = 0,
) -> JSONResponse:
    """The outliers, each its whole profile with `score`; looked for now where nobody has (Q5)."""
    async with scans.sessions() as session:
        dataset = await TaskRepository(session).find_dataset(tenant, dataset_id)
        if dataset is None:
            return JSONResponse([])
        detection = await ProfileRepository(session).find_detection(dataset.id)
    if detection is None:
        try:
            await scans.require(await scans.detect(dataset))
        except NothingToAnalyse:
            return JSONResponse([])
    async with scans.sessions() as session:
        found = await ProfileRepository(session).outliers(dataset.id, skip=skip, limit=limit)
    shown = []
    for outlier in found:
        entry = {**with_aliases(outlier.profile), "score": outlier.score}
        if with_data:
            entry["data"] = dict(outlier.profile)
        if outlier.contributions:
            entry["contributions"] = dict(outlier.contributions)
        shown.append(entry)
    return JSONResponse(shown, headers={"Vedette-Evidence": await scans.evidence_of(dataset.id)})


@router.delete("/{dataset_id}/outliers")
async def delete_outliers(dataset_id: str, scans: ScansDep, tenant: TenantDep) -> dict[str, str]:
    """Forget the outliers."""
    missing = f"Outliers of [{dataset_id}] not found"
    dataset = await _dataset(scans, tenant, dataset_id, missing)
    async with scans.sessions.begin() as session:
        if not await ProfileRepository(session).delete_outliers(dataset.id):
            raise LegacyProblem(404, missing)
    return {"info": f"Outliers of [{dataset_id}] deleted: 1"}


@router.post("/{dataset_id}/report/generate", status_code=202)
async def generate_report(
    dataset_id: str,
    scans: ScansDep,
    tenant: TenantDep,
    options: ReportOptions | None = None,
    trigger: bool = True,
) -> dict[str, str]:
    """Write the report, as a task."""
    missing = f"No output data found for dataset [{dataset_id}]."
    dataset = await _dataset(scans, tenant, dataset_id, missing, status=400)
    if not dataset.samples:
        raise LegacyProblem(400, missing)
    wanted = options or ReportOptions()
    task = await scans.write_report(
        dataset,
        minimal=bool(wanted.minimal),
        downsample=wanted.downsample,
        begin=trigger,
    )
    return {"reporting in progress": str(task.id)}


@router.post("/report/remote", status_code=202)
async def report_on_csv(
    request: Request,
    scans: ScansDep,
    tenant: TenantDep,
    trigger: bool = True,
    minimal: bool = False,
    downsample: Annotated[float, Query(gt=0, le=1)] = 1,
) -> dict[str, str]:
    """Write the report of an uploaded CSV, which becomes a dataset named by the task (Q12)."""
    async with open_form(request, max_bytes=_MOST_CSV_BYTES, max_files=1) as form:
        files = files_of(form, "file")
        content = await files[0].read() if files else b""
        name = safe_file_name(files[0].filename or "") if files else ""
    if not content:
        raise LegacyProblem(400, f"No output data in [{name}].")
    id_ = DatasetId(uuid4())
    async with scans.sessions.begin() as session:
        await TaskRepository(session).open_dataset(
            tenant, str(id_), modality=None, options={"external_input": name}, new_id=id_
        )
        # No scan has the number 0, so these rows are in nobody's way.
        await ProfileRepository(session).add(id_, -(int(id_) % 2**62) - 1, _rows_of(content, name))
    dataset = await _dataset(scans, tenant, str(id_), "")
    task = await scans.write_report(
        dataset, minimal=minimal, downsample=downsample if downsample < 1 else None, begin=trigger
    )
    word = "reporting in progress" if trigger else "reporting task added"
    return {word: str(task.id), "collection": dataset.name}


def _rows_of(content: bytes, name: str) -> list[Measured]:
    """The lines of a CSV as profiles; what looks like a figure is one."""
    try:
        lines = csv.DictReader(io.StringIO(content.decode("utf-8-sig")), restkey="more")
        rows = []
        for number, line in enumerate(lines):
            if number >= _MOST_CSV_ROWS:
                raise LegacyProblem(400, f"More than {_MOST_CSV_ROWS} lines in [{name}].")
            profile = {
                str(column): _value(value)
                for column, value in line.items()
                if column not in (None, "", "more", "file", "log", "error", "tag")
            }
            file = safe_file_name(str(line.get("file") or number))
            rows.append(Measured(Sample(number, file, ""), profile, "rules"))
    except (UnicodeDecodeError, csv.Error) as error:
        raise LegacyProblem(400, f"[{name}] is no CSV.") from error
    if not rows:
        raise LegacyProblem(400, f"No output data in [{name}].")
    return rows


def _value(text: Any) -> Any:
    if not isinstance(text, str) or text == "":
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        value = float(text)
    except ValueError:
        return text
    return value if abs(value) < 1e300 else None


@router.get("/{dataset_id}/report", response_class=HTMLResponse)
async def show_report(dataset_id: str, scans: ScansDep, tenant: TenantDep) -> Response:
    """The report; written now where there is none (Q5)."""
    missing = f"Report of [{dataset_id}] not found"
    dataset = await _dataset(scans, tenant, dataset_id, missing)
    page = await scans.report_of(dataset)
    if page is None:
        try:
            await scans.require(await scans.write_report(dataset))
        except NothingToAnalyse as error:
            raise LegacyProblem(404, missing) from error
        page = await scans.report_of(dataset)
    if page is None:
        raise LegacyProblem(404, missing)
    return HTMLResponse(page, headers=PAGE_HEADERS)


@router.delete("/{dataset_id}/report")
async def delete_report(dataset_id: str, scans: ScansDep, tenant: TenantDep) -> dict[str, str]:
    """Forget the report."""
    missing = f"Report of [{dataset_id}] not found"
    dataset = await _dataset(scans, tenant, dataset_id, missing)
    async with scans.sessions.begin() as session:
        if not await TaskRepository(session).delete_report(dataset.id):
            raise LegacyProblem(404, missing)
    return {"info": f"Report of [{dataset_id}] deleted"}


async def _dataset(
    scans: Scans, tenant: Tenant, name: str, missing: str, *, status: int = 404
) -> Dataset:
    async with scans.sessions() as session:
        found = await TaskRepository(session).find_dataset(tenant, name)
    if found is None:
        raise LegacyProblem(status, missing)
    return found
