"""What happens to a chunk of leads, day by day: whole-number days, stages and kinds, no clock times yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from leadscore.simulate import crm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from leadscore.simulate.crm import Floats, Int64s

    Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Leads:
    """Leads as they are on the day of their creation, each array of shape (n_leads,).

    Attributes
    ----------
    created : ndarray of int64
        Day.
    source, industry, country, team, seat : ndarray of int64
        Positions in the tables of `crm`; ``seat`` is the first owner's place in the team.
    employees : ndarray of float64
        NaN where nobody knows.
    direct : ndarray of bool
        An MQL at creation.
    quality : ndarray of int64
        Position in `crm.QUALITIES`.
    """

    created: Int64s
    source: Int64s
    industry: Int64s
    country: Int64s
    team: Int64s
    seat: Int64s
    employees: Floats
    direct: Bools
    do_not_score: Bools
    quality: Int64s

    def __len__(self) -> int:
        return len(self.created)


@dataclass(frozen=True, slots=True)
class Moves:
    """Real changes of stage, in order of day; at most one a day and lead."""

    lead: Int64s
    day: Int64s
    stage: Int64s


@dataclass(frozen=True, slots=True)
class Touches:
    """Touches after the day of creation, in order of day; ``late`` is the days until the CRM knew."""

    lead: Int64s
    day: Int64s
    kind: Int64s
    late: Int64s


def draw_leads(rng: np.random.Generator, count: int) -> Leads:
    """Leads with their attributes."""
    source = _draw(rng, [each.share for each in crm.SOURCES], count)
    industry = _draw(rng, [share for share, _ in crm.INDUSTRIES.values()], count)
    country = _draw(rng, [share for share, _ in crm.COUNTRIES.values()], count)
    team = rng.integers(len(crm.TEAMS), size=count)
    employees = np.ceil(rng.lognormal(4.2, 1.4, count))
    employees[rng.random(count) < crm.EMPLOYEES_MISSING] = np.nan
    return Leads(
        created=_draw(rng, crm.arrivals(), count),
        source=source,
        industry=industry,
        country=country,
        team=team,
        seat=rng.integers(len(crm.TEAMS[0]), size=count),
        employees=employees,
        direct=rng.random(count) < np.array([each.direct for each in crm.SOURCES])[source],
        do_not_score=rng.random(count) < crm.DO_NOT_SCORE,
        quality=_quality(source, industry, country, employees, team),
    )


def _draw(rng: np.random.Generator, share: Sequence[float] | Floats, count: int) -> Int64s:
    upper = np.cumsum(share)
    drawn: Int64s = np.searchsorted(upper / upper[-1], rng.random(count), side="right").astype(np.int64)
    return drawn


def _quality(source: Int64s, industry: Int64s, country: Int64s, employees: Floats, team: Int64s) -> Int64s:
    size = np.searchsorted(list(crm.SIZES), employees, side="right") - 1
    of_size = np.where(np.isnan(employees), 0, np.array([*crm.SIZES.values()])[size])
    total = (
        np.array([each.quality for each in crm.SOURCES])[source]
        + np.array([quality for _, quality in crm.INDUSTRIES.values()])[industry]
        + np.array([quality for _, quality in crm.COUNTRIES.values()])[country]
        + np.array(crm.TEAM_QUALITY)[team]
        + of_size
    )
    quality: Int64s = np.searchsorted(crm.QUALITIES, total).astype(np.int64)
    return quality


def live(rng: np.random.Generator, leads: Leads) -> tuple[Moves, Touches]:
    """Everything that happens to the leads until the end of the recorded history."""
    stage = leads.direct.astype(np.int64)
    start = np.array([each.interest for each in crm.SOURCES])[leads.source]
    interest = (rng.random(len(leads))[:, None] > np.cumsum(start, axis=1)[:, :-1]).sum(axis=1)
    lost_on = np.full(len(leads), crm.DAYS)
    newest_last = np.argsort(leads.created, kind="stable")
    births = np.searchsorted(leads.created[newest_last], np.arange(crm.DAYS + 1))
    alive = newest_last[:0]
    moves: list[tuple[Int64s, Int64s, Int64s]] = []
    touches: list[tuple[Int64s, Int64s, Int64s]] = []
    for day in range(1, crm.DAYS):
        done = (stage[alive] == crm.WON) | (day > lost_on[alive] + crm.REOPENING_DAYS)
        alive = np.concatenate([alive[~done], newest_last[births[day - 1] : births[day]]])
        interest[alive] = _next_interest(rng, interest[alive])
        touched, kind = _touches_of(rng, day, stage[alive], interest[alive])
        touches.append((alive[touched], np.full(len(touched), day), kind))
        movers, to = _moves_of(rng, day, leads.quality[alive], stage[alive], interest[alive])
        movers = alive[movers]
        moves.append((movers, np.full(len(movers), day), to))
        stage[movers] = to
        lost_on[movers] = np.where(to == crm.LOST, day, crm.DAYS)
    return Moves(*_joined(moves)), _with_delay(rng, *_joined(touches))


def _joined(days: list[tuple[Int64s, Int64s, Int64s]]) -> tuple[Int64s, Int64s, Int64s]:
    lead, day, code = (np.concatenate(column) for column in zip(*days, strict=True))
    return lead, day, code


def _next_interest(rng: np.random.Generator, interest: Int64s) -> Int64s:
    # Nearly all stay as they are: only the others look up where they go.
    chance = rng.random(len(interest))
    moving = np.flatnonzero(chance >= crm.INTEREST_MOVES.diagonal()[interest])
    moved = interest.copy()
    moved[moving] = _elsewhere(rng, crm.INTEREST_MOVES[interest[moving]], interest[moving])
    return moved


def _moves_of(
    rng: np.random.Generator, day: int, quality: Int64s, stage: Int64s, interest: Int64s
) -> tuple[Int64s, Int64s]:
    """Positions of the leads that change stage, and where they go."""
    table = crm.move_probabilities(day)
    stay = np.ascontiguousarray(np.einsum("qsis->qsi", table))
    moving = np.flatnonzero(rng.random(len(stage)) >= stay[quality, stage, interest])
    rows = table[quality[moving], stage[moving], interest[moving]]
    return moving, _elsewhere(rng, rows, stage[moving])


def _elsewhere(rng: np.random.Generator, rows: Floats, here: Int64s) -> Int64s:
    """Where each goes, by its row of probabilities, given that it does not stay."""
    away = rows.copy()
    away[np.arange(len(here)), here] = 0
    upper = np.cumsum(away, axis=1)
    chance = rng.random(len(here)) * upper[:, -1]
    there: Int64s = (chance[:, None] >= upper).sum(axis=1).astype(np.int64)
    return there


def _touches_of(rng: np.random.Generator, day: int, stage: Int64s, interest: Int64s) -> tuple[Int64s, Int64s]:
    """Positions of the leads that are touched, once per touch, and the kinds of the touches."""
    # The sum of Poisson counts is Poisson, and its parts fall in proportion to their rates.
    upper = np.cumsum(crm.touch_rates(day), axis=0)
    touched = np.repeat(np.arange(len(stage)), rng.poisson(upper[-1][stage, interest]))
    limits = upper[:, stage[touched], interest[touched]]
    kind = (rng.random(len(touched)) * limits[-1] >= limits).sum(axis=0)
    return touched, kind.astype(np.int64)


def _with_delay(rng: np.random.Generator, lead: Int64s, day: Int64s, kind: Int64s) -> Touches:
    recorded_by = np.cumsum(crm.LATE, axis=1)[:, :-1]
    late = (rng.random(len(lead)) >= recorded_by[kind].T).sum(axis=0)
    return Touches(lead, day, kind, late.astype(np.int64))
