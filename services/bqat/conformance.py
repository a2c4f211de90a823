"""`vedette conformance`: recompute published tables of quality values with the code that serves.

The tables are not part of this project; docs/bqat-quality.md says where they are published.
"""

import csv
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from services.bqat.engines import Unassessable
from services.bqat.engines.face.scalars import CONVERSIONS, to_scalar
from services.bqat.engines.fingerprint import is_approximate, native_measures
from services.bqat.engines.fingerprint.blocks import without_white_frame
from services.bqat.engines.fingerprint.mapping import MAPPED, to_quality_block
from services.bqat.engines.samples import read_sample

app = typer.Typer(
    no_args_is_help=True,
    help="Recompute published quality tables cell by cell; succeed only if every cell is equal.",
)

_FILE_NAME = "Filename"
_SCALAR = ".scalar"
_BLOCK = "QB_"
_FAILED = -1.0
_ABSENT = frozenset({"", "na", "nan"})
_SHOWN = 20

Row = Mapping[str, str]


class TableUnreadable(Exception):
    """A file is not a table of the kind that is needed."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One published value and the one computed here; None where none could be."""

    file_name: str
    column: str
    published: float
    computed: float | None

    @property
    def is_equal(self) -> bool:
        """Whether the two are the same number."""
        return self.computed is not None and self.computed == self.published


def read_table(path: Path) -> list[Row]:
    """Rows of a CSV file with a header; separated by commas or semicolons.

    Raises:
        TableUnreadable: there is no such file, or it is no such table.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            delimiter = ";" if header.count(";") > header.count(",") else ","
            rows: list[Row] = [*csv.DictReader(file, delimiter=delimiter, restkey="", restval="")]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableUnreadable(f"{path} cannot be read: {error}") from error
    if not rows or _FILE_NAME not in rows[0]:
        raise TableUnreadable(f"{path} is no table with a column {_FILE_NAME}")
    return rows


def ofiq_cells(table: list[Row]) -> Iterator[Cell]:
    """Every scalar of a table of OFIQ beside the one that its native value gives.

    A scalar of -1 says that a component could not be assessed; that is passed through.
    """
    for row in table:
        for column, text in row.items():
            if not column.endswith(_SCALAR):
                continue
            published = number(text)
            if published is None:
                continue
            component = column.removesuffix(_SCALAR)
            yield Cell(row[_FILE_NAME], column, published, _ofiq_scalar(component, published, row))


def _ofiq_scalar(component: str, published: float, row: Row) -> float | None:
    if component not in CONVERSIONS or component not in row:
        return None
    if published == _FAILED:
        return _FAILED
    native = number(row[component])
    return None if native is None else to_scalar(component, native)


def nfiq2_cells(native: list[Row], mapped: list[Row]) -> Iterator[Cell]:
    """Every value of a quality block beside the one that the native table's row gives."""
    native_of = {row[_FILE_NAME]: row for row in native}
    for row in mapped:
        found = native_of.get(row[_FILE_NAME], {})
        for column, text in row.items():
            published = number(text) if column.startswith(_BLOCK) else None
            if published is None:
                continue
            name = column.removeprefix(_BLOCK)
            yield Cell(row[_FILE_NAME], column, published, _quality_block(name, published, found))


def _quality_block(name: str, published: float, row: Row) -> float | None:
    if name not in MAPPED:
        return None
    if published == _FAILED:
        return _FAILED
    native = number(row.get(name, ""))
    return None if native is None else float(to_quality_block(name, native))


def image_cells(folder: Path) -> Iterator[Cell]:
    """Every native measure published beside a picture, and the one measured here on it.

    Measures of minutiae are left out: they are those of a program of its own. Published figures
    have six digits.
    """
    answers = sorted((folder / "output").glob("*_output.txt"))
    if not answers:
        raise TableUnreadable(f"{folder} holds no output/NAME_output.txt")
    for answer in answers:
        name = answer.name.removesuffix("_output.txt")
        measured = _measured(folder / "images" / f"{name}.pgm")
        for line in answer.read_text(encoding="utf-8").splitlines():
            measure, _, text = line.partition(":")
            if measure == "UnifiedQualityScore" or is_approximate(measure):
                continue
            published, found = number(text), measured.get(measure)
            if published is not None:
                computed = None if found is None else float(f"{found:.6g}")
                yield Cell(name, measure, published, computed)


def _measured(path: Path) -> dict[str, float]:
    """The native measures and flags of one picture, under NFIQ 2's names."""
    try:
        cropped = without_white_frame(read_sample(path.read_bytes()).to_gray())
    except (OSError, Unassessable) as error:
        raise TableUnreadable(f"{path} cannot be read: {error}") from error
    flags: dict[str, float] = {}
    measured = {} if cropped is None else native_measures(cropped, flags, [])
    return measured | {
        "".join(word.capitalize() for word in flag.split("_")): value
        for flag, value in flags.items()
    }


def number(text: str | None) -> float | None:
    """The number in a cell, or None where the cell says that there is none."""
    if text is None or text.strip().lower() in _ABSENT:
        return None
    try:
        value = float(text)
    except ValueError:
        raise TableUnreadable(f"a cell holds {text[:40]!r}, which is no number") from None
    return value if math.isfinite(value) else None


def _report(compare: Callable[[], Iterator[Cell]]) -> None:
    """Print how many cells are equal, and the first that are not; exit 0 only if all are."""
    try:
        cells = list(compare())
    except TableUnreadable as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    unequal = [cell for cell in cells if not cell.is_equal]
    for cell in unequal[:_SHOWN]:
        computed = "nothing" if cell.computed is None else f"{cell.computed:g}"
        typer.echo(
            f"{cell.file_name}: {cell.column} is {cell.published:g}, computed is {computed}",
            err=True,
        )
    typer.echo(f"{len(cells) - len(unequal)} of {len(cells)} equal")
    if unequal or not cells:
        raise typer.Exit(1)


@app.command("ofiq")
def ofiq(
    table: Annotated[Path, typer.Argument(help="OFIQ's table of native values and scalars.")],
) -> None:
    """Recompute the scalars of ISO/IEC 29794-5 from their native values."""
    _report(lambda: ofiq_cells(read_table(table)))


@app.command("nfiq2")
def nfiq2(
    native: Annotated[Path, typer.Argument(help="NFIQ 2's table of native measures.")],
    mapped: Annotated[Path, typer.Argument(help="NFIQ 2's table of mapped measures.")],
) -> None:
    """Recompute the quality blocks of ISO/IEC 39794-4 from the native measures."""
    _report(lambda: nfiq2_cells(read_table(native), read_table(mapped)))


@app.command("nfiq2-images")
def nfiq2_images(
    examples: Annotated[
        Path, typer.Argument(help="NFIQ 2's folder of examples: images/ and output/.")
    ],
) -> None:
    """Measure NFIQ 2's example pictures and compare every measure that needs no minutiae."""
    _report(lambda: image_cells(examples))
