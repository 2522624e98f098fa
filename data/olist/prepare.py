"""Turn the marketing funnel of Olist into a data set folder.

python data/olist/prepare.py <folder with marketing_qualified_leads.parquet and closed_deals.parquet> <new folder>
"""

from __future__ import annotations

import argparse
import logging
import shutil
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent
# Deals closed before December 2017 were not published: earlier leads look lost although some had signed.
FIRST_DAY = "2018-01-01"

log = logging.getLogger("olist")


def prepare(source: Path, folder: Path) -> None:
    """Write leads from 2018 on, a transition per deal, and no touches.

    What a deal says beyond its date is known of winners only, so it is left out.
    """
    leads = pd.read_parquet(source / "marketing_qualified_leads.parquet").rename(
        columns={"mql_id": "lead_id", "first_contact_date": "created_at", "landing_page_id": "landing_page"}
    )
    deals = pd.read_parquet(source / "closed_deals.parquet").rename(
        columns={"mql_id": "lead_id", "won_date": "occurred_at"}
    )
    recent = leads[leads["created_at"] >= FIRST_DAY]
    won = deals[deals["lead_id"].isin(recent["lead_id"])].assign(stage="won")
    touches = pd.DataFrame({"lead_id": [], "kind": [], "occurred_at": []}, dtype="str")
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "leads": recent[["lead_id", "created_at", "origin", "landing_page"]],
        "transitions": won[["lead_id", "stage", "occurred_at"]],
        "touches": touches,
    }
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet", index=False)
        log.info("%s: %d rows", name, len(table))
    log.info("%d leads of 2017 and their %d deals are left out", len(leads) - len(recent), len(deals) - len(won))
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
