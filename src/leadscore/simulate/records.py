"""What the CRM recorded of a chunk of leads: days become times, and rows become late, repeated or filled in.

Nothing here depends on the hidden interest or on what comes later, so nothing here carries news of them.
Inside, a time is a whole number of minutes since the first day began.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from leadscore.simulate import crm
from leadscore.simulate.columns import TABLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from leadscore.simulate.chain import Bools, Leads, Moves, Touches
    from leadscore.simulate.crm import Floats, Int64s
    from leadscore.simulate.truth import Belief

    Columns = dict[str, Any]  # Arrow and NumPy arrays: what pyarrow takes
    Names = NDArray[np.object_]

DAY = 24 * 60
OFFICE = (9 * 60, 18 * 60)
WEB = (8 * 60 + 30, 23 * 60)
NOW = -1  # recorded when it occurred

REPEATED = 0.05  # share of the stages that are entered again while the lead stands in them,
REPEATED_DAYS = 45  # within so many days
FILLED_IN = 0.5  # share of the skipped stages that somebody fills in,
FILLED_IN_DAYS = 10  # within so many days
NEW_OWNER_DAYS = 400  # mean days until a lead changes hands
REVISED = 0.3  # share of the amounts that are revised,
REVISED_DAYS = 40  # within so many days
CHANGE_LATE = 0.1  # share of these changes that are recorded late,
CHANGE_LATE_DAYS = 3  # within so many days


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of a table, before their clock times become the CRM's."""

    lead: Int64s
    minute: Int64s
    code: Int64s
    recorded: Int64s


@dataclass(frozen=True, slots=True)
class _Visits:
    """Stays in a stage, by lead and time; ``until_day`` is the day of the next move."""

    lead: Int64s
    minute: Int64s
    stage: Int64s
    until_day: Int64s


def tables_of(
    rng: np.random.Generator, names: Names, leads: Leads, moves: Moves, touches: Touches
) -> dict[str, pa.Table]:
    """Write the four tables of a chunk of leads, rows in no order."""
    created = _within(rng, leads.created, OFFICE)
    visits = _visits(rng, leads, created, moves)
    file = _File(names, leads, created, visits, _owners(rng, leads))
    parts = {
        "leads": _leads(rng, file),
        "transitions": _transitions(rng, file),
        "touches": _touches(rng, file, touches),
        "changes": _changes(rng, file),
    }
    return {name: _shuffled(rng, name, columns) for name, columns in parts.items()}


def truth_of(names: Names, leads: Leads, belief: Belief, probabilities: Floats) -> pa.Table:
    """Write the rows of the truth: every open lead that may be scored."""
    scored = np.flatnonzero(~leads.do_not_score[belief.lead])
    morning = np.full(len(scored), belief.day * DAY + crm.MORNING_HOUR * 60)
    columns: Columns = {
        "lead_id": names[belief.lead[scored]],
        "as_of": _times(morning),
        "stage": np.array(crm.STAGES)[belief.stage[scored]],
    }
    for stage, column in zip(crm.FUNNEL.later_stages, probabilities[scored].T, strict=True):
        columns[stage] = pa.array(column, from_pandas=True)
    return pa.table(columns).cast(TABLES["truth"].schema)


@dataclass(frozen=True, slots=True)
class _Owners:
    """Who works each lead, shape (n_leads,): ``first`` until the day ``handed_on``, then ``second``."""

    first: Names
    second: Names
    handed_on: Int64s

    def on(self, day: Int64s, lead: Int64s) -> Names:
        return np.where(day > self.handed_on[lead], self.second[lead], self.first[lead])


@dataclass(frozen=True, slots=True)
class _File:
    """What the CRM holds of a chunk of leads; ``created`` is a minute."""

    names: Names
    leads: Leads
    created: Int64s
    visits: _Visits
    owners: _Owners


def _owners(rng: np.random.Generator, leads: Leads) -> _Owners:
    people = np.array(crm.TEAMS, dtype=object)
    seats = people.shape[1]
    handed_on = leads.created + rng.geometric(1 / NEW_OWNER_DAYS, len(leads))
    second = (leads.seat + rng.integers(1, seats, len(leads))) % seats
    return _Owners(people[leads.team, leads.seat], people[leads.team, second], handed_on)


