"""What columns of X come from: an attribute, or a kind of touch with all its windows and recencies.

Stage, time in stage, age, steps back and calendar are no source: leadscore computes them from the clock and the
transitions, and nobody can fill them in afterwards.

Columns about all touches together (counts of any kind or direction, values, rhythm, the last kind, the last agent) are
no source of their own either: every kind of touch is part of them. They are computed again without the touches of a
kind that is left out, so they cannot keep what a leaking kind tells, and they keep what the other kinds tell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from leadscore.features.catalogue import ATTRIBUTE, CALENDAR, KIND, STAGE, STEPS_BACK, TIME_IN_STAGE
from leadscore.history import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from leadscore.features import Column
    from leadscore.history import History
    from leadscore.history.line import Bools, Float32s

OWN_TOPICS = {STAGE, TIME_IN_STAGE, STEPS_BACK, CALENDAR}


@dataclass(frozen=True, slots=True)
class ColumnSource:
    """Where some columns of X come from.

    Attributes
    ----------
    name : str
        Of the attribute, or of the kind of touch.
    is_touch : bool
        Whether it is a kind of touch.
    """

    name: str
    is_touch: bool = False

    def __str__(self) -> str:
        return f"{KIND}{self.name}" if self.is_touch else self.name


def sources_of(columns: Sequence[Column]) -> dict[ColumnSource, list[int]]:
    """The columns of X of each source, by position, in the order of the columns."""
    found: dict[ColumnSource, list[int]] = {}
    for position, column in enumerate(columns):
        for before in (ATTRIBUTE, KIND):
            if column.topic.startswith(before):
                source = ColumnSource(column.topic.removeprefix(before), before == KIND)
                found.setdefault(source, []).append(position)
    return found


def own_columns(columns: Sequence[Column]) -> list[int]:
    """The columns of X that leadscore computes from the clock and the transitions, by position."""
    return [position for position, column in enumerate(columns) if column.topic in OWN_TOPICS]


def is_known(source: ColumnSource, columns: Sequence[Column], positions: Sequence[int], X: Float32s) -> Bools:
    """Whether an attribute is known of each example, or whether it has any touch of a kind; shape (n_examples,).

    Parameters
    ----------
    positions : sequence of int
        The columns of the source.
    """
    if source.is_touch:
        [position] = [each for each in positions if columns[each].name == f"{source.name}_all"]
        return X[:, position] > 0
    first = positions[0]
    names = columns[first].names
    known: Bools = X[:, first] != names.index(MISSING) if names else ~np.isnan(X[:, first])
    return known


def without_touches(history: History, left_out: Iterable[ColumnSource]) -> History:
    """The history without the touches of some kinds."""
    codes = [history.vocabulary.kinds.index(source.name) for source in left_out if source.is_touch]
    if not codes:
        return history
    return replace(history, touches=history.touches.rows(~np.isin(history.touches.kind, codes)))
