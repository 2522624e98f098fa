"""From checked tables to lines of time."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from leadscore.errors import DataError, Problem
from leadscore.history.cores import done, on_all_cores
from leadscore.history.history import History, begins_of
from leadscore.history.line import Changes, Steps, Touches
from leadscore.history.order import by_lead_and_time, lead_of, newest_known, starts
from leadscore.history.tables import Coded
from leadscore.history.touches import VALUE_UNIT
from leadscore.history.vocabulary import OTHER, Vocabulary, names_of, recode

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
    return History(
        funnel=funnel,
        vocabulary=vocabulary,
        ids=leads.ids[order],
        created=leads.created[order],
        known=leads.known[order],
        touches=_touches(tables.touches, place, len(order), vocabulary),
        steps=_steps(tables.transitions, place, leads.created[order], begins_of(funnel)),
        numbers={name: column[order] for name, column in leads.numbers.items()},
        categories={name: _coded(column, names[name])[order] for name, column in leads.categories.items()},
        changes={name: _changes(table, place, len(order), names.get(name)) for name, table in tables.changes.items()},
        known_until=tables.known_until,
        left_out=len(leads.ids) - len(order),
        gone=None if leads.gone is None else leads.gone[order],
        incomplete=None if leads.incomplete is None else leads.incomplete[order],
        warnings=tables.warnings,
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


def _steps(table: TransitionTable, place: Int32s, created: Int64s, begins: int) -> Steps:
    start, known, (occurred, stage) = by_lead_and_time(
        place[table.lead], table.known, len(created), [table.occurred, table.stage]
    )
    n_transitions, lead = len(known), lead_of(start)
    newest = newest_known(lead, occurred, stage)
    lead, occurred, stage, known = lead[newest], occurred[newest], stage[newest], known[newest]
    first = _first_of_lead(lead)
    # Where a lead stood before stages were recorded is not known: whatever its first transition is to, it is a step.
    from_unknown = first & (created[lead] < begins)
    step = from_unknown | (stage != np.where(first, 0, _one_later(stage)))
    log.log(
        logging.INFO if n_transitions > WORTH_A_LINE else logging.DEBUG,
        "%d transitions: %d steps, %d older than what was known, %d repeats",
        n_transitions,
        np.count_nonzero(step),
        n_transitions - len(lead),
        np.count_nonzero(~step),
    )
    lead, occurred, stage, known = lead[step], occurred[step], stage[step], known[step]
    first = _first_of_lead(lead)
    since = np.where(from_unknown[step], occurred, created[lead])
    return Steps(
        start=starts(lead, len(created)),
        known=known,
        occurred=occurred,
        stage=stage,
        # A step may be older than the CRM's record of its lead.
        since=np.where(first, np.minimum(since, occurred), _one_later(occurred)),
        left=np.where(first, np.int8(0), _one_later(stage)),
    )


def _first_of_lead(lead: Int32s) -> Bools:
    first = np.ones(len(lead), np.bool_)
    np.not_equal(lead[1:], lead[:-1], out=first[1:])
    return first


def _one_later(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Each row's value in the row after it; in the first row any."""
    return np.concatenate((column[-1:], column[:-1]))


def _changes(table: ChangeTable, place: Int32s, n_leads: int, names: tuple[str, ...] | None) -> Changes:
    value = _coded(table.value, names or ()) if isinstance(table.value, Coded) else table.value
    start, known, (occurred, value) = by_lead_and_time(place[table.lead], table.known, n_leads, [table.occurred, value])
    lead = lead_of(start)
    newest = newest_known(lead, occurred, value)
    return Changes(start=starts(lead[newest], n_leads), known=known[newest], value=value[newest])
