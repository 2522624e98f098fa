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

Results are kept in ``build/bench_drift.jsonl``: a run that was stopped goes on there. Prints a line per company and,
last, one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.worlds import DAYS, World, company, day
from leadscore.backtest import learn_until
from leadscore.gate import compare
from leadscore.recalibration import recalibrate

if TYPE_CHECKING:
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


def main() -> None:
    """Read the arguments, run what is not there yet, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--n-jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--results", type=Path, default=Path("build/bench_drift.jsonl"))
    asked = parser.parse_args()
    asked.results.parent.mkdir(parents=True, exist_ok=True)
    lines = asked.results.read_text().splitlines() if asked.results.exists() else []
    known = {(each["world"], each["seed"]): each for each in map(json.loads, lines)}
    totals = {}
    for world, (_, right) in GATE.items():
        decisions: Counter[str] = Counter()
        for seed in range(1, asked.seeds + 1):
            found = known.get((world, seed))
            if found is None:
                begun = time.perf_counter()
                verdict = gate(world, seed, asked.n_jobs)
                found = {"world": world, "seed": seed, "decision": verdict.decision if verdict else "no candidate"}
                found["broken"] = [rule.name for rule in verdict.rules if not rule.kept] if verdict else []
                found["evidence"] = verdict.evidence[-1].name if verdict else ""
                found["seconds"] = round(time.perf_counter() - begun, 1)
                with asked.results.open("a") as results:
                    results.write(json.dumps(found) + "\n")
            decisions[found["decision"]] += 1
            print(f"gate: {world}, seed {seed}: {found['decision']} by {found['evidence']} {found['broken']}")
        n_right = decisions[right] + (decisions["no candidate"] if right == HELD_BACK else 0)
        totals[world] = {"right": n_right, "seeds": asked.seeds, "not comparable": decisions["not comparable"]}
    print(json.dumps({"gate": totals}))


if __name__ == "__main__":
    main()
