"""The tables that are written: one declaration, from which come their schemas and the data dictionary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from leadscore.simulate import crm

if TYPE_CHECKING:
    from collections.abc import Iterable

_TIME = pa.timestamp("us", "UTC")
_LEAD = "Opaque name of the lead; says nothing of its order in time."
_RECORDED = "When the CRM knew of it; empty where that is `occurred_at`."


def _one_of(names: Iterable[str]) -> str:
    return f"One of {', '.join(names)}."


@dataclass(frozen=True, slots=True)
class Column:
    """A column, its type and what it means."""

    name: str
    type: pa.DataType
    meaning: str


@dataclass(frozen=True, slots=True)
class Written:
    """A table, what one row is, and its columns."""

    row: str
    columns: tuple[Column, ...]

    @property
    def schema(self) -> pa.Schema:
        """Names and types for Arrow."""
        return pa.schema([(column.name, column.type) for column in self.columns])


TABLES = {
    "leads": Written(
        "One lead, with what was known when it was created.",
        (
            Column("lead_id", pa.string(), _LEAD),
            Column("created_at", _TIME, "When the lead came into the CRM; it stands in `lead` from then on."),
            Column("source", pa.string(), _one_of(source.name for source in crm.SOURCES)),
            Column("industry", pa.string(), _one_of(crm.INDUSTRIES)),
            Column("country", pa.string(), _one_of(crm.COUNTRIES)),
            Column("employees", pa.int64(), "Size of the company in people; empty where nobody knows."),
            Column("cost", pa.float64(), "Paid for the lead by the campaign, in EUR; no attribute."),
            Column("do_not_score", pa.bool_(), "The lead objected to profiling: no training, no score."),
        ),
    ),
    "transitions": Written(
        "A lead entering a stage. Leads go back, skip stages, are lost and reopened. A row can repeat the\n"
        "stage in which the lead already stands, and a stage that was skipped can be filled in afterwards:\n"
        "`occurred_at` before the stage that followed, `recorded_at` after it.",
        (
            Column("lead_id", pa.string(), _LEAD),
            Column("stage", pa.string(), _one_of(crm.STAGES)),
            Column("occurred_at", _TIME, "When the lead entered the stage."),
            Column("recorded_at", _TIME, _RECORDED),
            Column("reason", pa.string(), "Of `lost` only. " + _one_of(crm.LOST_REASONS)),
        ),
    ),
    "touches": Written(
        "One interaction.",
        (
            Column("lead_id", pa.string(), _LEAD),
            Column("kind", pa.string(), _one_of(kind.name for kind in crm.KINDS)),
            Column("occurred_at", _TIME, "When it happened."),
            Column("recorded_at", _TIME, _RECORDED),
            Column("direction", pa.string(), "inbound or outbound."),
            Column("by", pa.string(), "Who on our side; empty where a machine counted it."),
            Column("value", pa.int64(), "Minutes of a call, meeting, demo, webinar; pages of a visit."),
        ),
    ),
    "changes": Written(
        "What sales fill in later: an attribute taking a value.",
        (
            Column("lead_id", pa.string(), _LEAD),
            Column("attribute", pa.string(), "owner or amount."),
            Column("value", pa.string(), "Name of the owner; amount of the opportunity in EUR."),
            Column("occurred_at", _TIME, "From when it holds."),
            Column("recorded_at", _TIME, _RECORDED),
        ),
    ),
    "truth": Written(
        "A lead that is open on a morning. For tests and benchmarks only: `funnel.toml` does not name it.",
        (
            Column("lead_id", pa.string(), _LEAD),
            Column("as_of", _TIME, "The morning."),
            Column("stage", pa.string(), "Where the lead stands."),
            *(
                Column(
                    stage,
                    pa.float64(),
                    f"True probability of reaching {stage} or a later stage within {days} days, given what "
                    "was recorded by `as_of`; empty where the lead stands there or further.",
                )
                for stage, days in crm.FUNNEL.horizon_days.items()
            ),
        ),
    ),
}

FUNNEL_TOML = f"""preset = "b2b"

[time]
known_until = {crm.KNOWN_UNTIL:%Y-%m-%dT%H:%M:%SZ}

[attributes]
numbers = ["employees"]
categories = ["source", "industry", "country"]

[changes]
numbers = ["amount"]
categories = ["owner"]

[owner]
capacity = 2
"""


_README = """# A simulated B2B CRM

{leads:,} leads from {first} to {last}, invented by `leadscore.simulate` with seed {seed}. Nobody in it
is real. All times are UTC; rows are in no order; an empty cell means that there is no value.

A hidden interest (cold, warm, hot or gone) moves once a day and sets how often a lead is touched and how fast
it moves. Weekends, seasons and a slow drift do the rest, and so do source, industry, country, size and the
owner's team. Because nothing else is hidden, the true probability of what comes next is known: `truth`. What
the CRM had not recorded by the end of the history is not in the tables.
"""


def data_dictionary(files: dict[str, str], leads: int, seed: int) -> str:
    """Text of the README of a simulated data set; ``files`` says where each table is."""
    head = _README.format(leads=leads, seed=seed, first=crm.FIRST_DAY, last=crm.KNOWN_UNTIL.date())
    return "\n".join([head, *(_section(file, TABLES[table]) for table, file in files.items())])


def _section(file: str, table: Written) -> str:
    rows = [f"| `{column.name}` | {_TYPES[column.type]} | {column.meaning} |\n" for column in table.columns]
    return f"## {file}\n\n{table.row}\n\n| column | type | meaning |\n|---|---|---|\n{''.join(rows)}"


_TYPES = {
    _TIME: "time",
    pa.string(): "text",
    pa.int64(): "whole number",
    pa.float64(): "number",
    pa.bool_(): "true or false",
}
