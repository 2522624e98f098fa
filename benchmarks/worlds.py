"""Invented companies whose world moves: what changes, and when, is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from scipy.special import expit

from leadscore.config import TableName, parse_funnel
from leadscore.history import History, build_history, check_tables
from leadscore.history.zone import micros

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from leadscore.history.line import Float64s

    Names = np.typing.NDArray[np.str_]

FUNNEL = """
[funnel]
stages = ["lead", "qualified", "won"]
lost = ["lost"]
handoff = ["lead", "qualified"]
[horizon_days]
qualified = 30
won = 60
[attributes]
numbers = ["employees"]
categories = ["source"]
[judging]
cuts = 3
mornings_every_days = 7
[examples]
mornings_every_days = 14
[lightgbm]
rounds = 60
max_rounds = 120
"""
BEGIN, DAYS = datetime(2023, 6, 1, tzinfo=UTC), 600
SOURCES = ("website", "webinar", "referral")
# The chance of an ordinary lead to be qualified, and of a qualified one to be won, as log odds; what each source and a
# large company add.
QUALIFIED, WON = -1.6, -0.6
ADDED = {"website": 0.0, "webinar": 0.8, "referral": 1.4, "fair": 0.0}
LARGE = 1.0


@dataclass(frozen=True)
class World:
    """How leads come in and what becomes of them; each setting is a function of the day that a lead is created on.

    Attributes
    ----------
    level : callable
        Added to the log odds of every step.
    source : callable
        Log odds that each source adds.
    fairs : callable
        The share of leads that come from fairs, a source of their own.
    bulk : callable
        Whether all leads of a day were marked as qualified, sooner or later, though most were not.
    large : callable
        Log odds that a large company adds.
    dead : callable
        The sources that bring no lead any more; the others take their share.
    touches : callable
        Touches of each kind per week and open lead; a function of the day of the touch, unlike all other settings.
    carried : float
        How much of what a lead's source and size add to the odds counts for the win, too.
    memoryless : bool
        Whether how long a lead has stood in its stage says nothing of what becomes of it.
    growth : float
        How many times as many leads come in a year later.
    season : float
        By which share more leads come in at the height of the year, and fewer at its low.
    """

    level: Callable[[float], float] = field(default=lambda _: 0.0)
    source: Callable[[float], dict[str, float]] = field(default=lambda _: ADDED)
    fairs: Callable[[float], float] = field(default=lambda _: 0.0)
    bulk: Callable[[float], bool] = field(default=lambda _: False)
    large: Callable[[float], float] = field(default=lambda _: LARGE)
    dead: Callable[[float], Collection[str]] = field(default=lambda _: ())
    touches: Callable[[float], dict[str, float]] = field(default=lambda _: {})
    carried: float = 0.5
    memoryless: bool = False
    growth: float = 1.0
    season: float = 0.0


def company(world: World, n_leads: int, seed: int) -> History:
    """The history of a company in such a world, for `DAYS` from `BEGIN` on."""
    rng = np.random.default_rng(seed)
    # What only some worlds have is drawn apart, so that the others stay as they were.
    apart = np.random.default_rng((seed, 1))
    created = _created(world, np.sort(rng.uniform(0, DAYS, n_leads)))
    employees = np.round(np.exp(rng.normal(4, 1.2, n_leads)))
    at_fair = rng.random(n_leads) < [world.fairs(day) for day in created]
    source = np.where(at_fair, "fair", rng.choice(SOURCES, n_leads, p=(0.5, 0.3, 0.2)))
    source = _of_the_living(world, created, source, apart)
    level = np.array([world.level(day) for day in created])
    added = np.array([world.source(day)[each] for day, each in zip(created, source, strict=True)])
    added += np.array([world.large(day) for day in created]) * (employees > np.median(employees))
    bulk = np.array([world.bulk(day) for day in created])
    suits = rng.random(n_leads) < expit(QUALIFIED + level + added)
    qualified = suits | bulk
    won = suits & (rng.random(n_leads) < expit(WON + level / 2 + world.carried * added))
    step = created + rng.gamma(2, 5, n_leads)
    end = step + np.where(qualified, rng.gamma(2, 10, n_leads), rng.gamma(2, 8, n_leads))
    if world.memoryless:
        step = created + apart.exponential(15, n_leads)
        end = step + np.where(qualified, apart.exponential(20, n_leads), 0.0)
    names = np.array([f"{number:06}" for number in range(n_leads)])
    moves = [
        events(names[rows], "stage", stage, when[rows])
        for stage, when, rows in (
            ("qualified", step, qualified & (step < DAYS)),
            ("won", end, won & (end < DAYS)),
            ("lost", end, ~won & (end < DAYS)),
        )
    ]
    raw: dict[TableName, pa.Table] = {
        "leads": pa.table(
            {"lead_id": names, "created_at": times(created), "employees": employees, "source": source.astype(str)}
        ),
        "transitions": pa.concat_tables(moves),
        "touches": _touches(world, names, created, np.minimum(end, DAYS), apart),
    }
    funnel = parse_funnel(FUNNEL)
    return build_history(check_tables(raw, funnel, day(DAYS)), funnel)


def day(number: float) -> int:
    """The beginning of a day, in microseconds since 1970 UTC."""
    return micros(BEGIN + timedelta(days=number))


def _created(world: World, even: Float64s) -> Float64s:
    """The days that leads are created on, made of days that are spread evenly."""
    if world.growth == 1 and not world.season:
        return even
    days = np.linspace(0, DAYS, 10 * DAYS)
    often = np.cumsum(world.growth ** (days / 365) * (1 + world.season * np.sin(2 * np.pi * days / 365)))
    return np.interp(even / DAYS, (often - often[0]) / (often[-1] - often[0]), days)


def _of_the_living(world: World, created: Float64s, source: Names, rng: np.random.Generator) -> Names:
    """The sources, with others in place of those that were dead by then."""
    dead = np.array([each in world.dead(day) for day, each in zip(created, source, strict=True)], np.bool_)
    alive = [[name for name in SOURCES if name not in world.dead(day)] for day in created[dead]]
    source = source.copy()
    source[dead] = [rng.choice(names) for names in alive]
    return source


def _touches(world: World, names: Names, begin: Float64s, end: Float64s, rng: np.random.Generator) -> pa.Table:
    """Touches of each lead while it is open, at the rates of their day."""
    columns: dict[str, list[str]] = {name: [] for name in ("lead_id", "kind", "occurred_at")}
    for kind in world.touches(0.0):
        most = max(world.touches(float(day)).get(kind, 0.0) for day in range(DAYS + 1))
        n = rng.poisson(most / 7 * (end - begin))
        lead = np.repeat(np.arange(len(names)), n)
        when = rng.uniform(begin[lead], end[lead])
        rate = np.array([world.touches(day).get(kind, 0.0) for day in when])
        kept = rng.random(len(when)) * most < rate
        columns["lead_id"] += names[lead[kept]].tolist()
        columns["kind"] += [kind] * int(kept.sum())
        columns["occurred_at"] += times(when[kept])
    return pa.table(columns, schema=pa.schema([(name, pa.string()) for name in columns]))


def events(names: Names, column: str, name: str, when: Float64s, begin: datetime = BEGIN) -> pa.Table:
    """Rows of one stage (``stage``) or of one kind of touch (``kind``), one per lead named.

    Parameters
    ----------
    when : ndarray of float64, shape (n_rows,)
        In days from ``begin`` on.
    """
    return pa.table(
        {"lead_id": names, column: [name] * len(names), "occurred_at": times(when, begin)},
        schema=pa.schema([(each, pa.string()) for each in ("lead_id", column, "occurred_at")]),
    )


def times(days: Float64s, begin: datetime = BEGIN) -> list[str]:
    """Days from a moment on as times in UTC."""
    return [f"{begin + timedelta(days=float(each)):%Y-%m-%dT%H:%M:%SZ}" for each in days]
