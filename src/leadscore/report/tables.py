"""The tables of the report."""

from __future__ import annotations

import json
import math
import platform
import shlex
from dataclasses import dataclass
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING, Any

import numpy as np

from leadscore.metrics.resampling import SEED
from leadscore.model.withheld import TOO_FEW
from leadscore.report.figures import by_current, over_all
from leadscore.report.headline import IN_ORDER
from leadscore.report.words import Cell, cell, counted, decimal, figure, minute, nats, percent, points, times

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from leadscore.config import Funnel
    from leadscore.history import History
    from leadscore.leaks import Leak
    from leadscore.model.stage import Mix
    from leadscore.training import Trained

# Column of `leadscore.metrics.figures`, heading, how it is written.
FIGURES: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("base_rate", "Observed", percent),
    ("mean_score", "Said", percent),
    ("order", "Order", decimal),
    ("log_loss_gain", "Log loss gain", nats),
    ("calibration_error", "Calibration error", percent),
    ("lift_at_10", "Lift at 10 %", times),
)
HEADINGS = ("Rows", "Leads", *(heading for _, heading, _ in FIGURES))
PACKAGES = ("leadscore", "lightgbm", "numpy", "scipy", "scikit-learn", "pandas", "pyarrow", "mlflow")


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its headings, and rows of as many cells; the first ``n_names`` of each row say what the row is of."""

    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    n_names: int = 1


def learnt_from(trained: Trained, history: History) -> Table:
    """What the model has learnt from, in total."""
    zone, examples = history.funnel.time.zone, trained.backtest.examples
    first = minute(int(history.known.min()), zone)
    rows = {
        "Leads": counted(len(history)),
        "Left out, because of do_not_score": counted(history.left_out),
        "Touches": counted(len(history.touches)),
        "Changes of stage": counted(len(history.steps.lead)),
        "First lead known": first,
        "Known until": minute(history.known_until, zone),
        "Examples (a lead at a moment) with a known outcome": counted(trained.n_examples),
        "Leads that the examples are of": counted(len(np.unique(examples.lead))),
        "Days after which an example counts half": _half_life(trained.model.half_life_),
        "Last outcome learnt from": minute(trained.model.trained_until_, zone),
    }
    return Table(("", ""), tuple((Cell(name), Cell(text)) for name, text in rows.items()))


def _half_life(days: float | None) -> str:
    return "none: all count alike" if days is None else counted(days)


def outcomes(trained: Trained) -> Table:
    """What each stage's model has learnt from, and what is served."""
    model, rows = trained.model, []
    causes = {each.stage: each.cause for each in model.withheld() if not each.current}
    for name, days, stage in zip(model.funnel.later_stages, model.funnel.horizons, model.stages_, strict=True):
        numbers = (stage.n_examples, stage.n_reached, stage.n_not_reached, stage.rounds)
        served = Cell(f"base rate: {causes[name]}") if name in causes else _mixture(stage.mix)
        rows.append((Cell(name), Cell(counted(days)), *(Cell(counted(n)) for n in numbers), served))
    headings = ("To reach", "Within days", "Examples", "Leads that did", "Leads that did not", "Trees", "Served")
    return Table(headings, tuple(rows))


def _mixture(mix: Mix) -> Cell:
    """What is served, and the losses on the deciding block that say why."""
    if mix.weight == 1:
        return Cell("trees")
    served = f"trees {mix.weight:.0%}, regression {1 - mix.weight:.0%}"
    if math.isnan(mix.loss):
        return Cell(served)
    return Cell(served, f"log loss {decimal(mix.loss)}, trees alone {decimal(mix.loss_of_trees)}")


def pairs(trained: Trained) -> Table:
    """What each pair of current stage and stage to reach is served, and why."""
    model, rows = trained.model, []
    for name, stage, judged in zip(model.funnel.later_stages, model.stages_, model.pairs(), strict=True):
        for current, pair in zip(model.funnel.stages, judged, strict=False):
            state = TOO_FEW if stage.fallback else pair.state
            served = "trees" if pair.trees and not stage.fallback else "base rate"
            bounds = "" if math.isnan(pair.order_least) else f"{pair.order_least:.3f} to {pair.order_most:.3f}"
            level = f"{percent(pair.predicted)} to {percent(pair.observed)}" if pair.level else ""
            texts = (state, served, counted(pair.n_reached), counted(pair.n_not_reached), level)
            cells = [Cell(name), Cell(current), *map(Cell, texts)]
            rows.append((*cells[:4], Cell(decimal(pair.order), bounds), *cells[4:]))
    headings = (
        "To reach", "Current stage", "State", "Served", "Order of the trees", "Leads that did", "Leads that did not",
        "Level corrected",
    )  # fmt: skip
    return Table(headings, tuple(rows), n_names=2)


