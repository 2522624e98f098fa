"""What leadscore says at training in invented companies whose world moves, and in three where it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.worlds import DAYS, LARGE, World, company
from leadscore.backtest import backtest, default_cuts
from leadscore.drift import GO_ON, LOOK, RECALIBRATE, RETRAIN, drift

if TYPE_CHECKING:
    from leadscore.drift import Advice

LEADS = 3_000
# Touches of each kind per week and open lead.
USUAL = {"email": 1.2, "call": 0.5, "visit": 0.8}
YEAR = 365


class Known(NamedTuple):
    """A world, and what is right to say of it."""

    world: World
    what: str
    advice: Advice


def _stopped(when: float) -> dict[str, float]:
    return USUAL | {"call": 0.0} if when > DAYS - 40 else USUAL


def _seasonal(when: float) -> dict[str, float]:
    height = 1 + 0.3 * float(np.sin(2 * np.pi * when / YEAR))
    return {kind: rate * height for kind, rate in USUAL.items()}


def _risen(when: float) -> float:
    return float(np.log(5)) * min(max((when - (DAYS - YEAR)) / YEAR, 0.0), 1.0)


def _turned(when: float) -> float:
    return -LARGE if when > DAYS - 150 else LARGE


def _always(_: float) -> dict[str, float]:
    return USUAL


WORLDS = {
    "level times 5 in a year": Known(
        World(touches=_always, level=lambda when: -1.0 + _risen(when)), "level", RECALIBRATE
    ),
    "a feature's meaning turned": Known(World(touches=_always, large=_turned), "meaning", RETRAIN),
    "a source that dies": Known(
        World(touches=_always, dead=lambda when: ("webinar",) if when > DAYS - 40 else ()), "categories", LOOK
    ),
    "touches that stop": Known(World(touches=_stopped), "volume", LOOK),
    "growing by half a year on year": Known(World(touches=_always, growth=1.5), "", GO_ON),
    "seasonal": Known(
        World(touches=_seasonal, season=0.4, level=lambda when: 0.3 * float(np.sin(2 * np.pi * when / YEAR))), "", GO_ON
    ),
    "nothing": Known(World(touches=_always), "", GO_ON),
}


def found_in(world: str, seed: int, n_jobs: int) -> dict[str, Any]:
    """The findings in a world, and whether they and the advice are right."""
    known = WORLDS[world]
    history = company(known.world, LEADS, seed)
    found = drift(history, backtest(history, default_cuts(history), n_jobs).judged)
    kinds = {each.what for each in found.findings}
    # An order that fell says the same as a meaning that turned.
    kinds |= {"meaning"} if "order" in kinds else set()
    right = found.advice == known.advice and (known.what in kinds if known.what else not kinds)
    return {"right": right, "advice": found.advice, "said": [str(each) for each in found.findings]}
