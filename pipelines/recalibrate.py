"""Fit the champion's calibration anew on recent outcomes; register what that gives as a candidate."""

from __future__ import annotations

import logging

from leadscore.command import data_set_arguments, read, run
from leadscore.drift import drift_since
from leadscore.gate import as_read_by
from leadscore.recalibration import recalibrate
from leadscore.registry import load_champion, model_name
from leadscore.registry.recalibrated import log_recalibration

log = logging.getLogger("leadscore.recalibrate")


def main() -> None:
    """Read, recalibrate, print what moved, register."""
    asked = data_set_arguments(__doc__).parse_args()
    champion, version = load_champion(asked.jobs)
    history = as_read_by(read(asked), champion)
    found = recalibrate(history, champion, asked.jobs)
    moved = drift_since(history, champion)
    print("\n".join(map(str, (*found.moved, moved))))
    if not found.changed:
        log.info("nothing moved: no new version; version %d stays as it is", version)
        return
    candidate = log_recalibration(found, moved, history, asked.data.resolve().name, version)
    log.info(
        "%s version %d is version %d recalibrated; to put it into service: make promote",
        model_name(),
        candidate.version,
        version,
    )


if __name__ == "__main__":
    run(main)
