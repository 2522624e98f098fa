"""Where each lead stood at its ``as_of``, by the steps known then."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from leadscore.history.line import ONE_DAY

if TYPE_CHECKING:
    from leadscore.history.line import Bools, Float64s, Int8s, Int64s, Positions, Steps


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
    as_of, created : ndarray of int64, shape (n_examples,)
        The moments, and when each lead was created.
    positions : Positions
        Where the examples stand in ``line``.
    begins : int
        From when on stages were recorded, in microseconds since 1970 UTC.
    lost_after : int, optional
        Microseconds in an open stage after which a lead is lost until it moves (``funnel.lost_after_days``).
    """

    line: Steps
    lost: int
    as_of: Int64s
    created: Int64s
    positions: Positions
    begins: int
    lost_after: int | None = None

    @cached_property
    def _unmoved(self) -> Bools:
        unmoved: Bools = self.positions.end == self.positions.begin
        return unmoved

    @property
    def known(self) -> Bools:
        """Whether it is known where the lead stands, shape (n_examples,).

        It is not while no transition is known of a lead that was created before stages were recorded; its ``stage``
        is the first one all the same.
        """
        known: Bools = ~self._unmoved | (self.created >= self.begins)
        return known

    @property
    def end(self) -> Int64s:
        """Row of ``line`` after the last step known at ``as_of``, shape (n_examples,)."""
        end: Int64s = self.positions.end + self.positions.stretch.start
        return end

    @cached_property
    def stage(self) -> Int64s:
        """Code of the current stage, shape (n_examples,)."""
        stage = self.stage_entered
        return stage if self.lost_after is None else np.where(self.timed_out, self.lost, stage)

    @cached_property
    def stage_entered(self) -> Int64s:
        """Code of the stage last entered, however long ago, shape (n_examples,)."""
        stage = self._entered(self.line.stage)
        np.copyto(stage, 0, where=self._unmoved)
        return stage

    @cached_property
    def timed_out(self) -> Bools:
        """Whether the lead is lost only because it has been in an open stage too long, shape (n_examples,)."""
        if self.lost_after is None:
            return np.zeros(len(self.as_of), np.bool_)
        # On the last moment of lost_after_days the lead is still open, as windows are (start, end].
        timed_out: Bools = (self.stage_entered < self.lost - 1) & (self.as_of - self.entered > self.lost_after)
        return timed_out

    @cached_property
    def entered(self) -> Int64s:
        """When the lead entered its current stage, in microseconds since 1970 UTC; shape (n_examples,)."""
        entered = self._entered(self.line.occurred)
        np.copyto(entered, self.created, where=self._unmoved)
        return entered

    def _entered(self, column: Int8s | Int64s) -> Int64s:
        """The column at the last step known; anything where there is none."""
        stretch = column[self.positions.stretch]
        if not len(stretch):
            return np.zeros(len(self.as_of), np.int64)
        return stretch.take(self.positions.end - 1, mode="clip").astype(np.int64, copy=False)

    @property
    def days_in_stage(self) -> Float64s:
        """Days since the lead entered its current stage, shape (n_examples,)."""
        return (self.as_of - self.entered) / ONE_DAY

    @cached_property
    def _totals(self) -> Int64s:
        """Microseconds in each state that was left, steps to a smaller code, reopenings.

        Of shape (n_examples, lost + 3).
        """
        rows = self.positions.stretch
        stage, left = self.line.stage[rows], self.line.left[rows]
        before = np.zeros((len(left) + 1, self.lost + 3), np.int64)
        before[np.arange(1, len(before)), left] = self.line.occurred[rows] - self.line.since[rows]
        np.less(stage, left, out=before[1:, -2])
        np.equal(left, self.lost, out=before[1:, -1])
        np.add.accumulate(before, axis=0, out=before)
        total: Int64s = before.take(self.positions.end, axis=0) - before.take(self.positions.begin, axis=0)
        return total

    def steps_back(self) -> Int64s:
        """How often the lead went back to an earlier stage, shape (n_examples,)."""
        # Lost has the largest code, so that each reopening is a step to a smaller one.
        return self._totals[:, -2] - self._totals[:, -1]

    def reopenings(self) -> Int64s:
        """How often the lead was lost and came back, shape (n_examples,)."""
        return self._totals[:, -1]

    def days_spent(self) -> Float64s:
        """Days spent in each state up to ``as_of``, this stay included; shape (n_examples, lost + 1)."""
        spent = self._totals[:, :-2].copy()
        spent[np.arange(len(spent)), self.stage] += self.as_of - self.entered
        return spent / ONE_DAY
