"""A simulated data set as a folder, chunk by chunk: memory holds one chunk, whatever the number of leads."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from leadscore.errors import ConfigError
from leadscore.progress import progress
from leadscore.simulate import chain, crm, records, truth
from leadscore.simulate.columns import FUNNEL_TOML, TABLES, data_dictionary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from leadscore.simulate.records import Names

Form = Literal["csv", "parquet"]

CHUNK_LEADS = 25_000
MAX_LEADS = 10_000_000
TRUTH_FROM = date(2025, 3, 11)
# Prime to MAX_LEADS, so that multiplying by it names every lead differently.
_STRIDE = 7_368_787


@dataclass(frozen=True, slots=True)
class Simulated:
    """How much was written: rows per table, and the leads that are open at the end."""

    rows: dict[str, int]
    open_leads: int


def simulate(
    folder: Path,
    *,
    leads: int = 4_000,
    seed: int = 1,
    form: Form = "csv",
    truth_from: date | None = TRUTH_FROM,
    truth_every_days: int = 28,
) -> Simulated:
    """Write a data set folder of an invented B2B CRM; the same arguments write the same bytes.

    Parameters
    ----------
    truth_from : date, optional
        First morning whose true probabilities are written; none are where it is None.
    truth_every_days : int
        Days from one of these mornings to the next, up to the end of the recorded history.

    Raises
    ------
    ConfigError
        There are fewer than 1 or more than 10 million leads, a negative seed, or a morning outside the
        recorded history.
    """
    mornings = _mornings(truth_from, truth_every_days)
    if not 1 <= leads <= MAX_LEADS:
        raise ConfigError(f"leads: must be from 1 to {MAX_LEADS:,}, got {leads:,}")
    if seed < 0:
        raise ConfigError(f"seed: must be at least 0, got {seed}")
    _clear(folder)
    (folder / "funnel.toml").write_text(FUNNEL_TOML, encoding="utf-8", newline="\n")
    names = [name for name in TABLES if name != "truth" or mornings]
    readme = data_dictionary({name: f"{name}.{form}" for name in names}, leads, seed)
    (folder / "README.md").write_text(readme, encoding="utf-8", newline="\n")
    rows, open_leads = dict.fromkeys(names, 0), 0
    with ExitStack() as files:
        writers = {name: files.enter_context(_writer(folder, name, form)) for name in names}
        bar = files.enter_context(progress("simulating", "leads", leads))
        for chunk, first in enumerate(range(0, leads, CHUNK_LEADS)):
            count = min(CHUNK_LEADS, leads - first)
            generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(chunk,)))
            history = _history(generator, count)
            open_leads += history.open_leads()
            for name, table in _tables(generator, _names(first, count, seed), history, mornings):
                writers[name].write_table(_as_text(table) if form == "csv" else table)
                rows[name] += table.num_rows
            bar.update(count)
    return Simulated(rows, open_leads)


def _clear(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for table in TABLES:
        for form in ("csv", "parquet"):
            (folder / f"{table}.{form}").unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _History:
    leads: chain.Leads
    moves: chain.Moves
    touches: chain.Touches

    def open_leads(self) -> int:
        last = np.zeros(len(self.leads), dtype=np.int64)
        last[self.moves.lead] = self.moves.stage  # in order of day: the last one stays
        return int((last < crm.WON).sum())


def _history(rng: np.random.Generator, count: int) -> _History:
    leads = chain.draw_leads(rng, count)
    return _History(leads, *chain.live(rng, leads))


def _tables(
    rng: np.random.Generator, names: Names, history: _History, mornings: list[int]
) -> Iterator[tuple[str, pa.Table]]:
    leads, moves, touches = history.leads, history.moves, history.touches
    yield from records.tables_of(rng, names, leads, moves, touches).items()
    if mornings:
        for belief in truth.beliefs(leads, moves, touches, mornings):
            probabilities = truth.true_probabilities(leads, belief)
            yield "truth", records.truth_of(names, leads, belief, probabilities)


def _mornings(first: date | None, every_days: int) -> list[int]:
    if first is None:
        return []
    day = crm.day_of(first)
    if not 1 <= day <= crm.DAYS:
        raise ConfigError(f"truth_from: {first} is not after {crm.FIRST_DAY}, up to {crm.KNOWN_UNTIL:%Y-%m-%d}")
    if every_days < 1:
        raise ConfigError(f"truth_every_days: must be at least 1, got {every_days}")
    return list(range(day, crm.DAYS + 1, every_days))


def _names(first: int, count: int, seed: int) -> Names:
    number = (np.arange(first, first + count) * _STRIDE + seed * 1_000_003) % MAX_LEADS
    return np.array([f"L{each:07}" for each in number.tolist()], dtype=object)


def _writer(folder: Path, name: str, form: Form) -> pa.csv.CSVWriter | pa.parquet.ParquetWriter:
    schema = TABLES[name].schema
    if form == "parquet":
        return pa.parquet.ParquetWriter(folder / f"{name}.parquet", schema, compression="zstd")
    options = pa.csv.WriteOptions(quoting_style="none", quoting_header="none")
    return pa.csv.CSVWriter(folder / f"{name}.csv", _text_schema(schema), write_options=options)


def _text_schema(schema: pa.Schema) -> pa.Schema:
    types = [pa.string() if pa.types.is_timestamp(kind) else kind for kind in schema.types]
    return pa.schema(zip(schema.names, types, strict=True))


def _as_text(table: pa.Table) -> pa.Table:
    """Write times as 2025-03-11T08:00:00Z, and no more digits of a number than anybody reads."""
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_timestamp(column.type):
            columns[name] = pc.strftime(column.cast(pa.timestamp("s", "UTC")), format="%Y-%m-%dT%H:%M:%SZ")
        else:
            columns[name] = pc.round(column, 5) if pa.types.is_floating(column.type) else column
    return pa.table(columns)
