"""What leadscore says and does when the world moves, in invented companies whose changes are known.

``gate``: a champion was trained six months before today, a candidate two months before today, and the gate compares
them today. In five worlds it is known what is right:

=======================  ==============================================================================  =========
``newer is better``      half of the leads come from a new source since seven months ago                passed
``broken month``         before the candidate's training all leads were marked as qualified for 75 days  held back
``the same``             nothing changes                                                                passed
``recalibration helps``  the odds doubled and more nine months ago; the candidate is the champion,      passed
                         recalibrated
``recalibration harms``  the candidate is the champion, recalibrated on these days                       held back
=======================  ==============================================================================  =========

``worlds``: what is said at training in seven worlds.

==================================  ===========================================  ==================
``level times 5 in a year``         the odds rise to five times in the last year  recalibrate
``a feature's meaning turned``      large companies are worse rather than better  retrain on a window
``a source that dies``              no lead from webinars for 40 days             look at the data
``touches that stop``               no call for 40 days                           look at the data
``growing by half a year on year``  of leads, not of what each gets               nothing, go on
``seasonal``                        leads, touches and level                      nothing, go on
``nothing``                         nothing changes                               nothing, go on
==================================  ===========================================  ==================

``states``: what is said of order and level, pair by pair.

======================================  ================================================  ======================
``signal with a level shift``           the odds trebled five months ago                  level corrected, ranks
``no signal with a stale base``         so they did before, and nothing tells leads apart  level only
``signal from one current stage only``  what tells leads apart does nothing for the win   ranks; level only
======================================  ================================================  ======================

``leaks``: which sources are named.

===============  ====================================================================  ==========
``two planted``  one tells the outcome by its value, another by whether it is known    both
``zombies``      many leads were never closed                                          none
``honest .80``   an attribute orders leads at .80                                      none
===============  ====================================================================  ==========

With ``--bank`` the bank's calls are rolled over twelve months: `benchmarks.drift_bank`.

Results are kept in ``build/bench_drift.jsonl``: a run that was stopped goes on there. Prints a line per company and,
last, one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.drift_bank import rolled, summary
from benchmarks.drift_leaks import LEAKS, leaks
from benchmarks.drift_states import STATES, states
from benchmarks.drift_worlds import WORLDS, found_in
from benchmarks.worlds import DAYS, World, company, day
from leadscore.backtest import learn_until
from leadscore.gate import compare
from leadscore.recalibration import recalibrate

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from leadscore.gate import Verdict

LEADS = 3_000
# The days on which champion and candidate were trained; the gate compares them on the last.
CHAMPION, CANDIDATE = DAYS - 180, DAYS - 60
PASSED, HELD_BACK = "passed", "held back"
GATE = {
    "newer is better": (World(fairs=lambda when: 0.5 if when > DAYS - 210 else 0.0), PASSED),
    "broken month": (World(bulk=lambda when: CANDIDATE - 90 < when < CANDIDATE - 15), HELD_BACK),
    "the same": (World(), PASSED),
    "recalibration helps": (World(level=lambda when: 1.0 if when > DAYS - 270 else 0.0), PASSED),
    "recalibration harms": (World(bulk=lambda when: CANDIDATE - 90 < when < CANDIDATE - 15), HELD_BACK),
}
RECALIBRATED = {"recalibration helps", "recalibration harms"}


def gate(world: str, seed: int, n_jobs: int) -> Verdict | None:
    """What the gate says in a world; None where recalibration changes nothing, so that there is no candidate."""
    history = company(GATE[world][0], LEADS, seed)
    champion = learn_until(history, day(CHAMPION), n_jobs)
    if world in RECALIBRATED:
        found = recalibrate(history, champion, n_jobs, day(CANDIDATE))
        if not found.changed:
            return None
        candidate = found.model
    else:
        candidate = learn_until(history, day(CANDIDATE), n_jobs)
    return compare(history, candidate, champion, n_jobs)


def gate_result(world: str, seed: int, n_jobs: int) -> dict[str, Any]:
    """What the gate decides in a world, and by what."""
    verdict = gate(world, seed, n_jobs)
    if verdict is None:
        return {"right": GATE[world][1] == HELD_BACK, "decision": "no candidate"}
    return {
        "right": verdict.decision == GATE[world][1],
        "decision": verdict.decision,
        "broken": [rule.name for rule in verdict.rules if not rule.kept],
        "evidence": verdict.evidence[-1].name,
    }


PARTS: dict[str, tuple[Collection[str], Callable[[str, int, int], dict[str, Any]]]] = {
    "worlds": (WORLDS, found_in),
    "gate": (GATE, gate_result),
    "states": (STATES, states),
    "leaks": (LEAKS, leaks),
}


def main() -> None:
    """Read the arguments, run what is not there yet, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--n-jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--bank", type=Path, help="data set folder of the bank's calls")
    parser.add_argument("--results", type=Path, default=Path("build/bench_drift.jsonl"))
    asked = parser.parse_args()
    asked.results.parent.mkdir(parents=True, exist_ok=True)
    lines = asked.results.read_text().splitlines() if asked.results.exists() else []
    known = {(each["part"], each["world"], each["seed"]): each for each in map(json.loads, lines) if "part" in each}
    totals: dict[str, dict[str, dict[str, int]]] = {}
    for part in asked.parts:
        worlds, look = PARTS[part]
        for world, seed in product(worlds, range(1, asked.seeds + 1)):
            found = known.get((part, world, seed))
            if found is None:
                begun = time.perf_counter()
                found = {"part": part, "world": world, "seed": seed} | look(world, seed, asked.n_jobs)
                found["seconds"] = round(time.perf_counter() - begun, 1)
                with asked.results.open("a") as results:
                    results.write(json.dumps(found) + "\n")
            total = totals.setdefault(part, {}).setdefault(world, {"right": 0, "seeds": 0})
            total["right"] += found["right"]
            total["seeds"] += 1
            if part == "gate":
                not_comparable = found["decision"] == "not comparable"
                total["not comparable"] = total.get("not comparable", 0) + not_comparable
            words = {name: each for name, each in found.items() if name not in {"part", "world", "seed"}}
            print(f"{part}: {world}, seed {seed}: {json.dumps(words)}", flush=True)
    found_of_bank = None
    if asked.bank is not None:
        months = rolled(asked.bank, asked.n_jobs)
        print("\n".join(map(str, months)))
        found_of_bank = summary(months)
    print(json.dumps(totals | {"bank": found_of_bank}))


if __name__ == "__main__":
    main()
