"""The old paths and the views behind them."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from services.chexray.compat.media import show_heatmap, show_image
from services.chexray.compat.negotiation import JSON_TYPE
from services.chexray.compat.parsing import FORM, JSON, MULTIPART
from services.chexray.compat.signing import NO_LOGIN, log_in, sign_up
from services.chexray.compat.translate import HEATMAPS, IMAGES
from services.chexray.compat.views import NO_CREDENTIALS, View
from services.chexray.compat.xrays import show_user, show_xray, upload, upload_anonymously
from services.chexray.domain import Pathology
from shared.answers import Described, binary_answer
from shared.imaging.media_types import BROWSER_FORMATS

_TEXT_FIELD = {"type": "string", "required": True, "read_only": False}

VIEWS: Mapping[str, View] = {
    "signup": View("Registration View", "POST", sign_up),
    "login": View(
        "Custom Auth Token",
        "POST",
        log_in,
        renders=(JSON_TYPE,),
        parses=(FORM, MULTIPART, JSON),
        actions={
            "username": {**_TEXT_FIELD, "label": "Username"},
            "password": {**_TEXT_FIELD, "label": "Password"},
        },
    ),
    "user": View("Api Detail User View", "GET", show_user, scope="chexray:read"),
    "xray": View("Api Detail Xray View", "POST", show_xray, scope="chexray:read"),
    "upload": View("Api Upload Xray View", "POST", upload, scope="chexray:write"),
    "anonupload": View(
        "Api Anonupload Xray View",
        "POST",
        upload_anonymously,
        description="Keeping first user as the anonymous user",
    ),
}


def _body(media_types: tuple[str, ...], **kinds: dict[str, str]) -> dict[str, Any]:
    """The OpenAPI description of a body whose fields are all required."""
    schema = {"type": "object", "required": list(kinds), "properties": kinds}
    return {"requestBody": {"content": {name: {"schema": schema} for name in media_types}}}


_TEXT = {"type": "string"}
_SECRET = {"type": "string", "format": "password"}
_UPLOAD = _body((MULTIPART,), image={"type": "string", "format": "binary"}, title=_TEXT)
_ANY_TYPE = (JSON, FORM, MULTIPART)


_BODIES: Mapping[str, dict[str, Any]] = {
    "signup": _body(_ANY_TYPE, username=_TEXT, password=_SECRET, password2=_SECRET),
    "login": _body(_ANY_TYPE, username=_TEXT, password=_SECRET),
    "user": {},
    "xray": _body(_ANY_TYPE, xray_id={"type": "integer"}),
    "upload": _UPLOAD,
    "anonupload": _UPLOAD,
}

_REQUIRED = ["This field is required."]
_XRAY: dict[str, Any] = {
    "id": 1,
    "title": "Chest-X-Ray",
    "image": "/media/images/chest_0123456789abcdefABCDEF.png",
    "date_posted": "2026-11-20T06:20:43.134088Z",
    "userperson": 2,
    "heatmap_image": "/media/heatmaps/heatmap_chest_0123456789abcdefABCDEF.png",
    **dict(zip(map(str, Pathology), (0.125, 0.75, 0.25, 0.375, 0.875), strict=True)),
}
_NO_UPLOAD = {"title": _REQUIRED, "image": ["No file was submitted."]}
_REFUSED: Mapping[int, Any] = {
    401: {"detail": NO_CREDENTIALS},
    405: {"detail": 'Method "PUT" not allowed.'},
}
_BODY_REFUSED: Mapping[int, Any] = {
    400: {"detail": "JSON parse error - Expecting value: line 1 column 1 (char 0)"},
    **_REFUSED,
    415: {"detail": 'Unsupported media type "text/plain" in request.'},
}

#: An example of each answer; the first is the good one, None is an empty body.
_ANSWERS: Mapping[str, Mapping[int, Any]] = {
    "signup": {
        200: {"response": "Successfully Signed Up", "username": "bob", "token": "…"},
        **_BODY_REFUSED,
        400: {"password": "Passwords Must Match"},
    },
    "login": {
        200: {"userid": 2, "username": "bob", "token": "…"},
        **_BODY_REFUSED,
        400: {"non_field_errors": [NO_LOGIN]},
    },
    "user": {200: {"userid": 2, "username": "bob", "pastxrays": [4, 3, 2, 1]}, **_REFUSED},
    "xray": {200: _XRAY, **_BODY_REFUSED, 404: None},
    "upload": {201: _XRAY, **_BODY_REFUSED, 400: _NO_UPLOAD},
    "anonupload": {201: {**_XRAY, "userperson": 1}, **_BODY_REFUSED, 400: _NO_UPLOAD},
}
_SUMMARIES: Mapping[str, str] = {
    "signup": "Make an account",
    "login": "Get a token",
    "user": "List your x-rays",
    "xray": "Show one of your x-rays",
    "upload": "Read an x-ray",
    "anonupload": "Read an x-ray without an account",
}


def _described(answers: Mapping[int, Any]) -> Described:
    """The OpenAPI description of answers, from an example of each."""
    return {
        status: {"description": HTTPStatus(status).phrase}
        | ({} if example is None else {"content": {JSON: {"example": example}}})
        for status, example in answers.items()
    }


_SHOWN = tuple(f"image/{name}" for name in sorted(BROWSER_FORMATS))
_NAMED = {"parameters": [{"name": "name", "in": "path", "required": True, "schema": _TEXT}]}

router = APIRouter(tags=["chexray, old API"], deprecated=True, default_response_class=Response)
for _folder, _show, _summary, _media_types in (
    (IMAGES, show_image, "Show a picture", _SHOWN),
    (HEATMAPS, show_heatmap, "Show a heatmap", ("image/png", "image/jpeg")),
):
    router.add_api_route(
        _folder + "{name}",
        _show,
        methods=["GET"],
        summary=_summary,
        openapi_extra=_NAMED,
        responses=binary_answer(*_media_types) | _described({404: {"detail": "Not found."}}),
    )
    router.add_api_route(_folder + "{name}", _show, methods=["HEAD"], include_in_schema=False)
for _name, _view in VIEWS.items():
    for _slash in ("/", ""):
        router.add_api_route(
            f"/api/chexray/{_name}{_slash}",
            _view.respond,
            methods=[_view.method],
            name=_name,
            status_code=next(iter(_ANSWERS[_name])),
            summary=_SUMMARIES[_name],
            responses=_described(_ANSWERS[_name]),
            description=_view.work.__doc__,
            operation_id=f"chexray_old_{_name}",
            openapi_extra=_BODIES[_name],
            include_in_schema=bool(_slash),
        )


def other_methods() -> list[BaseRoute]:
    """The same paths for the methods that the documented routes do not take."""
    return [
        Route(f"/api/chexray/{name}{slash}", view, include_in_schema=False)
        for name, view in VIEWS.items()
        for slash in ("/", "")
    ]
