"""Small invented tables: all that happens in real histories happens in them, often at the same moment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from leadscore.config import parse_funnel
from leadscore.features import catalogue, columns_of, matrix
from leadscore.history import DAY, HOUR, History, Vocabulary, build_history, kinds_of, names_of
from leadscore.history.tables import ChangeTable, Coded, LeadTable, Tables, TouchTable, TransitionTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import DrawFn

    from leadscore.config import Funnel
    from leadscore.features import Feature
    from leadscore.history.line import Float32s, Int64s

FUNNEL_TOML = """
[funnel]
stages = ["lead", "mql", "sql", "won"]
lost = ["lost"]
handoff = ["mql", "sql"]

[horizon_days]
mql = 7
sql = 14
won = 30

[time]
timezone = "{zone}"

[attributes]
numbers = ["employees"]
categories = ["source"]

[changes]
numbers = ["amount"]
categories = ["owner"]

[features]
windows_days = [1, 7, 30]
calendar = ["hour", "weekday", "month"]
min_category_leads = 2
"""


def funnel_in(zone: str) -> Funnel:
    return parse_funnel(FUNNEL_TOML.format(zone=zone))


FUNNEL = funnel_in("Europe/Berlin")
N_STATES = len(FUNNEL.stages) + 1  # lost is the last
BEGIN = 1_709_542_800_000_000  # 2024-03-04 09:00 UTC; clocks go forward on 2024-03-31
SPAN_DAYS = 120
KNOWN_UNTIL = BEGIN + SPAN_DAYS * DAY

KINDS = ("call", "email", "form", "meeting", "rare", "visit")
AGENTS = ("ann", "bob", "cy")
SOURCES = ("ads", "fair", "web")
OWNERS = ("dora", "emil")
# Names that a model knows: a kind, an agent and a source are missing, so that something is __other__.
VOCABULARY = Vocabulary(
    kinds=kinds_of(name for name in KINDS if name != "rare"),
    agents=names_of(AGENTS[:2]),
    categories={"source": names_of(SOURCES[:2]), "owner": names_of(OWNERS)},
)

Ints = npt.NDArray[np.integer[Any]]
AnyTable = TypeVar("AnyTable", TransitionTable, TouchTable, ChangeTable)


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows of the `LeadTable`, each at a moment."""

    lead: Int64s
    as_of: Int64s

    def __getitem__(self, rows: npt.NDArray[Any] | slice) -> Examples:
        return Examples(self.lead[rows], self.as_of[rows])


def random_tables(seed: int, n_leads: int = 40) -> Tables:
    """Leads with and without events; late records, steps back, reopenings, repeats and ties."""
    rng = np.random.default_rng(seed)
    created = BEGIN + rng.integers(0, SPAN_DAYS // 2 * 24, n_leads) * HOUR
    # The first lead has no event, the second one of each sort.
    busy = np.arange(min(2, n_leads - 1), n_leads)

    def owners_of(n_events: int) -> Int64s:
        single = np.ones(min(1, n_leads - 1), np.int64)
        return np.concatenate((single, rng.choice(busy, n_events)))

    return Tables(
        leads=_leads(rng, created),
        transitions=transitions_of(rng, created, owners_of(3 * n_leads)),
        touches=touches_of(rng, created, owners_of(12 * n_leads)),
        changes={name: changes_of(rng, created, owners_of(2 * n_leads), name) for name in ("amount", "owner")},
        known_until=KNOWN_UNTIL,
    )


def _leads(rng: np.random.Generator, created: Int64s) -> LeadTable:
    n = len(created)
    return LeadTable(
        ids=np.array([f"lead {number:03}" for number in rng.permutation(n)], object),
        created=created,
        known=created + _delay(rng, n),
        do_not_score=rng.random(n) < 0.05 * (n > 2),
        numbers={"employees": np.where(rng.random(n) < 0.2, np.nan, rng.integers(1, 500, n))},
        categories={"source": _coded(rng, SOURCES, n)},
    )


def transitions_of(
    rng: np.random.Generator, created: Int64s, lead: Int64s, since: int | None = None
) -> TransitionTable:
    occurred, known = _moments(rng, created, lead, since)
    stage = rng.integers(0, N_STATES, len(lead)).astype(np.int8)
    return TransitionTable(lead, occurred, known, stage, recorded=_recorded(rng, occurred, known))


def touches_of(rng: np.random.Generator, created: Int64s, lead: Int64s, since: int | None = None) -> TouchTable:
    _, known = _moments(rng, created, lead, since)
    n = len(lead)
    return TouchTable(
        lead,
        known,
        replace(_coded(rng, KINDS, n), codes=rng.integers(0, len(KINDS), n).astype(np.int32)),
        direction=rng.integers(0, 3, n).astype(np.int8),
        by=_coded(rng, AGENTS, n),
        value=np.where(rng.random(n) < 0.5, np.nan, rng.integers(-2_000, 9_999, n) / 100),
    )


def changes_of(
    rng: np.random.Generator, created: Int64s, lead: Int64s, name: str, since: int | None = None
) -> ChangeTable:
    occurred, known = _moments(rng, created, lead, since)
    n = len(lead)
    amount = np.where(rng.random(n) < 0.1, np.nan, rng.integers(1, 6, n) * 250.0)
    value = _coded(rng, OWNERS, n) if name == "owner" else amount
    return ChangeTable(lead, occurred, known, value, recorded=_recorded(rng, occurred, known))


def _coded(rng: np.random.Generator, names: tuple[str, ...], n: int) -> Coded:
    # Names in another order than the vocabulary's, so that nobody mistakes one code for the other.
    return Coded(rng.integers(-1, len(names), n).astype(np.int32), names[::-1])


def _moments(rng: np.random.Generator, created: Int64s, lead: Int64s, since: int | None) -> tuple[Int64s, Int64s]:
    """When events occurred, and when they were known; with ``since``, known after it however old they are."""
    n = len(lead)
    # Whole hours of few days: many events of a lead fall on the same moment.
    occurred = created[lead] + rng.integers(0, 40, n) * DAY + rng.integers(0, 3, n) * HOUR
    occurred = np.minimum(occurred - rng.choice([0, 1, 30 * DAY], n, p=[0.9, 0.05, 0.05]), KNOWN_UNTIL)
    known = occurred + _delay(rng, n)
    if since is not None:
        known = np.maximum(known, since + rng.choice([1, HOUR, 5 * DAY], n))
    return occurred, known


def _recorded(rng: np.random.Generator, occurred: Int64s, known: Int64s) -> Int64s:
    """When the CRM took them down: some were planned ahead."""
    return np.where(known > occurred, known, occurred - rng.choice([0, 0, 1, DAY], len(known)))


def _delay(rng: np.random.Generator, n: int) -> Int64s:
    return rng.choice([0, 1, HOUR, 3 * DAY, 20 * DAY], n, p=[0.6, 0.1, 0.1, 0.1, 0.1]).astype(np.int64)


@st.composite
def tiny_tables(draw: DrawFn) -> Tables:
    """One to three leads with a handful of events on few moments; shrinks to the fewest leads."""
    return random_tables(draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 5)))


