"""Intervals by bootstrap over leads: the mornings of one lead are not independent, leads are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.stats import norm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leadscore.history.line import Float64s, Int64s

SEED = 1
LEVEL = 0.95
# Standard deviations in half of such an interval, and up to a one-sided 99 % bound.
HALF, CLEARLY = float(norm.isf((1 - LEVEL) / 2)), float(norm.isf(0.01))


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its interval.

    Attributes
    ----------
    value, low, high : float
        The figure, and the ends of its 95 % interval; NaN where it does not exist.
    """

    value: float
    low: float
    high: float

    def clearly_below(self, limit: float = 0.0) -> bool:
        """Whether it lies below a limit, as chance alone would show in one of a hundred cases; False for NaN."""
        return self.value + (self.high - self.value) * CLEARLY / HALF < limit


@dataclass(frozen=True, slots=True)
class Resamples:
    """Leads drawn with replacement, time and again, and what figures come out then.

    Percentile bootstrap of clusters (Davison and Hinkley, Bootstrap methods and their application, 1997, 3.8).

    Attributes
    ----------
    place : ndarray of int64, shape (n_examples,)
        Place of each example's lead among the distinct leads.
    n_leads : int
        Distinct leads.
    n : int
        Resamples.
    """

    place: Int64s
    n_leads: int
    n: int

    @classmethod
    def of(cls, lead: Int64s, n: int) -> Self:
        """Resamples of the leads that examples belong to."""
        distinct, place = np.unique(lead, return_inverse=True)
        return cls(place, len(distinct), n)

    def by_lead(self, per_example: Float64s) -> Float64s:
        """Sums over the examples of each lead, of shape (n_leads, n_columns) for columns of shape (n_examples,)."""
        columns = per_example if per_example.ndim == 2 else per_example[:, None]
        return np.column_stack([np.bincount(self.place, column, self.n_leads) for column in columns.T])

    def intervals(self, figures: Callable[[Float64s], Float64s]) -> list[Interval]:
        """Intervals of figures.

        Parameters
        ----------
        figures : callable
            How often each lead was drawn, shape (n_leads,), to figures of shape (n_figures,); NaN for one that does
            not exist. An example counts as often as its lead: ``drawn.take(place)``.
        """
        values = figures(np.ones(self.n_leads))
        if not self.n_leads or not self.n:
            return [Interval(float(value), float("nan"), float("nan")) for value in values]
        drawn = np.array([figures(often) for often in self.drawn()])
        tail = (1 - LEVEL) / 2
        ends = [_quantiles(column[~np.isnan(column)], (tail, 1 - tail)) for column in drawn.T]
        return [Interval(float(value), low, high) for value, (low, high) in zip(values, ends, strict=True)]

    def mean(self, per_example: Float64s) -> Interval:
        """Mean over the examples, with its interval."""
        sums = self.by_lead(np.column_stack((per_example, np.ones(len(per_example)))))

        def figures(drawn: Float64s) -> Float64s:
            total, n = drawn @ sums
            return np.array([total / n])

        return self.intervals(figures)[0]

    def drawn(self) -> Iterator[Float64s]:
        """How often each lead is drawn in each resample; the same every time."""
        random = np.random.default_rng(SEED)
        for _ in range(self.n):
            yield np.bincount(random.integers(self.n_leads, size=self.n_leads), minlength=self.n_leads).astype(
                np.float64
            )


def _quantiles(drawn: Float64s, shares: tuple[float, float]) -> tuple[float, float]:
    if not len(drawn):
        return float("nan"), float("nan")
    low, high = np.quantile(drawn, shares)
    return float(low), float(high)
