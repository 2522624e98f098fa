"""The model of one stage to be reached: its trees and their calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.special import expit, log_expit, logit

if TYPE_CHECKING:
    import lightgbm as lgb

    from leadscore.history.line import Float32s, Float64s

# A slope lies within exp(-3) and exp(3); one so near to an end stands at it.
MOST_LOG_SLOPE, NEAR = 3.0, 1e-3


@dataclass(frozen=True, slots=True)
class StageModel:
    """What was learnt about reaching one stage.

    Attributes
    ----------
    booster : lightgbm.Booster, optional
        None where there were too few outcomes: the base rate is served.
    slope, intercept : float
        The probability is ``expit(slope * margin + intercept)``; the slope is positive, so order never changes.
    rounds : int
        Trees in the booster.
    shared_rounds, own_rounds : int
        Trees grown for all stages together, of which those that say nothing of this one are left out, and then for
        this one alone.
    rounds_found : bool
        Whether their numbers were found on a later block of time, rather than set.
    no_signal : bool
        Whether the trees do not beat the base rate on later mornings, which is served then.
    unjudged : bool
        Whether there were too few outcomes to judge trees on later mornings; the base rate is served then.
    n_examples, n_reached, n_not_reached : int
        Examples learnt from; leads with an example that reached the stage, and with one that did not.
    """

    booster: lgb.Booster | None
    slope: float = 1.0
    intercept: float = 0.0
    rounds: int = 0
    shared_rounds: int = 0
    own_rounds: int = 0
    rounds_found: bool = False
    no_signal: bool = False
    unjudged: bool = False
    n_examples: int = 0
    n_reached: int = 0
    n_not_reached: int = 0

    @property
    def fallback(self) -> bool:
        """Whether there are no trees: too few outcomes."""
        return self.booster is None

    @property
    def serves_base_rate(self) -> bool:
        """Whether its probabilities are base rates: too few outcomes, or no signal."""
        return self.fallback or self.no_signal or self.unjudged

    def predict(self, X: Float32s, n_jobs: int) -> Float64s:
        """Calibrated probability of each row of X, shape (n_rows,)."""
        if self.booster is None:
            raise ValueError("there are no trees; serve the base rate")
        return self.calibrated(margin_of(self.booster, X, n_jobs))

    def calibrated(self, margin: Float64s) -> Float64s:
        """The probability that a sum of the trees stands for, of the same shape."""
        # scipy's expit treats each number alone; NumPy's exp may differ in the last bit with the array's length.
        probability: Float64s = expit(self.slope * margin + self.intercept)
        return probability


def margin_of(booster: lgb.Booster, X: Float32s, n_jobs: int) -> Float64s:
    """Sum of the trees for each row of X, shape (n_rows,): log odds before calibration."""
    return np.asarray(booster.predict(X, raw_score=True, num_threads=n_jobs), np.float64)


def fit_calibration(margin: Float64s, outcome: Float32s | Float64s) -> tuple[float, float]:
    """Slope and intercept of the margin that make the outcomes likeliest; the slope is positive.

    Platt, Probabilistic outputs for support vector machines (1999), section 2, without its smoothing.
    """

    def loss(parameters: Float64s) -> tuple[float, Float64s]:
        slope = np.exp(parameters[0])
        calibrated = slope * margin + parameters[1]
        error = expit(calibrated) - outcome
        return margin_loss(calibrated, outcome), np.array([np.mean(error * margin) * slope, np.mean(error)])

    bounds = [(-MOST_LOG_SLOPE, MOST_LOG_SLOPE), (-20, 20)]
    found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=bounds)
    return float(np.exp(found.x[0])), float(found.x[1])


def is_at_bound(slope: float) -> bool:
    """Whether a fitted slope stands at its bound, so that no slope was found."""
    return bool(abs(np.log(slope)) > MOST_LOG_SLOPE - NEAR)


def fit_intercept(margin: Float64s, outcome: Float64s) -> float:
    """What to add to log odds so that their mean probability is the share of the outcomes.

    That is also the intercept that makes the outcomes likeliest.

    Raises
    ------
    ValueError
        The outcomes are all the same.
    """
    share = float(outcome.mean())
    if not 0 < share < 1:
        raise ValueError("an intercept needs both outcomes")

    def off(intercept: float) -> float:
        return float(expit(margin + intercept).mean()) - share

    # With the one end no probability is above the share, with the other none is below it.
    low, high = logit(share) - margin.max(), logit(share) - margin.min()
    return float(brentq(off, low - 1, high + 1, xtol=1e-12))


def margin_loss(margin: Float64s, outcome: Float32s | Float64s) -> float:
    """Log loss of log odds."""
    return float(-np.mean(outcome * log_expit(margin) + (1 - outcome) * log_expit(-margin)))
