"""The same columns by Polars 2: running counts read at positions, which as-of joins find.

Fastest of what was tried (CPU seconds for a million touches): as-of joins on one Int128 key (1.0);
``search_sorted`` on that key (1.0); as-of joins by lead (1.8); an inner join of examples and touches with
conditional sums (2.7), with sums per kind and one join per kind (2.6), both streaming (3.3); touches and
boundaries in one sorted frame (3.6).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from benchmarks.funnel_of_touches import COUNTS, DAY, KINDS, WINDOWS_DAYS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.funnel_of_touches import Drawn
    from leadscore.history.line import Float32s

BOUNDARIES = (0, *WINDOWS_DAYS)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Polars' own frames."""

    touches: pl.DataFrame
    examples: pl.DataFrame


def load(drawn: Drawn) -> Loaded:
    """Frames of the smallest types that hold the values."""
    touches = {"lead": drawn.lead.astype(np.int32), "known": drawn.known, "kind": drawn.kind.astype(np.int8)}
    examples = {"lead": drawn.example_lead.astype(np.int32), "as_of": drawn.as_of}
    return Loaded(pl.DataFrame(touches), pl.DataFrame(examples).with_row_index("example"))


def found(loaded: Loaded) -> pl.DataFrame:
    """A frame of the columns, one row per example."""
    line = loaded.touches.lazy().sort("lead", "known").with_row_index("position", offset=1).collect()
    positions = _positions(line, loaded.examples)
    kind, known = line["kind"], line["known"]
    running = [
        pl.concat([pl.Series([0], dtype=pl.Int32), (kind == code).cast(pl.Int32).cum_sum()]) for code in _codes()
    ]
    times = [known.filter(kind == code) for code in _codes()]
    columns = positions.lazy().with_columns(loaded.examples["as_of"])
    return columns.select(*_counts(running), *_days_since_last(running, times)).collect()


def _codes() -> range:
    return range(len(KINDS))


def _key(moment: pl.Expr) -> pl.Expr:
    return (pl.col("lead").cast(pl.Int128) * (1 << 64) + moment).alias("key")


def _positions(line: pl.DataFrame, examples: pl.DataFrame) -> pl.DataFrame:
    """Rows of the sorted touches after the last one before each boundary, and before the lead's first."""
    keyed = line.lazy().select(_key(pl.col("known")), "position").set_sorted("key")
    found = [
        examples.lazy()
        .select("example", _key(pl.col("as_of") - days * DAY))
        .sort("key")
        .join_asof(keyed, on="key", check_sortedness=False)
        .sort("example")
        .select(pl.col("position").fill_null(0).alias(f"{days}"))
        for days in BOUNDARIES
    ]
    first = line.lazy().group_by("lead").agg((pl.col("position").min() - 1).alias("begin"))
    begin = examples.lazy().join(first, on="lead", how="left", maintain_order="left")
    found.append(begin.select("begin"))
    together = pl.concat(pl.collect_all(found), how="horizontal")
    ends = [pl.max_horizontal(f"{days}", "begin").alias(f"{days}") for days in BOUNDARIES]
    # A lead without touches begins where it ends.
    return together.with_columns(ends).with_columns(pl.col("begin").fill_null(pl.col("0")))


def _counts(running: list[pl.Series]) -> Iterator[pl.Expr]:
    for code, days in COUNTS:
        count = pl.lit(running[code])
        within = count.gather(pl.col("0")) - count.gather(pl.col(f"{days}"))
        yield within.cast(pl.Float32).alias(f"{KINDS[code]}_{days}d")


def _days_since_last(running: list[pl.Series], times: list[pl.Series]) -> Iterator[pl.Expr]:
    for code in _codes():
        upto, before = (pl.lit(running[code]).gather(pl.col(row)) for row in ("0", "begin"))
        last = pl.lit(times[code]).gather((upto - 1).clip(0))
        days = pl.when(upto > before).then((pl.col("as_of") - last) / DAY)
        yield days.cast(pl.Float32).alias(f"days_since_last_{KINDS[code]}")


def compared(columns: pl.DataFrame) -> Float32s:
    """NaN where Polars has null."""
    return columns.to_numpy()


def found_for_one(loaded: Loaded) -> pl.DataFrame:
    """The columns of one lead's frame: for so few rows the plain aggregation is faster than as-of joins."""
    age = pl.col("as_of") - pl.col("known")
    counts = [((pl.col("kind") == code) & (age < days * DAY)).sum().cast(pl.Float32) for code, days in COUNTS]
    last = [(age.filter(pl.col("kind") == code).min() / DAY).cast(pl.Float32) for code in _codes()]
    known = loaded.touches.lazy().join(loaded.examples.lazy(), on="lead").filter(age >= 0)
    names = [f"column_{place}" for place in range(len(counts) + len(last))]
    return known.select(each.alias(name) for each, name in zip([*counts, *last], names, strict=True)).collect()
