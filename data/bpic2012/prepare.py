"""Turn the log of the BPI Challenge 2012 into a data set folder.

python data/bpic2012/prepare.py <folder with events.parquet and cases.parquet> <new folder>
"""

from __future__ import annotations

import argparse
import logging
import shutil
from pathlib import Path

import pandas as pd

from leadscore.config import read_funnel

HERE = Path(__file__).parent
# They are the win under other names, logged within a second of it.
SAME_AS_WIN = ("A_ACTIVATED", "A_REGISTERED", "O_ACCEPTED")

log = logging.getLogger("bpic2012")


def prepare(source: Path, folder: Path) -> None:
    """Write leads, transitions and touches; what is not a stage is a touch of kind ``activity.lifecycle``."""
    funnel = read_funnel(HERE / "funnel.toml").funnel
    events = pd.read_parquet(source / "events.parquet").rename(
        columns={"case:concept:name": "lead_id", "time:timestamp": "occurred_at", "org:resource": "by"}
    )
    cases = pd.read_parquet(source / "cases.parquet").rename(
        columns={"concept:name": "lead_id", "REG_DATE": "created_at", "AMOUNT_REQ": "amount_requested"}
    )
    activity = events["concept:name"]
    is_stage = activity.isin([*funnel.stages, *funnel.lost])
    touches = events[~is_stage & ~activity.isin(SAME_AS_WIN)]
    kind = touches["concept:name"] + "." + touches["lifecycle:transition"]
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "leads": cases[["lead_id", "created_at", "amount_requested"]],
        "transitions": events[is_stage].assign(stage=activity[is_stage])[["lead_id", "stage", "occurred_at"]],
        "touches": touches.assign(kind=kind)[["lead_id", "kind", "occurred_at", "by"]],
    }
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet", index=False)
        log.info("%s: %d rows", name, len(table))
    shutil.copy(HERE / "funnel.toml", folder / "funnel.toml")


def main() -> None:
    """Read the arguments and prepare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    prepare(arguments.source, arguments.folder)


if __name__ == "__main__":
    main()
