"""What the scripts in ``pipelines/`` share: their arguments, their log, and errors as one message."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from leadscore.errors import LeadscoreError
from leadscore.history import read_history

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from leadscore.history import History

SHARES = ("base_rate", "mean_score")
COUNTS = ("n", "leads")


def run(main: Callable[[], None]) -> None:
    """Run a script; an error of ours is one message on stderr and exit code 2."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        main()
    except LeadscoreError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None


def data_set_arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser of the data set folder and of how to read it."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("data", type=Path, nargs="?", default=Path("data/sample"), help="the data set folder")
    parser.add_argument(
        "--known-until", type=moment, help="end of the recorded history, where funnel.toml does not say it"
    )
    parser.add_argument("--quarantine", action="store_true", help="set bad rows aside and go on with the rest")
    parser.add_argument("--jobs", type=int, default=cores(), help="threads; default: the cores of this machine")
    return parser


def read(asked: argparse.Namespace) -> History:
    """The history that the arguments name."""
    return read_history(asked.data, asked.known_until, quarantine=asked.quarantine)


def moment(text: str) -> datetime:
    """A moment with its time zone, as written on a command line."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = datetime.min  # noqa: DTZ901 - refused in the next line
    if found.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time with a time zone: write 2025-03-04T08:00:00Z")
    return found


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def readable(figures: pd.DataFrame) -> str:
    """Figures as a table for a person: shares in percent, ``-`` where a figure does not exist."""
    writers: dict[str, Callable[[float], str]] = dict.fromkeys(
        figures.columns.drop(["stage", "current"], errors="ignore"), "{:.3f}".format
    )
    writers |= dict.fromkeys(COUNTS, "{:,.0f}".format) | dict.fromkeys(SHARES, "{:.1%}".format)
    return figures.to_string(index=False, formatters=writers, na_rep="-")


def json_line(figures: pd.DataFrame, **others: object) -> str:
    """Figures and what else is told of them as one line of JSON; null where a figure does not exist."""
    stages = json.loads(figures.to_json(orient="records", double_precision=15))
    return json.dumps({**others, "stages": stages})
