"""The table of what is known about each picture: findings, subgroups, patient."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FILE_COLUMN = "file"
PATIENT_COLUMN = "patient"
MAX_TABLE_BYTES = 256 * 1024 * 1024
#: A subgroup column with more values than this is not a set of groups.
MAX_GROUPS = 20
UNKNOWN_GROUP = "unknown"

_NOT_A_WORD = re.compile(r"[^a-z0-9]+")
_TRUTHS: Mapping[str, bool | None] = {
    "1": True,
    "1.0": True,
    "0": False,
    "0.0": False,
    # CheXpert writes -1 where a report is uncertain and nothing where it is silent.
    "": None,
    "-1": None,
    "-1.0": None,
    "nan": None,
    "na": None,
}


class LabelsInvalid(ValueError):
    """The table cannot be used; the message says where and why."""


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """One row of the table."""

    file: str
    truth: Mapping[str, bool | None]
    """For every label with a column: present, absent, or not known."""
    groups: Mapping[str, str]
    """For every subgroup column, the group that the picture belongs to."""
    patient: str | None


@dataclass(frozen=True, slots=True)
class LabelTable:
    """The rows, and which labels have a column."""

    pictures: tuple[LabelledPicture, ...]
    labels: tuple[str, ...]
    """In the order in which the network answers."""
    by: tuple[str, ...]
    has_patients: bool


def column_word(name: str) -> str:
    """A column's or label's name as it is compared: `Pleural Effusion` is `pleural_effusion`."""
    return _NOT_A_WORD.sub("_", name.strip().casefold()).strip("_")


def read_labels(
    path: Path,
    labels: Sequence[str],
    aliases: Mapping[str, str],
    by: Sequence[str] = (),
) -> LabelTable:
    """Read a table in CSV with a header.

    Args:
        path: the table: a column `file`, a column of 0 and 1 per label, optionally `patient` and
            columns to group by. An empty cell or -1 means that the truth is not known.
        labels: what the network answers.
        aliases: other names of labels' columns, as `column_word` writes them.
        by: the columns whose groups are told apart. Numbers with many values become quarters.

    Raises:
        LabelsInvalid: with the line and column at fault.
        OSError: the file cannot be read.
    """
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise LabelsInvalid(f"{path.name} is larger than {MAX_TABLE_BYTES} bytes")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            columns = _columns(next(rows, []))
            found = _label_columns(columns, labels, aliases)
            group_columns = {name: _place(columns, name) for name in by}
            pictures = list(_pictures(rows, columns, found, group_columns))
    except UnicodeDecodeError as error:
        raise LabelsInvalid(f"{path.name} is not UTF-8 text") from error
    except csv.Error as error:
        raise LabelsInvalid(f"{path.name} is not a CSV table: {error}") from error
    if not pictures:
        raise LabelsInvalid(f"{path.name} has no rows")
    grouped = _with_bands(pictures, by)
    ordered = tuple(label for label in labels if label in found)
    return LabelTable(grouped, ordered, tuple(by), PATIENT_COLUMN in columns)


def _columns(header: Sequence[str]) -> dict[str, int]:
    columns: dict[str, int] = {}
    for place, name in enumerate(header):
        word = column_word(name)
        if word and word in columns:
            raise LabelsInvalid(f"two columns are named {name.strip()!r}")
        columns[word] = place
    if FILE_COLUMN not in columns:
        raise LabelsInvalid("the first line names no column 'file'")
    return columns


def _label_columns(
    columns: Mapping[str, int], labels: Sequence[str], aliases: Mapping[str, str]
) -> dict[str, int]:
    meaning = {word: label for word, label in aliases.items() if label in labels}
    meaning |= {column_word(label): label for label in labels}
    found: dict[str, int] = {}
    for word, place in columns.items():
        label = meaning.get(word)
        if label is None:
            continue
        if label in found:
            raise LabelsInvalid(f"two columns speak of {label}")
        found[label] = place
    if not found:
        raise LabelsInvalid(f"no column is named for a label; the labels are {', '.join(labels)}")
    return found


def _place(columns: Mapping[str, int], name: str) -> int:
    try:
        return columns[column_word(name)]
    except KeyError:
        known = ", ".join(sorted(column for column in columns if column))
        raise LabelsInvalid(f"there is no column {name!r} to group by; there are {known}") from None


def _pictures(
    rows: Iterator[list[str]],
    columns: Mapping[str, int],
    label_columns: Mapping[str, int],
    group_columns: Mapping[str, int],
) -> Iterator[LabelledPicture]:
    width = max(columns.values()) + 1
    patient_column = columns.get(PATIENT_COLUMN)
    seen: dict[str, int] = {}
    for line, row in enumerate(rows, start=2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) < width:
            raise LabelsInvalid(f"line {line} has {len(row)} cells; the first line has {width}")
        file = row[columns[FILE_COLUMN]].strip()
        if not file:
            raise LabelsInvalid(f"line {line} names no file")
        if file in seen:
            raise LabelsInvalid(f"line {line} names {file!r}, as line {seen[file]} does")
        seen[file] = line
        patient = None if patient_column is None else row[patient_column].strip()
        yield LabelledPicture(
            file,
            {label: _truth(row[place], line, label) for label, place in label_columns.items()},
            {name: row[place].strip() or UNKNOWN_GROUP for name, place in group_columns.items()},
            patient or None,
        )


def _truth(cell: str, line: int, label: str) -> bool | None:
    try:
        return _TRUTHS[cell.strip().casefold()]
    except KeyError:
        raise LabelsInvalid(
            f"line {line} says {cell.strip()[:20]!r} about {label}; "
            "what is understood is 0, 1, -1 or nothing"
        ) from None


def _with_bands(
    pictures: Sequence[LabelledPicture], by: Sequence[str]
) -> tuple[LabelledPicture, ...]:
    """Put the numbers of columns such as `age` into quarters."""
    banded = list(pictures)
    for name in by:
        values = {picture.groups[name] for picture in banded}
        if len(values) <= MAX_GROUPS // 2:
            continue
        numbers = {value: float(value) for value in values if _is_number(value)}
        others = len(values) - len(numbers)
        if others > 1:
            if len(values) > MAX_GROUPS:
                raise LabelsInvalid(
                    f"column {name!r} has {len(values)} values; those are no groups"
                )
            continue
        band_of = _quarters([numbers[p.groups[name]] for p in banded if p.groups[name] in numbers])
        banded = [
            LabelledPicture(
                picture.file,
                picture.truth,
                {
                    **picture.groups,
                    name: band_of[numbers[value]] if value in numbers else UNKNOWN_GROUP,
                },
                picture.patient,
            )
            for picture in banded
            for value in (picture.groups[name],)
        ]
    return tuple(banded)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d{1,15}(\.\d{1,15})?", text) is not None


def _quarters(numbers: Sequence[float]) -> dict[float, str]:
    """The band of each number: four bands of about equally many cases, equal numbers together."""
    ordered = sorted(numbers)
    place = {number: ordered.index(number) * 4 // len(ordered) for number in set(numbers)}
    bands: dict[int, list[float]] = {}
    for number in sorted(place):
        bands.setdefault(place[number], []).append(number)
    return {number: _band_name(inside) for inside in bands.values() for number in inside}


def _band_name(inside: Sequence[float]) -> str:
    if inside[0] == inside[-1]:
        return f"{inside[0]:g}"
    return f"{inside[0]:g} to {inside[-1]:g}"
