"""Where tables come from: a file or a query, as Arrow tables a chunk at a time."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import sqlalchemy as sa

from leadscore.errors import ConfigError
from leadscore.history.reading.canonical import cell_text
from leadscore.history.reading.text import FEW, CsvSource, refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from leadscore.config import Funnel, Table, TableName
    from leadscore.history.line import Int64s

ROWS = 1 << 20
SQL_ROWS = 1 << 16


@dataclass(frozen=True, slots=True)
class ParquetSource:
    """A Parquet file; ``columns`` are as it names them."""

    table: TableName
    path: Path
    columns: tuple[str, ...]
    renamed: dict[str, str]

    @classmethod
    def open(cls, table: TableName, path: Path, renamed: dict[str, str]) -> ParquetSource:
        """Read the schema.

        Raises
        ------
        DataError
            The file is not Parquet.
        """
        try:
            columns = tuple(pa.parquet.read_schema(path).names)
        except (pa.ArrowException, OSError) as error:
            raise refused(table, f"must be Parquet, {path.name} is not: {error}", "Write the file again") from None
        return cls(table, path, columns, renamed)

    def chunks(self, wanted: Sequence[str]) -> Iterator[pa.Table]:
        """The wanted columns, a million rows at a time.

        Raises
        ------
        DataError
            The file is damaged.
        """
        few = [name for name in (self.renamed.get(name, name) for name in FEW) if name in self.columns]
        try:
            with pa.parquet.ParquetFile(self.path, read_dictionary=few, memory_map=True) as file:
                for batch in file.iter_batches(batch_size=ROWS, columns=list(wanted)):
                    yield pa.Table.from_batches([batch])
        except (pa.ArrowException, OSError) as error:
            raise refused(
                self.table, f"must be whole, {self.path.name} is not: {error}", "Write the file again"
            ) from None

    def row_numbers(self, rows: Int64s) -> Int64s:
        """Numbers from 1 of rows."""
        return rows + 1


@dataclass(frozen=True, slots=True)
class ArrowSource:
    """A table in memory."""

    table: TableName
    rows: pa.Table
    renamed: dict[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """As the table names them."""
        return tuple(self.rows.column_names)

    def chunks(self, wanted: Sequence[str]) -> Iterator[pa.Table]:
        """Wanted columns, a million rows at a time."""
        for begin in range(0, max(len(self.rows), 1), ROWS):
            yield self.rows.select(list(wanted)).slice(begin, ROWS)

    def row_numbers(self, rows: Int64s) -> Int64s:
        """Numbers from 1 of rows."""
        return rows + 1


Source = CsvSource | ParquetSource | ArrowSource


def open_source(table: TableName, folder: Path, funnel: Funnel) -> Source | None:
    """The file or the query of a table; None where there is neither.

    Raises
    ------
    ConfigError
        ``source.url`` names an environment variable that is not set, or is no URL.
    DataError
        The table is there and cannot be read.
    """
    settings = funnel.tables.get(table)
    renamed = settings.columns if settings else {}
    if settings and settings.query is not None:
        return ArrowSource(table, _queried(table, settings.query, funnel.source.url or ""), renamed)
    path = _file(table, folder, settings)
    if path is None:
        return None
    if path.suffix.lower() == ".csv":
        return CsvSource.open(table, path, renamed)
    return ParquetSource.open(table, path, renamed)


def _file(table: TableName, folder: Path, settings: Table | None) -> Path | None:
    if settings and settings.file is not None:
        path = folder / settings.file
        if path.suffix.lower() not in {".csv", ".parquet"}:
            raise refused(table, f"must be CSV or Parquet, {settings.file} is neither by its name", "Rename the file")
        return path if path.is_file() else None
    found = [path for suffix in ("parquet", "csv") if (path := folder / f"{table}.{suffix}").is_file()]
    if len(found) > 1:
        fix = f"Remove one, or say in [tables.{table}] file which"
        raise refused(table, f"must be one file, there are {found[0].name} and {found[1].name}", fix)
    return found[0] if found else None


def _queried(table: TableName, query: str, url: str) -> pa.Table:
    secrets: list[str] = []

    def variable(match: re.Match[str]) -> str:
        value = os.environ.get(match[1])
        if value is None:
            raise ConfigError(
                f"source.url: the environment variable {match[1]} is not set; set it, or write the URL out"
            )
        secrets.append(value)
        return value

    try:
        where = sa.make_url(re.sub(r"\$\{(\w+)\}", variable, url))
    except (sa.exc.ArgumentError, ValueError):
        raise ConfigError("source.url: is no SQLAlchemy URL; write dialect://user:${PASSWORD}@host/database") from None
    secrets += [str(where.password or ""), *map(str, where.query.values())]
    try:
        engine = sa.create_engine(where)
    except (sa.exc.SQLAlchemyError, ImportError, TypeError, ValueError) as error:
        raise ConfigError(f"source.url: {_without(secrets, error)}; install its driver") from None
    try:
        with engine.connect() as connection:
            return _fetched(connection.execution_options(stream_results=True).execute(sa.text(query)))
    except sa.exc.SQLAlchemyError as error:
        cause = _without(secrets, getattr(error, "orig", None) or error)
        raise refused(
            table,
            f"must be what its query gives, the query fails: {cause}",
            f"Correct [tables.{table}] query",
        ) from None
    finally:
        engine.dispose()


def _without(secrets: Sequence[str], error: BaseException) -> str:
    text = str(error)
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _fetched(result: sa.CursorResult[Any]) -> pa.Table:
    names = list(result.keys())
    parts = [
        pa.table([_column(values) for values in zip(*rows, strict=True)], names=names)
        for rows in result.partitions(SQL_ROWS)
    ]
    if not parts:
        return pa.table([pa.nulls(0)] * len(names), names=names)
    try:
        return pa.concat_tables(parts, promote_options="permissive").combine_chunks()
    except pa.ArrowException:  # one type in one part and another in the next
        texts = [pa.table([_text(column) for column in part.columns], names=names) for part in parts]
        return pa.concat_tables(texts).combine_chunks()


def _column(values: Sequence[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return _text(values)


def _text(values: Sequence[Any] | pa.ChunkedArray) -> pa.Array:
    known = values.to_pylist() if isinstance(values, pa.ChunkedArray) else values
    return pa.array([cell_text(value) for value in known], pa.string())


def picked(source: Source, columns: Sequence[str], rows: Int64s) -> pa.Table:
    """Some rows of a source, as they stand there; ``rows`` are at least one, ascending, from 0."""
    parts, begin = [], 0
    for chunk in source.chunks(columns):
        first, last = np.searchsorted(rows, (begin, begin + chunk.num_rows))
        parts.append(chunk.take(pa.array(rows[first:last] - begin)))
        begin += chunk.num_rows
    return pa.concat_tables(parts).unify_dictionaries().combine_chunks()
