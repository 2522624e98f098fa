"""Slope, intercept and base rates fitted anew, and what moved."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from leadscore.baselines import BaseRate
from leadscore.history.zone import EPOCH
from leadscore.metrics import log_loss
from leadscore.model import fit_calibration
from leadscore.model.pair import LEVEL_CORRECTED, RANKS
from leadscore.model.stage import fit_intercept, is_at_bound
from leadscore.recalibration.recent import LEAST_LEADS, Recent

if TYPE_CHECKING:
    from leadscore.history import History
    from leadscore.history.line import Float32s, Float64s
    from leadscore.model import FunnelModel, StageModel
    from leadscore.model.pair import Pair
    from leadscore.recalibration.recent import Window

Fitted = Literal["slope and intercept", "intercept", "base rate", "nothing"]


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of one stage.

    Attributes
    ----------
    stage : str
        The stage to reach.
    fitted : str
        ``slope and intercept``, ``intercept``, ``base rate`` (where that is served) or ``nothing``.
    why : str
        Why so.
    slope, intercept : (float, float)
        Old and new, of the trees; the same where nothing of them was fitted.
    said : (float, float)
        Mean probability as served by the old and by the new model on the mornings taken; NaN without examples.
    observed : float
        Share that reached; NaN without examples.
    n_examples, n_leads : int
        Examples on these mornings, and of how many leads.
    mornings : (int, int)
        The first and the last, in microseconds since 1970 UTC; 0 without examples.
    unseen : bool
        Whether the trees have learnt from none of them.
    """

    stage: str
    fitted: Fitted
    why: str
    slope: tuple[float, float]
    intercept: tuple[float, float]
    said: tuple[float, float]
    observed: float
    n_examples: int
    n_leads: int
    mornings: tuple[int, int]
    unseen: bool

    def __str__(self) -> str:
        if not self.n_examples:
            return f"{self.stage}: nothing fitted ({self.why})"
        first, last = ((EPOCH + timedelta(microseconds=each)).date() for each in self.mornings)
        return (
            f"{self.stage}: {self.fitted} fitted ({self.why}); said {self.said[0]:.1%}, now {self.said[1]:.1%}, "
            f"observed {self.observed:.1%}; slope {self.slope[0]:.3f} to {self.slope[1]:.3f}, intercept "
            f"{self.intercept[0]:+.3f} to {self.intercept[1]:+.3f}; {self.n_examples:,} examples of "
            f"{self.n_leads:,} leads on mornings from {first} to {last}"
        )


@dataclass(frozen=True, slots=True)
class Recalibrated:
    """A model with its calibration fitted anew.

    Attributes
    ----------
    model : FunnelModel
        With the trees of the old one.
    moved : tuple of Moved
        One per later stage.
    """

    model: FunnelModel
    moved: tuple[Moved, ...]

    @property
    def changed(self) -> bool:
        """Whether any probability is another one."""
        return any(each.fitted != "nothing" for each in self.moved)


def recalibrate(history: History, model: FunnelModel, n_jobs: int, until: int | None = None) -> Recalibrated:
    """Fit calibration and served base rates anew on the most recent mornings whose outcomes are known.

    For each later stage the mornings are those that the trees have not learnt from, where they hold enough outcomes:
    then slope and intercept are fitted, or with fewer outcomes the intercept alone. Where they do not, recent mornings
    are taken that the trees may have learnt from, which would flatter the slope: then only the intercept is fitted.
    What is fitted on the earlier of the mornings is kept only if the later ones, a horizon on, say that it helps.

    Parameters
    ----------
    until : int, optional
        Labels that ended later are not looked at; ``known_until`` by default.

    Raises
    ------
    ModelError
        The history is of another funnel than the model.
    """
    recent = Recent.of(history, model, history.known_until if until is None else until, n_jobs)
    windows = [recent.window(place) for place in range(len(model.stages_))]
    renewed = [_renewed(recent, place, window) for place, window in enumerate(windows)]
    new = copy(model)
    new.recalibrated_ = True
    new.stages_ = tuple(each.stage for each in renewed)
    new.base_rate_ = BaseRate.of_stages([each.base_rate for each in renewed])
    new.trained_until_ = max(model.trained_until_, *(recent.last_label_end(*each) for each in enumerate(windows)))
    said = model.predict_proba(recent.snapshot), new.predict_proba(recent.snapshot)
    new.grades_ = new.graded(recent.snapshot, said[1]).or_else(model.grades_)
    moved = tuple(_moved(recent, place, windows[place], renewed[place], said) for place in range(len(renewed)))
    return Recalibrated(new, moved)


