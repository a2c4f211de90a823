"""The caller's x-rays in the old API: list, look up, upload."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from services.chexray.answers import marks_of
from services.chexray.compat import fields
from services.chexray.compat.accounts import LegacyAccounts
from services.chexray.compat.fields import Invalid, InvalidForm
from services.chexray.compat.translate import to_xray
from services.chexray.compat.views import Answer, body_of
from services.chexray.dependencies import owner_of
from services.chexray.domain import ANONYMOUS_OWNER, OwnerId
from services.chexray.repository import StudyRepository
from services.chexray.service import StudyReader, Upload
from shared.imaging import ImageTooLarge, UnreadableImage, UnsupportedImage
from shared.multipart import FilePart

NOT_OWNER = "You don't have permission to view this."
_NO_PICTURE = (UnreadableImage, UnsupportedImage, ImageTooLarge)


async def show_user(request: Request) -> Answer:
    """The caller and their x-rays, newest first."""
    caller = request.state.caller
    owner = owner_of(caller)
    async with request.state.sessions.begin() as session:
        number = await LegacyAccounts(session).number_of(owner)
        numbers = await StudyRepository(session, request.state.quota).numbers_of(owner)
    username = caller.username or caller.subject
    return Answer(200, {"userid": number, "username": username, "pastxrays": numbers})


async def show_xray(request: Request) -> Answer:
    """One x-ray of the caller's; somebody else's is 200 with a refusal (Q11)."""
    number = _xray_id(await body_of(request))
    owner = owner_of(request.state.caller)
    async with request.state.sessions.begin() as session:
        studies = StudyRepository(session, request.state.quota)
        study = None if number is None else await studies.find_by_number(number)
        if study is None:
            return Answer(404)
        if study.owner != owner:
            return Answer(200, {"response": NOT_OWNER})
        user_number = await LegacyAccounts(session).number_of(owner)
    _reader(request).check_evidence(study.model.evidence)
    return Answer(200, to_xray(study, user_number), marks_of(study))


async def upload(request: Request) -> Answer:
    """Read an x-ray for the caller."""
    return await _read_xray(request, owner_of(request.state.caller))


async def upload_anonymously(request: Request) -> Answer:
    """Read an x-ray for nobody in particular, whoever calls (Q17)."""
    return await _read_xray(request, ANONYMOUS_OWNER)


async def _read_xray(request: Request, owner: OwnerId) -> Answer:
    reader = _reader(request)
    try:
        form = fields.as_form(await body_of(request))
        sent = await _checked_upload(form, reader)
    except InvalidForm as error:
        return Answer(400, error.errors)
    image: FilePart = sent["image"]
    new = Upload(owner, sent["title"], image.name, image.content)
    async with request.state.sessions.begin() as session:
        studies = StudyRepository(session, request.state.quota)
        try:
            study, _ = await reader.read(new, studies.add)
        except _NO_PICTURE:
            return Answer(400, {"image": [fields.NOT_AN_IMAGE]})
        user_number = await LegacyAccounts(session).number_of(owner)
    return Answer(201, to_xray(study, user_number), marks_of(study))


async def _checked_upload(form: Mapping[str, Any], reader: StudyReader) -> dict[str, Any]:
    """Title and file, or the errors of both; only a file that decodes is judged by its name."""
    checks = {
        "title": lambda: fields.text_of(form, "title", fields.at_most(fields.MAX_TITLE)),
        "image": lambda: _file_of(form),
    }
    try:
        sent = fields.collect(**checks)
        fields.collect(image=lambda: fields.check_extension(sent["image"].name))
    except InvalidForm as error:
        if isinstance(form.get("image"), FilePart) and _is_whole(form):
            error.errors.pop("image", None)
            found = await _picture_errors(form["image"], reader)
            raise InvalidForm(error.errors | found) from error
        raise
    return sent


def _file_of(form: Mapping[str, Any]) -> FilePart:
    if "image" not in form:
        raise Invalid(fields.NO_FILE)
    image = form["image"]
    if image is None:
        raise Invalid(fields.NULL)
    if not isinstance(image, FilePart):
        raise Invalid(fields.NOT_A_FILE)
    if not image.content:
        raise Invalid(fields.EMPTY_FILE)
    length = len(image.name.replace("\\", "/").rsplit("/", 1)[-1])
    if length > fields.MAX_FILE_NAME:
        raise Invalid(fields.file_name_too_long(length))
    return image


def _is_whole(form: Mapping[str, Any]) -> bool:
    """Whether the file itself has no error yet."""
    try:
        _file_of(form)
    except Invalid:
        return False
    return True


async def _picture_errors(image: FilePart, reader: StudyReader) -> fields.Errors:
    try:
        await reader.classifier.open(image.content)
        fields.check_extension(image.name)
    except _NO_PICTURE:
        return {"image": [fields.NOT_AN_IMAGE]}
    except Invalid as error:
        return {"image": error.sentences}
    return {}


def _xray_id(body: Any) -> int | None:
    """The number that was asked for, as Python's `int` reads it (Q18)."""
    value = body.get("xray_id") if isinstance(body, Mapping) else None
    if not isinstance(value, str | int | float):
        return None
    try:
        return int(value)
    except (ValueError, OverflowError):
        return None


def _reader(request: Request) -> StudyReader:
    reader: StudyReader = request.state.reader
    return reader
