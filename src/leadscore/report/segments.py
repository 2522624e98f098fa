"""Whether the probabilities hold for every part of the leads, not only on average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from leadscore.gate import SIZEABLE_LEADS
from leadscore.gate import segments as segments_of
from leadscore.metrics import loss_difference
from leadscore.report.tables import Table
from leadscore.report.words import Cell, cell, counted, nats, percent, value_in_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leadscore.history import History
    from leadscore.history.line import Bools
    from leadscore.metrics import Judged

CURRENT = "current stage"
# An attribute may have thousands of values; those of the most leads are shown.
MOST_VALUES = 20
HEADINGS = ("Leads", "Rows", "Observed", "Said", "Log loss gain")


@dataclass(frozen=True, slots=True)
class Split:
    """The leads in parts.

    Attributes
    ----------
    by : str
        Current stage, or a category.
    table : Table
        One row per part.
    left_out : int
        Parts of fewer leads that are not shown.
    """

    by: str
    table: Table
    left_out: int


def splits(history: History, judged: Judged) -> tuple[Split, ...]:
    """The judged leads by current stage and by each category, as the gate looks at them."""
    known: Bools = np.any(~np.isnan(judged.outcome), axis=1)
    judged = judged.of(known)
    parts: dict[str, list[tuple[str, Bools, int]]] = {}
    for by, name, rows in _named(history, judged):
        if n_leads := len(np.unique(judged.lead[rows])):
            parts.setdefault(by, []).append((name, rows, n_leads))
    return tuple(_split(judged, by, found) for by, found in parts.items())


def _named(history: History, judged: Judged) -> Iterator[tuple[str, str, Bools]]:
    """What the leads are split by, the part, and its rows."""
    funnel, names = judged.funnel, history.vocabulary.categories
    groups = [CURRENT] * (len(funnel.stages) - 1)
    for category in (*funnel.attributes.known_in_time.categories, *funnel.changes.known_in_time.categories):
        groups += [category] * len(names[category])
    for by, (segment, rows) in zip(groups, segments_of(history, judged), strict=True):
        before = "stage " if by == CURRENT else f"{by} "
        yield by, segment.removeprefix(before), rows


def _split(judged: Judged, by: str, found: list[tuple[str, Bools, int]]) -> Split:
    largest = found if by == CURRENT else sorted(found, key=lambda part: -part[2])[:MOST_VALUES]
    rows = tuple(_row(judged.of(rows), name if by == CURRENT else value_in_words(name)) for name, rows, _ in largest)
    return Split(by, Table((by, *HEADINGS), rows), len(found) - len(largest))


def _row(part: Judged, name: str) -> tuple[Cell, ...]:
    known = part.pooled()
    n_leads = len(np.unique(part.lead))
    gain = loss_difference(part, part.base, part.probability)
    # A bootstrap of few leads is far too sure of itself.
    few = n_leads < SIZEABLE_LEADS
    return (
        Cell(name),
        Cell(counted(n_leads)),
        Cell(counted(len(part))),
        Cell(percent(float(known.outcome.mean()))),
        Cell(percent(float(known.probability.mean()))),
        Cell(nats(gain.value), "too few leads to tell") if few else cell(gain, nats),
    )