class _Renewed(NamedTuple):
    """A stage and its base rates, with what was fitted and why."""

    stage: StageModel
    base_rate: BaseRate
    fitted: Fitted
    why: str


def _renewed(recent: Recent, place: int, window: Window) -> _Renewed:
    stage, base_rate = recent.model.stages_[place], recent.model.base_rate_
    if not window.enough:
        return _Renewed(
            stage, base_rate, "nothing", f"fewer than {LEAST_LEADS} leads of an outcome to fit or to decide on"
        )
    by_trees = stage.serves_trees(recent.snapshot.steps.stage, place)
    served = window.of(by_trees)
    new_rate = None if by_trees[window.rows].all() else _new_base_rate(recent, place, window)
    fitted: Fitted = "nothing" if new_rate is None else "base rate"
    new_stage = stage
    if recent.enough(place, served.early, served.late):
        of_trees, new_stage = _new_stage(recent, place, served)
        fitted = fitted if of_trees == "nothing" else of_trees
    seen = "unseen by the trees" if window.unseen else "recent, but the trees may have seen them"
    why = f"mornings {seen}" if fitted != "nothing" else "on the later mornings it would not have helped"
    return _Renewed(new_stage, base_rate if new_rate is None else new_rate, fitted, why)


def _new_base_rate(recent: Recent, place: int, window: Window) -> BaseRate | None:
    """Base rates of all mornings taken; None where those of the earlier ones would not have helped on the later."""
    late, outcome = recent.snapshot[window.late], recent.outcome[window.late, place].astype(np.float64)
    rates = recent.model.base_rate_, recent.base_rate(place, window.early)
    old, trial = (log_loss(outcome, each.predict_proba(late)[:, place]) for each in rates)
    return None if old <= trial else recent.base_rate(place, window.rows)


def _new_stage(recent: Recent, place: int, window: Window) -> tuple[Fitted, StageModel]:
    """The stage calibrated on all mornings taken; as it was where that would not have helped on the later ones."""
    stage, outcome = recent.model.stages_[place], recent.outcome[:, place].astype(np.float64)
    margin, current = np.full(len(outcome), np.nan), recent.snapshot.steps.stage
    margin[window.rows] = recent.model.margin(place, recent.X[window.rows])
    # Counted where the first calibration is fitted, so that what is decided on is what is kept.
    most = recent.outcome_leads(place, window.early) >= recent.model.funnel.lightgbm.min_outcome_leads
    both = window.unseen and most
    trial, new = (_calibrated(stage, margin[rows], outcome[rows], both=both) for rows in (window.early, window.rows))
    late = window.late
    before, after = (log_loss(outcome[late], each.calibrated(margin[late], current[late])) for each in (stage, trial))
    if not after < before:
        return "nothing", stage
    return "slope and intercept" if both else "intercept", new


def _calibrated(stage: StageModel, margin: Float64s, outcome: Float64s, *, both: bool) -> StageModel:
    """The stage with slope and intercept, or the intercept, fitted anew; they replace corrections of its pairs."""
    stage = replace(stage, pairs=tuple(map(_uncorrected, stage.pairs)))
    if both:
        slope, intercept = fit_calibration(margin, outcome)
        if not is_at_bound(slope):
            return replace(stage, slope=slope, intercept=intercept)
    return replace(stage, intercept=fit_intercept(stage.slope * margin, outcome))


def _uncorrected(pair: Pair) -> Pair:
    if pair.state != LEVEL_CORRECTED:
        return pair
    return replace(
        pair, state=RANKS, slope=1.0, intercept=0.0, level=0.0, predicted=float("nan"), observed=float("nan")
    )


def _moved(recent: Recent, place: int, window: Window, renewed: _Renewed, said: tuple[Float64s, Float64s]) -> Moved:
    rows, old, new = window.rows, recent.model.stages_[place], renewed.stage
    before, after, observed = (_mean(each[rows, place]) for each in (*said, recent.outcome))
    as_of = recent.examples.as_of[rows]
    return Moved(
        stage=recent.model.funnel.later_stages[place],
        fitted=renewed.fitted,
        why=renewed.why,
        slope=(old.slope, new.slope),
        intercept=(old.intercept, new.intercept),
        said=(before, after),
        observed=observed,
        n_examples=len(rows),
        n_leads=len(np.unique(recent.examples.lead[rows])),
        mornings=(int(as_of.min()), int(as_of.max())) if len(rows) else (0, 0),
        unseen=window.unseen,
    )


def _mean(column: Float32s | Float64s) -> float:
    return float(column.mean(dtype=np.float64)) if len(column) else float("nan")
