"""The only path from a history to scores.

Also what MLflow loads a model with: `_load_pyfunc` is the ``loader_module`` entry of a pyfunc.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from leadscore.errors import DataError, Problem
from leadscore.funnel import open_leads
from leadscore.history import Rules, build_history, check_records
from leadscore.history.zone import micros
from leadscore.model import load_model

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from leadscore.config import Funnel
    from leadscore.history import History, Snapshot
    from leadscore.history.line import Bools, Float64s, Int64s, Strings
    from leadscore.model import FunnelModel

HANDOFF, WIN = "handoff", "win"
# The flag of a lead of which a transition was set aside: where it stands is not known for sure.
INCOMPLETE = "incomplete"


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
    key, before = model.keys(stage, probability)
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


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of leads that were sent with their whole history, in the order in which they were sent.

    Attributes
    ----------
    funnel : Funnel
        Of the model.
    lead_id : ndarray of str, shape (n_leads,)
    scored : ndarray of int64, shape (n_scored,)
        Rows of the leads that may be scored; the others are marked ``do_not_score``.
    snapshot : Snapshot
        What was known of these.
    stage : ndarray of int64, shape (n_scored,)
        Where they stood.
    probability : ndarray of float64, shape (n_scored, n_later_stages)
        NaN for stages already passed, and for leads that are won or lost.
    key : ndarray of float64, shape (n_scored,)
        What a lead's list is ordered by.
    before : ndarray of bool, shape (n_scored,)
        Whether that is the list before the handoff.
    grade : ndarray of str, shape (n_scored,)
        A to D.
    incomplete : ndarray of bool, shape (n_scored,)
        Whether a transition of the lead was set aside.
    """

    funnel: Funnel
    lead_id: Strings
    scored: Int64s
    snapshot: Snapshot
    stage: Int64s
    probability: Float64s
    key: Float64s
    before: Bools
    grade: Strings
    incomplete: Bools

    def part(self, begin: int, lead_id: Sequence[str]) -> Scores:
        """The scores of ``lead_id``, which were sent under whatever names one after another from row ``begin`` on."""
        first, last = np.searchsorted(self.scored, (begin, begin + len(lead_id))).tolist()
        rows = slice(first, last)
        return Scores(
            self.funnel,
            np.array(lead_id, object),
            self.scored[rows] - begin,
            self.snapshot[rows],
            self.stage[rows],
            self.probability[rows],
            self.key[rows],
            self.before[rows],
            self.grade[rows],
            self.incomplete[rows],
        )


def score_leads(
    model: FunnelModel,
    records: Sequence[Mapping[str, Any]],
    as_of: Int64s,
    rules: Rules | None = None,
    incomplete: Bools | None = None,
) -> Scores:
    """Score leads sent with their whole history.

    Parameters
    ----------
    records : sequence of mapping
        As of `leadscore.history.check_records`.
    as_of : ndarray of int64, shape (n_leads,)
        Microseconds since 1970 UTC.
    rules : Rules, optional
        ``Rules.of(model.funnel)``, where the same model scores often.
    incomplete : ndarray of bool, shape (n_leads,), optional
        Whether a transition of each lead was set aside; by default of none.

    Raises
    ------
    DataError
        The records break a rule of the data set folder.
    """
    tables = check_records(records, rules or Rules.of(model.funnel), int(as_of.max()))
    history = build_history(tables, model.funnel)
    place = {lead_id: number for number, lead_id in enumerate(history.ids)}
    lead_id = np.array([str(record["lead_id"]) for record in records], object)
    scored = np.array([row for row, each in enumerate(lead_id) if each in place], np.int64)
    snapshot = history.at(np.array([place[each] for each in lead_id[scored]], np.int64), as_of[scored])
    probability = model.predict_proba(snapshot)
    stage = snapshot.steps.stage
    key, before = model.keys(stage, probability)
    grade = model.grades_.grade(key, before)
    marks = np.zeros(len(scored), np.bool_) if incomplete is None else incomplete[scored]
    return Scores(model.funnel, lead_id, scored, snapshot, stage, probability, key, before, grade, marks)


def score_records(model: FunnelModel, records: pd.DataFrame) -> pd.DataFrame:
    """Score leads sent with their whole history, one row per lead.

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
    sent = [_present(row) for row in records.drop(columns="as_of").to_dict("records")]
    found = score_leads(model, sent, as_of)
    stage = np.full(len(records), None, object)
    probability = np.full((len(records), len(model.stages_)), np.nan)
    stage[found.scored] = np.array([*model.funnel.stages, "lost"], object)[found.stage]
    probability[found.scored] = found.probability
    scores = pd.DataFrame({"lead_id": found.lead_id, "stage": stage})
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


def _present(row: dict[Hashable, Any]) -> dict[str, Any]:
    # What is missing arrives as None, or as NaN where pandas made a column of it.
    return {str(name): value for name, value in row.items() if isinstance(value, list) or not pd.isna(value)}


class _Pyfunc:
    """What MLflow serves."""

    def __init__(self, model: FunnelModel) -> None:
        self.model = model

    def predict(self, records: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """Scores as of `score_records`; MLflow hands over ``params``, of which there are none."""
        return score_records(self.model, records)


def _load_pyfunc(data_path: str) -> _Pyfunc:
    return _Pyfunc(load_model(Path(data_path)))
