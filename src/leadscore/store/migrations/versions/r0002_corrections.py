"""Corrections of events, back-filled rows, whole days, and leads that are gone or incomplete."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

EVENTS = ("transitions", "touches", "changes")
KEYS = {"leads": "lead"} | dict.fromkeys(EVENTS, "id")


def upgrade() -> None:
    """Add the columns."""
    for table in EVENTS:
        op.add_column(table, sa.Column("version", sa.BigInteger()))
        op.add_column(table, sa.Column("corrected_at", sa.BigInteger()))
        op.add_column(table, _flag("backfilled"))
        some = sa.text("corrected_at IS NOT NULL")
        name = f"ix_{table}_corrected_at"
        op.create_index(name, table, ["corrected_at"], sqlite_where=some, postgresql_where=some)
    op.add_column("transitions", _flag("whole_day"))
    op.add_column("leads", sa.Column("gone_at", sa.BigInteger()))
    op.add_column("leads", _flag("incomplete"))
    op.add_column("leads", _flag("backfilled"))
    for table, key in KEYS.items():
        where = sa.table(table, sa.column("backfilled", sa.Boolean())).c.backfilled
        op.create_index(f"ix_{table}_backfilled", table, [key], sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Drop them."""
    for table in KEYS:
        op.drop_index(f"ix_{table}_backfilled", table)
    for name in ("gone_at", "incomplete", "backfilled"):
        op.drop_column("leads", name)
    op.drop_column("transitions", "whole_day")
    for table in EVENTS:
        op.drop_index(f"ix_{table}_corrected_at", table)
        for name in ("version", "corrected_at", "backfilled"):
            op.drop_column(table, name)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false())
