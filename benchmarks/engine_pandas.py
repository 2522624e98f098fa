"""The same columns by pandas 3: running counts per lead, read at each boundary by ``merge_asof``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmarks.funnel_of_touches import COUNTS, DAY, KINDS, WINDOWS_DAYS

if TYPE_CHECKING:
    from benchmarks.funnel_of_touches import Drawn
    from leadscore.history.line import Float32s

TOUCHES = [f"n_{code}" for code in range(len(KINDS))]
TIMES = [f"last_{code}" for code in range(len(KINDS))]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Pandas' own frames."""

    touches: pd.DataFrame
    examples: pd.DataFrame


def load(drawn: Drawn) -> Loaded:
    """Frames of the smallest types that hold the values."""
    touches = {"lead": drawn.lead.astype(np.int32), "known": drawn.known, "kind": drawn.kind.astype(np.int8)}
    return Loaded(
        pd.DataFrame(touches),
        pd.DataFrame({"lead": drawn.example_lead.astype(np.int32), "as_of": drawn.as_of}),
    )


def found(loaded: Loaded) -> pd.DataFrame:
    """A frame of the columns, one row per example."""
    line = _running(loaded.touches.sort_values("known", kind="stable"))
    now = _at(loaded.examples, line, [*TOUCHES, *TIMES], 0)
    columns: dict[tuple[int, int], pd.Series] = {}
    for days in WINDOWS_DAYS:
        before = _at(loaded.examples, line, TOUCHES, days)
        counts = (now[TOUCHES].fillna(0) - before.fillna(0)).astype(np.float32)
        columns |= {(code, days): counts[name] for code, name in enumerate(TOUCHES)}
    found = {f"{KINDS[code]}_{days}d": columns[code, days] for code, days in COUNTS}
    for code, name in enumerate(TIMES):
        age = (loaded.examples["as_of"] - now[name]) / DAY
        found[f"days_since_last_{KINDS[code]}"] = age.astype(np.float32)
    return pd.DataFrame(found)


def _running(line: pd.DataFrame) -> pd.DataFrame:
    """Counts of each kind so far and time of its last touch, per lead, at each touch in order of time."""
    kinds = [line["kind"] == code for code in range(len(KINDS))]
    counts = pd.DataFrame(dict(zip(TOUCHES, kinds, strict=True))).astype(np.int32).groupby(line["lead"]).cumsum()
    times = pd.DataFrame({name: line["known"].where(kind) for name, kind in zip(TIMES, kinds, strict=True)})
    return pd.concat([line[["lead", "known"]], counts, times.groupby(line["lead"]).ffill()], axis=1)


def _at(examples: pd.DataFrame, line: pd.DataFrame, columns: list[str], days: int) -> pd.DataFrame:
    boundary = pd.DataFrame({"lead": examples["lead"], "moment": examples["as_of"] - days * DAY})
    ordered = boundary.sort_values("moment", kind="stable")
    wanted = line[["lead", "known", *columns]]
    read = pd.merge_asof(ordered, wanted, left_on="moment", right_on="known", by="lead")
    return read.set_index(ordered.index)[columns].sort_index()


def compared(columns: pd.DataFrame) -> Float32s:
    """As one matrix."""
    return columns.to_numpy(np.float32)
