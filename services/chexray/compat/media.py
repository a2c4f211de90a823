"""Pictures and heatmaps of the old API: public, under names that cannot be guessed."""

from collections.abc import Mapping
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.chexray.answers import marks_of
from services.chexray.compat.translate import heatmap_name, image_name, media_token_in
from services.chexray.compat.views import cors_headers
from services.chexray.domain import ActivationMaps, Study
from services.chexray.repository import StudyRepository
from shared.answers import INERT_HEADERS


async def show_image(request: Request) -> Response:
    """The picture behind an unguessable name (Q14)."""
    study, _ = await _find_media(request)
    if study is None or request.path_params["name"] != image_name(study):
        return _media_not_found(request)
    content, media_type = await request.state.illustrator.plain(study)
    return _media(request, content, media_type)


async def show_heatmap(request: Request) -> Response:
    """The heatmap behind an unguessable name (Q15)."""
    study, maps = await _find_media(request)
    name = request.path_params["name"]
    illustrator = request.state.illustrator
    if study is None or name != heatmap_name(study) or not illustrator.has_heatmap(study, maps):
        return _media_not_found(request)
    request.state.reader.check_evidence(study.model.evidence)
    output = "png" if name.lower().endswith(".png") else "jpeg"
    content = await illustrator.heatmap(study, maps, output=output)
    return _media(request, content, f"image/{output}", marks_of(study))


async def _find_media(request: Request) -> tuple[Study | None, ActivationMaps | None]:
    token = media_token_in(request.path_params["name"])
    if not token:
        return None, None
    async with request.state.sessions.begin() as session:
        studies = StudyRepository(session, request.state.quota)
        study = await studies.find_by_media_token(token)
        return study, None if study is None else await studies.find_maps(study.id)


def _media(
    request: Request, content: bytes, media_type: str, marks: Mapping[str, str] | None = None
) -> Response:
    name = request.path_params["name"]
    shown = f'filename="{name}"' if name.isascii() else f"filename*=UTF-8''{quote(name)}"
    return Response(
        content,
        headers={
            **INERT_HEADERS,
            "Content-Type": media_type,
            "Content-Disposition": f"inline; {shown}",
            "Cache-Control": "private, no-store",
            "X-Frame-Options": "DENY",
            "Vary": "Origin",
            **cors_headers(request),
            **(marks or {}),
        },
    )


def _media_not_found(request: Request) -> Response:
    headers = {"X-Frame-Options": "DENY", "Vary": "Origin", **cors_headers(request)}
    return JSONResponse({"detail": "Not found."}, 404, headers)
