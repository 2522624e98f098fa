"""The loss of log odds once their level is fitted anew: how well they tell leads apart, whatever the base rate.

Where the base rate of a later block has moved, every tree makes its outcomes less likely, and the fewest trees look
best. But level is what calibration is for. So it is for log odds that spread too far because features mean less than
they did: their line is flattened. It is never made steeper: then a dozen trees would look as good as a hundred, and
would need a slope that only the deciding block may grant.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, log_expit

if TYPE_CHECKING:
    from leadscore.history.line import Float32s, Float64s, Int64s

# Newton's steps at most; they end where the longest is small. None is longer than `LONGEST`: where all probabilities
# are near 0 or 1 the loss is nearly straight, and a step would lead anywhere.
MOST_STEPS, SMALL, LONGEST = 60, 1e-9, 1.0
RIDGE = 1e-12
# The flattest line, as of a calibration.
FLATTEST = float(np.exp(-3))


@dataclass(slots=True)
class LevelledLoss:
    """Log loss of log odds with the level of each stage to reach, and a flatter line of all, that fit best.

    Each call begins where the last one ended, so that it takes a few steps only.

    Attributes
    ----------
    place : ndarray of int64, shape (n,)
        The stage to reach of each outcome, from 0.
    outcome : ndarray of float32, shape (n,)
        1 reached, 0 not; of each stage some of either.
    weight : ndarray of float64, shape (n,)
    """

    place: Int64s
    outcome: Float32s
    weight: Float64s
    _level: Float64s = field(init=False)
    _slope: float = field(init=False, default=1.0)

    def __post_init__(self) -> None:
        self._level = np.zeros(int(self.place.max(initial=0)) + 1)

    def __call__(self, margin: Float64s) -> float:
        """The loss of log odds of shape (n,)."""
        # About their mean, so that a flatter line leaves the level where it is.
        margin = margin - (self._sum(self.weight * margin) / self._sum(self.weight))[self.place]
        for _ in range(MOST_STEPS):
            if self._step(margin) < SMALL:
                break
        levelled = self._slope * margin + self._level[self.place]
        loss = self.outcome * levelled + log_expit(-levelled)
        return -float(np.average(loss, weights=self.weight))

    def _step(self, margin: Float64s) -> float:
        """One step of Newton's, for slope and levels together; how long it is."""
        probability = expit(self._slope * margin + self._level[self.place])
        error = self.weight * (probability - self.outcome)
        bend = self.weight * probability * (1 - probability)
        off, bends = self._sum(error), self._sum(bend) + RIDGE
        mixed = self._sum(bend * margin)
        # The levels are left out of the equations, one by one; the slope is what is left.
        left = float(np.sum(bend * margin**2)) - float(np.sum(mixed**2 / bends)) + RIDGE
        by = (float(np.sum(error * margin)) - float(np.sum(mixed * off / bends))) / left
        slope = float(np.clip(self._slope - np.clip(by, -LONGEST, LONGEST), FLATTEST, 1.0))
        moved, self._slope = slope - self._slope, slope
        step = np.clip((off + mixed * moved) / bends, -LONGEST, LONGEST)
        self._level = self._level - step
        return max(abs(moved), float(np.abs(step).max()))

    def _sum(self, each: Float64s) -> Float64s:
        return np.bincount(self.place, each, len(self._level)).astype(np.float64, copy=False)