def _leads(rng: np.random.Generator, file: _File) -> Columns:
    leads = file.leads
    mean_cost = np.array([source.cost for source in crm.SOURCES])[leads.source]
    return {
        "lead_id": file.names,
        "created_at": _times(file.created),
        "source": np.array([source.name for source in crm.SOURCES])[leads.source],
        "industry": np.array([*crm.INDUSTRIES])[leads.industry],
        "country": np.array([*crm.COUNTRIES])[leads.country],
        "employees": pa.array(leads.employees, from_pandas=True).cast(pa.int64()),
        "cost": np.round(mean_cost * rng.lognormal(-0.08, 0.4, len(leads)), 2),
        "do_not_score": leads.do_not_score,
    }


def _visits(rng: np.random.Generator, leads: Leads, created: Int64s, moves: Moves) -> _Visits:
    lead = np.concatenate([np.arange(len(leads)), moves.lead])
    # From a minute past nine, so that a skipped stage filled in on the same day finds room before it.
    minute = np.concatenate([created, _within(rng, moves.day, (OFFICE[0] + 1, OFFICE[1]))])
    stage = np.concatenate([leads.direct.astype(np.int64), moves.stage])
    order = np.lexsort((minute, lead))
    lead, minute, stage = lead[order], minute[order], stage[order]
    until_day = np.full(len(lead), crm.DAYS)
    goes_on = np.flatnonzero(lead[1:] == lead[:-1])
    until_day[goes_on] = minute[goes_on + 1] // DAY
    return _Visits(lead, minute, stage, until_day)


