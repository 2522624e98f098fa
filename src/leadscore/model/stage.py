"""The model of one stage to be reached: trees, their number, and their calibration."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import lightgbm as lgb
import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from leadscore.history import DAY

if TYPE_CHECKING:
    from leadscore.config import LightGBMSettings
    from leadscore.history.line import Bools, Float32s, Float64s, Int64s

log = logging.getLogger(__name__)

# The stages share one binned X, and take their rows of it one after the other.
_BINNED = threading.Lock()
# Shares of the time of the examples, without the gaps of one horizon between the blocks.
SHARE_A, SHARE_B = 0.6, 0.2
# With less than this share of the time outside the gaps, a block says little.
LEAST_USABLE = 1 / 3


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
        Trees.
    rounds_found : bool
        Whether their number was found on a later block of time, rather than set.
    no_signal : bool
        Whether the trees do not beat the base rate on later mornings, which is served then.
    n_examples, n_reached, n_not_reached : int
        Examples learnt from; leads with an example that reached the stage, and with one that did not.
    """

    booster: lgb.Booster | None
    slope: float = 1.0
    intercept: float = 0.0
    rounds: int = 0
    rounds_found: bool = False
    no_signal: bool = False
    n_examples: int = 0
    n_reached: int = 0
    n_not_reached: int = 0

    @property
    def fallback(self) -> bool:
        """Whether there are no trees, for want of outcomes."""
        return self.booster is None

    @property
    def serves_base_rate(self) -> bool:
        """Whether its probabilities are base rates, for want of outcomes or of signal."""
        return self.fallback or self.no_signal

    def predict(self, X: Float32s, n_jobs: int) -> Float64s:
        """Calibrated probability of each row of X, shape (n_rows,)."""
        if self.booster is None:
            raise ValueError("there are no trees; serve the base rate")
        margin = margin_of(self.booster, X, n_jobs)
        # scipy's expit treats each number alone; NumPy's exp may differ in the last bit with the array's length.
        probability: Float64s = expit(self.slope * margin + self.intercept)
        return probability


