"""A dataset's profiles as columns of figures: what outliers, reports and exports are made of."""

from collections import Counter
from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.bqat.domain import COLUMN_ALIASES, Kept, Place

Figures = NDArray[np.float32]

#: What is no measure of a sample.
_NOT_MEASURES: Final = frozenset({"file", "tag", "log", "error", "approx"})
_MOST_WORDS: Final = 50
_MOST_COLUMNS: Final = 300
_BLOCK: Final = 4096


@dataclass(frozen=True, slots=True)
class Column:
    """One measure over all samples.

    Attributes:
        values: float32, one a sample; NaN where it is missing. Truth values are 0 and 1.
        words: how often each word occurs, where the measure is a word and not a figure.
        is_flag: whether every figure is a truth value.
    """

    name: str
    values: Figures
    words: Mapping[str, int]
    is_flag: bool

    @property
    def is_number(self) -> bool:
        """Whether it has figures."""
        return not self.words

    @property
    def present(self) -> Figures:
        """The figures that are there."""
        return self.values[~np.isnan(self.values)]

    @property
    def missing(self) -> int:
        """How many samples lack it."""
        if self.words:
            return len(self.values) - sum(self.words.values())
        return int(np.isnan(self.values).sum())


@dataclass(frozen=True, slots=True)
class Table:
    """All measures over all samples of a dataset."""

    places: tuple[NDArray[np.int64], NDArray[np.int32]]
    """Task numbers and positions."""
    columns: tuple[Column, ...]
    failed: int
    evidence: Mapping[str, int]
    failures: Mapping[str, int]
    """How often each step went wrong."""

    @property
    def rows(self) -> int:
        """How many samples."""
        return len(self.places[0])

    def place(self, row: int) -> Place:
        """Where a sample lies."""
        return Place(int(self.places[0][row]), int(self.places[1][row]))

    def find(self, name: str) -> Column | None:
        """The measure of this name, in either of the old server's spellings."""
        wanted = COLUMN_ALIASES.get(name, name)
        return next((column for column in self.columns if column.name == wanted), None)

    def numbers(self) -> list[Column]:
        """The measures that are figures and occur."""
        return [column for column in self.columns if column.is_number and len(column.present)]

    def matrix(self, columns: Sequence[Column]) -> Figures:
        """`(samples, columns)` figures, NaN where one is missing."""
        return np.column_stack([column.values for column in columns])


@dataclass(slots=True)
class _Growing:
    """A column that grows; what came before its first value is missing."""

    blocks: list[Figures] = field(default_factory=list)
    length: int = 0
    words: Counter[str] = field(default_factory=Counter)
    is_flag: bool = True

    def put(self, row: int, value: Any) -> None:
        """Set the value of a row, which is never before the last one."""
        if isinstance(value, str):
            if value in self.words or len(self.words) < _MOST_WORDS:
                self.words[value] += 1
            return
        if value is None:
            return
        while row >= len(self.blocks) * _BLOCK:
            self.blocks.append(np.full(_BLOCK, np.nan, np.float32))
        self.blocks[row // _BLOCK][row % _BLOCK] = value
        self.is_flag = self.is_flag and isinstance(value, bool)

    def to_column(self, name: str, rows: int) -> Column:
        """Finish."""
        values = np.full(rows, np.nan, np.float32)
        if self.blocks:
            joined = np.concatenate(self.blocks)[:rows]
            values[: len(joined)] = joined
        has_figures = bool(self.blocks)
        return Column(
            name, values, {} if has_figures else dict(self.words), has_figures and self.is_flag
        )


async def read_table(profiles: AsyncIterable[Kept]) -> Table:
    """Read a dataset into columns: some four bytes for each figure, whatever the size."""
    growing: dict[str, _Growing] = {}
    tasks: list[int] = []
    positions: list[int] = []
    evidence: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    failed = 0
    async for kept in profiles:
        row = len(tasks)
        tasks.append(kept.place.task_number)
        positions.append(kept.place.position)
        evidence[kept.evidence] += 1
        failed += "error" in kept.profile
        for entry in kept.profile.get("log") or ():
            failures.update(str(step)[:60] for step in list(entry)[:1])
        for name, value in kept.profile.items():
            if name in _NOT_MEASURES or not isinstance(value, bool | int | float | str | None):
                continue
            column = growing.get(name)
            if column is None:
                if len(growing) >= _MOST_COLUMNS:
                    continue
                column = growing[name] = _Growing()
            column.put(row, value)
    return Table(
        (np.asarray(tasks, np.int64), np.asarray(positions, np.int32)),
        tuple(column.to_column(name, len(tasks)) for name, column in growing.items()),
        failed,
        dict(evidence),
        dict(failures.most_common(_MOST_WORDS)),
    )
