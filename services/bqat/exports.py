"""A dataset's profiles as CSV and as Parquet, streamed: memory does not grow with the dataset."""

import csv
import io
import json
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.bqat.domain import DatasetId, Profile
from services.bqat.profiles import ProfileRepository

if TYPE_CHECKING:
    # Loaded by the first export: it holds as much memory as the rest of the service.
    import pyarrow as pa

_ROWS: Final = 2000
_MOST_COLUMNS: Final = 400
#: What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection).
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def flat(profile: Profile) -> dict[str, Any]:
    """A profile as one line: what is a list or an object becomes JSON text."""
    return {
        name: json.dumps(value) if isinstance(value, list | dict) else value
        for name, value in profile.items()
    }


async def _find_kinds(
    sessions: async_sessionmaker[AsyncSession], dataset_id: DatasetId
) -> dict[str, set[type]]:
    """The columns of a dataset in the order in which they appear, and what they hold."""
    found: dict[str, set[type]] = {}
    async with sessions() as session:
        async for kept in ProfileRepository(session).stream(dataset_id):
            for name, value in flat(kept.profile).items():
                if name in found or len(found) < _MOST_COLUMNS:
                    found.setdefault(name, set()).add(type(value))
    return found


def _arrow_type(kinds: set[type]) -> "pa.DataType":
    import pyarrow as pa

    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    if kinds and kinds <= {int, float}:
        return pa.float64()
    return pa.string()


async def to_csv(
    sessions: async_sessionmaker[AsyncSession], dataset_id: DatasetId
) -> AsyncIterator[bytes]:
    """RFC 4180, UTF-8, a line for each sample."""
    columns = list(await _find_kinds(sessions, dataset_id))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([harmless(name) for name in columns])
    async with sessions() as session:
        number = 0
        async for kept in ProfileRepository(session).stream(dataset_id):
            line = flat(kept.profile)
            writer.writerow([_cell(line.get(name)) for name in columns])
            number += 1
            if number % _ROWS == 0:
                yield text.getvalue().encode()
                text.seek(0)
                text.truncate()
    yield text.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return harmless(value) if isinstance(value, str) else value


async def to_parquet(
    sessions: async_sessionmaker[AsyncSession], dataset_id: DatasetId
) -> AsyncIterator[bytes]:
    """Parquet, a row group for each two thousand samples."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = await _find_kinds(sessions, dataset_id)
    columns = {name: _arrow_type(found - {type(None)}) for name, found in kinds.items()}
    if not columns:
        columns = {"file": pa.string()}
    schema = pa.schema(list(columns.items()))
    sink = _Drain()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        async with sessions() as session:
            lines: list[Mapping[str, Any]] = []
            async for kept in ProfileRepository(session).stream(dataset_id):
                lines.append(flat(kept.profile))
                if len(lines) == _ROWS:
                    writer.write_table(_table(lines, columns, schema))
                    lines = []
                    yield sink.take()
            if lines:
                writer.write_table(_table(lines, columns, schema))
    yield sink.take()


def _table(
    lines: list[Mapping[str, Any]], columns: "Mapping[str, pa.DataType]", schema: "pa.Schema"
) -> "pa.Table":
    import pyarrow as pa

    arrays = [
        pa.array(
            [_fitting(line.get(name), kind) for line in lines],
            type=kind,
        )
        for name, kind in columns.items()
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _fitting(value: Any, kind: "pa.DataType") -> Any:
    if value is None or str(kind) != "string" or isinstance(value, str):
        return value
    return json.dumps(value)


class _Drain(io.RawIOBase):
    """A file to be written to that gives its bytes away."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._length = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, block: Any) -> int:
        """Keep a block until it is taken."""
        content = bytes(block)
        self._parts.append(content)
        self._length += len(content)
        return len(content)

    def tell(self) -> int:
        """How much was written."""
        return self._length

    def take(self) -> bytes:
        """What was written since the last time."""
        content = b"".join(self._parts)
        self._parts.clear()
        return content