@dataclass(frozen=True, slots=True)
class Learning:
    """The examples of one fit, binned once and shared by its stages.

    Attributes
    ----------
    binned : lightgbm.Dataset
        Of X, of all rows.
    X : ndarray of float32, shape (n_examples, n_columns)
        The features.
    lead, as_of : ndarray of int64, shape (n_examples,)
        The examples.
    weight : ndarray of float64, shape (n_examples,)
        How much each counts when trees are grown.
    settings : LightGBMSettings
        Settings of the trees.
    """

    binned: lgb.Dataset
    X: Float32s
    lead: Int64s
    as_of: Int64s
    weight: Float64s
    settings: LightGBMSettings

    def stage(self, name: str, outcome: Float32s, horizon_days: int) -> StageModel:
        """Learn to tell the examples that reached a stage from those that did not.

        Fit on block A, find the number of trees and the calibration on a later block B, decide on a later
        block C whether the calibration helps, then learn from everything with the number of trees fixed.

        Parameters
        ----------
        outcome : ndarray of float32, shape (n_examples,)
            1 reached, 0 not, NaN not to be learnt from.
        """
        known = ~np.isnan(outcome)
        n_reached, n_not = (len(np.unique(self.lead[outcome == value])) for value in (1, 0))
        learnt = StageModel(None, n_examples=int(known.sum()), n_reached=n_reached, n_not_reached=n_not)
        if min(n_reached, n_not) < self.settings.min_outcome_leads:
            return learnt
        a, b, c = self._blocks(known, horizon_days)
        rounds, slope, intercept = self.settings.rounds, 1.0, 0.0
        found = self._enough(outcome, a) and self._enough(outcome, b)
        if found:
            trial = self._fit(outcome, a, self.settings.max_rounds, later=b)
            rounds = trial.current_iteration()
            if self._enough(outcome, c):
                slope, intercept = self._calibration(name, trial, outcome, b, c)
        booster = self._fit(outcome, known, rounds)
        return replace(learnt, booster=booster, slope=slope, intercept=intercept, rounds=rounds, rounds_found=found)

    def _blocks(self, known: Bools, horizon_days: int) -> tuple[Bools, Bools, Bools]:
        """Examples of three successive blocks of time with a horizon between them, so that no label crosses.

        Where the time is too short for three, C is empty; where it is too short for two, B is too.
        """
        as_of, gap = self.as_of, horizon_days * DAY
        first, last = int(as_of[known].min()), int(as_of[known].max())
        usable = last - first - 2 * gap
        if usable >= (last - first) * LEAST_USABLE:
            a_end = first + int(SHARE_A * usable)
            b_end = a_end + gap + int(SHARE_B * usable)
        else:
            usable = max(last - first - gap, 0)
            a_end = first + int((SHARE_A + SHARE_B) * usable)
            b_end = last
        return (
            known & (as_of <= a_end),
            known & (as_of > a_end + gap) & (as_of <= b_end),
            known & (as_of > b_end + gap),
        )

    def _enough(self, outcome: Float32s, block: Bools) -> bool:
        leads = [len(np.unique(self.lead[block & (outcome == value)])) for value in (1, 0)]
        return min(leads) >= self.settings.min_outcome_leads

    def _fit(self, outcome: Float32s, rows: Bools, rounds: int, later: Bools | None = None) -> lgb.Booster:
        # One thread for each stage, and stages side by side: two threads of LightGBM wait for each other at
        # every split of a small tree, and on a busy machine they wait long.
        settings = tree_settings(self.settings, 1)
        train = self._subset(outcome, rows)
        if later is None:
            return lgb.train(settings, train, rounds)
        stop = lgb.early_stopping(self.settings.early_stopping_rounds, verbose=False)
        booster = lgb.train(settings, train, rounds, valid_sets=[self._subset(outcome, later)], callbacks=[stop])
        return lgb.Booster(model_str=booster.model_to_string(num_iteration=booster.best_iteration))

    def _subset(self, outcome: Float32s, rows: Bools) -> lgb.Dataset:
        kept = np.flatnonzero(rows)
        with _BINNED:
            subset = self.binned.subset(kept.tolist()).construct()
        return subset.set_label(outcome[kept]).set_weight(self.weight[kept])

    def _calibration(self, name: str, trial: lgb.Booster, outcome: Float32s, b: Bools, c: Bools) -> tuple[float, float]:
        margin_b, margin_c = (margin_of(trial, self.X[block], 1) for block in (b, c))
        slope, intercept = fit_calibration(margin_b, outcome[b])
        before = _log_loss(margin_c, outcome[c])
        after = _log_loss(slope * margin_c + intercept, outcome[c])
        helps = after < before
        kept = "kept" if helps else "left out"
        log.info("%s: log loss on the deciding block %.4f calibrated, %.4f without: %s", name, after, before, kept)
        return (slope, intercept) if helps else (1.0, 0.0)


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
        return _log_loss(calibrated, outcome), np.array([np.mean(error * margin) * slope, np.mean(error)])

    found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-3, 3), (-20, 20)])
    return float(np.exp(found.x[0])), float(found.x[1])


def _log_loss(margin: Float64s, outcome: Float32s | Float64s) -> float:
    return float(-np.mean(outcome * log_expit(margin) + (1 - outcome) * log_expit(-margin)))


def tree_settings(settings: LightGBMSettings, n_jobs: int) -> dict[str, Any]:
    """Parameters for LightGBM; the same for binning and for every fit on it."""
    return {
        "objective": "binary",
        "learning_rate": settings.learning_rate,
        "num_leaves": settings.num_leaves,
        "min_data_in_leaf": settings.min_data_in_leaf,
        "lambda_l2": settings.lambda_l2,
        "feature_fraction": settings.feature_fraction,
        "bagging_fraction": settings.bagging_fraction,
        "bagging_freq": 1,
        "max_bin": settings.max_bin,
        "cat_smooth": settings.cat_smooth,
        "extra_trees": settings.extra_trees,
        "seed": settings.seed,
        "num_threads": n_jobs,
        "deterministic": True,
        "force_col_wise": True,
        "feature_pre_filter": False,
        "verbosity": -1,
    }
