"""Whether "no signal" and "leak?" are said when they are true, and not when they are not.

For each seed a simulated company of 4,000 leads is judged three times: as it is, where neither must be said; with an
attribute that was filled in afterwards, which must be named; and with outcomes drawn at the rate of the current stage,
where no stage must have a signal. Prints a line per company and, last, one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from unittest import mock

from benchmarks.companies import LEAK, company, shuffled
from leadscore import backtest as judging
from leadscore.backtest import backtest, default_cuts
from leadscore.findings import Findings, findings

LEADS = 4_000


def found(folder: Path, seed: int, n_jobs: int, *, leak: bool = False) -> Findings:
    """What judging a company shows."""
    history = company(folder, LEADS, seed, leak=leak)
    return findings(history, backtest(history, default_cuts(history), n_jobs), n_jobs)


def right(seed: int, n_jobs: int) -> dict[str, bool]:
    """Whether each of the three companies of a seed was told right."""
    with tempfile.TemporaryDirectory() as folder:
        clean = found(Path(folder) / "clean", seed, n_jobs)
        leaking = found(Path(folder) / "leaking", seed, n_jobs, leak=True)
        with mock.patch.object(judging, "reached", shuffled):
            nothing = found(Path(folder) / "nothing", seed, n_jobs)
    return {
        "clean": not clean.warnings,
        "leak": LEAK in {each.source.name for leak in leaking.leaks for each in leak.suspects},
        "no_signal": set(nothing.no_signal) == set(nothing.figures["stage"]),
    }


def main() -> None:
    """Read the arguments, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--n-jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    totals = {"clean": 0, "leak": 0, "no_signal": 0}
    for seed in range(1, asked.seeds + 1):
        told = right(seed, asked.n_jobs)
        print(
            f"seed {seed}: "
            + ", ".join(f"{name} {'right' if is_right else 'WRONG'}" for name, is_right in told.items())
        )
        totals = {name: n + told[name] for name, n in totals.items()}
    print(json.dumps({"seeds": asked.seeds, **totals}))


if __name__ == "__main__":
    main()
