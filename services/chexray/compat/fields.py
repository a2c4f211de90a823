"""The old server's field rules and its exact sentences (Q8, Q9, Q10). Pure."""

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from PIL import Image

Errors = dict[str, list[str]]

REQUIRED = "This field is required."
NULL = "This field may not be null."
BLANK = "This field may not be blank."
NOT_TEXT = "Not a valid string."
NUL = "Null characters are not allowed."
USERNAME = (
    "Enter a valid username. This value may contain only letters, numbers, and @/./+/-/_ "
    "characters."
)
USERNAME_TAKEN = "A user with that username already exists."
PASSWORD_TOO_SHORT = "This password is too short. It must contain at least 8 characters."  # noqa: S105
PASSWORD_TOO_COMMON = "This password is too common."  # noqa: S105
NO_FILE = "No file was submitted."
NOT_A_FILE = "The submitted data was not a file. Check the encoding type on the form."
EMPTY_FILE = "The submitted file is empty."
NOT_AN_IMAGE = (
    "Upload a valid image. The file you uploaded was either not an image or a corrupted image."
)

MAX_USERNAME = 150
MAX_PASSWORD = 128
MAX_TITLE = 50
MAX_FILE_NAME = 100

_USERNAME = re.compile(r"[\w.@+-]+")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class Invalid(Exception):
    """A value breaks its field's rules; the sentences are for its list of errors."""

    def __init__(self, *sentences: str) -> None:
        super().__init__(*sentences)
        self.sentences = list(sentences)


Rule = Callable[[str], str | None]


def too_long(limit: int) -> str:
    """The sentence for text of more than `limit` characters."""
    return f"Ensure this field has no more than {limit} characters."


def at_most(limit: int) -> Rule:
    """A rule: text has at most `limit` characters."""
    return lambda text: too_long(limit) if len(text) > limit else None


def is_username(text: str) -> str | None:
    """A rule: text is made of what user names are made of."""
    return None if _USERNAME.fullmatch(text) else USERNAME


def text_of(form: Mapping[str, Any], name: str, *rules: Rule, trims: bool = True) -> str:
    """The field `name` as text: numbers are turned into text, booleans and lists are not.

    Raises:
        Invalid: it is missing, null, no text, blank, holds NUL, or breaks a rule.
    """
    if name not in form:
        raise Invalid(REQUIRED)
    value = form[name]
    if value is None:
        raise Invalid(NULL)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Invalid(NOT_TEXT)
    text = str(value)
    if _SURROGATE.search(text):
        # Half a character cannot be stored or sent (the old server failed on it).
        raise Invalid(USERNAME if is_username in rules else NOT_TEXT)
    if trims:
        text = text.strip()
    if not text.strip() if trims else text == "":
        raise Invalid(BLANK)
    broken = [sentence for rule in rules if (sentence := rule(text)) is not None]
    if "\0" in text:
        broken.append(NUL)
    if broken:
        raise Invalid(*broken)
    return text


def collect(**fields: Callable[[], Any]) -> dict[str, Any]:
    """Every field's value, or all their errors at once, in the fields' order.

    Raises:
        InvalidForm: one or more fields are invalid.
    """
    values: dict[str, Any] = {}
    errors: Errors = {}
    for name, read in fields.items():
        try:
            values[name] = read()
        except Invalid as error:
            errors[name] = error.sentences
    if errors:
        raise InvalidForm(errors)
    return values


class InvalidForm(Exception):
    """The errors of a form, by field."""

    def __init__(self, errors: Errors) -> None:
        super().__init__(errors)
        self.errors = errors


def as_form(body: Any) -> Mapping[str, Any]:
    """The body, if it is an object at all.

    Raises:
        InvalidForm: it is a list, text, number or null.
    """
    if isinstance(body, Mapping):
        return body
    if body is None:
        raise InvalidForm({"non_field_errors": ["No data provided"]})
    kind = type(body).__name__
    raise InvalidForm(
        {"non_field_errors": [f"Invalid data. Expected a dictionary, but got {kind}."]}
    )


@cache
def allowed_extensions() -> tuple[str, ...]:
    """The extensions that Pillow knows, in its order, and DICOM's (Q12)."""
    Image.init()
    return (*(extension[1:] for extension in Image.EXTENSION), "dcm")


def extension_of(file_name: str) -> str:
    """The extension as it counts: lower case, without the dot; `.png` has none."""
    stem, dot, extension = file_name.rpartition(".")
    return extension.lower() if dot and stem.strip(".") else ""


def check_extension(file_name: str) -> None:
    """Refuse a file whose extension no picture has.

    Raises:
        Invalid: with the list of those that are allowed, in typographic quotes.
    """
    extension = extension_of(file_name)
    allowed = allowed_extensions()
    if extension not in allowed:
        raise Invalid(
            f"File extension “{extension}” is not allowed. "
            f"Allowed extensions are: {', '.join(allowed)}."
        )


def file_name_too_long(length: int) -> str:
    """The sentence for a file name of `length` characters."""
    return f"Ensure this filename has at most {MAX_FILE_NAME} characters (it has {length})."
