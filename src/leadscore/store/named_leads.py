"""The leads that events name: which ids stand for them, which are new, and what events change of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from leadscore.store.dialect import new_of, rows_among
from leadscore.store.erasure import erased_of
from leadscore.store.events import Lead, Merge, Outcome, Retraction
from leadscore.store.merging import written
from leadscore.store.schema import leads, merged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadscore.store.events import Event

_UPDATE_LEAD = sa.update(leads).where(leads.c.lead == sa.bindparam("of_lead"))


@dataclass(frozen=True, slots=True)
class Sent:
    """An event, its position, the request that it came with, and when that came."""

    index: int
    event: Any
    request: int
    at: int


@dataclass(frozen=True, slots=True)
class NamedLeads:
    """The leads that events name.

    Attributes
    ----------
    into : dict of str to str
        Which lead an id that was merged away stands for.
    erased : set of str
        Ids that must not come back.
    rows : dict of str to Row
        The leads that are there, by the id that stands for them; locked.
    new : set of str
        Those that were inserted just now.
    """

    into: dict[str, str]
    erased: set[str]
    rows: dict[str, sa.Row[Any]]
    new: set[str]

    def row(self, lead_id: str) -> sa.Row[Any] | None:
        """The lead that an id stands for; None where there is none."""
        return self.rows.get(self.into.get(lead_id, lead_id))


@dataclass(frozen=True, slots=True)
class Results:
    """Outcomes, and the numbers of the leads that were touched, by the index of the event."""

    outcomes: dict[int, Outcome]
    touched: dict[int, set[int]]

    def add(self, other: Results) -> None:
        """Take in the results of other events."""
        self.outcomes.update(other.outcomes)
        self.touched.update(other.touched)


def of_types(sent: Sequence[Sent], *kinds: type[Any]) -> list[Sent]:
    """The events of some types, in their order."""
    return [each for each in sent if isinstance(each.event, kinds)]


def resolve_leads(connection: sa.Connection, sent: Sequence[Sent]) -> NamedLeads:
    """Which lead each id stands for; new ones are inserted, and all of them locked."""
    named = list(dict.fromkeys(name for each in sent for name in names_of(each.event)))
    into = {row.lead_id: row.into_lead_id for row in rows_among(connection, merged.c.lead_id, named)}
    erased = erased_of(connection, [*named, *into.values()])
    first: dict[str, Sent] = {}
    for each in of_types(sent, Lead):
        if each.event.lead_id not in erased and each.event.lead_id not in into:
            first.setdefault(each.event.lead_id, each)
    # In order of lead_id, so that two requests do not wait for each other.
    new = new_of(connection, leads.c.lead_id, [_new_lead(each) for _, each in sorted(first.items())])
    stand = [into.get(name, name) for name in named]
    found = rows_among(connection, leads.c.lead_id, stand, lock=True)
    return NamedLeads(into, erased, {row.lead_id: row for row in found}, new)


def names_of(event: Event) -> tuple[str, ...]:
    """The leads that an event names."""
    if isinstance(event, Retraction):
        return ()
    return (event.lead_id, event.into_lead_id) if isinstance(event, Merge) else (event.lead_id,)


def _new_lead(sent: Sent) -> dict[str, Any]:
    lead: Lead = sent.event
    return {
        "lead_id": lead.lead_id,
        "created_at": lead.created_at,
        "recorded_at": sent.at if lead.recorded_at is None else lead.recorded_at,
        "attributes": written(lead.attributes),
        "do_not_score": lead.do_not_score,
        "backfilled": lead.recorded_at is not None,
    }


@dataclass(frozen=True, slots=True)
class _LeadState:
    """What events may change of a lead."""

    attributes: dict[str, Any]
    do_not_score: bool
    recorded_at: int
    backfilled: bool

    @classmethod
    def from_row(cls, row: sa.Row[Any]) -> _LeadState:
        return cls(json.loads(row.attributes), row.do_not_score, row.recorded_at, row.backfilled)

    def after(self, lead: Lead, *, merged_away: bool) -> _LeadState:
        """The state after an event; an id that went speaks only for attributes that the one that stayed has."""
        objects = self.do_not_score or lead.do_not_score
        if merged_away:
            return replace(self, do_not_score=objects)
        after = replace(self, attributes=self.attributes | lead.attributes, do_not_score=objects)
        if lead.recorded_at in {None, self.recorded_at}:
            return after
        return replace(after, recorded_at=lead.recorded_at, backfilled=True)


def update_leads(connection: sa.Connection, sent: Sequence[Sent], known: NamedLeads) -> Results:
    """Change leads by what events say of them."""
    results, unnamed = Results({}, {}), set(known.new)
    if not sent:
        return results
    before = {name: _LeadState.from_row(row) for name, row in known.rows.items()}
    state = dict(before)
    for each in sent:
        lead: Lead = each.event
        if lead.lead_id in known.erased:
            results.outcomes[each.index] = Outcome.ERASED
            continue
        name = known.into.get(lead.lead_id, lead.lead_id)
        after = state[name].after(lead, merged_away=name != lead.lead_id)
        outcome = Outcome.NEW if name in unnamed else Outcome.REPEAT if after == state[name] else Outcome.CHANGED
        unnamed.discard(name)
        state[name], results.outcomes[each.index] = after, outcome
        if outcome is not Outcome.REPEAT:
            results.touched[each.index] = {known.rows[name].lead}
    changed = {known.rows[name].lead: state[name] for name in sorted(state) if state[name] != before[name]}
    if changed:
        connection.execute(_UPDATE_LEAD, [_lead_columns(lead, each) for lead, each in changed.items()])
    return results


def _lead_columns(lead: int, state: _LeadState) -> dict[str, Any]:
    return {
        "of_lead": lead,
        "attributes": written(state.attributes),
        "do_not_score": state.do_not_score,
        "recorded_at": state.recorded_at,
        "backfilled": state.backfilled,
    }
