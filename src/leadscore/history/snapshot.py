"""What was known of some leads at their ``as_of``: the only thing that a feature sees."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from leadscore.history.line import LEADS_PER_KEY, ONE_DAY, Positions, span_of
from leadscore.history.steps import StepsKnown
from leadscore.history.touches import TouchesKnown
from leadscore.history.vocabulary import MISSING
from leadscore.history.zone import local_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from leadscore.config import Funnel
    from leadscore.history.history import History
    from leadscore.history.line import Bools, Changes, Float64s, Int32s, Int64s, Line, Span
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
        if self._is_one_part():
            yield slice(None), self
            return
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

    def _is_one_part(self) -> bool:
        first, last = self._span
        start = self._history.touches.start
        return (
            0 < len(self) <= EXAMPLES_PER_PART
            and last - first < LEADS_PER_KEY
            and int(start[last + 1]) - int(start[first]) <= TOUCHES_PER_PART
        )

    def _part_end(self, lead: Int64s, begin: int) -> int:
        start = self._history.touches.start
        first = int(lead[begin])
        by_touches = int(start.searchsorted(start[first] + TOUCHES_PER_PART, side="right")) - 1
        by_examples = int(lead[min(begin + EXAMPLES_PER_PART, len(lead) - 1)]) + 1
        past = max(first + 1, min(by_touches, by_examples, first + LEADS_PER_KEY))
        return begin + int(lead[begin:].searchsorted(past))

    def positions(self, line: Line) -> Positions:
        """Where the examples stand in a line."""
        if id(line) not in self._found:
            self._found[id(line)] = Positions(line, self.lead, self.as_of, self._span)
        return self._found[id(line)]

    @cached_property
    def _span(self) -> Span:
        return span_of(self.lead)

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
            as_of=self.as_of,
            positions=self.positions(line),
        )

    @cached_property
    def steps(self) -> StepsKnown:
        """The steps known at ``as_of``."""
        history = self._history
        return StepsKnown(
            line=history.steps,
            lost=self.funnel.lost_code,
            as_of=self.as_of,
            created=self.created,
            positions=self.positions(history.steps),
            begins=history.begins,
            lost_after=history.lost_after,
        )

    def n_known(self) -> Int64s:
        """Touches, steps and changes known of each lead, shape (n_examples,)."""
        lines = (self._history.touches, self._history.steps, *self._history.changes.values())
        found: Int64s = np.sum([self.positions(line).end - self.positions(line).begin for line in lines], axis=0)
        return found

    @property
    def incomplete(self) -> Bools:
        """Whether a transition of each lead was set aside, shape (n_examples,); no feature is made of it."""
        return self._history.is_incomplete(self.lead)

    @cached_property
    def created(self) -> Int64s:
        """When each lead was created, shape (n_examples,)."""
        return self._history.created[self.lead]

    @property
    def days_since_created(self) -> Float64s:
        """Days since the lead was created, shape (n_examples,)."""
        return (self.as_of - self.created) / ONE_DAY

    def number(self, name: str) -> Float64s:
        """Value of an attribute at ``as_of``, NaN where none is known; shape (n_examples,)."""
        if name in self._history.numbers:
            return self._history.numbers[name][self.lead]
        return self._changed(self._history.changes[name], np.nan).astype(np.float64, copy=False)

    def category(self, name: str) -> Int32s:
        """Code of an attribute at ``as_of``, in ``vocabulary.categories``; shape (n_examples,)."""
        if name in self._history.categories:
            return self._history.categories[name][self.lead]
        missing = self.vocabulary.categories[name].index(MISSING)
        return self._changed(self._history.changes[name], missing).astype(np.int32, copy=False)

    def _changed(self, line: Changes, missing: float) -> npt.NDArray[np.generic]:
        if not len(line):
            return np.full(len(self), missing)
        positions = self.positions(line)
        value: npt.NDArray[np.generic] = line.value.take(positions.end + (positions.stretch.start - 1), mode="clip")
        np.copyto(value, missing, where=positions.end == positions.begin)
        return value

    def local_time(self, parts: tuple[str, ...]) -> Int64s:
        """Parts of ``as_of`` in the funnel's time zone, such as its ``hour``; shape (n_examples, n_parts)."""
        return local_time(self.as_of, self.funnel.time.zone, parts)
