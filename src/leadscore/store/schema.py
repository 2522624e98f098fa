"""The tables of the store. Times are microseconds since 1970 UTC.

What changes here changes in a new revision of `leadscore.store.migrations`, too.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

# Names of constraints are the same in every database, so that a migration can speak of them.
NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = sa.MetaData(naming_convention=NAMES)

# SQLite numbers rows by itself only where the primary key is an INTEGER.
Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Moment = sa.BigInteger
KEY_BYTES = 16
Key = sa.LargeBinary(KEY_BYTES)


def _numbered(name: str) -> sa.Column[int]:
    return sa.Column(name, Number, primary_key=True, autoincrement=True)


def _of_lead(*, index: bool = True) -> sa.Column[int]:
    return sa.Column("lead", Number, sa.ForeignKey("leads.lead"), nullable=False, index=index)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false())


def _events(name: str, *columns: sa.Column[Any]) -> sa.Table:
    """A table of events.

    ``event_key`` is that of `leadscore.store.event_keys`. ``version`` is the sender's number of the contents.
    ``corrected_at`` is when other contents replaced the first ones. ``backfilled`` marks rows whose ``recorded_at``
    an API caller stated.
    """
    corrected = sa.Column("corrected_at", Moment)
    return sa.Table(
        name,
        metadata,
        _numbered("id"),
        _of_lead(),
        sa.Column("event_key", Key, nullable=False, unique=True),
        sa.Column("occurred_at", Moment, nullable=False),
        sa.Column("recorded_at", Moment, nullable=False),
        *columns,
        sa.Column("version", sa.BigInteger),
        corrected,
        _flag("backfilled"),
        # Nearly none are corrected: they are counted without a look at the others.
        sa.Index(None, corrected, sqlite_where=corrected.is_not(None), postgresql_where=corrected.is_not(None)),
    )


# The number of an erased lead must not become another's.
leads = sa.Table(
    "leads",
    metadata,
    _numbered("lead"),
    sa.Column("lead_id", sa.Text, nullable=False, unique=True),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("recorded_at", Moment, nullable=False),
    sa.Column("attributes", sa.Text, nullable=False),  # an object in JSON: number, text or null by name
    sa.Column("do_not_score", sa.Boolean, nullable=False),
    sa.Column("gone_at", Moment),  # no longer in the CRM: off the list, its past still teaches
    _flag("incomplete"),  # a transition of it was set aside
    _flag("backfilled"),
    sqlite_autoincrement=True,
)
transitions = _events(
    "transitions",
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    _flag("whole_day"),  # occurred_at is the end of a day, of which no time is known
)
touches = _events(
    "touches",
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("direction", sa.Text),
    sa.Column("by", sa.Text),
    sa.Column("value", sa.Double),
)
changes = _events("changes", sa.Column("attribute", sa.Text, nullable=False), sa.Column("value", sa.Text))
EVENTS = {table.name: table for table in (transitions, touches, changes)}
# Few rows are: they are counted without reading the table.
for _table in (leads, *EVENTS.values()):
    sa.Index(
        f"ix_{_table.name}_backfilled",
        next(iter(_table.primary_key)),
        sqlite_where=_table.c.backfilled,
        postgresql_where=_table.c.backfilled,
    )

# Taken back by its event_id: it stays away when it is sent or imported again.
retracted = sa.Table(
    "retracted",
    metadata,
    sa.Column("event_key", Key, primary_key=True),
    sa.Column("at", Moment, nullable=False),
)
# What names the one that went is about the one that stayed.
merged = sa.Table(
    "merged",
    metadata,
    sa.Column("lead_id", sa.Text, primary_key=True),
    sa.Column("into_lead_id", sa.Text, nullable=False, index=True),
    sa.Column("at", Moment, nullable=False),
)
# No personal data: a hash that nobody can make without the key in settings.
erased = sa.Table(
    "erased",
    metadata,
    sa.Column("id_hash", sa.LargeBinary(32), primary_key=True),
    sa.Column("receipt", sa.Text, nullable=False),
    sa.Column("at", Moment, nullable=False),
)
settings = sa.Table(
    "settings",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
imports = sa.Table(
    "imports",
    metadata,
    sa.Column("source", sa.LargeBinary(32), primary_key=True),
    sa.Column("table_name", sa.Text, primary_key=True),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("finished_at", Moment, nullable=False),
)
api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("hash", sa.LargeBinary(32), nullable=False),
    sa.Column("salt", sa.LargeBinary(16), nullable=False),
    sa.Column("scopes", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("revoked_at", Moment),
)

runs = sa.Table(
    "runs",
    metadata,
    _numbered("run"),
    sa.Column("as_of", Moment, nullable=False),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("finished_at", Moment),
    sa.Column("published_at", Moment),
    sa.Column("model_version", sa.Text, nullable=False),
    sa.Column("leads", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # staging, published, old (the former list), past or failed
    sqlite_autoincrement=True,
)
# At most one row, the pointer that a publication moves.
published = sa.Table(
    "published",
    metadata,
    sa.Column("one", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("run", Number, sa.ForeignKey("runs.run"), nullable=False),
)


def _score(*columns: sa.Column[int]) -> tuple[sa.Column[int] | sa.Column[str], ...]:
    return (
        *columns,
        sa.Column("as_of", Moment, nullable=False),
        sa.Column("scored_at", Moment, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("probabilities", sa.Text, nullable=False),  # a list in JSON, in order of later stages
        sa.Column("flags", sa.Text, nullable=False),  # a list in JSON
    )


scores = sa.Table(
    "scores",
    metadata,
    *_score(_numbered("id"), _of_lead(index=False)),
    sa.Index(None, "lead", "as_of"),
    sa.Index(None, "as_of"),
)
# The key begins with the lead: what is done to one lead finds its rows in all runs.
listed = sa.Table(
    "listed",
    metadata,
    *_score(
        sa.Column("lead", Number, sa.ForeignKey("leads.lead"), primary_key=True, autoincrement=False),
        sa.Column("run", Number, sa.ForeignKey("runs.run"), primary_key=True, autoincrement=False),
    ),
    sa.Column("list", sa.Text, nullable=False),  # handoff, win, or nothing for a lead that is won or lost
    sa.Column("rank", sa.BigInteger),
    sa.Column("key", sa.Double, nullable=False),  # the probability that the list is in order of
    sa.Column("owner", sa.Text),
    sa.Column("source", sa.Text),
    sa.Column("grade", sa.Text, nullable=False),
)
# Stage and source stand in both: rows that are filtered out are passed over in the index. Those of one owner are few.
_order = (listed.c.key.desc(), listed.c.lead, listed.c.stage, listed.c.source)
sa.Index("ix_listed_key", listed.c.run, listed.c.list, *_order)
sa.Index("ix_listed_owner", listed.c.run, listed.c.list, listed.c.owner, *_order)
