"""Write every open lead with the champion's probabilities, likeliest first, and print the top of both lists."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from leadscore.api.settings import service_settings
from leadscore.command import data_set_arguments, moment, read, run
from leadscore.history.zone import micros
from leadscore.model.staleness import warn_of_stale_history
from leadscore.registry import load_champion
from leadscore.scoring import HANDOFF, WIN, rank

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("leadscore.rank")


def main() -> None:
    """Read, rank, write, print."""
    parser = data_set_arguments(__doc__)
    parser.add_argument("--as-of", type=moment, help="the moment of the prediction; default: known_until")
    parser.add_argument("--out", type=Path, help="file to write, .csv or .parquet; default: ranked/<data set>.csv")
    parser.add_argument("--top", type=int, default=10, help="leads to print of each list")
    asked = parser.parse_args()
    model, version = load_champion(asked.jobs)
    history = read(asked)
    as_of = history.known_until if asked.as_of is None else micros(asked.as_of)
    warn_of_stale_history(model, as_of, service_settings().stale_model_days)
    ranked = rank(history, model, as_of)
    out = asked.out or Path("ranked") / f"{asked.data.resolve().name}.csv"
    out.parent.mkdir(parents=True, exist_ok=True)
    ranked.to_parquet(out, index=False) if out.suffix == ".parquet" else ranked.to_csv(out, index=False)
    for name, what in ((HANDOFF, "before the handoff"), (WIN, "past the handoff, by the win")):
        listed = ranked[ranked["list"] == name]
        print(f"\n{what}: the top {min(asked.top, len(listed))} of {len(listed):,}\n{_printed(listed.head(asked.top))}")
    log.info("%d open leads ranked by version %d: %s", len(ranked), version, out)


def _printed(listed: pd.DataFrame) -> str:
    shown = listed.drop(columns="list").rename(columns={"days_in_stage": "in stage"})
    writers = dict.fromkeys(shown.columns[4:], "{:.1%}".format) | {"in stage": "{:.1f} days".format}
    return shown.to_string(index=False, formatters=writers, na_rep="")


if __name__ == "__main__":
    run(main)
