"""The loss of log odds once their level is fitted anew: how well they tell leads apart, whatever the base rate.

Where the base rate of a later block has moved, every tree makes its outcomes less likely, and the fewest trees look
best. But level is what calibration is for. The spread of the log odds is not fitted: then a dozen trees would look as
good as a hundred, and would need a slope that only the deciding block may grant.
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


@dataclass(slots=True)
class LevelledLoss:
    """Log loss of log odds to which is added, for each stage to reach, what makes its outcomes likeliest.

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

    def __post_init__(self) -> None:
        self._level = np.zeros(int(self.place.max(initial=0)) + 1)

    def __call__(self, margin: Float64s) -> float:
        """The loss of log odds of shape (n,)."""
        for _ in range(MOST_STEPS):
            probability = expit(margin + self._level[self.place])
            off = self._sum(self.weight * (probability - self.outcome))
            bend = self._sum(self.weight * probability * (1 - probability))
            step = np.clip(off / (bend + RIDGE), -LONGEST, LONGEST)
            self._level = self._level - step
            if np.abs(step).max() < SMALL:
                break
        levelled = margin + self._level[self.place]
        loss = self.outcome * levelled + log_expit(-levelled)
        return -float(np.average(loss, weights=self.weight))

    def _sum(self, each: Float64s) -> Float64s:
        return np.bincount(self.place, each, len(self._level)).astype(np.float64, copy=False)
