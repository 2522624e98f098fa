"""Judge the recipe: learn from what was known at a cut in time, judge on the mornings after it."""

from __future__ import annotations

import logging

from leadscore.command import data_set_arguments, json_line, moment, read, readable, run
from leadscore.history.zone import micros
from leadscore.metrics import figures, overall
from leadscore.training import backtest, default_cut

log = logging.getLogger("leadscore.evaluate")


def main() -> None:
    """Read, backtest; print the figures and, last, one line of JSON."""
    parser = data_set_arguments(__doc__)
    parser.add_argument(
        "--cut", type=moment, help="default: the last quarter of the time with known outcomes is judged"
    )
    asked = parser.parse_args()
    history = read(asked)
    past = backtest(history, micros(asked.cut) if asked.cut else default_cut(history), asked.jobs)
    table = figures(past.judged)
    log.info("judged %d examples of %d leads", len(past.judged.lead), len(history))
    print(readable(table))
    print(json_line(table, data=asked.data.resolve().name, cut=past.cut, overall=overall(past.judged)))


if __name__ == "__main__":
    run(main)
