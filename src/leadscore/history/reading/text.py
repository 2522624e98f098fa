"""CSV files as Arrow tables of text, and the rows of them that have the wrong number of values."""

from __future__ import annotations

import codecs
import csv
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from leadscore.errors import DataError, Problem
from leadscore.history.reading.formats import binary_format, likely_encoding, text_format
from leadscore.history.reading.rules import REQUIRED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from leadscore.config import TableName
    from leadscore.history.line import Int64s

BLOCK = 1 << 24
# Blocks are put together to chunks of about so many rows, because each chunk of work has a fixed cost.
GROUP_ROWS = 1 << 20
GROUP_BYTES = 1 << 28
# Of these a chunk holds few distinct values: codes are a tenth of the memory.
FEW = frozenset({"kind", "direction", "by", "stage", "attribute"})
SAVE = "Save it as CSV in UTF-8, separated by commas"


@dataclass(frozen=True, slots=True)
class Ragged:
    """A row with more or fewer values than there are columns.

    Attributes
    ----------
    row : int
        Its number among the rows below the header, from 0; empty lines do not count.
    text : str
        As it stands in the file.
    """

    row: int
    text: str

    def values(self, n_columns: int) -> list[str | None]:
        """Its values, left to right; what is over stands in the last."""
        written = next(csv.reader([self.text], strict=False), [])
        if len(written) > n_columns:
            written[n_columns - 1 :] = [",".join(written[n_columns - 1 :])]
        return [*written, *[None] * (n_columns - len(written))]


@dataclass(slots=True)
class CsvSource:
    """A checked CSV file: text in UTF-8 with a header.

    Attributes
    ----------
    columns : tuple of str
        As the header names them.
    renamed : dict of str to str
        Our name to the header's, where they differ.
    ragged : list of Ragged
        In order of the file; complete once all chunks have been read.
    """

    table: TableName
    path: Path
    columns: tuple[str, ...]
    renamed: dict[str, str]
    ragged: list[Ragged] = field(default_factory=list)

    @classmethod
    def open(cls, table: TableName, path: Path, renamed: dict[str, str]) -> CsvSource:
        """Look through the file once, so that all of it can be read afterwards.

        Raises
        ------
        DataError
            The file is empty, is of another format, is not text in UTF-8, holds NUL bytes, or a quote is never closed.
        """
        needed = [renamed.get(name, name) for name in REQUIRED[table]]
        if what := binary_format(path) or text_format(path, needed):
            raise refused(table, f"must be CSV in UTF-8, separated by commas, and looks like {what}", SAVE)
        _look_through(table, path)
        with path.open(encoding="utf-8-sig", newline="") as lines:
            header: list[str] = next((row for row in csv.reader(lines) if row), [])
        if not header:
            raise refused(table, f"must have a header, {path.name} is empty", SAVE)
        return cls(table, path, tuple(header), renamed)

    def chunks(self, wanted: Sequence[str]) -> Iterator[pa.Table]:
        """The wanted columns, a block of rows at a time; the empty text is null.

        Raises
        ------
        DataError
            A row is longer than a block.
        """
        try:
            yield from _grouped(self._batches(wanted))
        except pa.ArrowInvalid as error:
            raise refused(self.table, f"must be CSV, {self.path.name} is not: {error}", SAVE) from None

    def row_numbers(self, rows: Int64s) -> Int64s:
        """Numbers from 1 of rows below the header, of their places among the rows that `chunks` gives."""
        before = np.array([ragged.row - place for place, ragged in enumerate(self.ragged)], np.int64)
        return rows + np.searchsorted(before, rows, side="right") + 1

    def _batches(self, wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Blocks of rows, read by several threads up to the first ragged row, and by one from then on."""
        n_read = 0
        try:
            for batch in self._open(wanted):
                yield batch
                n_read += len(batch)
        except pa.ArrowInvalid:
            # Reading it again raises the error again, unless it was a ragged row.
            yield from self._around_ragged(wanted, n_read)

    def _around_ragged(self, wanted: Sequence[str], n_read: int) -> Iterator[pa.RecordBatch]:
        """The rows after the first ``n_read``; ragged ones are noted and left out."""
        self.ragged.clear()

        # Arrow numbers rows only where one thread reads. And no other thread may call Python: one that does while the
        # process exits is stopped inside Arrow's code, and that aborts the process ("terminate called without an
        # active exception").
        def note(row: Any) -> str:
            self.ragged.append(Ragged(row.number - 2, row.text))
            return "skip"

        for batch in self._open(wanted, note):
            yield batch[n_read:]
            n_read = max(n_read - len(batch), 0)

    def _open(self, wanted: Sequence[str], on_ragged: Any = None) -> pa.csv.CSVStreamingReader:
        code = pa.dictionary(pa.int32(), pa.string())
        few = {self.renamed.get(name, name) for name in FEW}
        return pa.csv.open_csv(
            self.path,
            read_options=pa.csv.ReadOptions(use_threads=on_ragged is None, block_size=BLOCK),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=on_ragged),
            convert_options=pa.csv.ConvertOptions(
                column_types={name: code if name in few else pa.string() for name in wanted},
                include_columns=list(wanted),
                null_values=[""],
                strings_can_be_null=True,
                check_utf8=False,
            ),
        )


def refused(table: TableName, rule: str, fix: str, column: str = "") -> DataError:
    """The error of a table that cannot be read at all."""
    return DataError((Problem(table, column, rule, fix),))


def _grouped(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    group: list[pa.RecordBatch] = []
    for batch in batches:
        group.append(batch)
        if sum(map(len, group)) >= GROUP_ROWS or sum(each.nbytes for each in group) >= GROUP_BYTES:
            yield pa.Table.from_batches(group).unify_dictionaries().combine_chunks()
            group = []
    if group:
        yield pa.Table.from_batches(group).unify_dictionaries().combine_chunks()


def _look_through(table: TableName, path: Path) -> None:
    quotes = line = 0
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            if (at := block.find(b"\0")) >= 0:
                where = _line(path, line, block, at)
                raise refused(table, f"must be text, {where} holds a NUL byte", SAVE)
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                where = _line(path, line, block, error.start)
                looks = likely_encoding(block[error.start :])
                raise refused(table, f"must be UTF-8, {where} is not: it looks like {looks}", SAVE) from None
            quotes += int(np.count_nonzero(np.frombuffer(block, np.uint8) == ord('"')))
            line += block.count(b"\n")
    if decoder.getstate()[0]:
        raise refused(table, f"must be UTF-8, the end of {path.name} is not", SAVE)
    if quotes % 2:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            _check_quotes(table, path.name, lines)


def _line(path: Path, before: int, block: bytes, at: int) -> str:
    line = before + block.count(b"\n", 0, at) + 1
    return f"{path.name} line {line}"


def _check_quotes(table: TableName, name: str, lines: IO[str]) -> None:
    reader = csv.reader(lines, strict=True)
    begins = 1
    try:
        for _ in reader:
            begins = reader.line_num + 1
    except csv.Error:
        rule = f"must close each quote, {name} line {begins} does not"
        raise refused(table, rule, 'Write a quote inside quotes as ""') from None
