"""What our model sees of a prefix: the features of a lead's own history, and what the protocol gives beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from leadscore.config import parse_funnel
from leadscore.features import catalogue, columns_of, fit_vocabulary, matrix
from leadscore.history import DAY, History, build_history
from leadscore.history.tables import Coded, LeadTable, Tables, TouchTable, TransitionTable
from leadscore.history.zone import utc_offset

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.outcome_log import Log
    from leadscore.features import Feature
    from leadscore.history.line import Bools, Float32s, Strings

    Used = Callable[[Feature, tuple[str, ...]], bool]

MINUTE = DAY // 1_440
NOBODY = "nobody"
STAGES = ("A_PARTLYSUBMITTED", "A_PREACCEPTED", "A_ACCEPTED", "O_SENT", "O_SENT_BACK", "A_APPROVED")
LOST = ("A_DECLINED", "A_CANCELLED")
FUNNEL = parse_funnel(f"""
[funnel]
stages = {list(STAGES)}
lost = {list(LOST)}
handoff = ["A_PREACCEPTED", "A_ACCEPTED"]

[horizon_days]
{chr(10).join(f"{stage} = 30" for stage in STAGES[1:])}

[time]
timezone = "Europe/Amsterdam"

[attributes]
numbers = ["amount_requested"]

[features]
windows_days = [1, 7, 30]
min_category_leads = 10
""")


@dataclass(frozen=True, slots=True)
class Seen:
    """Features of some prefixes.

    Attributes
    ----------
    X : ndarray of float32, shape (n_prefixes, n_columns)
        NaN where a value does not exist.
    categories : tuple of int
        Columns that are codes.
    """

    X: Float32s
    categories: tuple[int, ...]


def features_of(log: Log, learnt: Bools, rows: Bools) -> Seen:
    """Features of the prefixes that end with the events of ``rows``.

    Activities and agents that fewer than ten leads of ``learnt``, the prefixes to learn from, have are one.
    """
    did = _read(_history(log, log.activity), log, learnt, rows, _not_of_windows)
    who = _read(_history(log, log.resource), log, learnt, rows, _counts_in_all)
    return Seen(np.hstack((did.X, who.X, _of_protocol(log)[rows])), did.categories)


def _not_of_windows(feature: Feature, kinds: tuple[str, ...]) -> bool:
    """Whether it is none that has a column per activity and window: inside the training time those gained nothing."""
    windows = (f"{kinds[0]}_{days}d" for days in FUNNEL.features.windows_days)
    return feature.columns[0].name not in {*windows, f"days_since_first_{kinds[0]}"}


def _counts_in_all(feature: Feature, kinds: tuple[str, ...]) -> bool:
    return feature.columns[0].name == f"{kinds[0]}_all"


def _read(history: History, log: Log, learnt: Bools, rows: Bools, used: Used) -> Seen:
    snapshot = history.at(log.lead, log.known)
    vocabulary = fit_vocabulary(snapshot[np.flatnonzero(learnt)], FUNNEL.features.min_category_leads)
    features = [each for each in catalogue(FUNNEL, vocabulary) if used(each, vocabulary.kinds)]
    categories = tuple(place for place, column in enumerate(columns_of(features)) if column.names)
    return Seen(matrix(features, snapshot[np.flatnonzero(rows)].coded(vocabulary)), categories)


def _history(log: Log, kind: Strings) -> History:
    """The leads of the log with a touch of ``kind`` for each event, and the events that are stages as transitions."""
    n_leads = len(log.ids)
    name = np.array([activity.rsplit("-", 1)[0] for activity in log.activity], object)
    codes = {name: code for code, name in enumerate(STAGES)} | dict.fromkeys(LOST, FUNNEL.lost_code)
    stage = np.array([codes.get(each, -1) for each in name], np.int8)
    step = stage >= 0
    begun = log.known[log.place == 0]
    return build_history(
        Tables(
            # Positions as names, so that leads keep their order.
            leads=LeadTable(
                ids=np.array([f"{lead:09}" for lead in range(n_leads)], object),
                created=begun,
                known=begun,
                do_not_score=np.zeros(n_leads, np.bool_),
                numbers={"amount_requested": log.amount},
            ),
            transitions=TransitionTable(log.lead[step], log.known[step], log.known[step], stage[step]),
            touches=TouchTable(log.lead, log.known, _coded(kind), by=_coded(log.resource)),
            changes={},
            known_until=int(log.known.max()),
        ),
        FUNNEL,
    )


def _coded(names: Strings) -> Coded:
    """Names as codes; nobody is a name of its own."""
    distinct = tuple(sorted({NOBODY if name is None else name for name in names}))
    place = {name: code for code, name in enumerate(distinct)}
    return Coded(np.array([place[name or NOBODY] for name in names], np.int32), distinct)


def _of_protocol(log: Log) -> Float32s:
    """Inputs of the protocol that a line of time does not give, shape (n_events, 4).

    Minutes since the event before, leads open, minutes since midnight, and whether the agent is that of the event
    before.
    """
    later = log.place > 0
    before = np.maximum(np.arange(len(log.lead)) - 1, 0)
    gap = np.where(later, log.moment - log.moment[before], 0) / MINUTE
    local = log.moment + utc_offset(log.moment, FUNNEL.time.zone)
    same_agent = later & (log.resource == log.resource[before])
    return np.column_stack((gap, log.n_open, local % DAY / MINUTE, same_agent)).astype(np.float32)