def _transitions(rng: np.random.Generator, file: _File) -> Columns:
    visits = file.visits
    repeats = _repeats(rng, visits)
    entered = _Rows(visits.lead, visits.minute, visits.stage, np.full(len(visits.lead), NOW))
    filled_in = _filled_in(rng, _joined(entered, repeats))
    # A lead stands in the first stage from its creation: nobody writes that down.
    born = (visits.stage == crm.LEAD) & (visits.minute // DAY == file.leads.created[visits.lead])
    rows = _joined(_where(entered, ~born), repeats, filled_in)
    rows = _where(rows, rows.recorded < crm.DAYS * DAY)
    share = np.array([*crm.LOST_REASONS.values()])
    reason = np.array([*crm.LOST_REASONS])[rng.choice(len(share), len(rows.lead), p=share)]
    return {
        "lead_id": file.names[rows.lead],
        "stage": np.array(crm.STAGES)[rows.code],
        "occurred_at": _times(rows.minute),
        "recorded_at": _times(rows.recorded),
        "reason": pa.array(reason, mask=rows.code != crm.LOST),
    }


def _repeats(rng: np.random.Generator, visits: _Visits) -> _Rows:
    # Drawn from the day of entry alone: how long the stay will be must not show.
    day = visits.minute // DAY + rng.integers(1, REPEATED_DAYS + 1, len(visits.lead))
    chosen = np.flatnonzero((rng.random(len(day)) < REPEATED) & (day < visits.until_day))
    minute = _within(rng, day[chosen], OFFICE)
    return _Rows(visits.lead[chosen], minute, visits.stage[chosen], np.full(len(chosen), NOW))


def _filled_in(rng: np.random.Generator, rows: _Rows) -> _Rows:
    order = np.lexsort((rows.minute, rows.lead))
    lead, minute, stage = rows.lead[order], rows.minute[order], rows.code[order]
    skips = (lead[1:] == lead[:-1]) & (stage[1:] == stage[:-1] + 2) & (stage[1:] <= crm.WON)
    after = 1 + np.flatnonzero(skips & (rng.random(len(skips)) < FILLED_IN))
    earliest, latest = minute[after - 1] // DAY + 1, minute[after] // DAY
    day = rng.integers(earliest, latest, endpoint=True)
    end = np.where(day == latest, minute[after] % DAY, OFFICE[1])
    recorded = _within(rng, latest + rng.integers(1, FILLED_IN_DAYS + 1, len(after)), OFFICE)
    return _Rows(lead[after], day * DAY + rng.integers(OFFICE[0], end), stage[after] - 1, recorded)


def _touches(rng: np.random.Generator, file: _File, touches: Touches) -> Columns:
    rows = _joined(_first_touches(file), _clocked(rng, touches))
    rows = _where(rows, rows.recorded < crm.DAYS * DAY)
    mean_value = np.array([kind.mean_value for kind in crm.KINDS])[rows.code]
    value = 1 + rng.poisson(np.maximum(mean_value - 1, 0))
    owner = file.owners.on(rows.minute // DAY, rows.lead)
    return {
        "lead_id": file.names[rows.lead],
        "kind": _dictionary(rows.code, [kind.name for kind in crm.KINDS]),
        "occurred_at": _times(rows.minute),
        "recorded_at": _times(rows.recorded),
        "direction": _dictionary(rows.code, [kind.direction for kind in crm.KINDS]),
        "by": pa.array(owner, mask=~crm.sales_kinds()[rows.code]),
        "value": pa.array(value, mask=mean_value == 0),
    }


def _first_touches(file: _File) -> _Rows:
    kinds = [kind.name for kind in crm.KINDS]
    first = np.array([kinds.index(each.first_touch) if each.first_touch else NOW for each in crm.SOURCES])
    kind = first[file.leads.source]
    lead = np.flatnonzero(kind != NOW)
    return _Rows(lead, file.created[lead], kind[lead], np.full(len(lead), NOW))


def _clocked(rng: np.random.Generator, touches: Touches) -> _Rows:
    of_sales = crm.sales_kinds()[touches.kind]
    minute = np.where(of_sales, _within(rng, touches.day, OFFICE), _within(rng, touches.day, WEB))
    recorded = np.where(touches.late > 0, _within(rng, touches.day + touches.late, OFFICE), NOW)
    return _Rows(touches.lead, minute, touches.kind, recorded)


def _changes(rng: np.random.Generator, file: _File) -> Columns:
    owners = file.owners
    handed_on = np.flatnonzero(owners.handed_on < crm.DAYS)
    quoted, quote = _amounts(rng, file.visits)
    lead = np.concatenate([np.arange(len(file.leads)), handed_on, quoted])
    # Everybody has an owner by the first evening; only what changes later may be recorded late.
    assigned = file.created + rng.integers(3, 90, len(file.leads))
    changed = np.concatenate([_within(rng, owners.handed_on[handed_on], OFFICE), quote])
    recorded = np.concatenate([np.full(len(assigned), NOW), _late(rng, changed)])
    # An opportunity is worth more in a large company; 60 people where nobody knows.
    size = np.nan_to_num(file.leads.employees[quoted], nan=60.0)
    amount = np.round(rng.lognormal(8.3, 0.5, len(quoted)) * size**0.25, -2).astype(np.int64)
    known = recorded < crm.DAYS * DAY
    return {
        "lead_id": file.names[lead][known],
        "attribute": np.repeat(["owner", "amount"], [len(lead) - len(quoted), len(quoted)])[known],
        "value": np.concatenate([owners.first, owners.second[handed_on], amount.astype(str)])[known],
        "occurred_at": _times(np.concatenate([assigned, changed])[known]),
        "recorded_at": _times(recorded[known]),
    }


def _amounts(rng: np.random.Generator, visits: _Visits) -> tuple[Int64s, Int64s]:
    """Leads and minutes of the amounts: at each opportunity, and where one is revised while it lasts."""
    entered = np.flatnonzero(visits.stage == crm.OPPORTUNITY)
    day = visits.minute[entered] // DAY + rng.integers(3, REVISED_DAYS + 1, len(entered))
    revised = (rng.random(len(entered)) < REVISED) & (day < visits.until_day[entered])
    first = visits.minute[entered] + rng.integers(1, 30, len(entered))
    lead = visits.lead[entered]
    minute = np.concatenate([first, _within(rng, day[revised], OFFICE)])
    return np.concatenate([lead, lead[revised]]), minute


def _late(rng: np.random.Generator, minute: Int64s) -> Int64s:
    day = minute // DAY + rng.integers(1, CHANGE_LATE_DAYS + 1, len(minute))
    return np.where(rng.random(len(minute)) < CHANGE_LATE, _within(rng, day, OFFICE), NOW)


def _within(rng: np.random.Generator, day: Int64s, hours: tuple[int, int]) -> Int64s:
    return day * DAY + rng.integers(*hours, size=len(day))


def _joined(*parts: _Rows) -> _Rows:
    return _Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in _Rows.__dataclass_fields__))


def _where(rows: _Rows, kept: Bools) -> _Rows:
    return _Rows(rows.lead[kept], rows.minute[kept], rows.code[kept], rows.recorded[kept])


def _dictionary(code: Int64s, names: Sequence[str]) -> pa.Array:
    return pa.array(np.array(names, dtype=object)).take(pa.array(code))


def _times(minute: Int64s) -> pa.Array:
    first = np.datetime64(crm.FIRST_DAY, "us")
    times = first + minute.astype("timedelta64[m]")
    return pa.array(times, mask=minute == NOW).cast(pa.timestamp("us", "UTC"))


def _shuffled(rng: np.random.Generator, name: str, columns: Columns) -> pa.Table:
    table = pa.table(columns).cast(TABLES[name].schema)
    return table.take(pa.array(rng.permutation(table.num_rows)))
