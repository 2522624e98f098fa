"""Invented companies whose records know the outcome, or only seem to: what the leak alarm must say is known.

===============  =====================================================================================  ============
``two planted``  ``note`` was set, and ``demo_date`` filled in, when leads were qualified, 3 times in   both named
                 100 not; ``demo_date`` is random where it is filled in
``zombies``      half of the leads are given up after some days, and nobody closes them; their touches  nothing said
                 stop, the others are called until they are closed
``honest .80``   ``fit`` is known when a lead is created and alone orders leads with about .80           nothing said
===============  =====================================================================================  ============
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from scipy.special import expit

from benchmarks.worlds import DAYS, day, events, times
from leadscore.backtest import backtest, default_cuts
from leadscore.config import TableName, parse_funnel
from leadscore.findings import findings
from leadscore.history import History, build_history, check_tables

if TYPE_CHECKING:
    from leadscore.history.line import Bools

FUNNEL = """
[funnel]
stages = ["lead", "qualified", "won"]
handoff = ["lead", "qualified"]
[horizon_days]
qualified = 30
won = 60
[attributes]
numbers = ["employees", "fit", "note", "demo_date"]
categories = ["source"]
[judging]
cuts = 1
mornings_every_days = 14
resamples = 100
[examples]
mornings_every_days = 14
[lightgbm]
rounds = 60
max_rounds = 60
"""
SOURCES = ("website", "webinar", "referral")
NOTE, DEMO = "note", "demo_date"
# Of 100 planted values, so many are not what the outcome would make them.
WRONG = 0.03


@dataclass(frozen=True)
class LeakWorld:
    """What is odd about the records of a company.

    Attributes
    ----------
    planted : tuple of str
        Attributes that are filled in afterwards: `NOTE` by value, `DEMO` by missingness.
    fit : float
        What a standard deviation of ``fit`` adds to the log odds of every step.
    given_up : float
        The share of the leads that do not move on that nobody closes.
    proposals : bool
        Whether a touch of kind ``proposal`` is entered with an earlier date when a lead was qualified.
    """

    planted: tuple[str, ...] = ()
    fit: float = 0.5
    given_up: float = 0.0
    proposals: bool = False


LEAKS = {
    "two planted": (LeakWorld(planted=(NOTE, DEMO)), {NOTE, DEMO}),
    "zombies": (LeakWorld(given_up=0.8), set[str]()),
    "honest .80": (LeakWorld(fit=1.5), set[str]()),
}


def company(world: LeakWorld, n_leads: int, seed: int, settings: str = FUNNEL) -> History:
    """The history of a company with such records, for `DAYS` from `BEGIN` on."""
    funnel = parse_funnel(settings)
    return build_history(check_tables(tables(world, n_leads, seed), funnel, day(DAYS)), funnel)


def tables(world: LeakWorld, n_leads: int, seed: int) -> dict[TableName, pa.Table]:
    """Its tables, as they would be exported on the last day."""
    rng = np.random.default_rng(seed)
    created = np.sort(rng.uniform(0, DAYS, n_leads))
    source = rng.choice(SOURCES, n_leads, p=(0.5, 0.3, 0.2))
    fit = rng.normal(size=n_leads)
    odds = world.fit * fit + 0.7 * (source == "referral")
    qualified = rng.random(n_leads) < expit(odds - 1)
    # Less than before, or it would order leads by both steps together far better than by one.
    won = qualified & (rng.random(n_leads) < expit(odds / 3 - 0.7))
    step = created + rng.gamma(2, 5, n_leads)
    end = step + rng.gamma(2, 9, n_leads)
    closed = won | (rng.random(n_leads) >= world.given_up)
    names = np.array([f"{number:06}" for number in range(n_leads)])
    moves = [
        events(names[rows], "stage", stage, when[rows])
        for stage, when, rows in (
            ("qualified", step, qualified & (step < DAYS)),
            ("won", end, won & (end < DAYS)),
            ("lost", end, closed & ~won & (end < DAYS)),
        )
    ]
    # A lead that is given up is called for a week or so, any other until it is closed.
    worked_until = np.minimum(
        np.where(closed, end, np.where(qualified, step, created) + rng.gamma(2, 4, n_leads)), DAYS
    )
    calls = rng.poisson((worked_until - created) / 6)
    called = np.repeat(np.arange(n_leads), calls)
    when = created[called] + rng.random(len(called)) * (worked_until - created)[called]
    touches = [events(names[called], "kind", "call", when)]
    known = qualified & (step < DAYS)
    if world.proposals:
        with_proposal = known ^ _mistaken(rng, n_leads)
        touches.append(events(names[with_proposal], "kind", "proposal", created[with_proposal] + 0.01))
    leads: dict[str, Any] = {
        "lead_id": names,
        "created_at": times(created),
        "source": source,
        "employees": np.round(np.exp(rng.normal(4, 1.2, n_leads))),
        "fit": np.round(fit, 3),
        NOTE: (known ^ _mistaken(rng, n_leads)).astype(float) if NOTE in world.planted else np.zeros(n_leads),
        DEMO: rng.integers(1, 366, n_leads).astype(float),
    }
    if DEMO in world.planted:
        leads[DEMO] = pa.array(leads[DEMO], mask=~(known ^ _mistaken(rng, n_leads)))
    return {"leads": pa.table(leads), "transitions": pa.concat_tables(moves), "touches": pa.concat_tables(touches)}


def leaks(world: str, seed: int, n_jobs: int, n_leads: int = 2_500) -> dict[str, Any]:
    """What the leak alarm says in a world: whether that is right, the sources named, and its sentences."""
    history = company(LEAKS[world][0], n_leads, seed)
    found = findings(history, backtest(history, default_cuts(history), n_jobs), n_jobs)
    named = {str(each.source) for leak in found.leaks for each in leak.suspects}
    return {
        "world": world,
        "seed": seed,
        "right": named == LEAKS[world][1],
        "named": sorted(named),
        "never_closed": found.never_closed is not None,
        "said": [str(leak) for leak in found.leaks],
    }


def main() -> None:
    """Read the arguments, judge, print a line per company and, last, one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--n-jobs", type=int, default=1)
    asked = parser.parse_args()
    totals = {}
    for world in LEAKS:
        n_right = 0
        for seed in range(1, asked.seeds + 1):
            begun = time.perf_counter()
            found = leaks(world, seed, asked.n_jobs)
            n_right += found["right"]
            seconds = time.perf_counter() - begun
            print(
                f"leaks: {world}, seed {seed}: {'right' if found['right'] else 'WRONG'} {found['said']} {seconds:.0f} s"
            )
        totals[world] = {"right": n_right, "seeds": asked.seeds}
    print(json.dumps({"leaks": totals}))


def _mistaken(rng: np.random.Generator, n: int) -> Bools:
    return np.asarray(rng.random(n) < WRONG)


if __name__ == "__main__":
    main()
