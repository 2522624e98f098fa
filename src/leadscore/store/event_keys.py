"""A key for each event: a repeat of an event has the same key, so that storing it again changes nothing.

It is a hash of the ``event_id`` where there is one. Where there is none it is a hash of the row as it was sent and
of how many rows like it came before: the n-th identical row of a file or a request is the n-th event. When the row
was recorded is not part of it, because the CRM's export knows an event that came in by the API at another time.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from leadscore.store.schema import EVENTS, KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Hashable


def key_of_id(table: str, event_id: str) -> bytes:
    """Key of an event with an ``event_id``."""
    return _hashed(("id", table, event_id))


def keys_of_id(event_id: str) -> tuple[bytes, ...]:
    """The keys that an ``event_id`` has in each table: who takes an event back does not say what it was."""
    return tuple(key_of_id(table, event_id) for table in EVENTS)


def key_of_row(table: str, row: tuple[Hashable, ...], before: int) -> bytes:
    """Key of an event without one.

    Parameters
    ----------
    row : tuple
        ``lead_id`` as it was sent, then the other values but ``recorded_at``.
    before : int
        How many identical rows came before it.
    """
    return _hashed((table, row, before))


def _hashed(said: tuple[Hashable, ...]) -> bytes:
    # repr puts texts in quotes, so that no two rows are written alike.
    return blake2b(repr(said).encode(errors="surrogatepass"), digest_size=KEY_BYTES).digest()
