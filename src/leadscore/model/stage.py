"""The model of one stage to be reached: its trees and their calibration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.special import expit, log_expit, logit

from leadscore.model.pair import LEVEL_ONLY

if TYPE_CHECKING:
    import lightgbm as lgb

    from leadscore.history.line import Bools, Float32s, Float64s, Int64s
    from leadscore.model.pair import Pair

# A slope lies within exp(-3) and exp(3); one so near to an end stands at it.
MOST_LOG_SLOPE, NEAR = 3.0, 1e-3


@dataclass(frozen=True, slots=True)
class Mix:
    """How much of a margin is of the trees, and why.

    Attributes
    ----------
    weight : float
        Of the trees; what is left to 1 is of a logistic regression on the same features.
    loss, loss_of_trees : float
        Calibrated, log loss on the deciding block of the mixture and of the trees alone; NaN where nothing was decided.
    """

    weight: float = 1.0
    loss: float = float("nan")
    loss_of_trees: float = float("nan")

    def of(self, trees: Float64s, linear: Float64s) -> Float64s:
        """The margin, of the shape of both."""
        return self.weight * trees + (1 - self.weight) * linear


@dataclass(frozen=True, slots=True)
class StageModel:
    """What was learnt about reaching one stage.

    Attributes
    ----------
    booster : lightgbm.Booster, optional
        None where there were too few outcomes: the base rate is served.
    mix : Mix
        How much of the margin is of the trees, and how much of a logistic regression.
    slope, intercept : float
        The log odds are ``slope * margin + intercept``; the slope is positive, so order never changes.
    rounds : int
        Trees in the booster.
    shared_rounds, own_rounds : int
        Trees grown for all stages together, of which those that say nothing of this one are left out, and then for
        this one alone.
    rounds_found : bool
        Whether their numbers were found on a later block of time, rather than set.
    n_examples, n_reached, n_not_reached : int
        Examples learnt from; leads with an example that reached the stage, and with one that did not.
    pairs : tuple of Pair
        For each current stage before this one, whether trees or base rates are served, and how the log odds are
        corrected. Empty for a model that was not judged: trees are served as they are.
    """

    booster: lgb.Booster | None
    mix: Mix = field(default_factory=Mix)
    slope: float = 1.0
    intercept: float = 0.0
    rounds: int = 0
    shared_rounds: int = 0
    own_rounds: int = 0
    rounds_found: bool = False
    n_examples: int = 0
    n_reached: int = 0
    n_not_reached: int = 0
    pairs: tuple[Pair, ...] = ()
    # Of the pairs, and behind them one for all further stages.
    _trees: Bools = field(init=False, repr=False, compare=False)
    _slopes: Float64s = field(init=False, repr=False, compare=False)
    _offsets: Float64s = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, values in (
            ("_trees", np.array([*(pair.trees for pair in self.pairs), False])),
            ("_slopes", np.array([*(pair.slope for pair in self.pairs), 1.0])),
            ("_offsets", np.array([*(pair.intercept + pair.level for pair in self.pairs), 0.0])),
        ):
            object.__setattr__(self, name, values)

    @property
    def fallback(self) -> bool:
        """Whether there are no trees: too few outcomes."""
        return self.booster is None

    @property
    def serves_base_rate(self) -> bool:
        """Whether base rates are served, whatever the current stage."""
        return self.fallback or (bool(self.pairs) and not self._trees.any())

    @property
    def no_signal(self) -> bool:
        """Whether base rates are served because the trees order leads no better than chance."""
        return not self.fallback and self.serves_base_rate and any(each.state == LEVEL_ONLY for each in self.pairs)

    def serves_trees(self, current: Int64s, place: int) -> Bools:
        """Whether trees are served to leads in these stages; shape (n_leads,), False where they have passed this one.

        Parameters
        ----------
        current : ndarray of int64, shape (n_leads,)
            Current stages.
        place : int
            Of the stage to reach among the later stages.
        """
        ahead: Bools = current <= place
        if self.fallback:
            return np.zeros(len(current), np.bool_)
        return ahead & self._trees[np.minimum(current, len(self.pairs))] if self.pairs else ahead

    def log_odds(self, margin: Float64s, current: Int64s) -> Float64s:
        """Calibrated log odds of leads in these stages from their margins; shape (n_leads,)."""
        calibrated = self.slope * margin + self.intercept
        if not self.pairs:
            return calibrated
        pair = np.minimum(current, len(self.pairs))
        return self._slopes[pair] * calibrated + self._offsets[pair]

    def slopes(self, current: Int64s) -> Float64s:
        """By how much one more of margin raises the log odds of leads in these stages; shape (n_leads,)."""
        if not self.pairs:
            return np.full(len(current), self.slope)
        slopes: Float64s = self.slope * self._slopes[np.minimum(current, len(self.pairs))]
        return slopes

    def calibrated(self, margin: Float64s, current: Int64s) -> Float64s:
        """The probabilities that margins stand for; shape (n_leads,)."""
        # scipy's expit treats each number alone; NumPy's exp may differ in the last bit with the array's length.
        probability: Float64s = expit(self.log_odds(margin, current))
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
