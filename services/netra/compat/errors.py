"""The old API's errors: status 200 on the wire, a status and a message inside the body (Q1)."""

from typing import Final

OK: Final = 200
API_ERROR: Final = 500
SPECIFIC_ERROR: Final = 411


class OldError(Exception):
    """A refusal in the old API's form; `message` is all that its clients show."""

    def __init__(self, code: int, text: str, *, status: int = SPECIFIC_ERROR) -> None:
        super().__init__(text)
        self.message = f"LC-ERR-{code:04} : {text}"
        self.status = status


# Verbatim from the document.
IMAGE_TOO_LARGE: Final = "Max Allowed Single Image Size 5 MB."
NOT_JPEG_OR_PNG: Final = "Only jpeg and png type images allowed."
CONTACT_SUPPORT: Final = "Please contact Leben Care Support Team."

#: What getResult says of a job that has ended in an error.
JOB_FAILED: Final = f"LC-ERR-0035 : {CONTACT_SUPPORT}"
#: What it says of one that is held.
JOB_HELD: Final = "LC-ERR-0036 : A person has to look at this image."


def image_too_large() -> OldError:
    """The image has more than 5 MB once it is decoded."""
    return OldError(33, IMAGE_TOO_LARGE)


def not_jpeg_or_png() -> OldError:
    """The image's first bytes are of no format that is read."""
    return OldError(34, NOT_JPEG_OR_PNG)


# The document has no words for what follows; the numbers are ours (Q3).


def wrong_login() -> OldError:
    """No account has this name and password."""
    return OldError(1, "Wrong username or password.")


def bad_token() -> OldError:
    """The token is none of ours, or its time is over."""
    return OldError(2, "The token is not valid or has expired. Please get a new one.")


def no_rights() -> OldError:
    """The account has no role that this API is for."""
    return OldError(3, "This account may not use this API.")


def bad_request_type() -> OldError:
    """`apiRequestType` is not the one there is."""
    return OldError(4, "Only DIAB_RETINA is known as apiRequestType.")


def no_credits() -> OldError:
    """The account has fewer credits than images were sent."""
    return OldError(5, "No API credits remaining.")


def no_such_job() -> OldError:
    """There is no such job, or it is somebody else's."""
    return OldError(6, "There is no such job.")


def bad_base64() -> OldError:
    """The image is no base64."""
    return OldError(7, "The image data is not base64.")


def too_many_requests() -> OldError:
    """A limit is reached."""
    return OldError(8, "Too many requests. Please try again later.")


def unavailable() -> OldError:
    """Something is away for the moment."""
    return OldError(9, "The service is not available. Please try again later.", status=API_ERROR)


def missing(field: str) -> OldError:
    """A field that is needed was not sent; `field` is a name of ours."""
    return OldError(10, f"The field {field} is needed.")


def bad_body() -> OldError:
    """The body does not parse."""
    return OldError(11, "The request cannot be read.")


def bad_archive() -> OldError:
    """The zip archive is damaged, encrypted, or holds what it should not."""
    return OldError(12, "The zip archive cannot be read.")


def evidence_refused() -> OldError:
    """The installation does not give answers of this evidence level."""
    return OldError(13, "This installation does not give answers of this evidence level.")
