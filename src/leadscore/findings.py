"""What judging on unseen time showed: figures, capacity, steadiness, and whether to trust them at all."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from leadscore.examples import known_by
from leadscore.features import columns_of, matrix
from leadscore.labels import reached
from leadscore.metrics import ALL, Ordering, auc, figures, jitter, log_loss, overall, worked
from leadscore.model.lightgbm_fit import data_set, grow

if TYPE_CHECKING:
    import pandas as pd

    from leadscore.backtest import Backtest
    from leadscore.features import Feature
    from leadscore.history import History, Snapshot
    from leadscore.history.line import Bools, Float32s, Float64s
    from leadscore.metrics import Worked
    from leadscore.model import FunnelModel

log = logging.getLogger(__name__)

# Real funnels stand at .58 to .87: what is above this knows the outcome.
LEAK_AUC = 0.95
# Above this it is a leak if one column alone gives nearly all of the skill.
SUSPECT_AUC, SUSPECT_SHARE = 0.85, 0.95
ONE_COLUMN = {
    "objective": "binary",
    "learning_rate": 0.1,
    "num_leaves": 8,
    "min_data_in_leaf": 20,
    "num_threads": 1,
    "deterministic": True,
    "verbosity": -1,
}
ONE_COLUMN_ROUNDS = 60


@dataclass(frozen=True, slots=True)
class Leak:
    """A stage whose outcome the model seems to know beforehand.

    Attributes
    ----------
    stage, current : str
        Stage to reach, and the current stage within which it is told too well.
    auc : float
        How well.
    column : str
        The column that the trees gain most from.
    share : float
        Part of the model's skill, in log loss, that this column alone gives.
    """

    stage: str
    current: str
    auc: float
    column: str
    share: float

    def __str__(self) -> str:
        return (
            f"leak? {self.stage} from {self.current}: AUC {self.auc:.3f} on later mornings, {self.share:.0%} of the "
            f"skill by {self.column} alone; check that it is known at the time, not filled in afterwards"
        )


@dataclass(frozen=True, slots=True)
class Findings:
    """What a backtest showed.

    Attributes
    ----------
    figures : DataFrame
        `leadscore.metrics.figures`, with intervals.
    overall : dict of str to float
        `leadscore.metrics.overall`, with intervals.
    handoff : Worked
        The handoff's list worked up to capacity.
    jitter : list of float, one per later stage
        `leadscore.metrics.jitter`.
    no_signal : tuple of str
        Stages to reach of which the trees do not beat the base rate of the current stage on later mornings.
    leaks : tuple of Leak
        Stages whose outcome the model seems to know beforehand.
    """

    figures: pd.DataFrame
    overall: dict[str, float]
    handoff: Worked
    jitter: list[float]
    no_signal: tuple[str, ...]
    leaks: tuple[Leak, ...]

    @property
    def warnings(self) -> list[str]:
        """Sentences for whoever is about to trust the model."""
        unsure = [
            f"no signal: {stage} is served its base rate, which the trees do not beat on later mornings"
            for stage in self.no_signal
        ]
        return [*unsure, *map(str, self.leaks)]


def findings(history: History, past: Backtest, n_jobs: int) -> Findings:
    """What a backtest showed; warnings are logged too."""
    judged, resamples = past.judged, history.funnel.judging.resamples
    handoff = history.funnel.stages.index(history.funnel.funnel.handoff[1]) - 1
    table = figures(judged, resamples)
    found = Findings(
        figures=table,
        overall=overall(judged, resamples),
        handoff=worked(judged, judged.probability[:, handoff], resamples),
        jitter=jitter(judged),
        no_signal=no_signal(table),
        leaks=tuple(_leaks(history, past, table, n_jobs)),
    )
    for warning in found.warnings:
        log.warning("%s", warning)
    return found


def no_signal(table: pd.DataFrame) -> tuple[str, ...]:
    """Stages to reach where the interval of the gain over the base rate, in log loss, does not lie above zero.

    The base rate is that of the current stage, so knowing the stage is no gain.
    """
    whole = table[(table["current"] == ALL) & (table["n"] > 0)]
    return tuple(whole.loc[~(whole["log_loss_gain_low"] > 0), "stage"])


def _leaks(history: History, past: Backtest, table: pd.DataFrame, n_jobs: int) -> list[Leak]:
    suspects = table[(table["current"] != ALL) & (table["auc"] > SUSPECT_AUC)]
    leaks = []
    for stage, current in zip(suspects["stage"], suspects["current"], strict=True):
        cell = _Cell(history, past, history.funnel.stages.index(stage) - 1, history.funnel.stages.index(current))
        if cell.enough():
            leak = cell.leak(n_jobs)
            leaks += [leak] if leak.auc > LEAK_AUC or leak.share >= SUSPECT_SHARE else []
    return leaks


@dataclass(frozen=True, slots=True)
class _Cell:
    """The judged examples of one current stage, for one stage to reach, and the model that saw least."""

    history: History
    past: Backtest
    place: int
    current: int

    @property
    def model(self) -> FunnelModel:
        return self.past.models[0]

    def rows(self) -> Bools:
        judged = self.past.judged
        rows: Bools = (judged.stage == self.current) & ~np.isnan(judged.outcome[:, self.place])
        return rows

    def enough(self) -> bool:
        known = self.past.judged.reaching(self.place, self.current)
        leads = [len(np.unique(known.lead[known.outcome == value])) for value in (0, 1)]
        fallback = self.model.stages_[self.place].fallback
        return not fallback and min(leads) >= self.history.funnel.lightgbm.min_outcome_leads

    def leak(self, n_jobs: int) -> Leak:
        known = self.past.judged.reaching(self.place, self.current)
        booster = self.model.stages_[self.place].booster
        column = int(np.argmax(booster.feature_importance("gain"))) if booster else 0
        alone = self._alone(column, n_jobs)
        losses = [log_loss(known.outcome, each) for each in (known.base, known.probability, alone)]
        gain = losses[0] - losses[1]
        return Leak(
            stage=self.history.funnel.later_stages[self.place],
            current=self.history.funnel.stages[self.current],
            auc=auc(*Ordering.of(known.outcome, known.probability).counts()),
            column=self.model.columns_[column].name,
            share=max(0.0, (losses[0] - losses[2]) / gain) if gain > 0 else 0.0,
        )

    def _alone(self, column: int, n_jobs: int) -> Float64s:
        """Probabilities of the judged examples by trees that see one column only."""
        cut, judged, rows = self.past.cuts[0], self.past.judged, self.rows()
        past = self.past.examples.of(self.past.examples.as_of <= cut)
        outcome = known_by(reached(self.history, past.lead, past.as_of), past.as_of, self.history.funnel, cut)
        outcome = outcome[:, self.place]
        learnt = (self.history.at(past.lead, past.as_of).steps.stage == self.current) & ~np.isnan(outcome)
        category = bool(self.model.columns_[column].names)
        binned = data_set(
            self._column(column, self.history.at(past.lead[learnt], past.as_of[learnt]), n_jobs),
            outcome[learnt],
            ONE_COLUMN,
            categories=[0] if category else [],
        )
        trees = grow(ONE_COLUMN, binned, ONE_COLUMN_ROUNDS)
        later = self.history.at(judged.lead[rows], judged.as_of[rows])
        return np.asarray(trees.predict(self._column(column, later, n_jobs), num_threads=1), np.float64)

    def _column(self, column: int, snapshot: Snapshot, n_jobs: int) -> Float32s:
        feature, place = _feature_of(column, self.model.features_)
        return matrix([feature], snapshot.coded(self.model.vocabulary_), n_jobs)[:, [place]]


def _feature_of(column: int, features: tuple[Feature, ...]) -> tuple[Feature, int]:
    """The feature that a column of X belongs to, and its place in it."""
    for feature in features:
        width = len(columns_of([feature]))
        if column < width:
            return feature, column
        column -= width
    raise IndexError(column)
