"""A large company's funnel from its files to its list: reading, learning, features, ranking.

The data are invented (`leadscore.simulate`) as Parquet and kept for the next run. Time inside LightGBM is measured
by wrapping its own functions, so that what training costs beside it can be seen.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import lightgbm as lgb
import numpy as np

from benchmarks.measure import forget_peak, in_a_process, memory_mb
from leadscore.backtest import learn_until
from leadscore.examples import learning_examples
from leadscore.features import matrix
from leadscore.funnel import open_leads
from leadscore.history import read_history
from leadscore.scoring import rank
from leadscore.simulate import simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leadscore.history import History, Snapshot
    from leadscore.history.line import Float32s
    from leadscore.model import FunnelModel

N_JOBS = os.cpu_count() or 1
# Binning, the rows of each fit and growing trees; one inside another counts once.
FITTING = ((lgb.Dataset, "construct"), (lgb.Dataset, "subset"), (lgb.Dataset, "set_label"), (lgb, "train"))


def main() -> None:
    """Measure, and print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leads", type=int, default=1_000_000)
    parser.add_argument("--cache", type=Path, default=Path("build/bench-scale"), help="where the data are kept")
    parser.add_argument("--draw-only", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    folder = given.cache / f"{given.leads}-leads"
    if given.draw_only:
        print(json.dumps(draw(folder, given.leads)))
        return
    if not (folder / "complete").exists():
        # In a process of its own, which gives all its memory back.
        in_a_process(
            "benchmarks.bench_scale", ["--draw-only", "--leads", str(given.leads), "--cache", str(given.cache)]
        )
    report(measured(folder))


def draw(folder: Path, leads: int) -> dict[str, int]:
    """Invent the data; rows per table."""
    rows = simulate(folder, leads=leads, form="parquet", truth_from=None).rows
    (folder / "complete").touch()
    return rows


@dataclass(slots=True)
class Stopwatch:
    """Seconds per step of the work."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Add what is done while this lasts to the step."""
        begin = time.perf_counter()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - begin


def measured(folder: Path) -> dict[str, float]:
    """The whole way of `make train` and `make rank`, but for judging the recipe on past time."""
    step = Stopwatch()
    forget_peak()
    with step("read_s"):
        history = read_history(folder)
    with step("train_s"), lightgbm_watched(step):
        examples = learning_examples(history)
        model = learn_until(history, history.known_until, N_JOBS, examples)
    with step("rank_s"):
        ranked = rank(history, model)
    with step("features_s"):
        seen, X = open_features(history, model)
    with step("raw_predict_s"):
        raw_predict(model, seen, X)
    return {
        "touches": len(history.touches),
        "leads": len(history),
        "open_leads": len(ranked),
        "examples": len(examples),
        "columns": X.shape[1],
        **step.seconds,
        "peak_mb": memory_mb("VmHWM"),
    }


@contextmanager
def lightgbm_watched(step: Stopwatch) -> Iterator[None]:
    """Time during which LightGBM's own fit was at work, on one thread or several, as ``lightgbm_fit_s``."""
    lock, inside, begin = threading.Lock(), 0, 0.0

    def moved(by: int) -> None:
        nonlocal inside, begin
        with lock:
            if not inside:
                begin = time.perf_counter()
            inside += by
            if not inside:
                step.seconds["lightgbm_fit_s"] = step.seconds.get("lightgbm_fit_s", 0.0) + time.perf_counter() - begin

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def timed(*given: Any, **named: Any) -> Any:
            moved(1)
            try:
                return function(*given, **named)
            finally:
                moved(-1)

        return timed

    with ExitStack() as patches:
        for owner, name in FITTING:
            patches.enter_context(patch.object(owner, name, watched(getattr(owner, name))))
        yield


def open_features(history: History, model: FunnelModel) -> tuple[Snapshot, Float32s]:
    """X of every open lead at the end of the recorded history."""
    seen = open_leads(history, history.known_until).coded(model.vocabulary_)
    return seen, matrix(model.features_, seen, N_JOBS)


def raw_predict(model: FunnelModel, seen: Snapshot, X: Float32s) -> None:
    """The least that scoring can cost: each stage's trees on the rows that are ahead of it."""
    stage = seen.steps.stage
    for place, each in enumerate(model.stages_):
        if each.booster is not None:
            each.booster.predict(X[np.flatnonzero(stage <= place)], raw_score=True, num_threads=N_JOBS)


def report(figures: dict[str, float]) -> None:
    """Print a table, and last one line of JSON."""
    print(f"{figures['leads']:,} leads, {figures['touches']:,} touches, {N_JOBS} cores")
    for name in ("open_leads", "examples", "columns"):
        print(f"{name:<16}{figures[name]:>12,}")
    for name in ("read_s", "features_s", "rank_s", "raw_predict_s", "train_s", "lightgbm_fit_s"):
        print(f"{name:<16}{figures[name]:>12.1f}")
    print(f"{'peak_mb':<16}{figures['peak_mb']:>12,.0f}")
    all_s = figures["read_s"] + figures["features_s"] + figures["rank_s"]
    print(f"reading, features and ranking take {all_s:.1f} s")
    print(f"training takes {figures['train_s'] / figures['lightgbm_fit_s']:.2f} times the time inside LightGBM's fit")
    print(json.dumps({name: value for name, value in figures.items() if name not in {"leads", "touches"}}))


if __name__ == "__main__":
    main()
