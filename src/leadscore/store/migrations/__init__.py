"""The tables of the store, revision by revision."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from leadscore.errors import StoreError
from leadscore.store.settings import make_secret

if TYPE_CHECKING:
    from collections.abc import Iterator

# One number for all who make tables.
LOCK = int.from_bytes(b"leadmigr")


def migrate(engine: sa.Engine) -> None:
    """Bring the tables of a database up to date, one caller at a time.

    Raises
    ------
    StoreError
        The tables are of a later leadscore.
    """
    config = configured()
    newest = ScriptDirectory.from_config(config).get_current_head()
    with _one_at_a_time(engine), engine.connect() as connection:
        if _revision(connection) == newest:
            return
        connection.rollback()
        with connection.execution_options(leadscore_writes=True).begin():
            if engine.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
                make_secret(connection)
            except CommandError:
                raise StoreError("the database was made by a later leadscore: bring leadscore up to date") from None


def configured() -> Config:
    """Alembic's settings, without a file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("select version_num from alembic_version")).scalar_one_or_none()


@contextmanager
def _one_at_a_time(engine: sa.Engine) -> Iterator[None]:
    """Wait for others on this machine: SQLite does not wait where two set up one file."""
    if engine.dialect.name != "sqlite":
        yield
        return
    # Its folder: to close another handle of the file itself would let go of SQLite's locks.
    folder = os.open(Path(engine.url.database or "").absolute().parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
