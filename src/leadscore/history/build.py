"""From checked tables to lines of time."""

from __future__ import annotations

import logging
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from leadscore.errors import DataError, Problem
from leadscore.history.cores import done, on_all_cores
from leadscore.history.history import History, begins_of
from leadscore.history.line import Changes, Steps, Touches
from leadscore.history.order import by_lead_and_time, lead_of, n_undecided, newest_known, starts
from leadscore.history.same_day import settle_same_day
from leadscore.history.tables import Coded
from leadscore.history.touches import VALUE_UNIT
from leadscore.history.vocabulary import MISSING, OTHER, Vocabulary, names_of, recode

if TYPE_CHECKING:
    import numpy.typing as npt

    from leadscore.config import Funnel
    from leadscore.history.line import Bools, Float64s, Int32s, Int64s
    from leadscore.history.tables import ChangeTable, LeadTable, Tables, TouchTable, TransitionTable

log = logging.getLogger(__name__)

# They fit a core's cache.
ROWS_AT_ONCE = 1 << 16
# A few leads that are sent to be scored are not.
WORTH_A_LINE = 1_000


def build_history(tables: Tables, funnel: Funnel) -> History:
    """Sort checked tables into lines of time; leads with ``do_not_score`` are left out.

    Raises
    ------
    DataError
        The values of one lead's touches sum to more than fixed-point numbers hold.
    """
    leads = tables.leads
    order = _by_id(leads)
    # Four bytes: there are many more events than leads.
    place = np.full(len(leads.ids), -1, np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    vocabulary = _vocabulary(tables)
    names = vocabulary.categories
    steps, odd = _steps(tables.transitions, place, leads.created[order], funnel)
    changes = {
        name: _changes(name, table, place, len(order), names.get(name)) for name, table in tables.changes.items()
    }
    return History(
        funnel=funnel,
        vocabulary=vocabulary,
        ids=leads.ids[order],
        created=leads.created[order],
        known=leads.known[order],
        touches=_touches(tables.touches, place, len(order), vocabulary),
        steps=steps,
        numbers={name: column[order] for name, column in leads.numbers.items()},
        categories={name: _coded(column, names[name])[order] for name, column in leads.categories.items()},
        changes={name: line for name, (line, _) in changes.items()},
        known_until=tables.known_until,
        left_out=len(leads.ids) - len(order),
        gone=None if leads.gone is None else leads.gone[order],
        incomplete=None if leads.incomplete is None else leads.incomplete[order],
        warnings=(*tables.warnings, *odd, *chain.from_iterable(odd for _, odd in changes.values())),
    )


def _by_id(leads: LeadTable) -> Int64s:
    """Rows of the leads that may be scored, in order of ``lead_id``."""
    order: Int64s = np.arange(len(leads.ids))
    if (leads.ids[1:] < leads.ids[:-1]).any():
        order = pc.sort_indices(pa.array(leads.ids, pa.large_string())).to_numpy().astype(np.int64)
    return order[~leads.do_not_score[order]]


def _vocabulary(tables: Tables) -> Vocabulary:
    by = tables.touches.by
    coded = tables.leads.categories | {
        name: table.value for name, table in tables.changes.items() if isinstance(table.value, Coded)
    }
    return Vocabulary(
        # Every kind is known here, so none is another; but there must be one.
        kinds=tuple(sorted(tables.touches.kind.names)) or (OTHER,),
        agents=names_of(by.names if by else ()),
        categories={name: names_of(column.names) for name, column in coded.items()},
    )


def _coded(column: Coded, names: tuple[str, ...]) -> Int32s:
    return recode(column.codes, column.names, names, np.int32)


def _touches(table: TouchTable, place: Int32s, n_leads: int, vocabulary: Vocabulary) -> Touches:
    columns = {
        "kind": recode(table.kind.codes, table.kind.names, vocabulary.kinds, np.int16),
        "direction": table.direction,
        "by": None if table.by is None else _coded(table.by, vocabulary.agents),
        "value": None if table.value is None else _fixed_point(table.value),
    }
    given: dict[str, Any] = {name: column for name, column in columns.items() if column is not None}
    start, known, ordered = by_lead_and_time(place[table.lead], table.known, n_leads, list(given.values()))
    line = Touches(start=start, known=known, **dict(zip(given, ordered, strict=True)))
    _check_sums(line)
    return line


def _fixed_point(value: Float64s) -> Int64s:
    fixed = np.empty(len(value), np.int64)

    def fill(begin: int) -> None:
        rows = slice(begin, begin + ROWS_AT_ONCE)
        fixed[rows] = np.rint(np.where(np.isnan(value[rows]), 0.0, value[rows]) * VALUE_UNIT)

    done(on_all_cores(fill, range(0, len(value), ROWS_AT_ONCE)))
    return fixed


def _check_sums(line: Touches) -> None:
    if line.value is None or not len(line):
        return
    if max(int(line.value.max()), -int(line.value.min())) * len(line) < 2**61:
        return  # however they are shared among the leads
    lead = np.flatnonzero(np.diff(line.start))
    most = np.add.reduceat(np.abs(line.value).astype(np.float64), line.start[lead])
    too_large = lead[most >= 2.0**62]
    if len(too_large):
        raise DataError(
            (
                Problem(
                    "touches",
                    "value",
                    f"the values of one lead must sum to less than {2**62 // VALUE_UNIT:.1e}",
                    "Give the values in a larger unit.",
                    len(too_large),
                ),
            )
        )


def _steps(table: TransitionTable, place: Int32s, created: Int64s, funnel: Funnel) -> tuple[Steps, tuple[str, ...]]:
    """The line of steps, and what is odd about the transitions."""
    # Of equal moments what was recorded later counts, then the further stage.
    columns: list[npt.NDArray[Any]] = [
        table.occurred,
        table.occurred if table.recorded is None else table.recorded,
        table.stage,
    ]
    if table.whole_day is not None:
        columns.append(table.whole_day)
    start, known, (occurred, recorded, stage, *whole_day) = by_lead_and_time(
        place[table.lead], table.known, len(created), columns
    )
    n_transitions, lead = len(known), lead_of(start)
    undecided = n_undecided(lead, occurred, recorded, stage)
    if whole_day:
        kept, occurred = settle_same_day(lead, occurred, recorded, stage, whole_day[0], zone=funnel.time.zone)
        lead, occurred, stage, known = lead[kept], occurred[kept], stage[kept], known[kept]
    newest = newest_known(lead, occurred)
    n_older = n_transitions - int(np.count_nonzero(newest))
    lead, occurred, stage, known = lead[newest], occurred[newest], stage[newest], known[newest]
    first = _first_of_lead(lead)
    # Where a lead stood before stages were recorded is not known: whatever its first transition is to, it is a step.
    from_unknown = first & (created[lead] < begins_of(funnel))
    step = from_unknown | (stage != np.where(first, 0, _one_later(stage)))
    log.log(
        logging.INFO if n_transitions > WORTH_A_LINE else logging.DEBUG,
        "%d transitions: %d steps, %d older than what was known, %d repeats",
        n_transitions,
        np.count_nonzero(step),
        n_older,
        np.count_nonzero(~step),
    )
    lead, occurred, stage, known = lead[step], occurred[step], stage[step], known[step]
    first = _first_of_lead(lead)
    since = np.where(from_unknown[step], occurred, created[lead])
    steps = Steps(
        start=starts(lead, len(created)),
        known=known,
        occurred=occurred,
        stage=stage,
        # A step may be older than the CRM's record of its lead.
        since=np.where(first, np.minimum(since, occurred), _one_later(occurred)),
        left=np.where(first, np.int8(0), _one_later(stage)),
    )
    return steps, _undecided("transitions", "the further stage counts", undecided)


def _undecided(table: str, what_counts: str, n_rows: int) -> tuple[str, ...]:
    if not n_rows:
        return ()
    rows = f"{n_rows:,} row{'s' if n_rows != 1 else ''}"
    return (
        f"{table}: {rows} of the same moment as another row of the lead, recorded at the same time: {what_counts}. "
        "Export times rather than dates, or recorded_at, so that their order is known.",
    )


def _first_of_lead(lead: Int32s) -> Bools:
    first = np.ones(len(lead), np.bool_)
    np.not_equal(lead[1:], lead[:-1], out=first[1:])
    return first


def _one_later(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Each row's value in the row after it; in the first row any."""
    return np.concatenate((column[-1:], column[:-1]))


def _changes(
    name: str, table: ChangeTable, place: Int32s, n_leads: int, names: tuple[str, ...] | None
) -> tuple[Changes, tuple[str, ...]]:
    """The line of an attribute that changes, and what is odd about its rows."""
    rank, missing = _ranked(table.value, names or ())
    start, known, (occurred, recorded, rank) = by_lead_and_time(
        place[table.lead],
        table.known,
        n_leads,
        [table.occurred, table.occurred if table.recorded is None else table.recorded, rank],
    )
    lead = lead_of(start)
    undecided = n_undecided(lead, occurred, recorded, rank)
    newest = newest_known(lead, occurred)
    value = rank[newest]
    np.copyto(value, missing, where=value == _LOWEST[value.dtype.kind])
    line = Changes(start=starts(lead[newest], n_leads), known=known[newest], value=value)
    what_counts = f"of {name} the larger number or the later text counts"
    return line, _undecided("changes", what_counts, undecided)


# In the place of a missing value: of values that nothing puts in order it comes first.
_LOWEST = {"i": -1, "f": -np.inf}


def _ranked(value: Float64s | Coded, names: tuple[str, ...]) -> tuple[Float64s | Int32s, float]:
    """Values in an order of their own, missing ones first; and what stands for missing in the line."""
    if isinstance(value, Coded):
        codes, missing = _coded(value, names), names.index(MISSING)
        return np.where(codes == missing, np.int32(-1), codes), missing
    return np.where(np.isnan(value), -np.inf, value), np.nan
