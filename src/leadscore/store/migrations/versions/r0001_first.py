"""The first tables."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    _leads_and_events()
    _corrections()
    _service()
    _publication()


def downgrade() -> None:
    """Drop them, those that point at others first."""
    scores = ("published", "listed", "runs", "scores")
    events = ("changes", "touches", "transitions", "leads")
    for table in (*scores, *events, "retracted", "merged", "erased", "settings", "imports", "api_keys"):
        op.drop_table(table)


def _leads_and_events() -> None:
    op.create_table(
        "leads",
        sa.Column("lead", Number, autoincrement=True),
        _needed("lead_id", sa.Text()),
        _needed("created_at"),
        _needed("recorded_at"),
        _needed("attributes", sa.Text()),
        _needed("do_not_score", sa.Boolean()),
        sa.PrimaryKeyConstraint("lead", name="pk_leads"),
        sa.UniqueConstraint("lead_id", name="uq_leads_lead_id"),
        sqlite_autoincrement=True,
    )
    _events("transitions", _needed("stage", sa.Text()), sa.Column("reason", sa.Text()))
    _events(
        "touches",
        _needed("kind", sa.Text()),
        sa.Column("direction", sa.Text()),
        sa.Column("by", sa.Text()),
        sa.Column("value", sa.Double()),
    )
    _events("changes", _needed("attribute", sa.Text()), sa.Column("value", sa.Text()))


def _events(name: str, *columns: sa.Column[Any]) -> None:
    op.create_table(
        name,
        sa.Column("id", Number, autoincrement=True),
        _needed("lead", Number),
        _needed("event_key", sa.LargeBinary(16)),
        _needed("occurred_at"),
        _needed("recorded_at"),
        *columns,
        sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
        sa.ForeignKeyConstraint(["lead"], ["leads.lead"], name=f"fk_{name}_lead"),
        sa.UniqueConstraint("event_key", name=f"uq_{name}_event_key"),
    )
    op.create_index(f"ix_{name}_lead", name, ["lead"])


def _corrections() -> None:
    op.create_table(
        "retracted",
        _needed("event_key", sa.LargeBinary(16)),
        _needed("at"),
        sa.PrimaryKeyConstraint("event_key", name="pk_retracted"),
    )
    op.create_table(
        "merged",
        _needed("lead_id", sa.Text()),
        _needed("into_lead_id", sa.Text()),
        _needed("at"),
        sa.PrimaryKeyConstraint("lead_id", name="pk_merged"),
    )
    op.create_index("ix_merged_into_lead_id", "merged", ["into_lead_id"])
    op.create_table(
        "erased",
        _needed("id_hash", sa.LargeBinary(32)),
        _needed("receipt", sa.Text()),
        _needed("at"),
        sa.PrimaryKeyConstraint("id_hash", name="pk_erased"),
    )


def _service() -> None:
    op.create_table(
        "settings",
        _needed("name", sa.Text()),
        _needed("value", sa.Text()),
        sa.PrimaryKeyConstraint("name", name="pk_settings"),
    )
    op.create_table(
        "imports",
        _needed("source", sa.LargeBinary(32)),
        _needed("table_name", sa.Text()),
        _needed("rows"),
        _needed("finished_at"),
        sa.PrimaryKeyConstraint("source", "table_name", name="pk_imports"),
    )
    op.create_table(
        "api_keys",
        _needed("id", sa.Text()),
        _needed("hash", sa.LargeBinary(32)),
        _needed("salt", sa.LargeBinary(16)),
        _needed("scopes", sa.Text()),
        _needed("note", sa.Text()),
        _needed("created_at"),
        sa.Column("revoked_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )


def _publication() -> None:
    op.create_table(
        "runs",
        sa.Column("run", Number, autoincrement=True),
        _needed("as_of"),
        _needed("started_at"),
        sa.Column("finished_at", sa.BigInteger()),
        sa.Column("published_at", sa.BigInteger()),
        _needed("model_version", sa.Text()),
        _needed("leads"),
        _needed("state", sa.Text()),
        sa.PrimaryKeyConstraint("run", name="pk_runs"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "published",
        sa.Column("one", sa.SmallInteger(), autoincrement=False, nullable=False),
        _needed("run", Number),
        sa.PrimaryKeyConstraint("one", name="pk_published"),
        sa.ForeignKeyConstraint(["run"], ["runs.run"], name="fk_published_run"),
    )
    op.create_table(
        "scores",
        sa.Column("id", Number, autoincrement=True),
        _needed("lead", Number),
        *_score(),
        sa.PrimaryKeyConstraint("id", name="pk_scores"),
        sa.ForeignKeyConstraint(["lead"], ["leads.lead"], name="fk_scores_lead"),
    )
    op.create_index("ix_scores_lead_as_of", "scores", ["lead", "as_of"])
    op.create_index("ix_scores_as_of", "scores", ["as_of"])
    _listed()


def _listed() -> None:
    op.create_table(
        "listed",
        sa.Column("lead", Number, autoincrement=False, nullable=False),
        sa.Column("run", Number, autoincrement=False, nullable=False),
        *_score(),
        _needed("list", sa.Text()),
        sa.Column("rank", sa.BigInteger()),
        _needed("key", sa.Double()),
        sa.Column("owner", sa.Text()),
        sa.Column("source", sa.Text()),
        _needed("grade", sa.Text()),
        sa.PrimaryKeyConstraint("lead", "run", name="pk_listed"),
        sa.ForeignKeyConstraint(["run"], ["runs.run"], name="fk_listed_run"),
        sa.ForeignKeyConstraint(["lead"], ["leads.lead"], name="fk_listed_lead"),
    )
    order: sa.ColumnElement[Any] = sa.column("key").desc()
    op.create_index("ix_listed_key", "listed", ["run", "list", order, "lead", "stage", "source"])
    op.create_index("ix_listed_owner", "listed", ["run", "list", "owner", order, "lead", "stage", "source"])


def _score() -> tuple[sa.Column[Any], ...]:
    return (
        _needed("as_of"),
        _needed("scored_at"),
        _needed("model_version", sa.Text()),
        _needed("stage", sa.Text()),
        _needed("probabilities", sa.Text()),
        _needed("flags", sa.Text()),
    )


def _needed(name: str, kind: sa.types.TypeEngine[Any] | None = None) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger() if kind is None else kind, nullable=False)
