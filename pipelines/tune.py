"""Search for settings that are better than the funnel's own, in the time before the first judging cut alone."""

from __future__ import annotations

import logging
from pathlib import Path
from time import monotonic

from leadscore.command import data_set_arguments, read, run
from leadscore.tuning import Limits, tune

log = logging.getLogger("leadscore.tune")


def main() -> None:
    """Read, search; print what was found. No file but those of the search is changed."""
    parser = data_set_arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="how long; the trial under way is finished")
    parser.add_argument("--trials", type=int, help="end when the search has so many, those of former goes among them")
    parser.add_argument("--study", type=Path, default=Path("models/tuning.db"), help="where the search stands")
    asked = parser.parse_args()
    # Each trial learns several models, each with something to say.
    for chatty in ("leadscore.backtest", "leadscore.model"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    limits = Limits(60 * asked.minutes, asked.trials, monotonic)
    tuned = tune(read(asked), asked.data.resolve().name, asked.study, limits, asked.jobs)
    print(tuned)
    log.info("%d trials stand in %s; to go on, call this again", tuned.n_trials, asked.study)


if __name__ == "__main__":
    run(main)
