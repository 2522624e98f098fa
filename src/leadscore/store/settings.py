"""What the store knows of itself: its funnel, the end of its recorded history, its secret."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import sqlalchemy as sa

from leadscore.config import Funnel
from leadscore.errors import StoreError
from leadscore.store.dialect import inserted, upserted
from leadscore.store.schema import settings

if TYPE_CHECKING:
    from collections.abc import Mapping

FUNNEL, KNOWN_UNTIL, ERASE_KEY = "funnel", "known_until", "erase_key"

_READ = sa.select(settings.c.name, settings.c.value).where(settings.c.name.in_((FUNNEL, KNOWN_UNTIL)))
_SECRET = sa.select(settings.c.value).where(settings.c.name == ERASE_KEY)
_UNTIL = sa.select(settings.c.value).where(settings.c.name == KNOWN_UNTIL)


def make_secret(connection: sa.Connection) -> None:
    """Make the key of the hashes of erased leads, where there is none."""
    inserted(connection, settings, [{"name": ERASE_KEY, "value": secrets.token_hex(32)}])


def secret(connection: sa.Connection) -> bytes:
    """The key of the hashes of erased leads."""
    return bytes.fromhex(connection.execute(_SECRET).scalar_one())


def save_settings(connection: sa.Connection, funnel: Funnel, known_until: int) -> None:
    """Note the funnel of an import, and the end of its recorded history unless a later one is known."""
    known = latest_known_until(connection)
    until = known_until if known is None else max(known_until, known)
    rows = {FUNNEL: funnel.model_dump_json(), KNOWN_UNTIL: str(until)}
    for name, value in rows.items():
        upserted(connection, settings, {"name": name, "value": value})


def latest_known_until(connection: sa.Connection) -> int | None:
    """The end of the recorded history, as the imports said it; None where there was none."""
    known = connection.execute(_UNTIL).scalar_one_or_none()
    return None if known is None else int(known)


def stored_funnel(connection: sa.Connection) -> Funnel:
    """The funnel that the store was last filled with.

    Raises
    ------
    StoreError
        It was never filled.
    """
    return Funnel.model_validate_json(_filled(connection)[FUNNEL])


def stored_known_until(connection: sa.Connection) -> int:
    """The end of the recorded history, as the imports said it.

    Raises
    ------
    StoreError
        The store was never filled.
    """
    return int(_filled(connection)[KNOWN_UNTIL])


def _filled(connection: sa.Connection) -> Mapping[str, str]:
    found = {name: value for name, value in connection.execute(_READ)}  # noqa: C416 - rows are not pairs to mypy
    if FUNNEL not in found:
        raise StoreError("the store holds no data set yet: fill it with make ingest DATA=<folder>")
    return found
