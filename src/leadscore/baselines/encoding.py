"""From the features to columns that a linear model can add up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from scipy.special import log1p

from leadscore.history.line import Float32s, Float64s

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadscore.history.line import Bools, Int64s

Floats = TypeVar("Floats", Float32s, Float64s)

# Numbers are scaled by about so many examples, spread evenly over all.
SCALED_EXAMPLES = 20_000
# Beyond this a number is taken as its logarithm: more skewed than half a bell.
SKEWED = 1.0


@dataclass(frozen=True, slots=True)
class Encoding:
    """How each feature is encoded, learnt from examples.

    Attributes
    ----------
    numbers : ndarray of int64, shape (n_numbers,)
        Columns of X that are numbers and not the same in all examples.
    logged : ndarray of bool, shape (n_numbers,)
        Of which the logarithm is taken: ``sign(x) * log(1 + |x|)``.
    median, mean, deviation : ndarray of float32, shape (n_numbers,)
        After the logarithm; NaN becomes the median before the others are taken.
    gaps : ndarray of int64, shape (n_gaps,)
        Columns of X whose NaN has a column of its own; one of those that are NaN in the same examples.
    categories : tuple of (int, int)
        Columns of X that are categories, and how many codes each has.
    """

    numbers: Int64s
    logged: Bools
    median: Float32s
    mean: Float32s
    deviation: Float32s
    gaps: Int64s
    categories: tuple[tuple[int, int], ...]

    @classmethod
    def learnt(cls, X: Float32s, n_codes: Sequence[int]) -> Encoding:
        """Learn from the examples in X.

        Parameters
        ----------
        X : ndarray of float32, shape (n_examples, n_columns)
        n_codes : sequence of int, shape (n_columns,)
            How many codes each category has; 0 for a number.
        """
        spread = X[:: max(1, len(X) // SCALED_EXAMPLES)]
        scales = {place: _scale(spread[:, place]) for place, n in enumerate(n_codes) if not n}
        numbers = [place for place, (_, _, _, deviation) in scales.items() if deviation > 0]
        logged, median, mean, deviation = (np.array([scales[place][part] for place in numbers]) for part in range(4))
        return cls(
            numbers=np.array(numbers, np.int64),
            logged=logged.astype(np.bool_),
            median=median.astype(np.float32),
            mean=mean.astype(np.float32),
            deviation=deviation.astype(np.float32),
            gaps=_gaps(X),
            categories=tuple((place, n) for place, n in enumerate(n_codes) if n),
        )

    @property
    def column_of(self) -> Int64s:
        """The column of X that each encoded column is made of, shape (width,)."""
        categories = [np.full(n, place) for place, n in self.categories]
        return np.concatenate((self.numbers, self.gaps, *categories)).astype(np.int64)

    @property
    def width(self) -> int:
        """How many columns there are."""
        return len(self.numbers) + len(self.gaps) + sum(n for _, n in self.categories)

    def encode(self, X: Float32s, out: Float32s) -> None:
        """Write the columns of ``X`` into ``out``, of shape (n_examples, width)."""
        n_numbers, begin = len(self.numbers), len(self.numbers) + len(self.gaps)
        numbers = X[:, self.numbers]
        numbers[:, self.logged] = _log(numbers[:, self.logged])
        np.copyto(numbers, self.median, where=np.isnan(numbers))
        np.divide(numbers - self.mean, self.deviation, out=out[:, :n_numbers])
        out[:, n_numbers:begin] = np.isnan(X[:, self.gaps])
        for place, n in self.categories:
            out[:, begin : begin + n] = X[:, place, None] == np.arange(n, dtype=np.float32)
            begin += n


def _scale(number: Float32s) -> tuple[bool, float, float, float]:
    """Whether the logarithm is taken; median, mean and deviation of what is then learnt from. NaN is no value."""
    known = number[~np.isnan(number)].astype(np.float64)
    if not len(known):
        return False, 0.0, 0.0, 0.0
    logged = abs(_skewness(known)) > SKEWED
    known = _log(known) if logged else known
    median = float(np.median(known))
    share = len(known) / len(number)
    mean = share * float(known.mean()) + (1 - share) * median
    square = share * float(np.mean((known - mean) ** 2)) + (1 - share) * (median - mean) ** 2
    return logged, median, mean, square**0.5


def _skewness(known: Float64s) -> float:
    """Third moment about the mean over the cube of the standard deviation; 0 where all are the same."""
    centred = known - known.mean()
    variance = float(np.mean(centred**2))
    return float(np.mean(centred**3)) / variance**1.5 if variance > 0 else 0.0


def _log(number: Floats) -> Floats:
    # scipy's log1p treats each number alone; NumPy's may differ in the last bit with the array's length.
    logged: Floats = log1p(np.abs(number))
    return np.copysign(logged, number)


def _gaps(X: Float32s) -> Int64s:
    """Columns that are NaN in some examples and not in all, each such set of examples once."""
    missing = np.isnan(X)
    n_missing = missing.sum(axis=0)
    some = np.flatnonzero((n_missing > 0) & (n_missing < len(X)))
    if not len(some):
        return some
    _, first = np.unique(np.packbits(missing[:, some], axis=0), axis=1, return_index=True)
    return some[np.sort(first)]
