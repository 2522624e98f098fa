"""Figures that depend on the order of a list alone; ties are worked in any order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from leadscore.history.line import Float64s, Int64s


@dataclass(frozen=True, slots=True)
class Ordering:
    """A list in order of a score, likeliest first, so prepared that weights cost little.

    Attributes
    ----------
    outcome : ndarray of float64, shape (n,)
        1 reached, 0 not.
    group : ndarray of int64, shape (n,)
        Place of the score among the distinct ones, highest first.
    n_groups : int
        Distinct scores.
    """

    outcome: Float64s
    group: Int64s
    n_groups: int

    @classmethod
    def of(cls, outcome: Float64s, score: Float64s) -> Self:
        """Order by a score, highest first."""
        distinct, group = np.unique(-score, return_inverse=True)
        return cls(outcome, group, len(distinct))

    def counts(self, weight: Float64s | None = None) -> tuple[Float64s, Float64s]:
        """Weight in all, and of those that reached, at each distinct score; shape (n_groups,) each."""
        each = np.ones(len(self.outcome)) if weight is None else weight
        everyone, reached = (np.bincount(self.group, of, self.n_groups) for of in (each, each * self.outcome))
        return everyone.astype(np.float64, copy=False), reached.astype(np.float64, copy=False)


def auc(everyone: Float64s, reached: Float64s) -> float:
    """Chance that one that reached stands above one that did not, ties half; NaN with a single outcome.

    Parameters
    ----------
    everyone, reached : ndarray of float64, shape (n_groups,)
        From `Ordering.counts`.
    """
    not_reached = everyone - reached
    pairs = reached.sum() * not_reached.sum()
    if not pairs:
        return float("nan")
    below = not_reached.sum() - np.cumsum(not_reached)
    return float(np.sum(reached * (below + not_reached / 2)) / pairs)


def average_precision(everyone: Float64s, reached: Float64s) -> float:
    """Mean precision over those that reached, likeliest first; NaN where none reached."""
    if not reached.sum():
        return float("nan")
    seen = np.cumsum(everyone)
    precision = np.divide(np.cumsum(reached), seen, out=np.zeros(len(seen)), where=seen > 0)
    return float(np.sum(reached * precision) / reached.sum())


def gains(everyone: Float64s, reached: Float64s) -> tuple[Float64s, Float64s]:
    """Share of the list worked and share found of those that reached, at each distinct score, from 0 to 1."""
    worked, found = (np.concatenate(([0.0], np.cumsum(counts))) for counts in (everyone, reached))
    return worked / worked[-1], found / found[-1] if found[-1] else np.full(len(found), np.nan)
