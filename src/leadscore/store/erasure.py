"""Leads that must not be there, or must not be scored."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from leadscore.store.dialect import among, inserted, lock_corrections, rows_among
from leadscore.store.schema import EVENTS, erased, leads, listed, merged, scores
from leadscore.store.settings import secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_STAYED = sa.select(merged.c.into_lead_id).where(merged.c.lead_id == sa.bindparam("id"))
_WENT = sa.select(merged.c.lead_id).where(merged.c.into_lead_id == sa.bindparam("id"))
_FORGET_MERGES = sa.delete(merged).where(merged.c.into_lead_id == sa.bindparam("id"))
_LEAD = sa.select(leads.c.lead).where(leads.c.lead_id == sa.bindparam("id")).with_for_update()
_OF_LEAD = tuple(
    sa.delete(table).where(table.c.lead == sa.bindparam("row")) for table in (*EVENTS.values(), scores, listed, leads)
)
_UNLIST = sa.delete(listed).where(listed.c.lead == sa.bindparam("row"))
_RECEIPT = sa.select(erased.c.receipt, erased.c.at).where(erased.c.id_hash == sa.bindparam("hash"))
_ANY = sa.select(sa.literal(1)).select_from(erased).limit(1)
_OBJECT = (
    sa.update(leads)
    .where(leads.c.lead == sa.bindparam("row"))
    .values(do_not_score=sa.bindparam("objects", type_=sa.Boolean))
)


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof of an erasure; no personal data.

    Attributes
    ----------
    number : str
        A random UUID.
    at : int
        When the lead was erased first, in microseconds since 1970 UTC.
    """

    number: str
    at: int


def erase(connection: sa.Connection, lead_id: str, *, at: int) -> Receipt:
    """Erase a lead, whatever was merged with it, and all that was recorded or scored of it.

    A keyed hash of each id stays, so that no event and no import brings the lead back. A lead that is not there is
    kept away, too. A second call changes nothing and gives the first receipt.

    Parameters
    ----------
    connection : Connection
        Of `leadscore.store.transaction`.
    at : int
        The moment of the request, in microseconds since 1970 UTC.
    """
    lock_corrections(connection, alone=True)
    if connection.dialect.name == "sqlite":
        # What is deleted is overwritten, not only let go of.
        connection.exec_driver_sql("PRAGMA secure_delete = ON").close()
    stayed = stayed_of(connection, lead_id)
    went = connection.execute(_WENT, {"id": stayed}).scalars().all()
    key = secret(connection)
    found = connection.execute(_RECEIPT, {"hash": id_hash(lead_id, key)}).one_or_none()
    receipt = Receipt(str(uuid.uuid4()), at) if found is None else Receipt(*found)
    hashes = [id_hash(each, key) for each in dict.fromkeys((lead_id, stayed, *went))]
    inserted(connection, erased, [{"id_hash": each, "receipt": receipt.number, "at": receipt.at} for each in hashes])
    row = connection.execute(_LEAD, {"id": stayed}).scalar_one_or_none()
    if row is not None:
        for statement in _OF_LEAD:
            connection.execute(statement, {"row": row})
    connection.execute(_FORGET_MERGES, {"id": stayed})
    return receipt


def object_to_scoring(connection: sa.Connection, lead_id: str, objects: bool, *, at: int) -> bool:  # noqa: FBT001, ARG001
    """Take a lead out of lists, scoring and training, or let it in again; whether there is such a lead.

    No import and no event takes an objection back, only this does. Events of the lead are stored all the same.

    Parameters
    ----------
    connection : Connection
        Of `leadscore.store.transaction`.
    objects : bool
        Whether the lead objects.
    at : int
        The moment of the request.
    """
    lock_corrections(connection, alone=True)
    stayed = stayed_of(connection, lead_id)
    row = connection.execute(_LEAD, {"id": stayed}).scalar_one_or_none()
    if row is None:
        return False
    connection.execute(_OBJECT, {"row": row, "objects": objects})
    if objects:
        connection.execute(_UNLIST, {"row": row})
    return True


def stayed_of(connection: sa.Connection, lead_id: str) -> str:
    """The id of the lead that this one stands for: the one that stayed where it was merged, else itself."""
    return connection.execute(_STAYED, {"id": lead_id}).scalar_one_or_none() or lead_id


def objecting_of(connection: sa.Connection, lead_ids: Sequence[str]) -> set[str]:
    """Which of these leads object, by the names given here: a lead that was merged stands for the one that stayed."""
    return set(connection.execute(_objecting(connection.dialect.name), {"ids": list(lead_ids)}).scalars())


@cache
def _objecting(dialect: str) -> Any:
    own = sa.select(leads.c.lead_id).where(leads.c.do_not_score, among(leads.c.lead_id, "ids", dialect))
    stayed = sa.select(merged.c.lead_id).join(leads, leads.c.lead_id == merged.c.into_lead_id)
    return sa.union_all(own, stayed.where(leads.c.do_not_score, among(merged.c.lead_id, "ids", dialect)))


def id_hash(lead_id: str, key: bytes) -> bytes:
    """What is kept of the id of an erased lead."""
    return blake2b(lead_id.encode(errors="surrogatepass"), key=key, digest_size=32).digest()


def erased_of(connection: sa.Connection, lead_ids: Sequence[str]) -> set[str]:
    """Which of these leads were erased."""
    if connection.execute(_ANY).first() is None:
        return set()
    key = secret(connection)
    hashes = {id_hash(each, key): each for each in lead_ids}
    return {hashes[row.id_hash] for row in rows_among(connection, erased.c.id_hash, list(hashes))}


def all_erased(connection: sa.Connection) -> Callable[[Iterable[str]], set[str]]:
    """A function to those of any leads that were erased, which does not ask the database again."""
    known = set(connection.execute(sa.select(erased.c.id_hash)).scalars())
    key = secret(connection)
    return lambda lead_ids: {each for each in lead_ids if id_hash(each, key) in known} if known else set()
