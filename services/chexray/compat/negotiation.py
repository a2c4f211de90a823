"""How the old server chose between JSON and HTML, and how it wrote JSON (Q3, Q4, Q5)."""

import html
import json
from dataclasses import dataclass
from typing import Any

JSON_TYPE = "application/json"
HTML_TYPE = "text/html"
_MAX_INDENT = 8


class NotAcceptable(Exception):
    """Nothing that this view writes is accepted."""


class UnknownFormat(Exception):
    """`?format=` names nothing that this view writes."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """How an answer is written."""

    media_type: str = JSON_TYPE
    indent: int | None = None

    @property
    def content_type(self) -> str:
        """The `Content-Type` header: JSON comes without a charset."""
        return JSON_TYPE if self.media_type == JSON_TYPE else "text/html; charset=utf-8"

    def write(self, answer: Any, heading: str) -> bytes:
        """`answer` as JSON, or as JSON inside a plain page for people with a browser."""
        if self.media_type == JSON_TYPE:
            return to_json(answer, self.indent)
        shown = html.escape(to_json(answer, 4).decode())
        page = f"<!DOCTYPE html><title>{html.escape(heading)}</title><pre>{shown}</pre>"
        return page.encode()


def to_json(answer: Any, indent: int | None = None) -> bytes:
    """Compact JSON with unescaped UTF-8; the two line separators of JavaScript are escaped."""
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(answer, ensure_ascii=False, indent=indent, separators=separators)
    escaped = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return escaped.encode("utf-8", "replace")


def choose(accept: str, wanted_format: str, media_types: tuple[str, ...]) -> Rendering:
    """The rendering that `Accept` and `?format=` ask for.

    Args:
        accept: the header's value, `*/*` where there is none.
        wanted_format: the query parameter's value, empty where there is none.
        media_types: what the view writes, its favourite first.

    Raises:
        UnknownFormat: before `Accept` is looked at.
        NotAcceptable: quality values are not looked at, as they were not, nor is `Accept` where
            JSON is asked for by its format (Q28).
    """
    offered = media_types
    if wanted_format:
        by_format = {"json": JSON_TYPE, "api": HTML_TYPE}
        if by_format.get(wanted_format) not in media_types:
            raise UnknownFormat
        offered = (by_format[wanted_format],)
    asked = [_parsed(part) for part in accept.split(",")]
    for precedence in (3, 2, 1, 0):
        for media_type in offered:
            for name, parameters in asked:
                if _precedence(name, parameters) == precedence and _matches(media_type, name):
                    return Rendering(media_type, _indent(parameters if precedence == 3 else {}))
    if wanted_format == "json":
        return Rendering()
    raise NotAcceptable


def _parsed(media_type: str) -> tuple[str, dict[str, str]]:
    """The type, and its parameters; what is no `key=value` is none."""
    name, *parameters = media_type.split(";")
    pairs = (parameter.partition("=") for parameter in parameters)
    return name.strip().lower(), {
        key.strip().lower(): value.strip().strip('"') for key, is_pair, value in pairs if is_pair
    }


def _precedence(name: str, parameters: dict[str, str]) -> int:
    main, _, sub = name.partition("/")
    if main == "*":
        return 0
    if sub == "*":
        return 1
    return 2 if not parameters or list(parameters) == ["q"] else 3


def _matches(media_type: str, asked: str) -> bool:
    main, _, sub = media_type.partition("/")
    asked_main, _, asked_sub = asked.partition("/")
    return asked_main in ("*", main) and asked_sub in ("*", sub)


def _indent(parameters: dict[str, str]) -> int | None:
    try:
        return max(min(int(parameters.get("indent", "")), _MAX_INDENT), 0) or None
    except ValueError:
        return None