def stages(trained: Trained) -> Table:
    """Figures of each stage to reach, over all leads that had not passed it."""
    horizons = trained.model.funnel.horizons
    rows = [
        (Cell(row["stage"], f"within {days} days"), *_figures(row))
        for row, days in zip(over_all(trained), horizons, strict=True)
    ]
    return Table(("To reach", *HEADINGS), tuple(rows))


def stages_by_current(trained: Trained) -> Table:
    """Figures of each stage to reach, per current stage."""
    rows = [(Cell(row["stage"]), Cell(row["current"]), *_figures(row)) for row in by_current(trained)]
    return Table(("To reach", "Current stage", *HEADINGS), tuple(rows), n_names=2)


def _figures(row: Mapping[str, Any]) -> tuple[Cell, ...]:
    counts = (Cell(counted(row["n"])), Cell(counted(row["leads"])))
    return (*counts, *(cell(figure(row, name), written) for name, _, written in FIGURES))


def leaks(found: Sequence[Leak]) -> Table:
    """The sources that seem to know an outcome beforehand, in the order in which they were left out."""
    rows = [
        (
            Cell(f"{leak.stage} from {leak.current}"),
            Cell(str(each.source)),
            Cell(each.how(leak.stage)),
            Cell(remedy),
            Cell(decimal(each.alone)),
            Cell(decimal(each.before)),
            Cell(decimal(each.without)),
        )
        for leak in found
        for each, remedy in zip(leak.suspects, leak.remedies, strict=True)
    ]
    headings = (
        "To reach",
        "Source",
        "Known by",
        "If it is filled in afterwards",
        "Order by it alone",
        "With",
        "Without",
    )
    return Table(headings, tuple(rows), n_names=4)


def baselines(trained: Trained) -> Table:
    """The model and every baseline on the same examples."""
    found = trained.findings
    ours = (
        Cell("this model"),
        Cell(decimal(found.overall["log_loss"])),
        Cell(""),
        cell(found.handoff.precision, percent),
        Cell(""),
        cell(found.handoff.recall, percent),
    )
    rows = [
        (
            Cell(peer.name, IN_ORDER[peer.name]),
            Cell(decimal(peer.log_loss)),
            cell(peer.loss_gain, nats),
            cell(peer.handoff.precision, percent),
            cell(peer.precision_gain, points),
            cell(peer.handoff.recall, percent),
        )
        for peer in trained.peers
    ]
    headings = ("", "Log loss", "The model is better by", "Precision at capacity", "The model is better by", "Found")
    return Table(headings, (ours, *rows))


def settings(funnel: Funnel) -> Table:
    """Every setting, under its name in ``funnel.toml``."""
    dumped = funnel.model_dump(mode="json")
    # A database address may hold a password, and a report is passed on.
    dumped["source"] = {name: value and "(not shown)" for name, value in dumped["source"].items()}
    return Table(("Setting", "Value"), tuple((Cell(name), Cell(value)) for name, value in _flat(dumped)))


def _flat(section: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in section.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def origin(trained: Trained, history: History, name: str, run_id: str | None) -> Table:
    """Where the model comes from, and what to do to get it again."""
    zone = history.funnel.time.zone
    rows = {
        "Data": name,
        "Fingerprint of the data": history.fingerprint(),
        "Known until": minute(history.known_until, zone),
        "Cuts of the judging": "; ".join(minute(cut, zone) for cut in trained.backtest.cuts),
        "Seed of the trees": str(trained.model.funnel.lightgbm.seed),
        "Seed of the intervals": str(SEED),
        "Python": platform.python_version(),
        **{package: version_of(package) for package in PACKAGES},
    }
    rows |= {"MLflow run": run_id} if run_id is not None else {}
    return Table(("", ""), tuple((Cell(each), Cell(text)) for each, text in rows.items()))


def command(name: str) -> str:
    """What learns the same again, beside the data set folder."""
    return f"make train DATA={shlex.quote(name)}"
