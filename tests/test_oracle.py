"""The same columns and labels from SQL in another engine, from the raw tables and the definitions only."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from numpy.testing import assert_allclose, assert_array_equal

from leadscore.history import DAY, HOUR, MISSING, OTHER, build_history
from leadscore.history.tables import Coded, TouchTable
from leadscore.history.touches import DIRECTIONS
from leadscore.labels import reached
from tests.lines import (
    BEGIN,
    FUNNEL,
    VOCABULARY,
    column_names,
    examples_of,
    features_of,
    matrix_of,
    positions,
    random_tables,
    tiny_tables,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from leadscore.history.tables import Tables
    from tests.lines import Examples

pytestmark = pytest.mark.integration

SEEDS = range(4)
WINDOWS = FUNNEL.features.windows_days
WIN, LOST = len(FUNNEL.stages) - 1, len(FUNNEL.stages)
MINUTE = 60_000_000
DIVISORS = (5, 10, 50, 100, 500, 1_000, 5_000, 10_000)
STANDARD_TIME = HOUR  # Europe/Berlin is an hour ahead of UTC in winter


@pytest.mark.parametrize("seed", SEEDS)
def test_sql_finds_the_same_columns(seed: int) -> None:
    tables = random_tables(seed)

    check_columns(tables, examples_of(tables, seed))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(tables=tiny_tables())
def test_sql_finds_the_same_columns_of_tiny_lines(tables: Tables) -> None:
    check_columns(tables, examples_of(tables, seed=0))


@pytest.mark.parametrize("seed", SEEDS)
def test_sql_finds_the_same_outcomes(seed: int) -> None:
    tables = random_tables(seed)
    examples = examples_of(tables, seed)
    history = build_history(tables, FUNNEL)

    outcome = reached(history, positions(history, tables, examples.lead), examples.as_of)

    assert_array_equal(outcome, answered(tables, examples, outcome_query(tables.known_until)))


@pytest.mark.parametrize("minutes", [(50_000, 50_000, 50_001), (7, 7, 8), (199_999, 199_999, 199_999)])
def test_the_deviation_of_long_gaps_that_are_nearly_equal_is_exact(minutes: tuple[int, ...]) -> None:
    tables = random_tables(0, n_leads=1)
    known = BEGIN + np.cumsum((0, *minutes)) * MINUTE
    calls = TouchTable(np.zeros_like(known), known, Coded(np.zeros(len(known), np.int32), ("call",)))
    history = build_history(replace(tables, touches=calls), FUNNEL)

    _, deviation, _ = history.at([0], known[-1:]).touches.gap_days()

    # Numbers this size have no more digits in a sum of floats; the definition, in whole numbers, has.
    n = len(minutes)
    variance = Fraction(n * sum(gap * gap for gap in minutes) - sum(minutes) ** 2, n * n)
    assert_allclose(deviation, float(variance) ** 0.5 / 1440, rtol=1e-9)


def check_columns(tables: Tables, examples: Examples) -> None:
    history = build_history(tables, FUNNEL).coded(VOCABULARY)
    snapshot = history.at(positions(history, tables, examples.lead), examples.as_of)
    # As features are computed, in float64: float32 holds seven digits. X must be this, rounded.
    blocks = [feature.compute(snapshot) for feature in features_of()]
    found = np.column_stack([block.reshape(len(examples.lead), -1) for block in blocks])
    wanted = answered(tables, examples, column_query())
    for place, name in enumerate(column_names()):
        if name.startswith(("days_", "gap_", "silence_", "value_", "week_")):
            assert_allclose(found[:, place], wanted[:, place], rtol=1e-9, atol=1e-9, err_msg=name)
        else:
            assert_array_equal(found[:, place], wanted[:, place], err_msg=name)
    assert_array_equal(matrix_of(tables, examples), found.astype(np.float32))


def answered(tables: Tables, examples: Examples, query: str) -> npt.NDArray[np.float64]:
    """Result of a query over the raw tables and the examples, in order of the examples."""
    with duckdb.connect(config={"threads": 1}) as database:
        for name, table in raw_tables(tables, examples).items():
            database.register(name, table)
        rows = database.execute(query).fetchnumpy()
    return np.column_stack([floats(column) for column in rows.values()])


def floats(column: Any) -> Any:
    return np.ma.filled(column.astype(np.float64), np.nan)


def raw_tables(tables: Tables, examples: Examples) -> dict[str, pa.Table]:
    leads, transitions, touches = tables.leads, tables.transitions, tables.touches
    return {
        "leads": arrow(lead=np.arange(len(leads.ids)), created=leads.created, **leads.numbers, **leads.categories),
        "transitions": arrow(
            lead=transitions.lead,
            occurred=transitions.occurred,
            known=transitions.known,
            recorded=transitions.recorded,
            stage=transitions.stage,
        ),
        "touches": arrow(
            lead=touches.lead,
            known=touches.known,
            kind=touches.kind,
            direction=touches.direction,
            agent=touches.by,
            value=touches.value,
        ),
        **{
            f"{name}_changes": arrow(
                lead=table.lead,
                occurred=table.occurred,
                known=table.known,
                recorded=table.recorded,
                **{name: table.value},
            )
            for name, table in tables.changes.items()
        },
        "examples": arrow(example=np.arange(len(examples.lead)), lead=examples.lead, as_of=examples.as_of),
    }


def arrow(**columns: Any) -> pa.Table:
    return pa.table({name: words(column) if isinstance(column, Coded) else column for name, column in columns.items()})


def words(column: Coded) -> pa.Array:
    return pa.array([column.names[code] if code >= 0 else None for code in column.codes], pa.string())


# The stages that a lead was known to enter, in the order in which that became known: a transition counts if none that
# was known before it is newer, and is a step if it leads to another stage. Of equal moments the one recorded later is
# newer, then the one of the further stage.
STEPS = """
    newer AS (
        SELECT * FROM (
            SELECT *, max(occurred) OVER (
                PARTITION BY {per} ORDER BY known, occurred, recorded, stage
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS newest FROM {source}
        ) WHERE newest IS NULL OR occurred >= newest
    ),
    steps AS (
        SELECT *, lag(occurred, 1, least(created, occurred)) OVER in_order AS since
        FROM (
            SELECT *, lag(stage, 1, 0) OVER in_order AS stage_before FROM newer
            WINDOW in_order AS (PARTITION BY {per} ORDER BY known, occurred, recorded, stage)
        ) WHERE stage <> stage_before
        WINDOW in_order AS (PARTITION BY {per} ORDER BY known, occurred, recorded, stage)
    )
"""


def outcome_query(known_until: int) -> str:
    """Outcome of each later stage within its horizon."""
    now = "coalesce(max_by(stage, (known, occurred, recorded, stage)) FILTER (known <= as_of), 0)"
    columns = [
        f"""CASE WHEN {now} >= {stage} THEN NULL
                 WHEN as_of + {days * DAY} > {known_until} THEN NULL
                 ELSE coalesce(bool_or(known > as_of AND known <= as_of + {days * DAY}
                                       AND stage BETWEEN {stage} AND {WIN}), false)::INT
            END AS outcome_{stage}"""
        for stage, days in enumerate(FUNNEL.horizons, start=1)
    ]
    return f"""
        WITH source AS (SELECT * FROM transitions JOIN leads USING (lead)),
        {STEPS.format(per="lead", source="source")}
        SELECT {", ".join(columns)}
        FROM examples LEFT JOIN steps USING (lead) GROUP BY example, as_of ORDER BY example
    """


def column_query() -> str:
    """Every column of X, from what was known of each example and nothing else."""
    columns = {**attribute_columns(), **standing_columns(), **touch_columns(), **calendar_columns()}
    chosen = ", ".join(f'({columns[name]}) AS "{name}"' for name in column_names())
    per_touch = ", ".join(f'{expression} AS "{name}"' for name, expression in touch_aggregates().items())
    return f"""
        WITH known_transitions AS (
            SELECT * FROM examples JOIN transitions USING (lead) JOIN leads USING (lead) WHERE known <= as_of
        ),
        {STEPS.format(per="example", source="known_transitions")},
        known_touches AS (
            SELECT *, as_of - known AS age,
                CASE WHEN kind IN {tuple(VOCABULARY.kinds)} THEN kind ELSE '{OTHER}' END AS known_kind,
                known - lag(known) OVER (PARTITION BY example ORDER BY known) AS gap
            FROM examples JOIN touches USING (lead) WHERE known <= as_of
        ),
        stood AS (SELECT example, {step_aggregates()} FROM steps GROUP BY example),
        touched AS (SELECT example, {per_touch} FROM known_touches GROUP BY example),
        amounts AS ({newest("amount", "amount", "if(isnan(amount), '-infinity'::DOUBLE, amount)")}),
        owners AS ({newest("owner", position("owner", VOCABULARY.categories["owner"]), "coalesce(owner, '')")})
        SELECT {chosen} FROM examples JOIN leads USING (lead)
        LEFT JOIN stood USING (example) LEFT JOIN touched USING (example)
        LEFT JOIN amounts USING (example) LEFT JOIN owners USING (example)
        ORDER BY example
    """


def newest(name: str, value: str, rank: str) -> str:
    """Value with the latest ``occurred``, of those known; of equal moments the last recorded, then of higher rank."""
    return f"""
        SELECT example, max_by({value}, (occurred, known, recorded, {rank})) AS newest_{name}
        FROM examples JOIN {name}_changes USING (lead) WHERE known <= as_of GROUP BY example
    """


def position(column: str, names: tuple[str, ...]) -> str:
    """Code of a name in a list of the vocabulary."""
    cases = " ".join(f"WHEN {column} = '{name}' THEN {code}" for code, name in enumerate(names))
    return f"CASE WHEN {column} IS NULL THEN {names.index(MISSING)} {cases} ELSE {names.index(OTHER)} END"


def attribute_columns() -> dict[str, str]:
    return {
        "employees": "employees",
        "employees_roundness": roundness("employees"),
        "amount_roundness": roundness("newest_amount"),
        "source": position("source", VOCABULARY.categories["source"]),
        "amount": "newest_amount",
        "owner": f"coalesce(newest_owner, {VOCABULARY.categories['owner'].index(MISSING)})",
    }


def roundness(number: str) -> str:
    """How many of the divisors divide a number; NaN of NaN, which SQL has as a number that 5 does not divide."""
    divided = " + ".join(f"({number} % {divisor} = 0)::INT" for divisor in DIVISORS)
    return f"if(isnan({number}), {number}, {divided})"


def step_aggregates() -> str:
    last = "(known, occurred, recorded, stage)"
    stays = ", ".join(
        f"sum(occurred - since) FILTER (stage_before = {state}) AS stayed_{state}" for state in range(LOST + 1)
    )
    return f"""
        max_by(stage, {last}) AS stage, max_by(occurred, {last}) AS entered,
        count(*) FILTER (stage < stage_before AND stage_before <> {LOST}) AS back,
        count(*) FILTER (stage_before = {LOST}) AS reopened, {stays}
    """


def standing_columns() -> dict[str, str]:
    entered, stage = "coalesce(entered, created)", "coalesce(stage, 0)"
    stay = f"as_of - {entered}"
    stays = {
        f"days_as_{name}": f"(coalesce(stayed_{state}, 0) + if({stage} = {state}, {stay}, 0)) / {DAY}.0"
        for state, name in [*enumerate(FUNNEL.stages[:-1]), (LOST, "lost")]
    }
    return {
        "stage": stage,
        "days_in_stage": f"(as_of - {entered}) / {DAY}.0",
        "days_since_created": f"(as_of - created) / {DAY}.0",
        **stays,
        "steps_back": "coalesce(back, 0)",
        "reopenings": "coalesce(reopened, 0)",
    }


def channels() -> dict[str, str]:
    """Names of the counted touches, and which they are."""
    kinds = {name: f"known_kind = '{name}'" for name in VOCABULARY.kinds}
    directions = {name: f"direction = {code}" for code, name in enumerate(DIRECTIONS, start=1)}
    return kinds | directions | {"touch": "true"}


def touch_aggregates() -> dict[str, str]:
    """Aggregates over the touches known of one example."""
    spans = {f"{days}d": f"age < {days * DAY}" for days in WINDOWS} | {"all": "true"}
    found = {}
    for name, which in channels().items():
        for span, within in spans.items():
            found[f"{name}_{span}"] = f"count(*) FILTER ({which} AND {within})"
        found[f"days_since_last_{name}"] = f"min(age) FILTER ({which}) / {DAY}.0"
        found[f"days_since_first_{name}"] = f"max(age) FILTER ({which}) / {DAY}.0"
    for span, within in spans.items():
        day = f"(known + {STANDARD_TIME}) // {DAY}"
        found[f"active_days_{span}"] = f"count(DISTINCT {day}) FILTER ({within})"
        found[f"value_{span}"] = f"sum(value) FILTER ({within} AND NOT isnan(value))"
    newest_touch = "(known, kind, direction, coalesce(agent, '~'), if(isnan(value), 0, value))"
    return found | {
        "gap_mean": f"avg(gap) / {DAY}.0",
        "gap_deviation": f"stddev_pop(gap // {MINUTE}) / 1440",
        "gap_longest": f"max(gap // {MINUTE}) / 1440",
        "week": f"count(*) FILTER (age < {7 * DAY})",
        "weeks_before": f"count(*) FILTER (age >= {7 * DAY} AND age < {28 * DAY})",
        "last_kind": f"max_by({position('kind', (*VOCABULARY.kinds, MISSING))}, {newest_touch})",
        "last_by": f"max_by({position('agent', VOCABULARY.agents)}, {newest_touch})",
    }


def touch_columns() -> dict[str, str]:
    absent = dict.fromkeys(touch_aggregates(), "0") | {
        "last_kind": str(len(VOCABULARY.kinds)),
        "last_by": str(VOCABULARY.agents.index(MISSING)),
    }
    missing = ("days_since_", "gap_")
    columns = {
        name: f'"{name}"' if name.startswith(missing) else f'coalesce("{name}", {otherwise})'
        for name, otherwise in absent.items()
    }
    return columns | {
        "silence_in_gaps": "if(gap_mean > 0, days_since_last_touch / gap_mean, NULL)",
        "week_against_before": "coalesce(week, 0) - coalesce(weeks_before, 0) / 3.0",
    }


def calendar_columns() -> dict[str, str]:
    local = f"timezone('{FUNNEL.time.zone.key}', make_timestamptz(as_of))"
    return {"hour": f"hour({local})", "weekday": f"isodow({local}) - 1", "month": f"month({local})"}
