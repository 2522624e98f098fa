"""What was known of some leads at their ``as_of``: the only thing that a feature sees."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from leadscore.history.line import DAY, LEADS_PER_KEY, Positions
from leadscore.history.steps import StepsKnown
from leadscore.history.touches import TouchesKnown
from leadscore.history.vocabulary import MISSING
from leadscore.history.zone import local_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leadscore.config import Funnel
    from leadscore.history.history import History
    from leadscore.history.line import Changes, Float64s, Int32s, Int64s, Line
    from leadscore.history.vocabulary import Vocabulary

# Running counts of about this many touches stay in the cache of one core.
TOUCHES_PER_PART = 1 << 14
EXAMPLES_PER_PART = 1 << 14


@dataclass(frozen=True)
class Snapshot:
    """What was known of each lead at its ``as_of``.

    Attributes
    ----------
    lead : ndarray of int64, shape (n_examples,)
        Position of the lead in the history.
    as_of : ndarray of int64, shape (n_examples,)
        Microseconds since 1970 UTC. What is known at this moment counts; what comes after it does not.
    """

    lead: Int64s
    as_of: Int64s
    _history: History = field(repr=False)
    _found: dict[int, Positions] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.lead)

    def __getitem__(self, rows: slice | Int64s) -> Snapshot:
        """The examples of these rows."""
        return Snapshot(self.lead[rows], self.as_of[rows], self._history)

    def coded(self, vocabulary: Vocabulary) -> Snapshot:
        """The same examples under another vocabulary."""
        return Snapshot(self.lead, self.as_of, self._history.coded(vocabulary))

    def parts(self) -> Iterator[tuple[slice | Int64s, Snapshot]]:
        """Rows and snapshots that hold each example once, each of a few leads next to each other.

        What they read of the history fits the cache. Nothing depends on how the examples are parted.
        """
        order = None
        lead = self.lead
        if len(lead) and np.any(lead[1:] < lead[:-1]):
            order = np.argsort(lead, kind="stable")
            lead = lead[order]
        begin = 0
        while begin < len(lead):
            end = self._part_end(lead, begin)
            rows = slice(begin, end) if order is None else order[begin:end]
            yield rows, self[rows]
            begin = end

    def _part_end(self, lead: Int64s, begin: int) -> int:
        start = self._history.touches.start
        first = int(lead[begin])
        by_touches = int(start.searchsorted(start[first] + TOUCHES_PER_PART, side="right")) - 1
        by_examples = int(lead[min(begin + EXAMPLES_PER_PART, len(lead) - 1)]) + 1
        past = max(first + 1, min(by_touches, by_examples, first + LEADS_PER_KEY))
        return begin + int(lead[begin:].searchsorted(past))

    def positions(self, line: Line) -> Positions:
        """Where the examples stand in a line: rows after the last one known so many days before ``as_of``."""
        if id(line) not in self._found:
            self._found[id(line)] = Positions(line, self.lead, self.as_of)
        return self._found[id(line)]

    @property
    def funnel(self) -> Funnel:
        """The settings that the history was read with."""
        return self._history.funnel

    @property
    def vocabulary(self) -> Vocabulary:
        """What the codes mean."""
        return self._history.vocabulary

    @cached_property
    def touches(self) -> TouchesKnown:
        """The touches known at ``as_of``."""
        line = self._history.touches
        return TouchesKnown(
            line=line,
            n_kinds=len(self.vocabulary.kinds),
            day_begins=self._history.day_begins,
            lead=self.lead,
            as_of=self.as_of,
            positions=self.positions(line),
        )

    @cached_property
    def steps(self) -> StepsKnown:
        """The steps known at ``as_of``."""
        line = self._history.steps
        return StepsKnown(
            line, self.funnel.lost_code, self.lead, self.as_of, self.created, end=self.positions(line).at()
        )

    def n_known(self) -> Int64s:
        """Touches, steps and changes known of each lead, shape (n_examples,)."""
        lines = (self._history.touches, self._history.steps, *self._history.changes.values())
        found: Int64s = np.sum([self.positions(line).at() - line.start[self.lead] for line in lines], axis=0)
        return found

    @cached_property
    def created(self) -> Int64s:
        """When each lead was created, shape (n_examples,)."""
        return self._history.created[self.lead]

    @property
    def days_since_created(self) -> Float64s:
        """Days since the lead was created, shape (n_examples,)."""
        return (self.as_of - self.created) / DAY

    def number(self, name: str) -> Float64s:
        """Value of an attribute at ``as_of``, NaN where none is known; shape (n_examples,)."""
        if name in self._history.numbers:
            return self._history.numbers[name][self.lead]
        return self._changed(self._history.changes[name], np.nan).astype(np.float64)

    def category(self, name: str) -> Int32s:
        """Code of an attribute at ``as_of``, in ``vocabulary.categories``; shape (n_examples,)."""
        if name in self._history.categories:
            return self._history.categories[name][self.lead]
        missing = self.vocabulary.categories[name].index(MISSING)
        return self._changed(self._history.changes[name], missing).astype(np.int32)

    def _changed(self, line: Changes, missing: float) -> Float64s:
        end = self.positions(line).at()
        known = np.append(line.value, missing)
        return np.where(end > line.start[self.lead], known[end - 1], missing)

    def local_time(self) -> tuple[Int64s, Int64s, Int64s]:
        """Hour (0 to 23), weekday (Monday is 0) and month (1 to 12) of ``as_of`` in the funnel's time zone."""
        return local_time(self.as_of, self.funnel.time.zone)
