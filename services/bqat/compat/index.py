"""The paths at the root: information, datasets as zip, thumbnails, the data folder, purging."""

import asyncio
import base64
import hmac
import shutil
from functools import partial
from html import escape
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import quote

import cv2
import numpy as np
from fastapi import APIRouter, Body, Request
from pydantic import BaseModel
from starlette.responses import HTMLResponse, Response

from services.bqat.compat.answers import BACKEND, VERSION, LegacyProblem, LegacyRoute
from services.bqat.dependencies import AdministratorDep, ScansDep, TenantDep
from services.bqat.domain import read_modality
from services.bqat.errors import ArchiveRefused, InputRefused
from services.bqat.repository import TaskRepository
from services.bqat.service import Scans
from services.bqat.sources import DATA_PREFIX, SampleUnreadable, relative_name
from services.bqat.uploads import files_of, open_form
from shared.base64text import Base64Refused, decode_base64_text
from shared.imaging import Decoder, Picture

router = APIRouter(route_class=LegacyRoute, deprecated=True, tags=["bqat"])

_THUMBNAIL_PX: Final = 128
_MOST_CONVERT_BYTES: Final = 24 * 1024 * 1024
_MOST_LISTED: Final = 10_000
#: What a browser may show of the data folder as it is; everything else is a download.
_SHOWN: Final = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "bmp": "image/bmp",
    "webp": "image/webp",
    "wav": "audio/wav",
}
_CONVERTED: Final = ("jp2", "wsq")
_WRITABLE: Final = ("webp", "png", "jpeg", "bmp", "tiff", "jp2")
_SAFE: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "Cache-Control": "private, no-store",
}


class ImageRequest(BaseModel):
    """A picture, to be made small."""

    file: str
    format: str = "webp"


@router.get("/info")
async def show_info() -> dict[str, str]:
    """The version, for the graphical interface."""
    return {"backend": BACKEND, "version": VERSION}


@router.get("/specification")
async def show_specification(
    _: TenantDep, modality: str = "face", engine: str = "bqat"
) -> dict[str, str]:
    """What the columns of a modality and an engine mean."""
    from services.bqat.engines.specification import SPECIFICATION

    known = read_modality(modality)
    if known is None:
        raise LegacyProblem(400, "modality not supported")
    for name in (f"{known}/{engine}", str(known)):
        if name in SPECIFICATION:
            return dict(SPECIFICATION[name])
    return {}


@router.post("/dataset")
async def upload_dataset(request: Request, scans: ScansDep, _: TenantDep) -> dict[str, str]:
    """Unpack a zip into the data folder."""
    settings = scans.settings
    limit = settings.bqat_max_upload_bytes
    async with open_form(request, max_bytes=limit, max_files=1) as form:
        files = files_of(form, "file")
        if not files or not (files[0].filename or "").lower().endswith(".zip"):
            raise LegacyProblem(400, "Please upload dataset in zip archive file.")
        try:
            folder = await scans.unpack(files[0].file, files[0].filename or "")
        except ArchiveRefused as error:
            raise LegacyProblem(400, error.detail) from error
    return {"message": f"Dataset uploaded to: {DATA_PREFIX}/{folder}"}


@router.delete("/dataset")
async def delete_dataset(
    scans: ScansDep, _: AdministratorDep, path: str | None = None
) -> dict[str, str]:
    """Remove an uploaded dataset, or all of them; for the administrator (Q13)."""
    root = scans.data.root / "uploaded"
    target = root
    if path is not None:
        try:
            name = relative_name(path)
        except InputRefused as error:
            raise LegacyProblem(400, error.detail) from error
        parts = name.parts[1:] if name.parts[:1] == ("uploaded",) else name.parts
        if len(parts) != 1:
            raise LegacyProblem(404, "Dataset not found.")
        target = root / parts[0]
    if target.is_symlink() or not target.is_dir():
        raise LegacyProblem(404, "Dataset not found.")
    await asyncio.to_thread(shutil.rmtree, target)
    return {"message": f"Dataset deleted: {DATA_PREFIX}/{target.relative_to(scans.data.root)}"}


