"""Write a simulated data set folder: ``data/sample``, or a large one as Parquet."""

from __future__ import annotations

import argparse
import logging
from datetime import date
from pathlib import Path

from leadscore.command import run
from leadscore.simulate import TRUTH_FROM, simulate

log = logging.getLogger("leadscore.simulate")


def main() -> None:
    """Parse arguments, write, log one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("data/sample"))
    parser.add_argument("--leads", type=int, default=4_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--form", choices=("csv", "parquet"), default="csv")
    parser.add_argument("--truth-from", type=date.fromisoformat, default=TRUTH_FROM)
    parser.add_argument("--truth-every-days", type=int, default=28)
    parser.add_argument("--no-truth", action="store_const", const=None, dest="truth_from")
    asked = vars(parser.parse_args())
    folder = asked.pop("folder")
    written = simulate(folder, **asked)
    rows = ", ".join(f"{count:,} {table}" for table, count in written.rows.items())
    log.info("%s: %s; %s leads open at the end", folder, rows, f"{written.open_leads:,}")


if __name__ == "__main__":
    run(main)
