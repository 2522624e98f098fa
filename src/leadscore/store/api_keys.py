"""Keys of the API: shown once, kept as salted hashes, compared in constant time.

A key is ``<id>.<secret>``. Its secret has 256 random bits, so that one round of a hash keeps it: there is nothing to
guess that a slow hash would protect.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import sqlalchemy as sa

from leadscore.errors import StoreError
from leadscore.store.schema import api_keys

if TYPE_CHECKING:
    from collections.abc import Iterable

SCOPES = ("score", "read", "write", "erase", "backfill")
SALT_BYTES, HASH_BYTES = 16, 32

_FIND = sa.select(api_keys).where(api_keys.c.id == sa.bindparam("key_id"))
_LIST = sa.select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)
_REVOKE = (
    sa.update(api_keys)
    .where(api_keys.c.id == sa.bindparam("key_id"), api_keys.c.revoked_at.is_(None))
    .values(revoked_at=sa.bindparam("moment"))
)
# A key that is not there takes as long to refuse as one that is.
_NOBODY = bytes(SALT_BYTES), bytes(HASH_BYTES)


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key; not the key itself.

    Attributes
    ----------
    id : str
        Its public part.
    scopes : frozenset of str
        What its holder may do: of ``score``, ``read``, ``write``, ``erase`` and, beside ``write``, ``backfill``: state
        when an event became known.
    note : str
        Whose it is.
    created_at, revoked_at : int
        Microseconds since 1970 UTC.
    """

    id: str
    scopes: frozenset[str]
    note: str
    created_at: int
    revoked_at: int | None


def create_key(connection: sa.Connection, scopes: Iterable[str], *, note: str = "", at: int) -> str:
    """A new key, to be shown once.

    Raises
    ------
    StoreError
        A scope is unknown, or there is none.
    """
    wanted = set(scopes)
    if not wanted or wanted - set(SCOPES):
        raise StoreError(f"a key needs scopes of {', '.join(SCOPES)}, got {', '.join(sorted(wanted)) or 'none'}")
    key_id, said, salt = secrets.token_hex(6), secrets.token_urlsafe(32), secrets.token_bytes(SALT_BYTES)
    row = {
        "id": key_id,
        "hash": _hashed(said, salt),
        "salt": salt,
        "scopes": " ".join(sorted(wanted)),
        "note": note,
        "created_at": at,
    }
    connection.execute(sa.insert(api_keys), row)
    return f"{key_id}.{said}"


def revoke_key(connection: sa.Connection, key_id: str, *, at: int) -> bool:
    """Whether a key of this id was there and is from now on refused; a second call gives False."""
    return connection.execute(_REVOKE, {"key_id": key_id, "moment": at}).rowcount > 0


def find_key(connection: sa.Connection, presented: str) -> Key | None:
    """The key that was presented; None where it is wrong or revoked."""
    key_id, _, said = presented.partition(".")
    row = connection.execute(_FIND, {"key_id": key_id}).one_or_none() if _is_plain(presented) else None
    salt, expected = _NOBODY if row is None else (row.salt, row.hash)
    same = hmac.compare_digest(_hashed(said, salt), expected)
    return _key(row) if same and row is not None and row.revoked_at is None else None


def list_keys(connection: sa.Connection) -> list[Key]:
    """All keys, revoked ones too, oldest first."""
    return [_key(row) for row in connection.execute(_LIST)]


def _key(row: sa.Row[tuple[object, ...]]) -> Key:
    return Key(row.id, frozenset(row.scopes.split()), row.note, row.created_at, row.revoked_at)


def _is_plain(presented: str) -> bool:
    # PostgreSQL refuses a NUL, and no driver encodes half of a surrogate pair.
    return presented.isascii() and presented.isprintable()


def _hashed(said: str, salt: bytes) -> bytes:
    return blake2b(said.encode(errors="surrogatepass"), salt=salt, digest_size=HASH_BYTES).digest()
