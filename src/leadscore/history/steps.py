"""Where each lead stood at its ``as_of``, by the steps known then."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from leadscore.history.line import DAY

if TYPE_CHECKING:
    import numpy.typing as npt

    from leadscore.history.line import Bools, Float64s, Int8s, Int64s, Steps


@dataclass(frozen=True)
class StepsKnown:
    """The steps known of each example at its ``as_of``.

    A lead without a step stands in the first stage (code 0) since it was created.

    Attributes
    ----------
    line : Steps
        The steps of all leads.
    lost : int
        Code of the lost state; every smaller code is a stage.
    lead, as_of, created : ndarray of int64, shape (n_examples,)
        The examples, and when each lead was created.
    end : ndarray of int64, shape (n_examples,)
        Row of ``line`` after the last step known at ``as_of``.
    """

    line: Steps
    lost: int
    lead: Int64s
    as_of: Int64s
    created: Int64s
    end: Int64s

    @cached_property
    def _moved(self) -> Bools:
        return self.end > self.line.start[self.lead]

    @cached_property
    def stage(self) -> Int64s:
        """Code of the current stage, shape (n_examples,)."""
        return np.where(self._moved, _at(self.line.stage, self.end - 1), 0)

    @cached_property
    def entered(self) -> Int64s:
        """When the lead entered its current stage, in microseconds since 1970 UTC; shape (n_examples,)."""
        return np.where(self._moved, _at(self.line.occurred, self.end - 1), self.created)

    @cached_property
    def days_in_stage(self) -> Float64s:
        """Days since the lead entered its current stage, shape (n_examples,)."""
        return (self.as_of - self.entered) / DAY

    @cached_property
    def _stretch(self) -> slice:
        if not len(self.lead):
            return slice(0, 0)
        return slice(int(self.line.start[self.lead.min()]), int(self.line.start[self.lead.max() + 1]))

    def _sum(self, per_step: npt.NDArray[np.generic]) -> Int64s:
        """Sum over the steps known of each example, of a column of the stretch or several."""
        running = np.zeros((len(per_step) + 1, *per_step.shape[1:]), np.int64)
        np.cumsum(per_step, axis=0, out=running[1:])
        begin = self.line.start[self.lead] - self._stretch.start
        total: Int64s = running.take(self.end - self._stretch.start, axis=0) - running.take(begin, axis=0)
        return total

    def steps_back(self) -> Int64s:
        """How often the lead went back to an earlier stage, shape (n_examples,)."""
        left = self.line.left[self._stretch]
        return self._sum((self.line.stage[self._stretch] < left) & (left != self.lost))

    def reopenings(self) -> Int64s:
        """How often the lead was lost and came back, shape (n_examples,)."""
        return self._sum(self.line.left[self._stretch] == self.lost)

    def days_spent(self) -> Float64s:
        """Days spent in each state up to ``as_of``, this stay included; shape (n_examples, lost + 1)."""
        left = self.line.left[self._stretch]
        spent = np.zeros((len(left), self.lost + 1), np.int64)
        spent[np.arange(len(left)), left] = self.line.occurred[self._stretch] - self.line.since[self._stretch]
        total = self._sum(spent)
        total[np.arange(len(total)), self.stage] += self.as_of - self.entered
        return total / DAY


def _at(column: Int8s | Int64s, row: Int64s) -> Int64s:
    """``column[row]`` where the row exists; anything where it does not."""
    if not len(column):
        return np.zeros(len(row), np.int64)
    return column.take(row, mode="clip").astype(np.int64)
