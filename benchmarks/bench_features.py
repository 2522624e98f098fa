"""Windowed counts and time since last: ours against Polars, DuckDB and pandas on the same touches.

Each engine runs on all cores, in two processes of its own. One keeps its memory: it runs once untimed and then three
times, and the median counts. The other is as the system makes it and runs once, for its answer and for its memory:
the peak with the data in it, and the working memory, which is that peak without the data and the result.
Putting the columns into the engine's own frame is not timed, sorting is.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.funnel_of_touches import MOMENTS_PER_LEAD, N_COLUMNS, TOUCHES_PER_LEAD, draw, of_one_lead
from benchmarks.measure import forget_peak, in_a_process, median_microseconds, memory_mb, seconds

if TYPE_CHECKING:
    from leadscore.history.line import Float32s

ENGINES = ("leadscore", "polars", "duckdb", "pandas")
RUNS = 3
MODULE = "benchmarks.bench_features"
PANDAS_SHARE = 10
ROWS_AT_ONCE = 100_000
MEGABYTE = 1 << 20


def main() -> None:
    """Measure one engine, or start a process for each and compare what they found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--touches", type=int, default=10_000_000)
    parser.add_argument("--only", choices=ENGINES, action="append", help="engine to run; all by default")
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.engine:
        print(json.dumps(once(given) if given.answer else often(given)))
        return
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        report(given.touches, run(tuple(given.only or ENGINES), given.touches, Path(folder)))


def run(engines: tuple[str, ...], touches: int, folder: Path) -> dict[str, dict[str, Any]]:
    """Figures of each engine, and whether its answer is ours."""
    figures = {}
    for engine in engines:
        # pandas needs ten times as long as anybody waits: a tenth of the leads, and then ours on that tenth too.
        n = touches // PANDAS_SHARE if engine == "pandas" else touches
        figures[engine] = timed_and_answered(engine, n, folder / f"{engine}.npy")
        ours = folder / "leadscore.npy"
        if engine == "pandas" and "leadscore" in figures:
            ours = folder / "tenth.npy"
            timed_and_answered("leadscore", n, ours)
        if engine != "leadscore" and ours.exists():
            figures[engine]["equal"] = equal(ours, folder / f"{engine}.npy")
            (folder / f"{engine}.npy").unlink()
    return figures


def timed_and_answered(engine: str, touches: int, answer: Path) -> dict[str, Any]:
    """Figures of one engine, from its two processes."""
    arguments = ["--engine", engine, "--touches", str(touches)]
    memory = in_a_process(MODULE, [*arguments, "--answer", str(answer)])
    return memory | in_a_process(MODULE, arguments, keep_memory=True)


def once(given: argparse.Namespace) -> dict[str, float]:
    """Memory of one run, whose answer is saved."""
    module = importlib.import_module(f"benchmarks.engine_{given.engine}")
    loaded = module.load(draw(given.touches))
    forget_peak()
    before = memory_mb("VmRSS")
    answer = answer_of(given.engine, module, loaded)
    peak = memory_mb("VmHWM")
    compared = module.compared(answer)
    np.save(given.answer, compared)
    return {"before_mb": before, "peak_mb": peak, "working_mb": peak - before - compared.nbytes / MEGABYTE}


def often(given: argparse.Namespace) -> dict[str, float]:
    """Median times."""
    module = importlib.import_module(f"benchmarks.engine_{given.engine}")
    drawn = draw(given.touches)
    loaded, one = module.load(drawn), module.load(of_one_lead(drawn, lead=7))
    del drawn
    whole = timed_in_two(module, loaded) if given.engine == "leadscore" else timed(module, loaded)
    return whole | timed_for_one(given.engine, module, loaded, one)


def answer_of(engine: str, module: Any, loaded: Any) -> Any:
    """What the engine finds, in its own form."""
    return module.found(module.build(loaded), loaded) if engine == "leadscore" else module.found(loaded)


def timed(module: Any, loaded: Any) -> dict[str, float]:
    """Median time of a peer."""
    module.found(loaded)
    return {"s": statistics.median(seconds(lambda: module.found(loaded)) for _ in range(RUNS))}


