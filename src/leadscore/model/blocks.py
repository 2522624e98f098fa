"""Three successive blocks of time, to learn from, to adjust on, and to decide on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from leadscore.history import DAY

if TYPE_CHECKING:
    from leadscore.history.line import Bools, Float32s, Int64s

# Shares of the time that is left without the gaps of the longest horizon between the blocks.
SHARE_A, SHARE_B = 0.6, 0.2
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
        if usable >= span * LEAST_USABLE:
            a_end = first + gap + int(SHARE_A * usable)
            b_end = a_end + gap + int(SHARE_B * usable)
        else:
            a_end = first + gap + int((SHARE_A + SHARE_B) * max(span - gap, 0))
            b_end = last
        begin = as_of[:, None]
        return cls(known & (end <= a_end), known & (begin > a_end) & (end <= b_end), known & (begin > b_end))
