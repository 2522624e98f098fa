"""Learn from a data set, log the run in MLflow, register the model as a candidate."""

from __future__ import annotations

import logging
from pathlib import Path

from leadscore.command import against_peers, data_set_arguments, read, readable, run, worked_in_words
from leadscore.metrics import ALL
from leadscore.registry import model_name
from leadscore.registry.runs import log_training
from leadscore.training import train

log = logging.getLogger("leadscore.train")


def main() -> None:
    """Read, train, log; print the figures of the recipe on later time."""
    parser = data_set_arguments(__doc__)
    parser.add_argument("--report", type=Path, help="file of the report; default: reports/<data set>.html")
    asked = parser.parse_args()
    history = read(asked)
    trained = train(history, asked.jobs)
    candidate = log_training(trained, history, asked.data.resolve().name)
    place = asked.report or Path("reports") / f"{asked.data.resolve().name}.html"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(candidate.report, encoding="utf-8")
    table = trained.findings.figures
    print(readable(table[table["current"] == ALL].drop(columns="current")))
    print(worked_in_words(trained.findings.handoff, history.funnel.owner.capacity))
    print(against_peers(trained.peers))
    for doubt in trained.model.doubts_:
        print(f"warning: {doubt}")
    standing = "champion" if candidate.is_champion else "candidate; to put it into service: make promote"
    log.info("the report is %s", place)
    log.info("%s version %d is %s", model_name(), candidate.version, standing)


if __name__ == "__main__":
    run(main)
