"""Two leads that turn out to be one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from leadscore.store.events import Outcome
from leadscore.store.schema import EVENTS, leads, listed, merged, scores

if TYPE_CHECKING:
    from leadscore.store.events import Merge

_BOTH = (
    sa.select(leads)
    .where(leads.c.lead_id.in_((sa.bindparam("goes"), sa.bindparam("stays"))))
    .order_by(leads.c.lead)
    .with_for_update()
)
_MOVE = tuple(
    sa.update(table).where(table.c.lead == sa.bindparam("goes")).values(lead=sa.bindparam("stays"))
    for table in EVENTS.values()
)
# What was listed and scored was of another history.
_DROP = tuple(sa.delete(table).where(table.c.lead == sa.bindparam("goes")) for table in (scores, listed, leads))
_UNLIST = sa.delete(listed).where(listed.c.lead == sa.bindparam("stays"))
_FURTHER = (
    sa.update(merged).where(merged.c.into_lead_id == sa.bindparam("goes")).values(into_lead_id=sa.bindparam("stays"))
)
_JOINED = sa.update(leads).where(leads.c.lead == sa.bindparam("row"))


def merge(connection: sa.Connection, said: Merge, into: dict[str, str], *, at: int) -> Outcome:
    """Give all events of one lead to another, and have its id stand for the other from now on.

    The one that stays was created and known when the first of the two was, keeps its attributes and takes those
    that it lacks; it objects if either did.

    Parameters
    ----------
    into : dict of str to str
        Which lead an id that went stands for; the merge is added.
    """
    goes, stays = said.lead_id, into.get(said.into_lead_id, said.into_lead_id)
    if into.get(goes, goes) == stays:
        return Outcome.REPEAT if goes in into else Outcome.UNKNOWN
    found = {row.lead_id: row for row in connection.execute(_BOTH, {"goes": goes, "stays": stays})}
    if goes in into or len(found) < 2:
        return Outcome.UNKNOWN
    numbers = {"goes": found[goes].lead, "stays": found[stays].lead}
    for statement in _MOVE:
        connection.execute(statement, numbers)
    connection.execute(_JOINED, {"row": numbers["stays"], **_joined(found[stays], found[goes])})
    for deletion in _DROP:
        connection.execute(deletion, {"goes": numbers["goes"]})
    if found[goes].do_not_score:
        connection.execute(_UNLIST, {"stays": numbers["stays"]})
    connection.execute(_FURTHER, {"goes": goes, "stays": stays})
    connection.execute(sa.insert(merged), {"lead_id": goes, "into_lead_id": stays, "at": at})
    into |= {each: stays for each, other in into.items() if other == goes} | {goes: stays}
    return Outcome.NEW


def _joined(stays: sa.Row[Any], goes: sa.Row[Any]) -> dict[str, Any]:
    kept = {name: value for name, value in json.loads(stays.attributes).items() if value is not None}
    return {
        "created_at": min(stays.created_at, goes.created_at),
        "recorded_at": min(stays.recorded_at, goes.recorded_at),
        "backfilled": stays.backfilled or goes.backfilled,
        "attributes": written(json.loads(goes.attributes) | kept),
        "do_not_score": stays.do_not_score or goes.do_not_score,
        "incomplete": stays.incomplete or goes.incomplete,
    }


def written(attributes: dict[str, Any]) -> str:
    """Attributes as they are stored: the same ones are the same text."""
    return json.dumps(attributes, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
