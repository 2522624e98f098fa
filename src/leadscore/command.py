"""What the scripts in ``pipelines/`` share: their arguments, their log, and errors as one message."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from leadscore.errors import LeadscoreError
from leadscore.history import end_of_history, read_history
from leadscore.scoring import OWNER, REASONS
from leadscore.store import open_store, read_store, reading, stored_funnel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from leadscore.history import History
    from leadscore.metrics import Interval, Worked
    from leadscore.peers import Peer

# What a person reads of the figures: column, heading, how it is written.
SHOWN: dict[str, tuple[str, Callable[[float], str]]] = {
    "n": ("examples", "{:,.0f}".format),
    "leads": ("leads", "{:,.0f}".format),
    "base_rate": ("observed", "{:.1%}".format),
    "mean_score": ("said", "{:.1%}".format),
    "calibration_error": ("off by", "{:.1%}".format),
    "log_loss": ("log loss", "{:.4f}".format),
    "base_log_loss": ("base rate's", "{:.4f}".format),
    "log_loss_gain": ("gain", "{:+.4f}".format),
    "order": ("order", "{:.3f}".format),
    "lift_at_10": ("lift at 10 %", "{:.1f}".format),
}
INTERVALS = ("log_loss_gain", "order")
# Digits after the point of a written list.
LIST_DIGITS = {"days_in_stage": 1}
PROBABILITY_DIGITS = 4
# Named where a data set folder is asked for, it is what the database holds.
STORE = Path("store")


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
    parser.add_argument(
        "data", type=Path, nargs="?", default=Path("data/sample"), help="the data set folder, or: store"
    )
    parser.add_argument(
        "--known-until", type=time_of, help="end of the recorded history, where funnel.toml does not say it"
    )
    parser.add_argument("--quarantine", action="store_true", help="set bad rows aside and go on with the rest")
    parser.add_argument("--jobs", type=int, default=cores(), help="threads; default: the cores of this machine")
    return parser


def read(asked: argparse.Namespace) -> History:
    """The history that the arguments name: a data set folder's, or that of the database."""
    if asked.data != STORE:
        return read_history(asked.data, asked.known_until, quarantine=asked.quarantine)
    store = open_store()
    try:
        if asked.known_until is None:
            return read_store(store)
        with reading(store) as connection:
            time = stored_funnel(connection).time
        return read_store(store, known_until=end_of_history(asked.known_until, time))
    finally:
        store.close()


def moment(text: str) -> datetime:
    """A moment with its time zone, as written on a command line."""
    found = time_of(text)
    if found.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no time zone: write 2025-03-04T08:00:00Z")
    return found


def time_of(text: str) -> datetime:
    """A time as written on a command line; without an offset it is in the zone of the data set."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 2025-03-04T08:00:00Z") from None


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def readable(figures: pd.DataFrame) -> str:
    """The main figures as a table for a person, with their intervals; ``-`` where a figure does not exist."""
    shown = figures[figures.columns.intersection(["stage", "current"])].copy()
    for name, (heading, writer) in SHOWN.items():
        written = _written(figures[name], writer)
        if name in INTERVALS:
            low, high = (_written(figures[f"{name}_{end}"], writer) for end in ("low", "high"))
            written = written + " (" + low + " to " + high + ")"
        shown[heading] = written.fillna("-")
    return shown.to_string(index=False)


def _written(column: pd.Series[float], writer: Callable[[float], str]) -> pd.Series[Any]:
    """Figures as text; NaN where one does not exist, even if none does."""
    return column.map(writer, na_action="ignore").astype(object)


def write_list(ranked: pd.DataFrame, out: Path) -> None:
    """Write a list: as Parquet with all its digits, else as CSV with those that a reader wants."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".parquet":
        ranked.to_parquet(out, index=False)
        return
    digits = dict.fromkeys(ranked.columns[ranked.dtypes == np.float64], PROBABILITY_DIGITS) | LIST_DIGITS
    ranked.round(digits).to_csv(out, index=False)


def printed_list(listed: pd.DataFrame, what: str, top: int) -> str:
    """The top of a list as a table for a person; a sentence where it is empty.

    ``what`` says which list it is and, after a comma, what it is in order of: "past the handoff, by the win".
    """
    if not len(listed):
        return f"no lead is open {what.partition(',')[0]}"
    first = listed.head(top).drop(columns=["list", *listed.columns.intersection([*REASONS, "warning"])])
    shown = first.rename(columns={"days_in_stage": "in stage"})
    writers = dict.fromkeys(shown.columns[shown.dtypes == np.float64], "{:.1%}".format)
    writers["in stage"] = "{:.1f} days".format
    table = shown.fillna({OWNER: "-"}).to_string(index=False, formatters=writers, na_rep="")
    return f"{what}: the top {len(shown)} of {len(listed):,}\n{table}"


def worked_in_words(handoff: Worked, capacity: int) -> str:
    """What working the handoff's list gives, in a sentence."""
    each, found = handoff.precision, handoff.recall
    return (
        f"at {capacity} contacts per owner and morning: {handoff.contacts:,} contacts, {each.value:.1%} reached the "
        f"handoff ({each.low:.1%} to {each.high:.1%}), {found.value:.1%} of those that did were contacted in time"
    )


def against_peers(found: Sequence[Peer]) -> str:
    """The baselines as a table for a person: by how much the model is better, with intervals."""
    rows = [
        {
            "baseline": each.name,
            "log loss": "-" if np.isnan(each.log_loss) else f"{each.log_loss:.4f}",
            "the model is better by": "-" if np.isnan(each.log_loss) else _with_interval(each.loss_gain, "{:+.4f}"),
            "handoff AUC": f"{each.auc:.3f}",
            "reached at capacity": f"{each.handoff.precision.value:.1%}",
            "the model is better by ": _with_interval(each.precision_gain, "{:+.1%}"),
        }
        for each in found
    ]
    return pd.DataFrame(rows).to_string(index=False)


def _with_interval(interval: Interval, written: str) -> str:
    return f"{written} ({written} to {written})".format(interval.value, interval.low, interval.high)


def json_line(figures: pd.DataFrame, **others: object) -> str:
    """Figures and what else is told of them as one line of JSON; null where a figure does not exist."""
    stages = json.loads(figures.to_json(orient="records", double_precision=15))
    return json.dumps({**others, "stages": stages})