@router.post("/convert")
async def convert(order: ImageRequest, request: Request, _: TenantDep) -> str:
    """A picture of at most 128 x 128 pixels as a data URI."""
    wanted = order.format.lower()
    wanted = wanted if wanted in _WRITABLE else "webp"
    try:
        content = decode_base64_text(order.file, max_bytes=_MOST_CONVERT_BYTES)
    except Base64Refused as error:
        raise LegacyProblem(400, str(error)) from error
    decoder: Decoder = request.state.decoder
    small = await decoder.apply(partial(_thumbnail, ending=wanted), content)
    return f"data:image/{wanted};base64,{base64.b64encode(small).decode()}"


def _thumbnail(picture: Picture, *, ending: str) -> bytes:
    height, width = picture.pixels.shape[:2]
    factor = min(1.0, _THUMBNAIL_PX / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.resize(picture.pixels, size, interpolation=cv2.INTER_AREA)
    return _encode(np.asarray(small, np.uint8), ending)


def _encode(pixels: "np.ndarray[Any, np.dtype[np.uint8]]", ending: str) -> bytes:
    drawn = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    written, encoded = cv2.imencode(f".{ending}", drawn)
    if not written:
        raise LegacyProblem(400, "The picture cannot be written in this format.")
    return encoded.tobytes()


@router.post("/validate")
async def validate(request: Request, key: str = Body()) -> bool:
    """Whether the access key is right; without one configured no key is (Q18)."""
    configured = request.state.settings.bqat_access_key
    if configured is None:
        return False
    return hmac.compare_digest(key.encode(), configured.get_secret_value().encode())


@router.post("/purge")
async def purge(scans: ScansDep, _: AdministratorDep, tenant: TenantDep) -> dict[str, str]:
    """Forget every task, dataset and report of everybody; for the administrator (Q13)."""
    async with scans.sessions.begin() as session:
        await TaskRepository(session).purge(tenant, everybody=True)
    return {"message": "All data purged."}


@router.get("/warehouse/data")
@router.get("/warehouse/data/")
@router.get("/warehouse/data/{path:path}")
async def show_data(
    request: Request,
    scans: ScansDep,
    _: TenantDep,
    path: str = "",
    format: str = "webp",  # noqa: A002
) -> Response:
    """The data folder: a page that lists a folder, or a file."""
    try:
        name = relative_name(f"{DATA_PREFIX}/{path}")
    except InputRefused as error:
        raise LegacyProblem(404, "Not Found") from error
    kind = await asyncio.to_thread(scans.data.kind_of, name)
    if kind == "folder":
        return HTMLResponse(await asyncio.to_thread(_listing, scans, name), headers=_SAFE)
    if kind is None:
        raise LegacyProblem(404, "Not Found")
    try:
        content = await scans.data.read(str(name))
    except SampleUnreadable as error:
        raise LegacyProblem(404, "Not Found") from error
    ending = name.suffix.lower().lstrip(".")
    if ending in _CONVERTED:
        decoder: Decoder = request.state.decoder
        wanted = format.lower() if format.lower() in _WRITABLE else "webp"
        content = await decoder.apply(lambda picture: _encode(picture.pixels, wanted), content)
        return Response(content, media_type=f"image/{wanted}", headers=_SAFE)
    headers = dict(_SAFE)
    if ending not in _SHOWN:
        headers["Content-Disposition"] = "attachment"
    return Response(
        content, media_type=_SHOWN.get(ending, "application/octet-stream"), headers=headers
    )


def _listing(scans: Scans, folder: PurePosixPath) -> str:
    """A page with a link to everything below a folder; names are text, never markup."""
    links = []
    for name in scans.data.everything(folder):
        inner = PurePosixPath(name)
        href = "/warehouse/data/" + "/".join(quote(part, safe="") for part in inner.parts)
        links.append(f'<li><a href="{escape(href)}">{escape(str(inner))}</a></li>')
        if len(links) == _MOST_LISTED:
            break
    title = escape(f"{DATA_PREFIX}/{folder}" if folder.parts else DATA_PREFIX)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<h1>{title}</h1><ul>{''.join(links)}</ul></html>"
    )
