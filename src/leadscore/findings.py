"""What judging on unseen time showed: figures, capacity, steadiness, and whether to trust them at all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from leadscore.examples import known_by
from leadscore.features import columns_of, matrix
from leadscore.features.catalogue import CALENDAR, STAGE, STEPS_BACK, TIME_IN_STAGE
from leadscore.funnel import never_closed
from leadscore.labels import reached
from leadscore.metrics import ALL, Ordering, auc, figures, jitter, log_loss, overall, worked
from leadscore.model.lightgbm_fit import data_set, grow
from leadscore.model.withheld import NO_SIGNAL
from leadscore.pairs import as_served, judged_pairs

if TYPE_CHECKING:
    from leadscore.backtest import Backtest
    from leadscore.features import Feature
    from leadscore.funnel import NeverClosed
    from leadscore.history import History, Snapshot
    from leadscore.history.line import Bools, Float32s, Float64s
    from leadscore.metrics import Judged, Worked
    from leadscore.model import FunnelModel, Withheld
    from leadscore.pairs import Pairs

# Real funnels stand at .58 to .87: what is above this knows the outcome.
LEAK_AUC = 0.95
# Above this it is a leak if one column alone gives nearly all of the skill.
SUSPECT_AUC, SUSPECT_SHARE = 0.85, 0.95
# It is none if what we compute from stages and the clock, which nobody can fill in afterwards, gives such a share.
OWN_SHARE = 0.5
OWN_TOPICS = {STAGE, TIME_IN_STAGE, STEPS_BACK, CALENDAR}
# A column that alone gives less of the skill than this is not said to give any.
LEAST_SHARE = 0.05
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
        The column of the source that the trees gain most from.
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
            f"leak? {self.stage} from {self.current}: AUC {self.auc:.3f} on later mornings, {self.source}; check that "
            "it is known at the time, not filled in afterwards"
        )

    @property
    def source(self) -> str:
        """What the skill comes from, in words."""
        if self.share < LEAST_SHARE:
            return f"by no column alone; the trees gain most from {self.column}"
        return f"{self.share:.0%} of the skill by {self.column} alone"


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
    pairs : list of tuple of Pair
        What each stage to reach is served for each current stage, by the order of the trees on later mornings.
    leaks : tuple of Leak
        Stages whose outcome the model seems to know beforehand.
    withheld : tuple of Withheld
        Where base rates are served, and why, by the model that is served.
    never_closed : NeverClosed, optional
        Leads that stay open although hardly any like them ever moved again.
    """

    figures: pd.DataFrame
    overall: dict[str, float]
    handoff: Worked
    jitter: list[float]
    pairs: Pairs
    leaks: tuple[Leak, ...]
    withheld: tuple[Withheld, ...] = ()
    never_closed: NeverClosed | None = None

    @property
    def warnings(self) -> list[str]:
        """Sentences for whoever is about to trust the model."""
        found = (*self.withheld, *self.leaks, self.never_closed)
        return [str(each) for each in found if each is not None]

    @property
    def no_signal(self) -> tuple[str, ...]:
        """Stages to reach that are served base rates for all current stages, for want of signal."""
        return tuple(each.stage for each in self.withheld if each.cause == NO_SIGNAL and not each.current)

    def about(self, served: FunnelModel) -> Findings:
        """The findings with what is to be said of the model that is served."""
        return replace(self, pairs=served.pairs(), withheld=tuple(served.withheld()))


def findings(history: History, past: Backtest, n_jobs: int) -> Findings:
    """What a backtest showed of what would have been served, about the model of the latest cut."""
    resamples = history.funnel.judging.resamples
    handoff = history.funnel.stages.index(history.funnel.funnel.handoff[1]) - 1
    of_trees = figures(past.judged, resamples)
    pairs = judged_pairs(past, of_trees)
    judged = as_served(past, pairs).judged
    found = Findings(
        figures=_with_those_of(judged, of_trees, pairs),
        overall=overall(judged, resamples),
        handoff=worked(judged, judged.probability[:, handoff], resamples),
        jitter=jitter(judged),
        pairs=pairs,
        leaks=tuple(_leaks(history, past, of_trees, n_jobs)),
        never_closed=never_closed(history),
    )
    return found.about(past.models[-1].serving(pairs))


