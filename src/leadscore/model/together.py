"""Trees grown for all later stages together.

Whoever goes one step is likelier to go the next, and few leads are ever won. So the stages learn from each other:
each example stands once for every stage ahead of it, side by side with the stage to reach and how many steps ahead
that is. (On simulated companies of 4,000 leads that comes 85 % of the way from the base rates to the true
probabilities, where trees of each stage alone come 80 %: docs/experiments.md.)
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import logit

from leadscore.model.levelled import LevelledLoss
from leadscore.model.lightgbm_fit import data_set, grow, tree_settings

if TYPE_CHECKING:
    import lightgbm as lgb

    from leadscore.config import LightGBMSettings
    from leadscore.history.line import Bools, Float32s, Float64s, Int64s


@dataclass(frozen=True, slots=True)
class Grown:
    """Trees for all stages together.

    Attributes
    ----------
    model : str
        LightGBM's text of them. Their columns are those of X, the place of the stage to reach, and the steps ahead.
    rounds : int
        How many there are.
    start : ndarray of float64, shape (n_later_stages,)
        Log odds that each stage's trees began with; NaN for stages that they have not learnt.
    """

    model: str
    rounds: int
    start: Float64s

    def learnt(self, place: int) -> bool:
        """Whether they have learnt anything of a stage."""
        return not np.isnan(self.start[place])

    @property
    def n_learnt(self) -> int:
        """Stages that they have learnt of."""
        return int(np.count_nonzero(~np.isnan(self.start)))


@dataclass(frozen=True, slots=True)
class Together:
    """Each example once for every stage ahead whose outcome is known.

    Attributes
    ----------
    binned : lightgbm.Dataset
        X, the place of the stage to reach, and the steps ahead.
    row, place : ndarray of int64, shape (n_pairs,)
        The example and the stage to reach.
    outcome : ndarray of float32, shape (n_pairs,)
    weight : ndarray of float64, shape (n_pairs,)
    settings : LightGBMSettings
    """

    binned: lgb.Dataset
    row: Int64s
    place: Int64s
    outcome: Float32s
    weight: Float64s
    settings: LightGBMSettings

    @classmethod
    def of(
        cls,
        binned: lgb.Dataset,
        current: Int64s,
        outcome: Float32s,
        weight: Float64s,
        *,
        settings: LightGBMSettings,
    ) -> Together:
        """Pair the examples with the stages whose outcome is known."""
        row, place = np.nonzero(~np.isnan(outcome))
        ahead = np.column_stack((place, place + 1 - current[row])).astype(np.float32)
        columns = data_set(ahead, np.zeros(len(row)), tree_settings(settings))
        pairs = binned.subset(row.tolist()).construct()
        with warnings.catch_warnings():
            # LightGBM says that it keeps no X, and which columns are categories is known to the bins alone.
            warnings.simplefilter("ignore", UserWarning)
            pairs.add_features_from(columns)
        return cls(pairs, row, place, outcome[row, place], weight[row], settings)

    def grown(self, rows: Bools, rounds: int, until: Bools | None = None) -> Grown:
        """Trees grown on some outcomes: so many, or as many as tell others apart best, whatever the level of these.

        Parameters
        ----------
        rows, until : ndarray of bool, shape (n_examples, n_later_stages)
        """
        chosen = rows[self.row, self.place]
        n = np.bincount(self.place[chosen], minlength=rows.shape[1])
        reached = np.bincount(self.place[chosen], self.outcome[chosen], rows.shape[1])
        start = logit(np.divide(reached, n, out=np.full(len(n), np.nan), where=n > 0))
        settings = tree_settings(self.settings)
        train = self._subset(chosen, start)
        if until is None:
            return Grown(grow(settings, train, rounds).model_to_string(), rounds, start)
        judged = until[self.row, self.place]
        loss = LevelledLoss(self.place[judged], self.outcome[judged], self.weight[judged])
        later, patience = self._subset(judged, start), self.settings.early_stopping_rounds
        booster = grow(settings, train, rounds, later=later, loss=loss, patience=patience)
        found = booster.best_iteration
        return Grown(booster.model_to_string(num_iteration=found), found, start)

    def _subset(self, chosen: Bools, start: Float64s) -> lgb.Dataset:
        subset = self.binned.subset(np.flatnonzero(chosen).tolist()).construct()
        subset.set_label(self.outcome[chosen]).set_weight(self.weight[chosen])
        return subset.set_init_score(start[self.place[chosen]])
