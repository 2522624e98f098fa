"""How the trees of all stages are learnt: first together, then some more for each alone, then their calibration."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import lightgbm as lgb
import numpy as np

from leadscore.model.blocks import Blocks
from leadscore.model.levelled import LevelledLoss
from leadscore.model.lightgbm_fit import grow, tree_settings
from leadscore.model.stage import (
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

    from leadscore.config import Funnel
    from leadscore.history.line import Bools, Float32s, Float64s, Int64s
    from leadscore.model.together import Grown

log = logging.getLogger(__name__)

# The stages share one binned X, and take their rows of it one after the other.
_BINNED = threading.Lock()


class _Shared(NamedTuple):
    """What the stages learnt together: on block A, None where the time is too short for blocks; and on everything."""

    blocks: Blocks
    trial: Grown | None
    final: Grown


@dataclass(frozen=True, slots=True)
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
    stage_column : int
        The column of X that says in which stage each example stood.
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
    stage_column: int
    outcome: Float32s
    lead: Int64s
    as_of: Int64s
    weight: Float64s
    n_jobs: int
    with_reasons: bool
    rounds_from: Sequence[StageModel] = ()

    def models(self) -> Iterator[StageModel]:
        """What is learnt of each later stage, in order, as it is learnt.

        Trees are grown for all stages together, and then some more for each stage alone. Both numbers of trees are
        found by growing on block A and looking at a later block B. On B each stage is calibrated, and a later block C
        decides whether that helps. Then all trees are grown again on everything, with their numbers fixed.
        """
        least = self.funnel.lightgbm.min_outcome_leads
        counted = [self._counted(place) for place in range(self.outcome.shape[1])]
        learnt = np.array([min(each.n_reached, each.n_not_reached) >= least for each in counted])
        for place in np.flatnonzero(~learnt).tolist():
            for each in withheld(self.funnel, place, counted[place]):
                log.info("%s", each)
        if not learnt.any():
            yield from counted
            return
        shared = self._shared(learnt)
        with ThreadPoolExecutor(self.n_jobs) as pool:
            yield from pool.map(lambda place: self._stage(place, counted[place], shared), range(len(counted)))

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
        found = np.array([self._enough(blocks.a, place) and self._enough(blocks.b, place) for place in places])
        trial, rounds = None, settings.rounds
        if found.any():
            known = max((each.shared_rounds for each in self.rounds_from if each.rounds_found), default=None)
            until = blocks.b & found if known is None else None
            trial = together.grown(blocks.a & found, settings.max_rounds if known is None else known, until)
            rounds = trial.rounds
        return _Shared(blocks, trial, together.grown(~np.isnan(outcome), rounds))

    def _stage(self, place: int, counted: StageModel, shared: _Shared) -> StageModel:
        if not shared.final.learnt(place):
            return counted
        known = ~np.isnan(self.outcome[:, place])
        # What is left for trees of its own is what sets a stage apart from the others.
        own_rounds = self._own_rounds(place) if shared.final.n_learnt > 1 else 0
        slope, intercept, found = 1.0, 0.0, False
        if shared.trial is not None and shared.trial.learnt(place):
            trial, own_rounds = self._tried(place, shared.trial, shared.blocks)
            found = True
            if self._enough(shared.blocks.c, place):
                slope, intercept = self._calibration(place, trial, shared.blocks)
        booster = self._with_own(place, self._narrowed(place, shared.final), known, own_rounds)
        return replace(
            counted,
            booster=with_counts(booster, self.X[known]) if self.with_reasons else booster,
            slope=slope,
            intercept=intercept,
            rounds=booster.num_trees(),
            shared_rounds=shared.final.rounds,
            own_rounds=own_rounds,
            rounds_found=found,
        )

    def _known(self, place: int) -> bool:
        """Whether the stage's number of trees is taken over."""
        return bool(self.rounds_from) and self.rounds_from[place].rounds_found

    def _own_rounds(self, place: int) -> int:
        """How many trees of its own a stage grows where no later block tells."""
        return self.rounds_from[place].own_rounds if self._known(place) else self.funnel.lightgbm.own_rounds

    def _enough(self, block: Bools, place: int) -> bool:
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

    def _calibration(self, place: int, trial: lgb.Booster, blocks: Blocks) -> tuple[float, float]:
        rows_b, rows_c = blocks.b[:, place], blocks.c[:, place]
        margin_b, margin_c = (margin_of(trial, self.X[rows], 1) for rows in (rows_b, rows_c))
        outcome_b, outcome_c = (self.outcome[rows, place] for rows in (rows_b, rows_c))
        slope, intercept = fit_calibration(margin_b, outcome_b)
        if is_at_bound(slope):
            # It would hardly tell leads apart, or as if it knew the outcomes: the level alone is fitted.
            slope, intercept = 1.0, fit_intercept(margin_b, outcome_b)
        before, after = margin_loss(margin_c, outcome_c), margin_loss(slope * margin_c + intercept, outcome_c)
        kept = "kept" if after < before else "left out"
        name = self.funnel.later_stages[place]
        log.info("%s: log loss on the deciding block %.4f calibrated, %.4f without: %s", name, after, before, kept)
        return (slope, intercept) if after < before else (1.0, 0.0)
