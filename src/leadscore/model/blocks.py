"""Three successive blocks of time, to learn from, to adjust on, and to decide on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from leadscore.history import DAY

if TYPE_CHECKING:
    from leadscore.history.line import Bools, Float32s, Int64s

# Shares of B and of C in the time that is left without the gaps of the longest horizon between the blocks. Neither is
# longer than so many days, or the longest horizon: what was right years ago need not be right now.
SHARE_B = SHARE_C = 0.2
MOST_DAYS = 90
# With less than this share of the time outside the gaps, a block says little.
LEAST_USABLE = 1 / 3


@dataclass(frozen=True, slots=True)
class Blocks:
    """Which outcomes stand in which block, each of shape (n_examples, n_later_stages).

    The blocks are parted at the same two moments for all stages, because trees learn from all stages together: the
    labels of a block have all ended when the next block begins. Where the time is too short for three, C is empty;
    where it is too short for two, B is too.

    Attributes
    ----------
    a, b, c : ndarray of bool
        Labels that end by the first moment; that begin after it and end by the second; that begin after that.
    """

    a: Bools
    b: Bools
    c: Bools

    @classmethod
    def of(cls, as_of: Int64s, outcome: Float32s, horizons: tuple[int, ...]) -> Blocks:
        """Part the outcomes that are known; some must be."""
        known = ~np.isnan(outcome)
        end = as_of[:, None] + np.array(horizons) * DAY
        gap = int(np.array(horizons)[np.any(known, axis=0)].max()) * DAY
        first, last = int(as_of[np.any(known, axis=1)].min()), int(end[known].max())
        span = last - first - gap
        usable = span - 2 * gap
        longest = max(MOST_DAYS * DAY, gap)
        if usable >= span * LEAST_USABLE:
            of_c = min(int(SHARE_C * usable), longest)
            b_end = last - gap - of_c
            a_end = b_end - gap - min(int(SHARE_B * usable), longest)
        else:
            a_end = last - gap - min(int(SHARE_B * max(span - gap, 0)), longest)
            b_end = last
        begin = as_of[:, None]
        return cls(known & (end <= a_end), known & (begin > a_end) & (end <= b_end), known & (begin > b_end))
