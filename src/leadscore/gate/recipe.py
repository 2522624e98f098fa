"""A model's recipe, learnt again as of a moment in the past: its settings, what it serves, and its age."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from leadscore.backtest import learn_until
from leadscore.errors import ModelError
from leadscore.examples import learning_examples
from leadscore.history import DAY
from leadscore.pairs import corrections, level_corrected
from leadscore.recalibration import recalibrate

if TYPE_CHECKING:
    from leadscore.examples import Examples
    from leadscore.history import History
    from leadscore.model import FunnelModel


@dataclass
class Recipe:
    """How a model was made, and how long before a moment.

    Attributes
    ----------
    model : FunnelModel
        The model.
    history : History
        Read with its settings.
    now : int
        The moment that its age is counted at, in microseconds since 1970 UTC; not before its last label ended.
    n_jobs : int
        Threads.
    """

    model: FunnelModel
    history: History
    now: int
    n_jobs: int
    _first: FunnelModel | None = field(default=None, init=False)

    @cached_property
    def examples(self) -> Examples:
        """What it learns from, of all time."""
        return learning_examples(self.history)

    @property
    def age(self) -> int:
        """How long ago the last label ended that its trees learnt from."""
        return self.now - self.model.grown_until_

    def __str__(self) -> str:
        learnt = f"{_days(self.age)} old"
        if not self.model.recalibrated_:
            return learnt
        return f"{learnt}, recalibrated {_days(self.now - self.model.trained_until_)} ago"

    def is_like(self, other: Recipe) -> bool:
        """Whether twins of the two are the same model."""
        ours, theirs = self.model, other.model
        return (
            ours.funnel == theirs.funnel
            and (ours.grown_until_, ours.trained_until_) == (theirs.grown_until_, theirs.trained_until_)
            and ours.recalibrated_ == theirs.recalibrated_
            and self._served() == other._served()
        )

    def twin(self, moment: int) -> FunnelModel:
        """The recipe as it would have stood at a moment, as old as the model is now.

        Raises
        ------
        TrainingError
            No label had ended.
        """
        found = learn_until(
            self.history,
            moment - self.age,
            self.n_jobs,
            self.examples,
            with_reasons=self.model.recalibrated_,
            rounds_from=self._first,
        )
        self._first = self._first or found
        found = found.serving([[replace(pair, level=0.0) for pair in pairs] for pairs in self.model.pairs()])
        if moved := corrections(self.model):
            found = level_corrected(self.history, found, moment - self.age, moved)
        if self.model.recalibrated_:
            until = moment - (self.now - self.model.trained_until_)
            found = recalibrate(self.history, found, self.n_jobs, until).model
        return found

    def _served(self) -> list[tuple[bool, float, bool]]:
        """Of each pair whether trees are served, and whether their slope and level are corrected."""
        return [(pair.trees, pair.slope, bool(pair.level)) for pairs in self.model.pairs() for pair in pairs]


def as_read_by(history: History, model: FunnelModel) -> History:
    """The history with the settings of a model: its features, examples and trees.

    Raises
    ------
    ModelError
        Stages, horizons or time zone differ, or the history has not the attributes.
    """
    ours, theirs = history.funnel, model.funnel
    differ = [part for part in ("funnel", "horizon_days") if getattr(ours, part) != getattr(theirs, part)]
    differ += ["time.timezone"] if ours.time.timezone != theirs.time.timezone else []
    if differ:
        raise ModelError(
            f"the model is of another funnel: {', '.join(differ)} of funnel.toml differ from what it was trained with; "
            "the two cannot be compared: train a first champion under another LEADSCORE_MODEL"
        )
    has = {*history.numbers, *history.categories, *history.changes}
    needs = {name for each in (theirs.attributes, theirs.changes) for name in (*each.numbers, *each.categories)}
    if missing := sorted(needs - has):
        raise ModelError(
            f"the model reads attributes that the data set does not declare: {', '.join(missing)}; "
            "declare them in funnel.toml, so that the two can be compared"
        )
    return replace(
        history, funnel=theirs.model_copy(update={"owner": ours.owner, "judging": ours.judging, "gate": ours.gate})
    )


def _days(microseconds: int) -> str:
    return f"{microseconds / DAY:.0f} days"