def _with_those_of(judged: Judged, of_trees: pd.DataFrame, pairs: Pairs) -> pd.DataFrame:
    """The figures of what is served: those of the trees, but for stages of which something else is served."""
    named = zip(judged.funnel.later_stages, pairs, strict=True)
    others = [name for name, each in named if any(not pair.trees or pair.slope != 1 for pair in each)]
    if not others:
        return of_trees
    found = pd.concat(
        (of_trees[~of_trees["stage"].isin(others)], figures(judged, judged.funnel.judging.resamples, others))
    )
    order = {name: place for place, name in enumerate(judged.funnel.later_stages)}
    return found.sort_values("stage", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def _leaks(history: History, past: Backtest, table: pd.DataFrame, n_jobs: int) -> list[Leak]:
    suspects = table[(table["current"] != ALL) & (table["auc"] > SUSPECT_AUC)]
    leaks = []
    for stage, current in zip(suspects["stage"], suspects["current"], strict=True):
        cell = _Cell(history, past, history.funnel.stages.index(stage) - 1, history.funnel.stages.index(current))
        if cell.enough():
            leak = cell.leak(n_jobs)
            leaks += [leak] if leak is not None else []
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

    def leak(self, n_jobs: int) -> Leak | None:
        """The leak, by the column of the source that the trees gain most from; None where there is none."""
        booster, columns = self.model.stages_[self.place].booster, self.model.columns_
        theirs = np.array([column.topic not in OWN_TOPICS for column in columns])
        if booster is None or not theirs.any():
            return None
        column = int(np.argmax(np.where(theirs, booster.feature_importance("gain"), -1.0)))
        known = self.past.judged.reaching(self.place, self.current)
        how_well, share = auc(*Ordering.of(known.outcome, known.probability).counts()), self._share([column], n_jobs)
        if share < SUSPECT_SHARE and (
            how_well <= LEAK_AUC or self._share(np.flatnonzero(~theirs).tolist(), n_jobs) >= OWN_SHARE
        ):
            return None
        stages = self.history.funnel.stages
        return Leak(stages[self.place + 1], stages[self.current], how_well, columns[column].name, share)

    def _share(self, columns: list[int], n_jobs: int) -> float:
        """Part of the skill beyond the rate of the current stage, in log loss, that some columns alone give."""
        known = self.past.judged.reaching(self.place, self.current)
        rate = np.full(len(known.outcome), known.outcome.mean())
        alone = self._alone(columns, n_jobs)
        losses = [log_loss(known.outcome, each) for each in (rate, known.probability, alone)]
        gain = losses[0] - losses[1]
        return max(0.0, (losses[0] - losses[2]) / gain) if gain > 0 else 0.0

    def _alone(self, columns: list[int], n_jobs: int) -> Float64s:
        """Probabilities of the judged examples by trees that see some columns only."""
        cut, judged, rows = self.past.cuts[0], self.past.judged, self.rows()
        past = self.past.examples.of(self.past.examples.as_of <= cut)
        outcome = known_by(reached(self.history, past.lead, past.as_of), past.as_of, self.history.funnel, cut)
        outcome = outcome[:, self.place]
        learnt = (self.history.at(past.lead, past.as_of).steps.stage == self.current) & ~np.isnan(outcome)
        categories = [at for at, column in enumerate(columns) if self.model.columns_[column].names]
        binned = data_set(
            self._columns(columns, self.history.at(past.lead[learnt], past.as_of[learnt]), n_jobs),
            outcome[learnt],
            ONE_COLUMN,
            categories=categories,
        )
        trees = grow(ONE_COLUMN, binned, ONE_COLUMN_ROUNDS)
        later = self.history.at(judged.lead[rows], judged.as_of[rows])
        return np.asarray(trees.predict(self._columns(columns, later, n_jobs), num_threads=1), np.float64)

    def _columns(self, columns: list[int], snapshot: Snapshot, n_jobs: int) -> Float32s:
        """Some columns of X, shape (n_examples, n_columns)."""
        coded = snapshot.coded(self.model.vocabulary_)
        found = [_feature_of(column, self.model.features_) for column in columns]
        return np.column_stack([matrix([feature], coded, n_jobs)[:, place] for feature, place in found])


def _feature_of(column: int, features: tuple[Feature, ...]) -> tuple[Feature, int]:
    """The feature that a column of X belongs to, and its place in it."""
    for feature in features:
        width = len(columns_of([feature]))
        if column < width:
            return feature, column
        column -= width
    raise IndexError(column)
