"""Write every open lead with the champion's probabilities, highest first, and print the top of both lists."""

from __future__ import annotations

import logging
from pathlib import Path

from leadscore.api.settings import service_settings
from leadscore.command import data_set_arguments, moment, printed_list, read, run, write_list
from leadscore.funnel import not_listed
from leadscore.history.zone import micros
from leadscore.model.staleness import warn_of_stale_history
from leadscore.registry import load_champion
from leadscore.scoring import HANDOFF, WIN, rank

log = logging.getLogger("leadscore.rank")


def main() -> None:
    """Read, rank, write, print."""
    parser = data_set_arguments(__doc__)
    parser.add_argument("--as-of", type=moment, help="the moment of the prediction; default: known_until")
    parser.add_argument(
        "--out",
        type=Path,
        help="file to write; default: ranked/<data set>.csv; .parquet holds the numbers with all their digits",
    )
    parser.add_argument("--top", type=int, default=10, help="leads to print of each list")
    parser.add_argument("--reasons", type=int, default=100, help="leads of each list to write reasons for")
    asked = parser.parse_args()
    model, version = load_champion(asked.jobs)
    history = read(asked)
    as_of = micros(asked.as_of) if asked.as_of else history.known_until
    stale_days = service_settings().stale_model_days
    warn_of_stale_history(model, as_of, stale_days)
    ranked = rank(history, model, as_of, reasons=asked.reasons, stale_days=stale_days)
    out = asked.out or Path("ranked") / f"{asked.data.resolve().name}.csv"
    write_list(ranked, out)
    for name, what in ((HANDOFF, "before the handoff"), (WIN, "past the handoff, by the win")):
        print(f"\n{printed_list(ranked[ranked['list'] == name], what, asked.top)}")
    for doubt in model.doubts_:
        print(f"warning: {doubt}")
    for sentence in not_listed(history, as_of):
        log.info("%s", sentence)
    log.info("%d open leads ranked by version %d: %s", len(ranked), version, out)


if __name__ == "__main__":
    run(main)
