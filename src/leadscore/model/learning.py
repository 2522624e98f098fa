"""How the trees of all stages are learnt: first together, then some more for each alone, then their calibration."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Self

import lightgbm as lgb
import numpy as np
from scipy.special import expit

from leadscore.baselines.regression import encoded_by, learnt_encoding, regress
from leadscore.history import DAY
from leadscore.model.blocks import Blocks
from leadscore.model.levelled import LevelledLoss
from leadscore.model.lightgbm_fit import grow, tree_settings
from leadscore.model.linear import Linear
from leadscore.model.stage import (
    Mix,
    StageModel,
    fit_calibration,
    fit_intercept,
    is_at_bound,
    margin_loss,
    margin_of,
)
from leadscore.model.together import Together
from leadscore.model.trees import Narrowed, booster_of, narrowed, trees_of, with_counts
from leadscore.model.withheld import withheld

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from leadscore.baselines.encoding import Encoding
    from leadscore.baselines.regression import Regression
    from leadscore.config import Funnel
    from leadscore.features import Column
    from leadscore.history.line import Bools, Float32s, Float64s, Int64s
    from leadscore.model.together import Grown

log = logging.getLogger(__name__)

# How much trees may count beside a regression, which has learnt from at most so many examples when that is chosen.
WEIGHTS, MOST_TO_CHOOSE = (1.0, 0.75, 0.5, 0.25, 0.0), 50_000
# Days after which an example counts half, if any; tried with regressions of at most so many examples.
HALF_LIVES, MOST_TO_AGE = (720.0, 360.0, 180.0), 10_000
# Standard deviations in half of a 99 % interval.
CLEARLY = 2.58
# The stages share one binned X, and take their rows of it one after the other.
_BINNED = threading.Lock()


class _Shared(NamedTuple):
    """What the stages learnt together: on block A, None where the time is too short for blocks; and on everything."""

    blocks: Blocks
    trial: Grown | None
    final: Grown


@dataclass(frozen=True)
class Learning:
    """The examples of one fit, binned once and shared by all stages.

    Attributes
    ----------
    funnel : Funnel
        Stages, horizons and the settings of the trees.
    binned : lightgbm.Dataset
        Of X, of all rows.
    X : ndarray of float32, shape (n_examples, n_columns)
        The features.
    columns : sequence of Column
        What they are.
    outcome : ndarray of float32, shape (n_examples, n_later_stages)
        1 reached, 0 not, NaN not to be learnt from.
    lead, as_of : ndarray of int64, shape (n_examples,)
        The examples.
    weight : ndarray of float64, shape (n_examples,)
        How much each counts when trees are grown.
    n_jobs : int
        Threads. They change no bit of a model.
    with_reasons : bool
        Whether the trees are to say how many examples come to each leaf, which reasons need.
    rounds_from : sequence of StageModel
        Stages learnt earlier whose numbers of trees are taken over where they were found; empty to find all.
    """

    funnel: Funnel
    binned: lgb.Dataset
    X: Float32s
    columns: Sequence[Column]
    outcome: Float32s
    lead: Int64s
    as_of: Int64s
    weight: Float64s
    n_jobs: int
    with_reasons: bool
    rounds_from: Sequence[StageModel] = ()

    def aged(self, half_life_days: float | None) -> Learning:
        """The same examples, of which those so many days older than the latest count half; all alike without."""
        if half_life_days is None:
            return self
        age = (int(self.as_of.max()) - self.as_of) / DAY
        return replace(self, weight=self.weight * 0.5 ** (age / half_life_days))

    def half_life(self) -> float | None:
        """The half-life with which a regression of block A tells block B apart best, if it is clear and C agrees.

        Regressions are asked because they are learnt in a moment. Where what features mean moves, they and the trees
        are better off with less of the past; where it does not, all of it is the best.
        """
        learnt = [each for each in range(self.outcome.shape[1]) if self._counted(each).n_reached]
        outcome = np.where(np.isin(np.arange(self.outcome.shape[1]), learnt), self.outcome, np.float32(np.nan))
        if np.isnan(outcome).all():
            return None
        blocks = Blocks.of(self.as_of, outcome, self.funnel.horizons)
        places = [each for each in learnt if all(self.enough(block, each) for block in (blocks.a, blocks.b, blocks.c))]
        span = (int(self.as_of.max()) - int(self.as_of.min())) / DAY
        tried: list[float | None] = [None, *(days for days in HALF_LIVES if 2 * days < span)]
        if not places or len(tried) == 1:
            return None
        _ = self.encoding  # shared by the threads
        with ThreadPoolExecutor(self.n_jobs) as pool:
            losses = list(pool.map(lambda each: self.aged(each).losses_by_regression(places, blocks), tried))
        best = int(np.argmin([on_b.mean() for on_b, _ in losses]))
        lead = np.concatenate([self.lead[blocks.b[:, place]] for place in places])
        clear = best > 0 and _clearly_below(losses[best][0] - losses[0][0], lead)
        found = tried[best] if clear and losses[best][1] < losses[0][1] else None
        log.info("half-life of examples: %s", "none, all count alike" if found is None else f"{found:g} days")
        return found

    def losses_by_regression(self, places: Sequence[int], blocks: Blocks) -> tuple[Float64s, float]:
        """Log losses of block B, and the mean of those of block C, by regressions of block A, calibrated on B."""
        on_b, on_c = [], []
        for place in places:
            regression = self._regression(place, blocks.a[:, place], MOST_TO_AGE)
            later = _Later.of(self, place, None, blocks)
            later.linear_b, later.linear_c = (
                regression.margin(encoded_by(self.encoding, self.X[rows])) for rows in (later.b, later.c)
            )
            on_b.append(later.losses(Mix(0.0)))
            on_c.append(later.loss_on_c(Mix(0.0)))
        return np.concatenate(on_b), float(np.mean(on_c))

    def models(self) -> Iterator[tuple[StageModel, Regression | None]]:
        """What is learnt of each later stage, in order, as it is learnt; with a regression where it is mixed with one.

        Trees are grown for all stages together, and then some more for each stage alone. Both numbers of trees are
        found by growing on block A and looking at a later block B. On B each stage is mixed with a logistic regression
        of block A and calibrated, and a later block C decides whether these help. Then all trees are grown again on
        everything, with their numbers fixed, and where calibration helped, their level is fitted to everything, or to
        block C if that clearly has another: the one that was fitted to B is that of trees which had learnt from A.
        """
        least = self.funnel.lightgbm.min_outcome_leads
        counted = [self._counted(place) for place in range(self.outcome.shape[1])]
        learnt = np.array([min(each.n_reached, each.n_not_reached) >= least for each in counted])
        for place in np.flatnonzero(~learnt).tolist():
            for each in withheld(self.funnel, place, counted[place]):
                log.info("%s", each)
        if not learnt.any():
            yield from ((each, None) for each in counted)
            return
        shared = self._shared(learnt)
        with ThreadPoolExecutor(self.n_jobs) as pool:
            yield from pool.map(lambda place: self._stage(place, counted[place], shared), range(len(counted)))

    @cached_property
    def stage_column(self) -> int:
        """The column of X that says in which stage each example stood."""
        return [column.name for column in self.columns].index("stage")

    @cached_property
    def encoding(self) -> Encoding:
        """From X to the columns that regressions add up."""
        return learnt_encoding(self.X, self.columns, len(self.funnel.stages) - 1)

    def linear(self, regressions: Sequence[Regression | None]) -> Linear | None:
        """The regressions that stages are mixed with, as one; None where none is."""
        if not any(regressions):
            return None
        step = max(1, len(self.X) // MOST_TO_CHOOSE)
        reference = encoded_by(self.encoding, self.X[::step]).mean(axis=0, dtype=np.float64)
        return Linear.of_stages(self.encoding, reference, regressions)

    def _regression(self, place: int, rows: Bools, most: int | None = None) -> Regression:
        """A regression on some examples, of which at most about so many are taken, evenly spread."""
        kept = np.flatnonzero(rows)
        kept = kept if most is None else kept[:: max(1, len(kept) // most)]
        encoded = encoded_by(self.encoding, self.X[kept])
        return regress(encoded, self.outcome[kept, place], self.weight[kept].astype(np.float32))

    def _counted(self, place: int) -> StageModel:
        """A stage without trees, with what could be learnt from."""
        outcome = self.outcome[:, place]
        n_reached, n_not = (len(np.unique(self.lead[outcome == value])) for value in (1, 0))
        n_known = int(np.count_nonzero(~np.isnan(outcome)))
        return StageModel(None, n_examples=n_known, n_reached=n_reached, n_not_reached=n_not)

    def _shared(self, learnt: Bools) -> _Shared:
        settings = self.funnel.lightgbm
        outcome = np.where(learnt, self.outcome, np.float32(np.nan))
        blocks = Blocks.of(self.as_of, outcome, self.funnel.horizons)
        current = self.X[:, self.stage_column].astype(np.int64)
        together = Together.of(self.binned, current, outcome, self.weight, settings=settings)
        places = range(len(learnt))
        found = np.array([self.enough(blocks.a, place) and self.enough(blocks.b, place) for place in places])
        trial, rounds = None, settings.rounds
        if found.any():
            _ = self.encoding  # the stages share it
            known = max((each.shared_rounds for each in self.rounds_from if each.rounds_found), default=None)
            until = blocks.b & found if known is None else None
            trial = together.grown(blocks.a & found, settings.max_rounds if known is None else known, until)
            rounds = trial.rounds
        return _Shared(blocks, trial, together.grown(~np.isnan(outcome), rounds))

    def _stage(self, place: int, counted: StageModel, shared: _Shared) -> tuple[StageModel, Regression | None]:
        if not shared.final.learnt(place):
            return counted, None
        known = ~np.isnan(self.outcome[:, place])
        # What is left for trees of its own is what sets a stage apart from the others.
        own_rounds = self._own_rounds(place) if shared.final.n_learnt > 1 else 0
        slope, intercept, found, mix = 1.0, 0.0, False, Mix()
        if shared.trial is not None and shared.trial.learnt(place):
            trial, own_rounds = self._tried(place, shared.trial, shared.blocks)
            found = True
            later = _Later.of(self, place, trial, shared.blocks)
            mix = self._mix(place, later, shared.blocks)
            if later.decides:
                slope, intercept = self._calibration(place, later, mix)
        booster = self._with_own(place, self._narrowed(place, shared.final), known, own_rounds)
        regression = None if mix.weight == 1 else self._regression(place, known)
        if (slope, intercept) != (1.0, 0.0):
            margin = margin_of(booster, self.X[known], 1)
            if regression is not None:
                margin = mix.of(margin, regression.margin(encoded_by(self.encoding, self.X[known])))
            intercept = self._level(slope * margin, place, known, shared.blocks.c[known, place])
        stage = replace(
            counted,
            booster=with_counts(booster, self.X[known]) if self.with_reasons else booster,
            mix=mix,
            slope=slope,
            intercept=intercept,
            rounds=booster.num_trees(),
            shared_rounds=shared.final.rounds,
            own_rounds=own_rounds,
            rounds_found=found,
        )
        return stage, regression

    def _level(self, margin: Float64s, place: int, known: Bools, latest: Bools) -> float:
        """The intercept of all examples, or that of the latest where these clearly have another level."""
        outcome, lead = self.outcome[known, place].astype(np.float64), self.lead[known]
        intercept = fit_intercept(margin, outcome)
        off = expit(margin[latest] + intercept) - outcome[latest]
        if _clearly_below(off, lead[latest]) or _clearly_below(-off, lead[latest]):
            return fit_intercept(margin[latest], outcome[latest])
        return intercept

    def _known(self, place: int) -> bool:
        """Whether the stage's number of trees is taken over."""
        return bool(self.rounds_from) and self.rounds_from[place].rounds_found

    def _own_rounds(self, place: int) -> int:
        """How many trees of its own a stage grows where no later block tells."""
        return self.rounds_from[place].own_rounds if self._known(place) else self.funnel.lightgbm.own_rounds

    def enough(self, block: Bools, place: int) -> bool:
        """Whether a block holds enough leads of either outcome."""
        outcome, rows = self.outcome[:, place], block[:, place]
        leads = [len(np.unique(self.lead[rows & (outcome == value)])) for value in (1, 0)]
        return min(leads) >= self.funnel.lightgbm.min_outcome_leads

    def _narrowed(self, place: int, grown: Grown) -> lgb.Booster:
        """The trees grown together, for one stage to reach."""
        n_columns = self.X.shape[1]
        to = Narrowed(self.stage_column, n_columns, place)
        return booster_of(narrowed(trees_of(grown.model), to, float(grown.start[place])), n_columns, grown.model)

    def _tried(self, place: int, trial: Grown, blocks: Blocks) -> tuple[lgb.Booster, int]:
        """Trees grown on block A, with as many of the stage's own as tell block B apart best; and how many."""
        shared = self._narrowed(place, trial)
        if trial.n_learnt == 1:
            return shared, 0
        if self._known(place):
            rounds = self._own_rounds(place)
            return self._with_own(place, shared, blocks.a[:, place], rounds), rounds
        later = blocks.b[:, place]
        own = self._own(place, shared, blocks.a[:, place], self.funnel.lightgbm.max_rounds, later)
        margin = margin_of(shared, self.X[later], 1)
        with_own = margin + margin_of(own, self.X[later], 1)
        if not self._levelled(place, later)(with_own) < self._levelled(place, later)(margin):
            return shared, 0
        return self._joined(shared, own), own.current_iteration()

    def _with_own(self, place: int, shared: lgb.Booster, rows: Bools, rounds: int) -> lgb.Booster:
        return self._joined(shared, self._own(place, shared, rows, rounds)) if rounds else shared

    def _joined(self, shared: lgb.Booster, own: lgb.Booster) -> lgb.Booster:
        model = shared.model_to_string()
        return booster_of([*trees_of(model), *trees_of(own.model_to_string())], self.X.shape[1], model)

    def _own(
        self, place: int, shared: lgb.Booster, rows: Bools, rounds: int, later: Bools | None = None
    ) -> lgb.Booster:
        """Trees that a stage grows alone on what the shared ones leave."""
        settings = tree_settings(self.funnel.lightgbm)
        train = self._subset(place, rows, shared)
        if later is None:
            return grow(settings, train, rounds)
        valid = self._subset(place, later, shared)
        patience = self.funnel.lightgbm.early_stopping_rounds
        loss = self._levelled(place, later)
        booster = grow(settings, train, rounds, later=valid, loss=loss, patience=patience)
        return lgb.Booster(model_str=booster.model_to_string(num_iteration=booster.best_iteration))

    def _levelled(self, place: int, rows: Bools) -> LevelledLoss:
        kept = np.flatnonzero(rows)
        return LevelledLoss(np.zeros(len(kept), np.int64), self.outcome[kept, place], self.weight[kept])

    def _subset(self, place: int, rows: Bools, shared: lgb.Booster) -> lgb.Dataset:
        kept = np.flatnonzero(rows)
        margin = margin_of(shared, self.X[kept], 1)
        with _BINNED:
            subset = self.binned.subset(kept.tolist()).construct()
        return subset.set_label(self.outcome[kept, place]).set_weight(self.weight[kept]).set_init_score(margin)

    def _mix(self, place: int, later: _Later, blocks: Blocks) -> Mix:
        """How much of the margin is of the trees: as much as block B says, if block C agrees.

        Where there is no C, B must be clear. At later cuts the weight of the first is taken over.
        """
        known = self.rounds_from[place].mix.weight if self._known(place) else None
        if known == 1:
            return Mix()
        regression = self._regression(place, blocks.a[:, place], MOST_TO_CHOOSE)
        later.linear_b, later.linear_c = (
            regression.margin(encoded_by(self.encoding, self.X[rows])) for rows in (later.b, later.c)
        )
        if known is not None:
            return Mix(known)
        mix = later.best(self.lead[later.b])
        name = self.funnel.later_stages[place]
        log.info("%s: trees count %g, a logistic regression the rest", name, mix.weight)
        return mix

    def _calibration(self, place: int, later: _Later, mix: Mix) -> tuple[float, float]:
        margin_b, margin_c = later.margins(mix)
        slope, intercept = _calibrated(margin_b, later.outcome_b)
        before = margin_loss(margin_c, later.outcome_c)
        after = margin_loss(slope * margin_c + intercept, later.outcome_c)
        kept = "kept" if after < before else "left out"
        name = self.funnel.later_stages[place]
        log.info("%s: log loss on the deciding block %.4f calibrated, %.4f without: %s", name, after, before, kept)
        return (slope, intercept) if after < before else (1.0, 0.0)


