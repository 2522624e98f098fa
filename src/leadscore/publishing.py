"""From probabilities to what is listed, and some leads listed anew between two batches."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
from pydantic_core import to_json

from leadscore.model.flags import lead_flags
from leadscore.model.staleness import STALE_MODEL_DAYS
from leadscore.scoring import CLOCK_SKEW, HANDOFF, OWNER, WIN, category_of, score_leads
from leadscore.store import ScoredLeads, listed_scores, open_runs, records_of, relist, unlist

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa

    from leadscore.config import Times
    from leadscore.history import Rules, Snapshot
    from leadscore.history.line import Bools, Float64s, Int64s, Strings
    from leadscore.model import FunnelModel
    from leadscore.scoring import Scores
    from leadscore.store.records import Record

SOURCE = "source"
EVENTS = ("transitions", "touches", "changes")
LEAD_COLUMNS = ("lead_id", "created_at", "recorded_at", "do_not_score")
TIMES = ("created_at", "occurred_at", "recorded_at")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Numbers that are Python's own at once: a million leads' are several times as large as the arrays.
ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True)
class Rescored:
    """Leads that were scored anew.

    Attributes
    ----------
    scores : Scores
        Of all leads that are in the store, in the order asked for.
    as_of : ndarray of int64, shape (n_leads,)
        Of each of them.
    listed : ScoredLeads
        What is listed of those that may be scored.
    """

    scores: Scores
    as_of: Int64s
    listed: ScoredLeads


def rescore(
    connection: sa.Connection,
    model: FunnelModel,
    rules: Rules,
    version: str,
    lead_ids: Sequence[str],
    *,
    as_of: int,
    scored_at: int,
    stale_days: float = STALE_MODEL_DAYS,
) -> Rescored | None:
    """Score some leads anew by what is stored of them, and list them so; None where none of them is in the store.

    Each lead is scored as of ``as_of``, or the moment that the list is of where that is later: a list never goes back
    in time. What becomes known only after that is stored, and counts in the scores of later moments. A listed score of
    a moment up to `CLOCK_SKEW` ahead is of a server whose clock is ahead: that moment stands. One further ahead is
    replaced. Leads that object, that are not known yet, or that left the CRM are taken off the lists.

    Parameters
    ----------
    connection : Connection
        Of `leadscore.store.transaction`, in which the leads are locked.
    rules : Rules
        ``Rules.of(model.funnel)``.
    as_of, scored_at : int
        The time of the request, in microseconds since 1970 UTC.
    stale_days : float
        As of more days after the history that the model has learnt from, scores are flagged ``stale_model``.

    Raises
    ------
    DataError, ModelError
        What is stored does not fit the model's funnel.
    """
    records = records_of(connection, lead_ids)
    if not records:
        return None
    runs = open_runs(connection)
    number = np.array([record["lead"] for record in records], np.int64)
    listed = listed_scores(connection, runs, number.tolist())
    moments = np.full(len(records), max(as_of, runs.as_of))
    for row, lead in enumerate(number.tolist()):
        if lead in listed and listed[lead]["as_of"] <= moments[row] + CLOCK_SKEW:
            moments[row] = max(moments[row], listed[lead]["as_of"])
    sent = [sent_record(record, model.funnel.time) for record in records]
    scores = score_leads(model, sent, moments, rules, stale_days=stale_days, incomplete=incomplete_among(records))
    moments[scores.scored] = scores.snapshot.as_of
    gone = np.array([record["gone_at"] is not None for record in records])
    there = np.flatnonzero(~gone[scores.scored])
    found = scored_leads(
        model,
        version,
        scores.snapshot[there],
        scores.probability[there],
        number=number[scores.scored[there]],
        scored_at=scored_at,
        stale_days=stale_days,
        ranked=False,
    )
    unlist(connection, np.delete(number, scores.scored[there]).tolist())
    relist(connection, runs, found, listed)
    return Rescored(scores, moments, found)


def scored_leads(
    model: FunnelModel,
    version: str,
    snapshot: Snapshot,
    probability: Float64s,
    *,
    number: Int64s,
    scored_at: int,
    ranked: bool,
    stale_days: float = STALE_MODEL_DAYS,
) -> ScoredLeads:
    """What is listed of leads, the same for many as for one.

    Parameters
    ----------
    probability : ndarray of float64, shape (n_leads, n_later_stages)
        What the model says of the snapshot.
    number : ndarray of int64, shape (n_leads,)
        Of the leads in the store.
    scored_at : int
        Microseconds since 1970 UTC.
    ranked : bool
        Whether these are all open leads, so that they have ranks; equal probabilities in order of ``number``.
    stale_days : float
        As of more days after the history that the model has learnt from, scores are flagged ``stale_model``.
    """
    standing = snapshot.steps.stage
    is_open = standing < len(model.stages_)
    key, before = model.keys(standing, probability)
    return ScoredLeads(
        lead=number,
        as_of=snapshot.as_of,
        stage=np.array([*model.funnel.stages, "lost"], object)[standing],
        probabilities=_written(probability),
        flags=lead_flags(model, snapshot, stale_days).as_text(json.dumps),
        of_list=np.where(is_open, np.where(before, HANDOFF, WIN).astype(object), ""),
        rank=_ranks(number, key, before) if ranked else None,
        key=np.where(is_open, key, 0.0),
        owner=category_of(snapshot, OWNER),
        source=category_of(snapshot, SOURCE),
        grade=np.where(is_open, model.grades_.grade(key, before), ""),
        scored_at=scored_at,
        model_version=version,
    )


def incomplete_among(records: Sequence[Record]) -> Bools:
    """Which of some leads in the store have a transition that was set aside, shape (n_leads,)."""
    return np.array([record["incomplete"] for record in records], np.bool_)


def sent_record(record: Record, times: Times) -> Record:
    """A record as `leadscore.history.check_records` takes it."""
    events = {name: [_in_time(row) for row in record[name]] for name in EVENTS}
    if times.timezone is not None:
        # A whole day is written as a date, so that it is read as one.
        for row in events["transitions"]:
            if row["whole_day"]:
                row["occurred_at"] = row["occurred_at"].astimezone(times.zone).date().isoformat()
    # An attribute may have the name of a column of the store that is not read here.
    own = {name: record[name] for name in LEAD_COLUMNS}
    return {**record["attributes"], **_in_time(own), **events}


def _in_time(row: Record) -> Record:
    moments = {name: EPOCH + timedelta(microseconds=row[name]) for name in TIMES if name in row}
    return row | moments


def _ranks(number: Int64s, key: Float64s, before: Bools) -> Int64s:
    """Places from 1 in each list, in the order in which `leadscore.store.list_page` reads them."""
    order = np.lexsort((number, -key, ~before))
    n_before = int(np.count_nonzero(before))
    ranks = np.empty(len(key), np.int64)
    ranks[order] = np.concatenate((np.arange(n_before), np.arange(len(key) - n_before))) + 1
    return ranks


def _written(probability: Float64s) -> Strings:
    """Each row as a list in JSON, whose numbers read back as the same bits; shape (n_leads,)."""
    found = np.empty(len(probability), object)
    for begin in range(0, len(probability), ROWS_AT_ONCE):
        rows = slice(begin, begin + ROWS_AT_ONCE)
        # In one go: many times quicker than row by row.
        text = to_json(probability[rows].tolist(), inf_nan_mode="null").decode()
        found[rows] = [f"[{each}]" for each in text[2:-2].split("],[")]
    return found
