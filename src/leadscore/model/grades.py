"""Grades A to D: where a lead stands among those that a team has seen so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from leadscore.history.line import Bools, Float64s, Int64s, Strings

NAMES = "ABCD"
# Of the leads open on past mornings, a tenth is graded A, two tenths B, three tenths C and the rest D.
SHARES_BELOW = (0.9, 0.7, 0.4)


@dataclass(frozen=True, slots=True)
class Grades:
    """From which probability on a lead has which grade, one row for each of the two lists.

    A lead before the handoff is graded by its probability of reaching it, a lead past it by that of the win.

    Attributes
    ----------
    edges : ndarray of float64, shape (2, 3)
        Where A, B and C begin; NaN for a list that no lead stood in.
    """

    edges: Float64s

    @classmethod
    def of(cls, key: Float64s, before: Bools) -> Grades:
        """Learn the edges from probabilities, and whether each is of a lead before the handoff."""
        rows = (key[before & ~np.isnan(key)], key[~before & ~np.isnan(key)])
        edges = [np.quantile(row, SHARES_BELOW) if len(row) else np.full(len(SHARES_BELOW), np.nan) for row in rows]
        return cls(np.array(edges))

    def or_else(self, others: Grades) -> Grades:
        """These grades, and the others for a list that no lead stood in."""
        return Grades(np.where(np.isnan(self.edges), others.edges, self.edges))

    def grade(self, key: Float64s, before: Bools) -> Strings:
        """The grade of each probability, shape (n_leads,); D where a list had no leads to learn from."""
        below: Int64s = np.count_nonzero(~(key[:, None] >= self.edges[np.where(before, 0, 1)]), axis=1)
        return np.array(list(NAMES), object)[below]