def examples_of(tables: Tables, seed: int, per_lead: int = 25) -> Examples:
    """Every lead that may be scored, at moments on, around and a window after its events."""
    rng = np.random.default_rng(seed)
    tables_of_events: list[TransitionTable | TouchTable | ChangeTable]
    tables_of_events = [tables.transitions, tables.touches, *tables.changes.values()]
    lead = np.concatenate([np.arange(len(tables.leads.ids)), *(table.lead for table in tables_of_events)])
    known = np.concatenate([tables.leads.known, *(table.known for table in tables_of_events)])
    windows = (0, 0, *FUNNEL.features.windows_days, *FUNNEL.horizons, 28)
    as_of = known + rng.choice(windows, len(known)) * DAY + rng.choice([0, 0, -1, 1, 5 * HOUR], len(known))
    kept = ~tables.leads.do_not_score[lead] & (rng.random(len(lead)) < per_lead / 20)
    return Examples(lead[kept], as_of[kept])


def positions(history: History, tables: Tables, lead: Int64s) -> Int64s:
    """Where the rows of the `LeadTable` stand in the history."""
    place = {name: position for position, name in enumerate(history.ids)}
    return np.array([place[name] for name in tables.leads.ids[lead]], np.int64)


def features_of(funnel: Funnel = FUNNEL) -> tuple[Feature, ...]:
    return catalogue(funnel, VOCABULARY)


def column_names(funnel: Funnel = FUNNEL) -> list[str]:
    return [column.name for column in columns_of(features_of(funnel))]


def matrix_of(tables: Tables, examples: Examples, funnel: Funnel = FUNNEL, n_jobs: int = 1) -> Float32s:
    """X of examples of a history that is built anew."""
    history = build_history(tables, funnel).coded(VOCABULARY)
    lead = positions(history, tables, examples.lead)
    return matrix(features_of(funnel), history.at(lead, examples.as_of), n_jobs)


def taken(table: AnyTable, rows: npt.NDArray[Any]) -> AnyTable:
    """A table of events of these rows only, in this order."""
    columns: dict[str, Any] = {name: _rows(column, rows) for name, column in _columns(table)}
    return replace(table, **columns)


def _columns(table: AnyTable) -> list[tuple[str, Any]]:
    columns = [(name, getattr(table, name)) for name in table.__dataclass_fields__]
    return [(name, column) for name, column in columns if column is not None]


def _rows(column: Any, rows: npt.NDArray[Any]) -> Any:
    return replace(column, codes=column.codes[rows]) if isinstance(column, Coded) else column[rows]


def joined(first: AnyTable, second: AnyTable) -> AnyTable:
    """The rows of one table of events, then those of another with the same columns and names."""
    both: dict[str, Any] = {
        name: replace(column, codes=np.concatenate((column.codes, getattr(second, name).codes)))
        if isinstance(column, Coded)
        else np.concatenate((column, getattr(second, name)))
        for name, column in _columns(first)
    }
    return replace(first, **both)


def each_table(tables: Tables, change: Callable[[Any, str], Any]) -> Tables:
    """Tables whose transitions, touches and changes are ``change`` of the old ones and their names."""
    return replace(
        tables,
        transitions=change(tables.transitions, "transitions"),
        touches=change(tables.touches, "touches"),
        changes={name: change(table, name) for name, table in tables.changes.items()},
    )


def leads_taken(leads: LeadTable, rows: npt.NDArray[Any]) -> LeadTable:
    return LeadTable(
        leads.ids[rows],
        leads.created[rows],
        leads.known[rows],
        leads.do_not_score[rows],
        {name: column[rows] for name, column in leads.numbers.items()},
        {name: _rows(column, rows) for name, column in leads.categories.items()},
    )
