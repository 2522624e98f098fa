"""Judge the recipe: learn from what was known at a cut in time, judge on the mornings after it."""

from __future__ import annotations

import logging

from leadscore.backtest import backtest, default_cuts
from leadscore.command import (
    against_peers,
    data_set_arguments,
    json_line,
    moment,
    read,
    readable,
    run,
    worked_in_words,
)
from leadscore.findings import findings
from leadscore.history.zone import micros
from leadscore.peers import peers

log = logging.getLogger("leadscore.evaluate")


def main() -> None:
    """Read, backtest; print the figures and, last, one line of JSON."""
    parser = data_set_arguments(__doc__)
    parser.add_argument(
        "--cut", type=moment, help="default: the last quarter of the time with known outcomes is judged"
    )
    asked = parser.parse_args()
    history = read(asked)
    past = backtest(history, [micros(asked.cut)] if asked.cut else default_cuts(history), asked.jobs)
    found = findings(history, past, asked.jobs)
    for warning in found.warnings:
        log.warning("%s", warning)
    log.info("judged %d examples of %d leads", len(past.judged), len(history))
    print(readable(found.figures))
    print(worked_in_words(found.handoff, history.funnel.owner.capacity))
    print(against_peers(peers(history, past, asked.jobs)))
    print(json_line(found.figures, data=asked.data.resolve().name, cuts=past.cuts, overall=found.overall))


if __name__ == "__main__":
    run(main)
