"""The published protocol of outcome-oriented predictive process monitoring on the log of the BPI Challenge 2012.

Teinemaa, Dumas, La Rosa and Maggi, Outcome-oriented predictive process monitoring: review and benchmark, ACM
TKDD 13(2):17, 2019. Leads are chosen by how they ended: by the acceptance, the refusal or the cancellation that is
the last event of their offers. The first 80 % by their first event are learnt from, the rest is the test; what
happened to the former from the first test event on is left out. Every prefix of up to 40 events is an example.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from leadscore.errors import DataError, Problem
from leadscore.history.line import SECOND
from leadscore.history.zone import EPOCH

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.history.line import Bools, Float64s, Int64s, Strings

OUTCOMES = {"accepted": "O_ACCEPTED", "declined": "O_DECLINED", "cancelled": "O_CANCELLED"}
OFFER = "O_"
TRAIN_SHARE = 0.8
SHARES_INSIDE = (0.55, 0.7, 0.85, 1.0)
# No prefix is longer than this, nor than this quantile of the length of the leads of the outcome.
MOST_EVENTS, LENGTH_QUANTILE = 40, 0.9
# One decision is logged under several names within a second: A_APPROVED, then O_ACCEPTED.
SAME_DECISION = SECOND
COLUMNS = ("case:concept:name", "_event_idx", "org:resource", "lifecycle:transition", "concept:name", "time:timestamp")
# What the protocol gives on the genuine log.
CHECK_VALUES = {
    "labelled leads": 4_685,
    "per mille accepted": 479,
    "per mille declined": 171,
    "per mille cancelled": 350,
    "events of the longest prefix, accepted": 40,
    "events of the longest prefix, declined": 40,
    "events of the longest prefix, cancelled": 40,
    "train leads": 3_748,
    "test leads": 937,
    "first test event": "2012-01-27 14:58:46 UTC",
    "train events": 150_950,
    "train events kept": 138_007,
    "train prefixes": 117_965,
    "test prefixes": 30_637,
}


@dataclass(frozen=True, slots=True)
class Log:
    """Leads with an outcome, in order of their first event, and their events, in order of (lead, place).

    Attributes
    ----------
    ids : ndarray of object (str), shape (n_leads,)
        Name of each lead.
    amount : ndarray of float64, shape (n_leads,)
        What it asked for.
    outcome : ndarray of int64, shape (n_leads,)
        Place in `OUTCOMES`.
    decided : ndarray of int64, shape (n_leads,)
        When the outcome was logged, in microseconds since 1970 UTC.
    lead, place : ndarray of int64, shape (n_events,)
        Position of the lead of each event, and how many events of the lead came before it.
    moment, known : ndarray of int64, shape (n_events,)
        When it happened, in microseconds since 1970 UTC; and the same with a microsecond more for each event of
        the lead just before it at the same moment, so that a prefix can end between two events.
    activity, resource : ndarray of object (str), shape (n_events,)
        ``name-lifecycle``; who did it, or else the last who did something for the lead, None where nobody has.
    n_open : ndarray of int64, shape (n_events,)
        Leads of the whole log, also those without an outcome, that had begun and not ended at the moment.
    """

    ids: Strings
    amount: Float64s
    outcome: Int64s
    decided: Int64s
    lead: Int64s
    place: Int64s
    moment: Int64s
    known: Int64s
    activity: Strings
    resource: Strings
    n_open: Int64s


@dataclass(frozen=True, slots=True)
class Split:
    """Which events are learnt from and which are the test; the prefix that an event ends is its example.

    Attributes
    ----------
    n_train : int
        Leads to learn from: the first ones.
    first_test : int
        The first event of the leads after them, in microseconds since 1970 UTC.
    train, test : ndarray of bool, shape (n_events,)
        Events of the one and of the other; of the train leads only those before ``first_test``.
    """

    n_train: int
    first_test: int
    train: Bools
    test: Bools


def read_log(folder: Path) -> Log:
    """The leads that have an outcome, from ``events.parquet`` and ``cases.parquet``.

    Raises
    ------
    DataError
        A file or a column is missing, or no lead has an outcome.
    """
    return log_of(*(_read(folder / f"{name}.parquet") for name in ("events", "cases")))


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        fix = "Name the folder with events.parquet and cases.parquet of the BPI Challenge 2012."
        raise DataError((Problem(path.name, "", f"must be in {path.parent}", fix),))
    return pd.read_parquet(path)


def log_of(events: pd.DataFrame, cases: pd.DataFrame) -> Log:
    """The leads that have an outcome, from the events of all.

    Raises
    ------
    DataError
        As `read_log`.
    """
    _check_columns("events", events, COLUMNS)
    _check_columns("cases", cases, ("concept:name", "AMOUNT_REQ"))
    every = pd.DataFrame(
        {
            "id": events["case:concept:name"].astype(object),
            "order": events["_event_idx"],
            "name": events["concept:name"].astype(object),
            "activity": (events["concept:name"] + "-" + events["lifecycle:transition"]).astype(object),
            "resource": events["org:resource"].astype(object),
            "moment": (events["time:timestamp"] - EPOCH) // timedelta(microseconds=1),
        }
    ).sort_values(["id", "order"], ignore_index=True)
    leads = _decided(every)
    own = every[every["id"].isin(leads.index)]
    own = own.assign(lead=leads.index.get_indexer(pd.Index(own["id"]))).sort_values(["lead", "order"])
    lead, moment = own["lead"].to_numpy(np.int64), own["moment"].to_numpy(np.int64)
    resource = own.groupby("lead")["resource"].ffill().astype(object)
    asked = cases.set_index("concept:name")["AMOUNT_REQ"].reindex(leads.index)
    return Log(
        ids=leads.index.to_numpy(object),
        amount=asked.to_numpy(np.float64, na_value=np.nan),
        outcome=leads["outcome"].to_numpy(np.int64),
        decided=leads["moment"].to_numpy(np.int64),
        lead=lead,
        place=_since_first(lead),
        moment=moment,
        known=moment + _since_first(lead, moment),
        activity=own["activity"].to_numpy(object),
        resource=resource.where(resource.notna(), None).to_numpy(object),
        n_open=_open_leads(every, moment),
    )


def _check_columns(table: str, rows: pd.DataFrame, wanted: tuple[str, ...]) -> None:
    if missing := [name for name in wanted if name not in rows]:
        fix = "Use the log of the BPI Challenge 2012 with the columns of its XES file."
        raise DataError((Problem(table, "", f"must have the columns {', '.join(missing)}", fix),))


def _decided(every: pd.DataFrame) -> pd.DataFrame:
    """Leads whose last event of an offer is an outcome, in order of their first event.

    Returns
    -------
    DataFrame
        Index ``id``; columns ``outcome`` (place in `OUTCOMES`), ``moment`` (of the outcome) and ``begun``.
    """
    last = every[every["name"].str.startswith(OFFER)].groupby("id").tail(1).set_index("id")
    ended = last[last["name"].isin(list(OUTCOMES.values()))]
    if not len(ended):
        rule = f"must end some lead's offers with one of {', '.join(OUTCOMES.values())}"
        raise DataError((Problem("events", "concept:name", rule, "Use the log of the BPI Challenge 2012."),))
    codes = {name: code for code, name in enumerate(OUTCOMES.values())}
    begun = every.groupby("id")["moment"].first()
    leads = ended.assign(outcome=ended["name"].map(codes), begun=begun.reindex(ended.index))
    return leads[["outcome", "moment", "begun"]].sort_values("begun", kind="stable")


def _since_first(*keys: Int64s) -> Int64s:
    """How many rows just before each have the same keys, shape (n_rows,)."""
    same = np.logical_and.reduce([key[1:] == key[:-1] for key in keys])
    row = np.arange(len(keys[0]))
    first = np.where(np.append(False, same), 0, row)
    since: Int64s = row - np.maximum.accumulate(first)
    return since


def _open_leads(every: pd.DataFrame, moment: Int64s) -> Int64s:
    """Leads that had begun at each moment, less those whose last event was at or before it; shape (n,)."""
    spans = every.groupby("id")["moment"].agg(["first", "last"]).to_numpy(np.int64)
    begun, ended = (np.sort(spans[:, column]).searchsorted(moment, side="right") for column in (0, 1))
    open_leads: Int64s = begun - ended
    return open_leads


def split(log: Log) -> Split:
    """The first leads to learn from, up to the first test event; the others to test on."""
    n_leads = len(log.ids)
    return _split(log, int(TRAIN_SHARE * n_leads), n_leads, int(log.moment.max()) + 1)


def splits_inside(log: Log, parts: Split) -> list[Split]:
    """The same within the training time, at three later and later leads: what every choice was made on."""
    ends = [int(share * parts.n_train) for share in SHARES_INSIDE]
    return [_split(log, begin, end, parts.first_test) for begin, end in pairwise(ends)]


def _split(log: Log, n_train: int, n_leads: int, until: int) -> Split:
    """Learn from the first leads, test on the next up to ``n_leads``, with their events before ``until``."""
    test = (log.lead >= n_train) & (log.lead < n_leads) & (log.moment < until)
    first_test = int(log.moment[test].min())
    return Split(n_train, first_test, (log.lead < n_train) & (log.moment < first_test), test)


def longest_prefix(log: Log, outcome: int) -> int:
    """Events of the longest prefix of one task: at most `MOST_EVENTS`."""
    lengths = np.bincount(log.lead)[log.outcome == outcome]
    return min(MOST_EVENTS, int(np.ceil(np.quantile(lengths, LENGTH_QUANTILE))))


def before_outcome(log: Log) -> Bools:
    """Events before the moment at which the outcome is logged, under whichever of its names; shape (n_events,)."""
    return log.moment < log.decided[log.lead] - SAME_DECISION


def measured(log: Log, parts: Split) -> dict[str, int | str]:
    """What `CHECK_VALUES` says, of this log."""
    short = log.place < MOST_EVENTS
    per_mille = np.rint(1000 * np.bincount(log.outcome, minlength=len(OUTCOMES)) / len(log.outcome)).astype(int)
    first_test = datetime.fromtimestamp(parts.first_test // SECOND, UTC)
    return {
        "labelled leads": len(log.ids),
        **{f"per mille {name}": int(rate) for name, rate in zip(OUTCOMES, per_mille, strict=True)},
        **{f"events of the longest prefix, {name}": longest_prefix(log, code) for code, name in enumerate(OUTCOMES)},
        "train leads": parts.n_train,
        "test leads": len(log.ids) - parts.n_train,
        "first test event": f"{first_test:%Y-%m-%d %H:%M:%S} UTC",
        "train events": int(np.count_nonzero(log.lead < parts.n_train)),
        "train events kept": int(np.count_nonzero(parts.train)),
        "train prefixes": int(np.count_nonzero(parts.train & short)),
        "test prefixes": int(np.count_nonzero(parts.test & short)),
    }


def check_genuine(log: Log, parts: Split) -> None:
    """Nothing, where the log and the protocol are those that were published.

    Raises
    ------
    DataError
        One problem per check value that differs.
    """
    found = measured(log, parts)
    fix = "Use the whole log (doi:10.4121/uuid:3926db30-f712-4394-aebc-75976070e91f), its events in order."
    problems = [
        Problem("events", "", f"must give {name} = {value}, and gives {found[name]}", fix)
        for name, value in CHECK_VALUES.items()
        if found[name] != value
    ]
    if problems:
        raise DataError(tuple(problems))
