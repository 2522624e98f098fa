"""What is typical of the leads in each stage, learnt with the model: what reasons for a score are held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadscore.features import Column
    from leadscore.history.line import Bools, Float32s, Float64s, Int8s, Int64s

# What is typical of a stage is read from at most so many examples, spread evenly over all.
TYPICAL_EXAMPLES = 20_000
# A share differs from another if it does by more than this many standard errors.
NOISE = 2.0
# Sorts of a number: below the typical one, at it, above it, unknown. Each name of a category is a sort of its own.
BELOW, AT, ABOVE, UNKNOWN = range(4)


@dataclass(frozen=True, slots=True)
class Typical:
    """What is typical of the leads in each current stage, and what it says of a lead to be otherwise.

    Attributes
    ----------
    n_names : ndarray of int64, shape (n_columns,)
        Names of each category; 0 for a number.
    value : ndarray of float64, shape (n_stages - 1, n_columns)
        By current stage, the median of the known numbers (the lower of two) or the code of the most frequent name;
        NaN where nothing is known.
    missing : ndarray of float64, shape (n_stages - 1, n_columns)
        Share of NaN; NaN for a stage without examples.
    direction : ndarray of int8, shape (n_stages - 1, n_later_stages, n_sorts)
        1 where leads of the current stage with a value of that sort reached the later stage more often than the
        others of the stage, -1 where less often, 0 where as often or where there were none; for the column
        ``stage``, than leads of the other stages. The sorts stand column after column.
    """

    n_names: Int64s
    value: Float64s
    missing: Float64s
    direction: Int8s

    @classmethod
    def of(cls, X: Float32s, y: Float32s, stage: Int64s, listed: Bools, columns: Sequence[Column]) -> Self:
        """Learn it from the examples that are ``listed``."""
        n_names, n_stages = np.array([len(column.names) for column in columns], np.int64), y.shape[1]
        value, missing = np.full((2, n_stages, len(columns)), np.nan)
        n_sorts = int(np.where(n_names > 0, n_names, UNKNOWN + 1).sum())
        typical = cls(n_names, value, missing, np.zeros((n_stages, n_stages, n_sorts), np.int8))
        place = typical.first_sorts[[column.name for column in columns].index("stage")]
        everywhere = _outcomes(y[listed])
        for current in range(n_stages):
            rows = np.flatnonzero(listed & (stage == current))
            typical.direction[current, :, place : place + UNKNOWN + 1] = _lean(_outcomes(y[rows]), everywhere)[:, None]
            n = min(len(rows), TYPICAL_EXAMPLES)
            if n:
                spread = rows[np.arange(n) * len(rows) // n]
                typical._learn(current, X[spread], y[spread], skipped=slice(place, place + UNKNOWN + 1))
        return typical

    def _learn(self, current: int, X: Float32s, y: Float32s, skipped: slice) -> None:
        numbers, unknown = self.n_names == 0, np.isnan(X)
        self.missing[current] = unknown.mean(axis=0)
        middle = np.maximum(len(X) - unknown.sum(axis=0) - 1, 0) // 2
        self.value[current] = np.sort(X, axis=0)[middle, np.arange(X.shape[1])]
        for column in np.flatnonzero(~numbers):
            self.value[current, column] = np.bincount(X[:, column].astype(np.int64)).argmax()
        sorts = self.sorts(X, np.full(len(X), current)).ravel()
        kept = np.delete(np.arange(self.direction.shape[2]), skipped)
        for later in range(current, y.shape[1]):
            known = ~np.isnan(y[:, later])
            counts = (known, np.nan_to_num(y[:, later]))
            n, n_reached = (
                np.bincount(sorts, np.repeat(count, X.shape[1]), self.direction.shape[2]) for count in counts
            )
            everyone = (float(known.sum()), float(counts[1].sum(dtype=np.float64)))
            self.direction[current, later, kept] = _lean((n, n_reached), everyone)[kept]

    @property
    def first_sorts(self) -> Int64s:
        """Where the sorts of each column begin, shape (n_columns,)."""
        n_sorts = np.where(self.n_names > 0, self.n_names, UNKNOWN + 1)
        first: Int64s = np.cumsum(n_sorts) - n_sorts
        return first

    def sorts(self, X: Float32s, stage: Int64s) -> Int64s:
        """Sort of each value of leads in their current stages, shape (n_rows, n_columns)."""
        side = AT + np.sign(X - self.value[stage])
        number = np.where(np.isnan(X), UNKNOWN, np.where(np.isnan(side), AT, side))
        sort: Int64s = self.first_sorts + np.where(self.n_names > 0, X, number).astype(np.int64)
        return sort


def _outcomes(y: Float32s) -> tuple[Float64s, Float64s]:
    """Known outcomes of each later stage, and how many of them are 1."""
    return np.count_nonzero(~np.isnan(y), axis=0).astype(np.float64), np.nansum(y, axis=0, dtype=np.float64)


def _lean(some: tuple[Any, Any], everyone: tuple[Any, Any]) -> Int8s:
    """Sign of the share that reached among some less that among the others; both are (known, reached).

    0 where the difference is within `NOISE` standard errors.
    """
    (n, n_reached), (all_, all_reached) = some, everyone
    rest, rest_reached = all_ - n, all_reached - n_reached
    # The difference of the shares, and its standard error, each times n * rest: no share of nobody is needed.
    difference = n_reached * rest - rest_reached * n
    share = np.divide(all_reached, all_, out=np.zeros(np.shape(difference)), where=np.asarray(all_) > 0)
    error = np.sqrt(share * (1 - share) * n * rest * all_)
    lean: Int8s = np.where(np.abs(difference) > NOISE * error, np.sign(difference), 0).astype(np.int8)
    return lean
