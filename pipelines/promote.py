"""Hold a version of the model, the newest by default, against the champion; put it into service if it is no worse."""

from __future__ import annotations

import logging

from leadscore.command import data_set_arguments, read, run
from leadscore.gate import compare
from leadscore.registry import contenders, model_name, promote

log = logging.getLogger("leadscore.promote")


def main() -> None:
    """Compare on mornings of a data set, print what the gate says, promote."""
    parser = data_set_arguments(__doc__)
    parser.add_argument("--version", type=int, help="default: the newest")
    parser.add_argument("--force", metavar="REASON", help="put it into service though the gate holds it back")
    asked = parser.parse_args()
    contest = contenders(asked.version, asked.jobs)
    verdict = None
    if contest.champion is not None:
        verdict = compare(read(asked), contest.candidate, contest.champion, asked.jobs, contest.leaks)
        print(f"version {contest.version} against version {contest.champion_version}:\n{verdict}")
    moved = promote(contest, verdict, asked.force)
    log.info("%s: champion is version %d, was %s", model_name(), moved.version, moved.former or "none")


if __name__ == "__main__":
    run(main)
