"""From probabilities to what is listed, and some leads listed anew between two batches."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
from pydantic_core import to_json

from leadscore.history import MISSING
from leadscore.scoring import HANDOFF, INCOMPLETE, WIN, score_leads
from leadscore.store import ScoredLeads, open_runs, records_of, relist, unlist

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa

    from leadscore.history import Rules, Snapshot
    from leadscore.history.line import Bools, Float64s, Int64s, Strings
    from leadscore.model import FunnelModel, StageModel
    from leadscore.scoring import Scores
    from leadscore.store.records import Record

FALLBACK, NO_SIGNAL = "fallback", "no_signal"
OWNER, SOURCE = "owner", "source"
EVENTS = ("transitions", "touches", "changes")
OF_LEAD = ("lead_id", "created_at", "recorded_at", "do_not_score")
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
) -> Rescored | None:
    """Score some leads anew by what is stored of them, and list them so; None where none of them is in the store.

    Each lead is scored as of the latest of ``as_of``, the newest moment at which something of it was known, and the
    moment that the list is of: a list never goes back in time. Leads that object are taken off the lists.

    Parameters
    ----------
    connection : Connection
        Of `leadscore.store.transaction`, in which the leads are locked.
    rules : Rules
        ``Rules.of(model.funnel)``.
    as_of, scored_at : int
        The time of the request, in microseconds since 1970 UTC.

    Raises
    ------
    DataError, ModelError
        What is stored does not fit the model's funnel.
    """
    records = records_of(connection, lead_ids)
    if not records:
        return None
    runs = open_runs(connection)
    earliest = max(as_of, runs.as_of)
    moments = np.array([max(earliest, _newest_known(record)) for record in records], np.int64)
    sent = [sent_record(record) for record in records]
    scores = score_leads(model, sent, moments, rules, incomplete_among(records))
    number = np.array([record["lead"] for record in records], np.int64)
    found = scored_leads(
        model,
        version,
        scores.snapshot,
        scores.probability,
        number=number[scores.scored],
        incomplete=scores.incomplete,
        scored_at=scored_at,
        ranked=False,
    )
    unlist(connection, np.delete(number, scores.scored).tolist())
    relist(connection, runs, found)
    return Rescored(scores, moments, found)


def scored_leads(
    model: FunnelModel,
    version: str,
    snapshot: Snapshot,
    probability: Float64s,
    *,
    number: Int64s,
    incomplete: Bools,
    scored_at: int,
    ranked: bool,
) -> ScoredLeads:
    """What is listed of leads, the same for many as for one.

    Parameters
    ----------
    probability : ndarray of float64, shape (n_leads, n_later_stages)
        What the model says of the snapshot.
    number : ndarray of int64, shape (n_leads,)
        Of the leads in the store.
    incomplete : ndarray of bool, shape (n_leads,)
        Whether a transition of each was set aside.
    scored_at : int
        Microseconds since 1970 UTC.
    ranked : bool
        Whether these are all open leads, so that they have ranks; equal probabilities in order of ``number``.
    """
    standing = snapshot.steps.stage
    is_open = standing < len(model.stages_)
    key, before = model.keys(standing, probability)
    return ScoredLeads(
        lead=number,
        as_of=snapshot.as_of,
        stage=np.array([*model.funnel.stages, "lost"], object)[standing],
        probabilities=_written(probability),
        flags=_flags(model)[incomplete.astype(np.int64), standing],
        of_list=np.where(is_open, np.where(before, HANDOFF, WIN).astype(object), ""),
        rank=_ranks(number, key, before) if ranked else None,
        key=np.where(is_open, key, 0.0),
        owner=_category(snapshot, OWNER),
        source=_category(snapshot, SOURCE),
        grade=np.where(is_open, model.grades_.grade(key, before), ""),
        scored_at=scored_at,
        model_version=version,
    )


def flags_of(ahead: Sequence[StageModel], *, incomplete: bool) -> list[str]:
    """What is to be known of the probabilities of the stages ahead of a lead, of which there are some."""
    flags = {
        FALLBACK: any(each.fallback for each in ahead),
        NO_SIGNAL: any(each.no_signal for each in ahead),
        INCOMPLETE: incomplete,
    }
    return [flag for flag, holds in flags.items() if holds]


def incomplete_among(records: Sequence[Record]) -> Bools:
    """Which of some leads in the store have a transition that was set aside, shape (n_leads,)."""
    return np.array([record["incomplete"] for record in records], np.bool_)


def _newest_known(record: Record) -> int:
    """When we last came to know something of a lead."""
    newest: int = max(record["created_at"], record["recorded_at"])
    for table in EVENTS:
        for event in record[table]:
            newest = max(newest, event["occurred_at"], event["recorded_at"])
    return newest


def sent_record(record: Record) -> Record:
    """A record as `leadscore.history.check_records` takes it."""
    own = {name: [_in_time(row) for row in record[name]] for name in EVENTS}
    # What else the store knows of a lead must not pass for an attribute of the same name.
    return {**record["attributes"], **_in_time({name: record[name] for name in OF_LEAD}), **own}


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


def _flags(model: FunnelModel) -> Strings:
    """The flags of complete and of incomplete leads by their stage, as a list in JSON; won and lost leads have none."""
    n_stages = len(model.stages_)
    return np.array(
        [
            [json.dumps(flags_of(model.stages_[stage:], incomplete=marked)) for stage in range(n_stages)] + ["[]"] * 2
            for marked in (False, True)
        ],
        object,
    )


def _category(snapshot: Snapshot, name: str) -> Strings:
    """The value at ``as_of`` of a category, where the funnel has it; None where it is missing."""
    names = snapshot.vocabulary.categories.get(name)
    if names is None:
        return np.full(len(snapshot), None, object)
    return np.array([None if each == MISSING else each for each in names], object)[snapshot.category(name)]
