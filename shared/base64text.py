"""Bytes that old clients send as base64 text, in every spelling of theirs, with a limit.

Tolerant of how the text is written (alphabet, padding, line breaks, wrappers) and of nothing else:
a character of no alphabet, or an end that no encoder writes, is refused.
"""

import binascii
import re
from typing import Final

#: `data:<media type>[;parameters];base64,` (RFC 2397); `data:None;base64,` comes from Python.
_DATA_URI: Final = re.compile(rb"\s*data:[^,]{0,256}?;\s*base64\s*,", re.IGNORECASE)
#: What Python 3 makes of bytes where text was wanted, behind a `data:` prefix or alone.
_LITERAL_STARTS: Final = (b"b'", b'b"')
_LINE_BREAKS: Final = b"\r\n\t\v\f"
#: A form parser turns a `+` that was not percent-encoded into a blank.
_TO_STANDARD: Final = bytes.maketrans(b"-_ ", b"+/+")
_STANDARD: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
#: Room for a prefix, wrappers and line breaks: encoders break every 60 digits or more rarely.
_SLACK: Final = 1.1
_SLACK_BYTES: Final = 1024


class Base64Refused(ValueError):
    """The text is not base64 in any spelling."""


class Base64TooLarge(Base64Refused):
    """The text stands for more bytes than are taken; nothing was decoded."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"The text stands for more than {limit_bytes} bytes.")
        self.limit_bytes = limit_bytes


def decode_base64_text(text: str | bytes, *, max_bytes: int) -> bytes:
    """The bytes that `text` stands for.

    Read are the standard alphabet and the URL-safe one, with padding or without, with line breaks,
    behind a `data:` prefix, inside Python's `b'…'`, and with blanks where a form parser has eaten
    the `+`. The media type of a `data:` prefix is neither believed nor returned.

    Args:
        text: what the client sent.
        max_bytes: how many bytes it may stand for; checked before anything is decoded.

    Raises:
        Base64TooLarge: it stands for more.
        Base64Refused: it is no base64, is empty, mixes the two alphabets, or ends in the middle of
            a byte, as a text does that was cut.
    """
    try:
        written = text.encode("ascii") if isinstance(text, str) else text
    except UnicodeEncodeError as error:
        raise Base64Refused("The text is not base64.") from error
    if len(written) > _SLACK * (4 * max_bytes / 3) + _SLACK_BYTES:
        raise Base64TooLarge(max_bytes)
    plain = _decode_plain(written)
    if plain is not None and len(plain) <= max_bytes:
        return plain
    digits = _digits_of(written)
    if 3 * len(digits) // 4 > max_bytes:
        raise Base64TooLarge(max_bytes)
    if not digits:
        raise Base64Refused("The text is empty.")
    if (b"-" in digits or b"_" in digits) and (b"+" in digits or b"/" in digits):
        raise Base64Refused("The text mixes the standard alphabet and the URL-safe one.")
    standard = digits.translate(_TO_STANDARD)
    if len(standard) % 4 == 1 or standard.translate(None, _STANDARD):
        raise Base64Refused("The text is not base64.")
    decoded = binascii.a2b_base64(standard + b"=" * (-len(standard) % 4))
    # The spare bits of the last digit are zero in what encoders write.
    rest = len(decoded) % 3
    if rest and not binascii.b2a_base64(decoded[-rest:]).startswith(standard[-(rest + 1) :]):
        raise Base64Refused("The text ends in the middle of a byte.")
    return decoded


def _decode_plain(written: bytes) -> bytes | None:
    """The bytes of what most clients send, in one pass; None where it is anything else."""
    digits = written
    if written[:2] in _LITERAL_STARTS and written[-1:] == written[1:2]:
        digits = written[2:-1]
    if not digits or len(digits) % 4:
        return None
    try:
        decoded = binascii.a2b_base64(digits, strict_mode=True)
    except binascii.Error:
        return None
    # The spare bits of the last digit are zero in what encoders write.
    last = binascii.b2a_base64(decoded[-(len(decoded) % 3 or 3) :], newline=False)
    return decoded if digits.endswith(last) else None


def _digits_of(written: bytes) -> bytes:
    """`written` without wrappers, line breaks and padding."""
    body = _without_literal(written)
    prefix = _DATA_URI.match(body, 0, 300)
    if prefix:
        body = _without_literal(body[prefix.end() :])
    body = body.strip(_LINE_BREAKS)
    body = body.translate(None, _LINE_BREAKS)
    if body.rstrip().endswith(b"="):
        body = body.rstrip()
    if len(body) % 4:
        # A blank at an end is a digit only if the text is whole with it.
        body = body.strip()
    padding = len(body) - len(body.rstrip(b"="))
    if padding > 2:
        raise Base64Refused("The text is not base64.")
    return body[: len(body) - padding]


def _without_literal(text: bytes) -> bytes:
    """What stands between the quotes of `b'…'`, if that is what `text` is."""
    stripped = text.strip() if text.lstrip()[:2] in _LITERAL_STARTS else b""
    if len(stripped) > 2 and stripped[-1] == stripped[1]:
        return stripped[2:-1]
    return text
