"""The only path from a history to scores.

Also what MLflow loads a model with: `_load_pyfunc` is the ``loader_module`` entry of a pyfunc.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from leadscore.errors import DataError, Problem
from leadscore.funnel import open_leads
from leadscore.history import build_history, check_tables
from leadscore.history.zone import micros
from leadscore.model import load_model

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from leadscore.config import Funnel, TableName
    from leadscore.history import History
    from leadscore.history.line import Int64s
    from leadscore.model import FunnelModel

EVENTS: tuple[TableName, ...] = ("transitions", "touches", "changes")
HANDOFF, WIN = "handoff", "win"


def probability_columns(funnel: Funnel) -> list[str]:
    """Names of the probabilities in a list, with the horizon of each: ``sql_45d``."""
    return [f"{stage}_{days}d" for stage, days in zip(funnel.later_stages, funnel.horizons, strict=True)]


def rank(history: History, model: FunnelModel, as_of: int | None = None) -> pd.DataFrame:
    """Every open lead as of a moment, likeliest first.

    Leads that have not reached the second stage of the handoff stand in the list ``handoff``, in order of the
    probability of reaching it; the others in the list ``win``, in order of the probability of the win. Equal
    probabilities are in order of ``lead_id``.

    Parameters
    ----------
    as_of : int, optional
        Microseconds since 1970 UTC; ``known_until`` by default.

    Returns
    -------
    DataFrame
        Columns ``list``, ``rank`` (from 1, in each list), ``lead_id``, ``stage``, ``days_in_stage`` and those
        of `probability_columns`, which are NaN for stages already passed.
    """
    snapshot = open_leads(history, history.known_until if as_of is None else as_of)
    probability = model.predict_proba(snapshot)
    funnel, stage = history.funnel, snapshot.steps.stage
    handoff = funnel.stages.index(funnel.funnel.handoff[1])
    before = stage < handoff
    key = np.where(before, probability[:, handoff - 1], probability[:, -1])
    order = np.lexsort((snapshot.lead, -key, ~before))
    n_before = int(np.count_nonzero(before))
    places = np.concatenate((np.arange(n_before), np.arange(len(key) - n_before))) + 1
    ranked = pd.DataFrame(
        {
            "list": np.where(before[order], HANDOFF, WIN),
            "rank": places,
            "lead_id": history.ids[snapshot.lead[order]],
            "stage": np.array(funnel.stages, object)[stage[order]],
            "days_in_stage": snapshot.steps.days_in_stage[order],
        }
    )
    ranked[probability_columns(funnel)] = probability[order]
    return ranked


def score_records(model: FunnelModel, records: pd.DataFrame) -> pd.DataFrame:
    """Score leads sent with their whole history.

    Parameters
    ----------
    records : DataFrame
        One row per lead: ``lead_id``, ``created_at``, ``as_of``, the attributes of the funnel, and
        ``transitions``, ``touches`` and ``changes``, each a list of mappings without ``lead_id`` (or missing).
        Times as in a data set folder; ``as_of`` with a time zone.

    Returns
    -------
    DataFrame
        ``lead_id``, ``stage`` at ``as_of`` and the columns of `probability_columns`, in the order of the records.
        A lead that is won, lost or marked ``do_not_score`` has no probability, and the latter no stage.

    Raises
    ------
    DataError
        The records break a rule of the data set folder.
    """
    as_of = _moments(records)
    raw: dict[TableName, pa.Table] = {"leads": _table("leads", _fixed(records))}
    for table in EVENTS:
        raw[table] = _table(table, _events(records, table))
    history = build_history(check_tables(raw, model.funnel, int(as_of.max())), model.funnel)
    place = {lead_id: number for number, lead_id in enumerate(history.ids)}
    wanted = np.array([str(lead_id) for lead_id in records["lead_id"]], object)
    scored = np.array([lead_id in place for lead_id in wanted], np.bool_)
    snapshot = history.at([place[lead_id] for lead_id in wanted[scored]], as_of[scored])
    stage, probability = (
        np.full(len(records), None, object),
        np.full((len(records), len(model.stages_)), np.nan),
    )
    states = np.array([*model.funnel.stages, "lost"], object)
    stage[scored] = states[snapshot.steps.stage]
    probability[scored] = model.predict_proba(snapshot)
    scores = pd.DataFrame({"lead_id": wanted, "stage": stage})
    scores[probability_columns(model.funnel)] = probability
    return scores


def _moments(records: pd.DataFrame) -> Int64s:
    fix = "Send as_of with each lead, with a time zone, such as 2024-03-04T09:00:00Z"
    if not len(records) or "as_of" not in records:
        raise DataError((Problem("leads", "as_of", "is missing", fix),))
    try:
        moments = [datetime.fromisoformat(str(moment)) for moment in records["as_of"]]
    except ValueError as error:
        raise DataError((Problem("leads", "as_of", f"must be a time, {error}", fix),)) from None
    if naive := [str(lead) for lead, moment in zip(records["lead_id"], moments, strict=True) if moment.tzinfo is None]:
        raise DataError((Problem("leads", "as_of", "must have a time zone", fix, len(naive), tuple(naive)),))
    return np.array([micros(moment) for moment in moments], np.int64)


def _table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    names = dict.fromkeys(key for row in rows for key in row)
    columns = {}
    for column in names:
        values = [row.get(column) for row in rows]
        try:
            columns[column] = pa.array(values)
        except pa.ArrowException as error:
            fix = "Send numbers as numbers and everything else as text"
            raise DataError((Problem(name, column, f"must hold values of one type: {error}", fix),)) from None
    return pa.table(columns)


def _fixed(records: pd.DataFrame) -> list[dict[str, Any]]:
    columns = [name for name in records if name not in {*EVENTS, "as_of"}]
    return [_present(row) for row in records[columns].to_dict("records")]


def _events(records: pd.DataFrame, table: str) -> list[dict[str, Any]]:
    if table not in records:
        return []
    sent = zip(records["lead_id"], records[table], strict=True)
    # A missing list arrives as None, or as NaN where pandas made a column of it.
    return [{"lead_id": lead_id, **event} for lead_id, events in sent if isinstance(events, list) for event in events]


def _present(row: dict[Hashable, Any]) -> dict[str, Any]:
    return {str(name): value for name, value in row.items() if not pd.isna(value)}


class _Pyfunc:
    """What MLflow serves."""

    def __init__(self, model: FunnelModel) -> None:
        self.model = model

    def predict(self, records: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """Scores as of `score_records`; MLflow hands over ``params``, of which there are none."""
        return score_records(self.model, records)


def _load_pyfunc(data_path: str) -> _Pyfunc:
    return _Pyfunc(load_model(Path(data_path)))
