"""Pieces of the page's markup."""

from collections.abc import Iterable, Sequence
from html import escape


def section(title: str, text: str, anchor: str | None = None) -> str:
    """A titled part of the page."""
    name = f' id="{escape(anchor)}"' if anchor else ""
    return f"<section{name}>\n<h2>{escape(title)}</h2>\n{text}\n</section>"


def table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are markup already."""
    names = "".join(f"<th scope=col>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(cells)}</tr>\n" for cells in rows)
    return (
        f'<div class="scroll"><table class="figures"><thead><tr>{names}</tr></thead>\n'
        f"<tbody>\n{body}</tbody></table></div>"
    )


def card(title: str, plot: str, remark: str = "") -> str:
    """A framed drawing with its name."""
    note = f" <span>{escape(remark)}</span>" if remark else ""
    return f"<figure><figcaption><b>{words(title)}</b>{note}</figcaption>{plot}</figure>"


def listed(facts: Iterable[tuple[str, str]]) -> str:
    """Names and texts of a definition list; the texts are markup already."""
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{text}</dd></div>" for name, text in facts)


def words(name: str) -> str:
    """A column's name as words, escaped."""
    return escape(name.replace("_", " "))
