"""Reasons for a page of leads: how long a rep waits for them, on one thread.

The model is learnt from the sample; the leads are spread over its open ones, and the stage is the win, which every
lead has ahead.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.measure import median_microseconds, seconds
from leadscore.backtest import learn_until
from leadscore.explain import explain
from leadscore.features import matrix
from leadscore.funnel import open_leads
from leadscore.history import read_history

if TYPE_CHECKING:
    from leadscore.history import Snapshot
    from leadscore.model import FunnelModel

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
CALLS = 40


def main() -> None:
    """Measure, and print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leads", type=int, default=50)
    parser.add_argument("--data", type=Path, default=SAMPLE, help="a data set folder")
    given = parser.parse_args()
    history = read_history(given.data)
    model = learn_until(history, history.known_until, 1)
    seen = open_leads(history, history.known_until)
    page = seen[np.linspace(0, len(seen) - 1, given.leads).astype(np.int64)]
    report(model, page)


def report(model: FunnelModel, page: Snapshot) -> None:
    """Print how long the reasons take and what of that is not theirs, and last one line of JSON."""
    place = len(model.stages_) - 1
    learnt = model.stages_[place]
    coded = page.coded(model.vocabulary_)
    X = matrix(model.features_, coded)
    booster = learnt.booster
    if booster is None:
        raise SystemExit("the win has too few outcomes in these data for reasons")
    parts = {
        "reasons": lambda: explain(model, page, place),
        "scores": lambda: model.predict_proba(page),
        "features": lambda: matrix(model.features_, page.coded(model.vocabulary_)),
        "contributions": lambda: booster.predict(X, pred_contrib=True, num_threads=1),
    }
    taken = {name: median_microseconds(work, CALLS) / 1000 for name, work in parts.items()}
    slowest = max(seconds(parts["reasons"]) for _ in range(CALLS)) * 1000
    print(f"{len(page)} leads, {X.shape[1]} columns, {learnt.rounds} trees, one thread; medians of {CALLS} calls")
    for name, milliseconds in taken.items():
        print(f"{name:<16}{milliseconds:>8.1f} ms")
    print(f"{'slowest':<16}{slowest:>8.1f} ms")
    print(json.dumps({"leads": len(page), "ms": round(taken["reasons"], 1)}))


if __name__ == "__main__":
    main()
