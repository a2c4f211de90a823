"""The patient calls of the camera software: who the patient is, and both eyes (Q12)."""

import re
from datetime import date, datetime
from typing import Final

from services.netra.compat import errors
from services.netra.compat.images import decode_image, unpack_images
from services.netra.compat.parsing import Fields, plain_name, text_of
from services.netra.dependencies import plain_name as plain_file_name
from services.netra.job import Eye, Patient
from services.netra.service import Photograph

_NOT_IN_NAMES: Final = re.compile(r"[\x00-\x1f\x7f^=\\]")
_MAX_NAME_CHARACTERS: Final = 64
_BIRTH_DATES: Final = ("%Y%m%d", "%Y-%m-%d")


def patient_of(fields: Fields) -> Patient:
    """Whose eyes they are; what cannot be read is left out, as the old server looked at none of it.

    E-mail address and telephone number are not kept: nothing here uses them.
    """
    family, given = _name(text_of(fields, "lastName")), _name(text_of(fields, "firstName"))
    return Patient(
        id=_name(text_of(fields, "patientID")),
        name=f"{family}^{given}" if family or given else "",
        birth_date=_birth_date(text_of(fields, "dob").strip()),
        sex=_sex(text_of(fields, "gender")),
    )


def both_eyes(fields: Fields) -> list[Photograph]:
    """The left and the right photograph, or the one that was sent.

    Raises:
        OldError: neither was sent, or one is not good.
    """
    found = []
    for eye, name in ((Eye.LEFT, "imgLeft"), (Eye.RIGHT, "imgRight")):
        value = fields.get(plain_name(f"{name}Data"))
        if value:
            image_name = plain_file_name(text_of(fields, f"{name}Name"))
            found.append(Photograph(decode_image(value), image_name, eye))
    if not found:
        raise errors.missing("imgLeftData")
    return found


def archived(fields: Fields) -> list[Photograph]:
    """The photographs of the zip archive.

    Raises:
        OldError: there is none, or it is not good.
    """
    value = fields.get(plain_name("imgZipData"))
    if not value:
        raise errors.missing("imgZipData")
    return unpack_images(value)


def _name(text: str) -> str:
    return _NOT_IN_NAMES.sub("", text).strip()[:_MAX_NAME_CHARACTERS]


def _birth_date(text: str) -> date | None:
    for form in _BIRTH_DATES:
        try:
            return datetime.strptime(text, form).date()  # noqa: DTZ007  # a date has no zone
        except ValueError:
            continue
    return None


def _sex(text: str) -> str:
    letter = text.strip()[:1].upper()
    return letter if letter in ("M", "F", "O") else ""