def timed_in_two(module: Any, loaded: Any) -> dict[str, float]:
    """Median time of ours, and how much of that run was sorting and how much were features."""
    run_of_ours(module, loaded)
    runs = sorted(run_of_ours(module, loaded) for _ in range(RUNS))
    return dict(zip(("s", "build_s", "features_s"), runs[RUNS // 2], strict=True))


def run_of_ours(module: Any, loaded: Any) -> tuple[float, float, float]:
    """Seconds for all, for sorting and for features."""
    begin = time.perf_counter()
    history = module.build(loaded)
    built = time.perf_counter()
    X = module.found(history, loaded)
    end = time.perf_counter()
    del X
    return end - begin, built - begin, end - built


def timed_for_one(engine: str, module: Any, loaded: Any, one: Any) -> dict[str, float]:
    """Microseconds for the columns of one lead at one moment, where the engine is asked for them."""
    if engine == "leadscore":
        history = module.build(loaded)
        row = type(loaded)(loaded.tables, loaded.lead[37:38], loaded.as_of[37:38])
        features = module.features(history)
        return {
            "one_lead_us": median_microseconds(
                lambda: module.matrix(features, history.at(row.lead, row.as_of)), calls=2_000
            ),
            "one_build_us": median_microseconds(lambda: module.build(one)),
        }
    if engine == "polars":
        return {"one_lead_us": median_microseconds(lambda: module.found_for_one(one))}
    return {}


def equal(ours: Path, theirs: Path) -> bool:
    """Whether two answers are the same, counts and float32 days alike, and NaN in the same places."""
    a, b = (np.load(path, mmap_mode="r") for path in (ours, theirs))
    return a.shape == b.shape and all(
        same(a[begin : begin + ROWS_AT_ONCE], b[begin : begin + ROWS_AT_ONCE])
        for begin in range(0, len(a), ROWS_AT_ONCE)
    )


def same(ours: Float32s, theirs: Float32s) -> bool:
    """Equal, where NaN equals NaN."""
    return bool(np.array_equal(ours, theirs, equal_nan=True))


def report(touches: int, figures: dict[str, dict[str, Any]]) -> None:
    """Print a table, and last one line of JSON."""
    print(f"{touches:,} touches, {N_COLUMNS} columns; median of {RUNS} runs; a process each")
    print(f"{'':<12}{'seconds':>9}{'before MB':>11}{'peak MB':>9}{'working MB':>12}{'one lead us':>13}  equal")
    for engine, its in figures.items():
        one = f"{its['one_lead_us']:.0f}" if "one_lead_us" in its else ""
        note = f"  on a tenth; {its['s'] * PANDAS_SHARE:.1f} s for all" if engine == "pandas" else ""
        print(
            f"{engine:<12}{its['s']:>9.2f}{its['before_mb']:>11.0f}{its['peak_mb']:>9.0f}{its['working_mb']:>12.0f}"
            f"{one:>13}  {its.get('equal', '')}{note}"
        )
    if ours := figures.get("leadscore"):
        print(f"of ours, {ours['build_s']:.2f} s are sorting and {ours['features_s']:.2f} s features;")
        print(f"a history of one lead takes {ours['one_build_us']:.0f} us to build")
    print(json.dumps(summary(touches, figures)))


def summary(touches: int, figures: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The figures under the names that they are kept by; None where an engine did not run."""
    of = {engine: figures.get(engine, {}) for engine in ENGINES}
    pandas_s = of["pandas"].get("s")
    return {
        "touches": touches,
        "examples": touches // TOUCHES_PER_LEAD * MOMENTS_PER_LEAD,
        "columns": N_COLUMNS,
        **{f"{engine}_s": of[engine].get("s") for engine in ENGINES[:3]},
        "pandas_s": None if pandas_s is None else pandas_s * PANDAS_SHARE,
        **{f"{engine}_peak_mb": of[engine].get("peak_mb") for engine in ENGINES[:3]},
        **{f"{engine}_working_mb": of[engine].get("working_mb") for engine in ENGINES[:3]},
        "one_lead_us": of["leadscore"].get("one_lead_us"),
        "polars_one_lead_us": of["polars"].get("one_lead_us"),
        "equal": all(its["equal"] for its in figures.values() if "equal" in its),
    }


if __name__ == "__main__":
    main()
