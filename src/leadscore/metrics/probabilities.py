"""Figures that depend on the probabilities themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.special import logit

from leadscore.model import fit_calibration

if TYPE_CHECKING:
    from leadscore.history.line import Float64s, Int64s

# A probability of 0 or 1 that is wrong would make the log loss infinite.
LEAST = 1e-9
GROUPS = 10


def log_losses(outcome: Float64s, probability: Float64s) -> Float64s:
    """-log of the probability given to what happened, in nats; shape (n,)."""
    likely = np.where(outcome == 1, probability, 1 - probability)
    losses: Float64s = -np.log(np.clip(likely, LEAST, None))
    return losses


def log_loss(outcome: Float64s, probability: Float64s) -> float:
    """Mean of `log_losses`; NaN without examples."""
    return float(log_losses(outcome, probability).mean()) if len(outcome) else float("nan")


def calibration_line(outcome: Float64s, probability: Float64s) -> tuple[float, float]:
    """Slope and intercept of the log odds that would have made the outcomes likeliest; NaN with a single outcome.

    1 and 0 for calibrated probabilities; a slope under 1 says that they are too sure (Cox, Two further applications
    of a model for binary regression, Biometrika 1958).
    """
    if not 0 < outcome.sum() < len(outcome):
        return float("nan"), float("nan")
    return fit_calibration(logit(np.clip(probability, LEAST, 1 - LEAST)), outcome)


@dataclass(frozen=True, slots=True)
class Tenths:
    """Examples in groups of about equally many by probability.

    Attributes
    ----------
    group : ndarray of int64, shape (n,)
        From 0, the least likely.
    n_groups : int
        Ten, or fewer where probabilities are equal.
    """

    group: Int64s
    n_groups: int

    @classmethod
    def of(cls, probability: Float64s) -> Self:
        """Group examples, equal probabilities together."""
        edges = np.unique(np.quantile(probability, np.linspace(0, 1, GROUPS + 1))) if len(probability) else np.zeros(1)
        group = np.clip(np.searchsorted(edges, probability, side="right") - 1, 0, max(len(edges) - 2, 0))
        distinct, group = np.unique(group, return_inverse=True)
        return cls(group, len(distinct))

    def columns(self, per_example: Float64s) -> Float64s:
        """What stands in each group, in a column of its own; shape (n, n_groups)."""
        columns = np.zeros((len(per_example), self.n_groups))
        columns[np.arange(len(per_example)), self.group] = per_example
        return columns


def calibration_error(outcome: Float64s, probability: Float64s) -> float:
    """Mean over tenths of the distance between the mean probability and the share that reached.

    Naeini, Cooper and Hauskrecht, Obtaining well calibrated probabilities (2015), with groups of equal size.
    """
    if not len(outcome):
        return float("nan")
    off = Tenths.of(probability).columns(probability - outcome).sum(axis=0)
    return float(np.abs(off).sum() / len(outcome))