@dataclass(slots=True)
class _Later:
    """What trees, and a regression, of block A say of the later blocks of one stage.

    Attributes
    ----------
    b, c : ndarray of bool, shape (n_examples,)
    outcome_b, outcome_c : ndarray of float32
    trees_b, trees_c, linear_b, linear_c : ndarray of float64
        Margins; those of the regression are empty until there is one.
    decides : bool
        Whether block C holds enough outcomes to decide by.
    """

    b: Bools
    c: Bools
    outcome_b: Float32s
    outcome_c: Float32s
    trees_b: Float64s
    trees_c: Float64s
    decides: bool
    linear_b: Float64s = field(default_factory=lambda: np.empty(0))
    linear_c: Float64s = field(default_factory=lambda: np.empty(0))

    @classmethod
    def of(cls, learning: Learning, place: int, trial: lgb.Booster | None, blocks: Blocks) -> Self:
        """What trees, if there are any yet, say of them."""
        b, c = blocks.b[:, place], blocks.c[:, place]
        outcome_b, outcome_c = (learning.outcome[rows, place] for rows in (b, c))
        trees_b, trees_c = (
            margin_of(trial, learning.X[rows], 1) if trial is not None and rows.any() else np.zeros(int(rows.sum()))
            for rows in (b, c)
        )
        return cls(b, c, outcome_b, outcome_c, trees_b, trees_c, learning.enough(blocks.c, place))

    def margins(self, mix: Mix) -> tuple[Float64s, Float64s]:
        """Margins of block B and block C."""
        if mix.weight == 1:
            return self.trees_b, self.trees_c
        return mix.of(self.trees_b, self.linear_b), mix.of(self.trees_c, self.linear_c)

    def best(self, lead_b: Int64s) -> Mix:
        """The mixture that tells block B apart best, if block C agrees, else trees alone.

        Where C does not hold enough outcomes, B must be clear.

        Parameters
        ----------
        lead_b : ndarray of int64
            The leads of block B.
        """
        mixes = [Mix(weight) for weight in WEIGHTS]
        losses = [self.losses(mix) for mix in mixes]
        best = int(np.argmin([loss.mean() for loss in losses]))
        trees, mix = mixes[0], mixes[best]
        if not self.decides:
            return mix if _clearly_below(losses[best] - losses[0], lead_b) else trees
        of_trees, on_c = (self.loss_on_c(each) for each in (trees, mix))
        kept = mix if on_c < of_trees else trees
        return replace(kept, loss=min(on_c, of_trees), loss_of_trees=of_trees)

    def losses(self, mix: Mix) -> Float64s:
        """Log loss of each example of block B, calibrated on it."""
        margin = self.margins(mix)[0]
        slope, intercept = _calibrated(margin, self.outcome_b)
        losses: Float64s = np.logaddexp(0, slope * margin + intercept) - self.outcome_b * (slope * margin + intercept)
        return losses

    def loss_on_c(self, mix: Mix) -> float:
        """Log loss on block C, calibrated on block B."""
        margin_b, margin_c = self.margins(mix)
        slope, intercept = _calibrated(margin_b, self.outcome_b)
        return margin_loss(slope * margin_c + intercept, self.outcome_c)


def _calibrated(margin: Float64s, outcome: Float32s) -> tuple[float, float]:
    """Slope and intercept; the level alone is fitted where a slope would stand at its bound.

    It would hardly tell leads apart, or as if it knew the outcomes.
    """
    slope, intercept = fit_calibration(margin, outcome)
    return (1.0, fit_intercept(margin, outcome.astype(np.float64))) if is_at_bound(slope) else (slope, intercept)


def _clearly_below(difference: Float64s, lead: Int64s) -> bool:
    """Whether a mean is below 0 by more than chance; the examples of a lead are one draw."""
    per_lead = np.bincount(np.unique(lead, return_inverse=True)[1], difference)
    return bool(per_lead.sum() < -CLEARLY * np.sqrt(np.sum(per_lead**2)))
