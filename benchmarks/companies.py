"""Invented companies whose outcomes tell nothing, or whose records tell too much."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv
from pandas.util import hash_array

from leadscore.history import History, read_history
from leadscore.labels import reached
from leadscore.simulate import simulate

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.history.line import Float32s, Int64s

SETTINGS = """
[judging]
cuts = 2
mornings_every_days = 7
resamples = 200

[lightgbm]
rounds = 100
max_rounds = 200
"""
LEAK = "finance_note"


def company(folder: Path, leads: int, seed: int, *, leak: bool = False, settings: str = SETTINGS) -> History:
    """A simulated company; with ``leak``, an attribute of its leads that was filled in when they were qualified."""
    simulate(folder, leads=leads, seed=seed, truth_from=None)
    funnel = (folder / "funnel.toml").read_text(encoding="utf-8")
    if leak:
        _plant(folder)
        funnel = funnel.replace('numbers = ["employees"]', f'numbers = ["employees", "{LEAK}"]')
    (folder / "funnel.toml").write_text(funnel + settings, encoding="utf-8")
    return read_history(folder)


def _plant(folder: Path) -> None:
    leads = pa.csv.read_csv(folder / "leads.csv")
    steps = pa.csv.read_csv(folder / "transitions.csv").to_pandas()
    far = set(steps.loc[steps["stage"].isin(["sql", "opportunity", "won"]), "lead_id"])
    note = [1.0 if lead in far else 0.0 for lead in leads["lead_id"].to_pylist()]
    pa.csv.write_csv(leads.append_column(LEAK, pa.array(note)), folder / "leads.csv")


def shuffled(history: History, lead: Int64s, as_of: Int64s) -> Float32s:
    """Outcomes that depend on nothing but the current stage: drawn for each example, at a rate of its own per stage."""
    outcome = reached(history, lead, as_of)
    current = history.at(lead, as_of).steps.stage
    for place, column in enumerate(outcome.T):
        drawn = hash_array(lead + as_of * 31 + place) / 2.0**64
        rate = 0.3 / np.maximum(place - current + 1, 1)
        column[:] = np.where(np.isnan(column), np.nan, drawn < rate)
    return outcome
