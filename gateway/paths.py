"""Which request targets are let in: exactly those that every router reads in the same way.

A proxy and the service behind it must never disagree about the path, or a policy is checked for
one route and another one runs. Anything that somebody might normalise is therefore refused.
"""

import re
from urllib.parse import unquote

from gateway.errors import RefusedRequest

# One or more segments of unreserved characters, sub-delimiters without `;`, `:`, `@` and
# percent escapes; no empty segment but a last one, no `.` and no `..`.
_has_known_form = re.compile(
    rb"/|(?:/(?!\.{1,2}(?:/|$))(?:[A-Za-z0-9._~!$&'()*+,=:@-]|%[0-9A-Fa-f]{2})+)+/?"
).fullmatch
# Escapes of dots, slashes, backslashes, percent signs, semicolons, question and hash marks and
# control characters: what a second decoding, or a lax router, would give a structure.
_has_structural_escape = re.compile(rb"%(?:[01][0-9A-Fa-f]|7[Ff]|2[EeFf35]|3[BbFf]|5[Cc])").search
_is_printable_query = re.compile(rb"[\x21\x22\x24-\x7e]*").fullmatch
_has_unprintable = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]").search


def read_path(raw_path: bytes) -> str:
    """The decoded path of a request target, the same that the service will route on.

    Raises:
        RefusedRequest: the path could be read in more than one way.
    """
    if _has_known_form(raw_path) is None:
        raise RefusedRequest("The path has a form that is not forwarded.")
    if b"%" not in raw_path:
        return raw_path.decode("ascii")
    if _has_structural_escape(raw_path) is not None:
        raise RefusedRequest("The path hides a structural character behind an escape.")
    try:
        path = unquote(raw_path.decode("ascii"), errors="strict")
    except UnicodeDecodeError as error:
        raise RefusedRequest("The path's escapes are not UTF-8.") from error
    if _has_unprintable(path) is not None:
        raise RefusedRequest("The path holds control characters.")
    return path


def check_query(query: bytes) -> None:
    """Let a query pass that is printable ASCII.

    Raises:
        RefusedRequest: it is not.
    """
    if query and _is_printable_query(query) is None:
        raise RefusedRequest("The query holds characters that have to be escaped.")
