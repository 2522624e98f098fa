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
from leadscore.history.reading.faults import did_you_mean
from leadscore.history.reading.formats import binary_format, files_like, format_by_name, is_read
from leadscore.history.reading.text import FEW, SAVE, CsvSource, refused

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
            what = binary_format(path)
            cause = f"it looks like {what}" if what not in {None, "Parquet"} else str(error)
            raise refused(table, f"must be Parquet, {path.name} is not: {cause}", "Write the file again") from None
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
    """The file or the query of a table; None where there is neither, and nothing that looks like it.

    Raises
    ------
    ConfigError
        ``source.url`` names an environment variable that is not set, or is no URL.
    DataError
        The table is there and cannot be read, or it is not where the settings say.
    """
    settings = funnel.tables.get(table)
    renamed = settings.columns if settings else {}
    if settings and settings.is_query:
        return ArrowSource(table, _queried(table, _query(table, folder, settings), funnel.source.url or ""), renamed)
    path = _named(table, folder, settings.file) if settings and settings.file else _found(table, folder, funnel)
    if path is None:
        return None
    if path.suffix.lower() == ".csv":
        return CsvSource.open(table, path, renamed)
    return ParquetSource.open(table, path, renamed)


def _named(table: TableName, folder: Path, name: str) -> Path:
    """The file that the settings name."""
    path = folder / name
    if not is_read(path):
        what = format_by_name(path)
        rule = f"must be CSV or Parquet, {name} is {what or 'neither by its name'}"
        raise refused(table, rule, f"{SAVE}, and name that file" if what else "Rename the file")
    if path.is_file():
        return path
    if any(mark in name for mark in "*?["):
        found = sorted(each.name for each in folder.glob(name))
        rule = f"must be one file; {name} is no pattern, and {', '.join(found) or 'nothing'} would match it"
        raise refused(table, rule, f"Join them to one file, and name it in [tables.{table}] file")
    close = did_you_mean(name, [each.name for each in folder.iterdir()])
    fix = (f"Did you mean {close!r}? " if close else "") + f"Add it, or say in [tables.{table}] where the table is"
    raise refused(table, f"table is missing, there is no {name}", fix)


def _found(table: TableName, folder: Path, funnel: Funnel) -> Path | None:
    """The file that is named as the table; None where no name is like it."""
    found = [path for suffix in ("parquet", "csv") if (path := folder / f"{table}.{suffix}").is_file()]
    if len(found) > 1:
        fix = f"Remove one, or say in [tables.{table}] file which"
        raise refused(table, f"must be one file, there are {found[0].name} and {found[1].name}", fix)
    if found:
        return found[0]
    like = files_like(folder, table, [each.file for each in funnel.tables.values() if each.file])
    if not like:
        return None
    names = [path.name if is_read(path) else f"{path.name}, {format_by_name(path)}" for path in like]
    rule = f"must be {table}.csv or {table}.parquet, there is {' and '.join(names)}"
    if len(like) > 1:
        fix = f"Join them to one file {table}.csv, or say in [tables.{table}] file which it is"
    elif is_read(like[0]):
        fix = f"Rename it, or say file = {like[0].name!r} in [tables.{table}]"
    else:
        fix = f"{SAVE}, and name that {table}.csv"
    raise refused(table, rule, fix)


def _query(table: TableName, folder: Path, settings: Table) -> str:
    if settings.query is not None:
        return settings.query
    name = str(settings.query_file)
    try:
        return (folder / name).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise refused(table, f"query cannot be read: {error}", f"Correct [tables.{table}] query_file") from None


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
            # As it is written: a colon or a per cent sign in it is no parameter.
            return _fetched(
                connection.execution_options(stream_results=True, no_parameters=True).exec_driver_sql(query)
            )
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
