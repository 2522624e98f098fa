"""The only path from a history to scores.

Also what MLflow loads a model with: `_load_pyfunc` is the ``loader_module`` entry of a pyfunc.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from leadscore.errors import SHOWN, DataError, Problem
from leadscore.explain import explain
from leadscore.funnel import open_leads
from leadscore.history import MISSING, Rules, build_history, check_latest, check_records
from leadscore.history.line import MINUTE
from leadscore.history.reading.canonical import id_text
from leadscore.history.zone import micros
from leadscore.model import load_model
from leadscore.model.flags import lead_flags
from leadscore.model.staleness import STALE_MODEL_DAYS
from leadscore.model.unseen import log_unseen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadscore.config import Funnel
    from leadscore.history import History, Snapshot
    from leadscore.history.line import Bools, Float64s, Int64s, Strings
    from leadscore.history.tables import LeadTable
    from leadscore.model import FunnelModel
    from leadscore.model.flags import LeadFlags

HANDOFF, WIN = "handoff", "win"
# The category that says who works a lead.
OWNER = "owner"
# First reasons: two that speak for the lead, or what its base rate is of, and one that speaks against it.
REASONS = ("reason_1", "reason_2", "reason_against")
# How far the clocks of a CRM and of the service may differ, in microseconds.
CLOCK_SKEW = 5 * MINUTE


def probability_columns(funnel: Funnel) -> list[str]:
    """Names of the probabilities in a list, with the horizon of each: ``sql_45d``."""
    return [f"{stage}_{days}d" for stage, days in zip(funnel.later_stages, funnel.horizons, strict=True)]


def category_of(snapshot: Snapshot, name: str) -> Strings:
    """The value at ``as_of`` of a category, where the funnel has it; None where it is missing."""
    names = snapshot.vocabulary.categories.get(name)
    if names is None:
        return np.full(len(snapshot), None, object)
    return np.array([None if each == MISSING else each for each in names], object)[snapshot.category(name)]


def rank(
    history: History,
    model: FunnelModel,
    as_of: int | None = None,
    *,
    reasons: int = 0,
    stale_days: float = STALE_MODEL_DAYS,
) -> pd.DataFrame:
    """Every open lead as of a moment, highest probability first.

    Leads that have not reached the second stage of the handoff stand in the list ``handoff``, in order of the
    probability of reaching it; the others in the list ``win``, in order of the probability of the win. Equal
    probabilities are in order of ``lead_id``.

    Parameters
    ----------
    as_of : int, optional
        Microseconds since 1970 UTC; ``known_until`` by default.
    reasons : int
        So many leads at the top of each list get their first reasons. Those of one lead take about as long as the
        probabilities of a hundred.
    stale_days : float
        As of more days after the history that the model has learnt from, leads are flagged ``stale_model``.

    Returns
    -------
    DataFrame
        Columns ``list``, ``rank`` (from 1, in each list), ``lead_id``, ``owner`` where the funnel has that category,
        ``stage``, ``days_in_stage``, ``grade``, ``flags`` (joined by ``;``), those of `probability_columns`, which are
        NaN for stages already passed, and with ``reasons`` those of `REASONS`, None where there is none. With doubts
        about the model, the same in each row, a column ``warning``.
    """
    snapshot = open_leads(history, history.known_until if as_of is None else as_of)
    probability = model.predict_proba(snapshot)
    log_unseen(snapshot, model.vocabulary_)
    key, before = model.keys(snapshot.steps.stage, probability)
    order = np.lexsort((snapshot.lead, -key, ~before))
    flags = lead_flags(model, snapshot, stale_days)
    ranked = _described(history.ids, model, snapshot, model.grades_.grade(key, before), flags).take(order)
    ranked.insert(0, "list", np.where(before[order], HANDOFF, WIN))
    n_before = int(np.count_nonzero(before))
    in_list = np.concatenate((np.arange(n_before), np.arange(len(order) - n_before)))
    ranked.insert(1, "rank", in_list + 1)
    ranked[probability_columns(history.funnel)] = probability[order]
    if reasons:
        top = in_list < reasons
        sentences = np.full((len(order), len(REASONS)), None, object)
        sentences[top] = _reasons(model, snapshot[order[top]], before[order[top]])
        ranked[list(REASONS)] = sentences
    return _warned(ranked.reset_index(drop=True), model)


def _warned(table: pd.DataFrame, model: FunnelModel) -> pd.DataFrame:
    """A table with a column ``warning`` where the gate would not have let the model pass."""
    return table.assign(warning=" | ".join(model.doubts_)) if model.doubts_ else table


def _described(ids: Strings, model: FunnelModel, snapshot: Snapshot, grade: Strings, flags: LeadFlags) -> pd.DataFrame:
    """What each lead of a list is, beside its probabilities."""
    stage = snapshot.steps.stage
    owned = OWNER in snapshot.vocabulary.categories
    return pd.DataFrame(
        {
            "lead_id": ids[snapshot.lead],
            **({OWNER: category_of(snapshot, OWNER)} if owned else {}),
            "stage": np.array(model.funnel.stages, object)[stage],
            "days_in_stage": snapshot.steps.days_in_stage,
            "grade": grade,
            "flags": flags.as_text(";".join),
        }
    )


def _reasons(model: FunnelModel, snapshot: Snapshot, before: Bools) -> Strings:
    """The columns of `REASONS`, for what each lead's list is ordered by; None where there are fewer."""
    sentences = np.full((len(snapshot), len(REASONS)), None, object)
    handoff = model.funnel.later_stages.index(model.funnel.funnel.handoff[1])
    for place, rows in ((handoff, np.flatnonzero(before)), (len(model.stages_) - 1, np.flatnonzero(~before))):
        explained = explain(model, snapshot[rows], place) if len(rows) else []
        for row, each in zip(rows.tolist(), explained, strict=True):
            towards = [reason.sentence for reason in each.towards] or [each.note]
            found = (*towards[:2], *[""] * (2 - len(towards)), *[reason.sentence for reason in each.against[:1]])
            sentences[row, : len(found)] = [sentence or None for sentence in found]
    return sentences


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of leads that were sent with their whole history, in the order in which they were sent.

    Attributes
    ----------
    funnel : Funnel
        Of the model.
    lead_id : ndarray of str, shape (n_leads,)
    scored : ndarray of int64, shape (n_scored,)
        Rows of the leads that are scored; the others are marked ``do_not_score``, were not known yet, or are
        ``unknown``.
    not_known_yet : ndarray of int64, shape (n_not_known_yet,)
        Rows of the leads that were created, or recorded, after the moment they were to be scored for.
    unknown : ndarray of int64, shape (n_unknown,)
        Rows of the leads created before ``time.history_begins`` of which no transition is known: where they stand is
        not known, and they are not scored.
    snapshot : Snapshot
        What was known of those that are scored, and the moment that each score is for.
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
    flags : LeadFlags
        Of those that are scored.
    """

    funnel: Funnel
    lead_id: Strings
    scored: Int64s
    not_known_yet: Int64s
    unknown: Int64s
    snapshot: Snapshot
    stage: Int64s
    probability: Float64s
    key: Float64s
    before: Bools
    grade: Strings
    flags: LeadFlags

    def part(self, begin: int, lead_id: Sequence[str]) -> Scores:
        """The scores of ``lead_id``, which were sent under whatever names one after another from row ``begin`` on."""
        end = begin + len(lead_id)
        first, last = np.searchsorted(self.scored, (begin, end)).tolist()
        rows = slice(first, last)
        not_known_yet = self.not_known_yet[(self.not_known_yet >= begin) & (self.not_known_yet < end)]
        return Scores(
            self.funnel,
            np.array(lead_id, object),
            self.scored[rows] - begin,
            not_known_yet - begin,
            self.unknown[slice(*np.searchsorted(self.unknown, (begin, end)))] - begin,
            self.snapshot[rows],
            self.stage[rows],
            self.probability[rows],
            self.key[rows],
            self.before[rows],
            self.grade[rows],
            self.flags[rows],
        )


def score_leads(
    model: FunnelModel,
    records: Sequence[Mapping[str, Any]],
    as_of: Int64s,
    rules: Rules | None = None,
    *,
    latest: Int64s | None = None,
    stale_days: float = STALE_MODEL_DAYS,
    incomplete: Bools | None = None,
) -> Scores:
    """Score leads sent with their whole history.

    A lead that is created, or recorded, up to `CLOCK_SKEW` after ``as_of`` is scored for that moment: clocks differ.
    One that is so later was not known at ``as_of``, and has no score.

    Parameters
    ----------
    records : sequence of mapping
        As of `leadscore.history.check_records`.
    as_of : ndarray of int64, shape (n_leads,)
        Microseconds since 1970 UTC.
    rules : Rules, optional
        ``Rules.of(model.funnel)``, where the same model scores often.
    latest : ndarray of int64, shape (n_leads,), optional
        No event may become known later; by default any time will do.
    stale_days : float
        Scores as of more days after the history that the model has learnt from are flagged ``stale_model``.
    incomplete : ndarray of bool, shape (n_leads,), optional
        Whether a transition of each lead was set aside; by default of none.

    Raises
    ------
    DataError
        The records break a rule of the data set folder, or an event is later than ``latest``.
    """
    rules = rules or Rules.of(model.funnel)
    tables = check_records(records, rules, int(as_of.max()))
    if latest is not None:
        check_latest(records, tables, rules, latest)
    history = build_history(tables, model.funnel)
    place = {lead_id: number for number, lead_id in enumerate(history.ids)}
    lead_id = np.array([id_text(record["lead_id"]) for record in records], object)
    _check_known(lead_id, tables.leads)
    found = np.array([row for row, each in enumerate(lead_id) if each in place], np.int64)
    lead = np.array([place[each] for each in lead_id[found]], np.int64)
    moments, known = as_of[found], history.known[lead]
    not_known_yet = np.empty(0, np.int64)
    scored = found
    if (ahead := known > moments).any():
        in_time = known <= moments + CLOCK_SKEW
        not_known_yet, scored = found[~in_time], found[in_time]
        moments, lead = np.where(ahead, known, moments)[in_time], lead[in_time]
    if incomplete is not None and incomplete.any():
        marks = np.zeros(len(history), np.bool_)
        marks[[place[each] for row, each in enumerate(lead_id) if each in place and incomplete[row]]] = True
        history = replace(history, incomplete=marks)
    snapshot, unknown = history.at(lead, moments), np.empty(0, np.int64)
    if not (stands := snapshot.steps.known).all():
        scored, unknown, snapshot = scored[stands], scored[~stands], snapshot[np.flatnonzero(stands)]
    probability = model.predict_proba(snapshot)
    stage = snapshot.steps.stage
    key, before = model.keys(stage, probability)
    grade = model.grades_.grade(key, before)
    return Scores(
        funnel=model.funnel,
        lead_id=lead_id,
        scored=scored,
        not_known_yet=not_known_yet,
        unknown=unknown,
        snapshot=snapshot,
        stage=stage,
        probability=probability,
        key=key,
        before=before,
        grade=grade,
        flags=lead_flags(model, snapshot, stale_days),
    )


def _check_known(lead_id: Strings, leads: LeadTable) -> None:
    # A lead without a score objects to it. No other reason may look the same.
    if unknown := set(lead_id) - set(leads.ids):
        fix = "Send lead_id as text"
        raise DataError(
            (Problem("leads", "lead_id", "must be the id of a lead that was read", fix, len(unknown), tuple(unknown)),)
        )


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
        A lead that is won, lost or marked ``do_not_score`` has no probability, and the latter no stage; nor has one
        of which it is not known where it stands (``time.history_begins``). With doubts about the model a column
        ``warning``.

    Raises
    ------
    DataError
        The records break a rule of the data set folder, or a lead was created or recorded after its ``as_of``.
    """
    as_of = _moments(records)
    sent = [_present(row) for row in records.drop(columns="as_of").to_dict("records")]
    found = score_leads(model, sent, as_of)
    if len(found.not_known_yet):
        raise DataError((_not_known_yet(found.lead_id[found.not_known_yet]),))
    stage = np.full(len(records), None, object)
    probability = np.full((len(records), len(model.stages_)), np.nan)
    stage[found.scored] = np.array([*model.funnel.stages, "lost"], object)[found.stage]
    probability[found.scored] = found.probability
    scores = pd.DataFrame({"lead_id": found.lead_id, "stage": stage})
    scores[probability_columns(model.funnel)] = probability
    return _warned(scores, model)


def _not_known_yet(lead_ids: Strings) -> Problem:
    rule = f"must not lie more than {CLOCK_SKEW // MINUTE} minutes after as_of, nor must recorded_at"
    fix = "Ask for a later as_of, or leave the leads out: they were not known then"
    leads = tuple(lead_ids[: SHOWN + 1].tolist())
    return Problem("leads", "created_at", rule, fix, len(lead_ids), leads)


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


def _present(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row without its missing values, which arrive as None, or as NaN or NaT where pandas made a column of it."""
    return {str(name): _plain(value) for name, value in row.items() if not _is_missing(value)}


def _is_missing(value: Any) -> bool:
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def _plain(value: Any) -> Any:
    """Lists and their mappings, as Parquet gives them, too, where a list is an array."""
    if isinstance(value, Mapping):
        return _present(value)
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(each) for each in value]
    return value


class _Pyfunc:
    """What MLflow serves."""

    def __init__(self, model: FunnelModel) -> None:
        self.model = model

    def predict(self, records: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """Scores as of `score_records`; MLflow hands over ``params``, of which there are none."""
        return score_records(self.model, records)


def _load_pyfunc(data_path: str) -> _Pyfunc:
    return _Pyfunc(load_model(Path(data_path)))
