"""What a training run says of order and level, pair by pair, in invented companies of which it is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.worlds import ADDED, DAYS, World, company
from leadscore.backtest import backtest, default_cuts, learn_until
from leadscore.findings import findings
from leadscore.model.pair import LEVEL_CORRECTED, LEVEL_ONLY, RANKS, UNKNOWN
from leadscore.pairs import served_pairs

if TYPE_CHECKING:
    from leadscore.model.pair import State

LEADS = 3_000
# Leads that must have reached a stage for its pair to be judged, at an order of .60.
ENOUGH = 150
QUALIFIED, WON_FROM_LEAD, WON = "qualified from lead", "won from lead", "won from qualified"


class Known(NamedTuple):
    """A world, and the states that are right of each pair."""

    world: World
    right: dict[str, set[State]]


def _raised(when: float) -> float:
    return 1.2 if when > DAYS - 150 else 0.0


def _stale(when: float) -> float:
    """As `_raised`, but before the mornings that are judged: else young leads differ from old ones on these."""
    return 1.2 if when > DAYS - 260 else 0.0


def _nothing(_: float) -> dict[str, float]:
    return dict.fromkeys(ADDED, 0.0)


STATES = {
    # Training follows the level some way by itself: what is left of the shift need not be clear in every pair.
    "signal with a level shift": Known(
        World(level=_raised, carried=1.0),
        {pair: {RANKS, LEVEL_CORRECTED} for pair in (QUALIFIED, WON_FROM_LEAD, WON)},
    ),
    "no signal with a stale base": Known(
        World(level=_stale, source=_nothing, large=lambda _: 0.0, memoryless=True),
        {QUALIFIED: {LEVEL_ONLY}, WON_FROM_LEAD: {LEVEL_ONLY}, WON: {LEVEL_ONLY}},
    ),
    "signal from one current stage only": Known(
        World(carried=0.0), {QUALIFIED: {RANKS}, WON_FROM_LEAD: {RANKS}, WON: {LEVEL_ONLY}}
    ),
}


def states(world: str, seed: int, n_jobs: int) -> dict[str, Any]:
    """The states in a world, and whether they are right: those of small pairs may be unknown, but not the opposite."""
    known = STATES[world]
    history = company(known.world, LEADS, seed)
    past = backtest(history, default_cuts(history)[:1], n_jobs)
    model = learn_until(history, history.known_until, n_jobs)
    model = served_pairs(history, past, model, findings(history, past, n_jobs).pairs)
    found = {
        f"{stage} from {current}": pair
        for stage, pairs in zip(history.funnel.later_stages, model.pairs(), strict=True)
        for current, pair in zip(history.funnel.stages, pairs, strict=False)
    }
    wrong = [
        name
        for name, pair in found.items()
        if pair.state not in known.right[name]
        and not (pair.state == UNKNOWN and min(pair.n_reached, pair.n_not_reached) < ENOUGH)
    ]
    said = {
        name: (pair.state, round(pair.order, 3), pair.n_reached, round(pair.level, 2)) for name, pair in found.items()
    }
    return {"right": not wrong, "wrong": wrong, "states": said}
