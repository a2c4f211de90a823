"""The two endpoints of the stateless server: one sample in, its profile out (Q19)."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from services.bqat.compat.answers import LegacyProblem, LegacyRoute
from services.bqat.compat.scans import engine_of, required_modality
from services.bqat.dependencies import ScansDep, TenantDep
from services.bqat.domain import Measured, Modality
from services.bqat.service import Scans
from services.bqat.uploads import files_of, open_form
from shared.base64text import Base64Refused, decode_base64_text

router = APIRouter(route_class=LegacyRoute, deprecated=True, tags=["bqat"])

_VERSION = "BQAT-core 1.6.0 beta"


class Base64Sample(BaseModel):
    """One sample as MOSIP's client sends it."""

    modality: str
    data: str
    type: str | None = Field(default=None, max_length=20)
    id: str | None = Field(default=None, max_length=200)
    requestTime: Any = None  # noqa: N815 (the wire's own name)
    version: Any = None
    engine: str | None = None


@router.post("/base64")
async def assess_base64(
    sample: Base64Sample, scans: ScansDep, _: TenantDep, urlsafe: Annotated[bool, Query()] = False
) -> JSONResponse:
    """Assess a sample that is given as text; both alphabets are read, whatever `urlsafe` says."""
    modality = required_modality(sample.modality)
    try:
        content = decode_base64_text(sample.data, max_bytes=scans.settings.bqat_max_file_bytes)
    except Base64Refused as error:
        raise LegacyProblem(400, f"failed to decode base64 data: {error}") from error
    found = await _assess(scans, modality, content, sample.type or "sample", sample.engine)
    answer = _answer(found, sample.engine, modality)
    answer |= {
        "modality": sample.modality,
        "id": sample.id,
        "timestamp": datetime.now(UTC).replace(tzinfo=None).isoformat(),
    }
    return JSONResponse(answer, headers={"Vedette-Evidence": found.evidence})


@router.post("/file")
async def assess_file(
    request: Request,
    scans: ScansDep,
    _: TenantDep,
    modality: str | None = None,
    engine: str | None = None,
) -> JSONResponse:
    """Assess an uploaded file."""
    of = required_modality(modality)
    limit = scans.settings.bqat_max_file_bytes
    async with open_form(request, max_bytes=limit + 64 * 1024, max_files=1) as form:
        files = files_of(form, "file")
        if not files:
            raise LegacyProblem(400, "scan failed: there is no file")
        name, content = files[0].filename or "", await files[0].read()
    found = await _assess(scans, of, content, name, engine)
    return JSONResponse(_answer(found, engine, of), headers={"Vedette-Evidence": found.evidence})


async def _assess(
    scans: Scans, modality: Modality, content: bytes, name: str, engine: str | None
) -> Measured:
    found = await scans.assess(modality, content, file_name=name, engine=engine_of(engine))
    if found.failure is not None:
        raise LegacyProblem(400, f"scan failed: {found.failure}")
    return found


def _answer(found: Measured, engine: str | None, modality: Modality) -> dict[str, Any]:
    results = {
        name: value for name, value in found.to_document().items() if name not in ("file", "tag")
    }
    if modality is Modality.FACE and "quality" not in results:
        # MOSIP's client reads it; where no unified score was computed it is said to be absent.
        results["quality"] = results.get("unified_quality_score")
    return {"results": results, "engine": engine or "bqat", "version": _VERSION}
