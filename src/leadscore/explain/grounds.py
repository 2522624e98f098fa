"""What reasons are drawn from, and what may be said.

When a sentence may be said. It says that a lead is otherwise than is typical at its stage, and that this speaks for
or against it. A rep takes that for a statement about leads like this one, so it must be true of them by itself: of the
leads at the same stage, those on that side of the typical value (for a category: with that name) must have reached the
stage more often than the others if the contribution is positive, and less often if it is negative. Where most leads
have no value, those without one must differ from the others the opposite way. What the trees found only in combination
with other columns, or never saw at this stage, goes to everything else; so does a number that is nearly typical. And
what is not known or has not happened is never a merit, whatever the data say.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from leadscore.explain.wording import Words, words_of
from leadscore.history import MISSING
from leadscore.model.typical import UNKNOWN

if TYPE_CHECKING:
    from leadscore.features import Column
    from leadscore.history.line import Bools, Float32s, Float64s, Int64s
    from leadscore.model import FunnelModel

# Where more leads than this share have no value, having none is typical.
USUAL = 0.5


@dataclass(frozen=True)
class Grounds:
    """What the reasons for reaching one stage are drawn from, the same for all leads.

    Attributes
    ----------
    model : FunnelModel
        The model.
    place : int
        Place of the stage among the later stages.
    columns : tuple of Column
        The columns of X.
    """

    model: FunnelModel
    place: int
    columns: tuple[Column, ...]

    @cached_property
    def topics(self) -> tuple[str, ...]:
        """In order of their first columns."""
        return tuple(dict.fromkeys(column.topic for column in self.columns))

    @cached_property
    def topic_of(self) -> Int64s:
        """Place of each column's topic, shape (n_columns,)."""
        place = {topic: place for place, topic in enumerate(self.topics)}
        return np.array([place[column.topic] for column in self.columns], np.int64)

    @cached_property
    def words(self) -> tuple[Words | None, ...]:
        """How the values of each column are said."""
        return _words(self.columns, self.model.funnel.stages)

    @cached_property
    def _unknown(self) -> Float64s:
        codes = [column.names.index(MISSING) if MISSING in column.names else np.nan for column in self.columns]
        return np.array(codes, np.float64)

    def by_topic(self, contribution: Float64s, combine: np.ufunc = np.add) -> Float64s:
        """Sum of the contributions of each topic, or another combination of them; shape (n_leads, n_topics)."""
        order = np.argsort(self.topic_of, kind="stable")
        begin = np.searchsorted(self.topic_of[order], np.arange(len(self.topics)))
        combined: Float64s = combine.reduceat(contribution[:, order], begin, axis=1)
        return combined

    @cached_property
    def typical(self) -> list[list[float]]:
        """Value of each column that is typical of each current stage; NaN where most leads have none."""
        typical = self.model.typical_
        usual: list[list[float]] = np.where(typical.missing > USUAL, np.nan, typical.value).tolist()
        return usual

    def lean(self, X: Float32s, stage: Int64s) -> Int64s:
        """Whether leads with such a value reached the stage more often (1) or less often (-1) than the others.

        0 where the data do not say. Shape (n_leads, n_columns).
        """
        typical = self.model.typical_
        direction = typical.direction[:, self.place]
        lean = direction[stage[:, None], typical.sorts(X, stage)].astype(np.int64)
        without = direction[:, typical.first_sorts + UNKNOWN * (typical.n_names == 0)]
        rare = (typical.n_names == 0) & (typical.missing > USUAL)
        contradicted = rare[stage] & ~np.isnan(X) & (lean != -without[stage])
        return np.where(contradicted, 0, lean)

    def sayable(self, X: Float32s, stage: Int64s, contribution: Float64s) -> Bools:
        """Which columns may be said: the data agree, and nothing is no merit. Shape (n_leads, n_columns)."""
        said = np.array([words is not None for words in self.words])
        agree = np.sign(contribution) == self.lean(X, stage)
        sayable: Bools = said & agree & ~(self.nothing(X) & (contribution > 0))
        return sayable

    def nothing(self, X: Float32s) -> Bools:
        """Which values are not known, or say that nothing has happened; shape (n_leads, n_columns)."""
        happens = np.array([words is not None and words.zero_is_nothing for words in self.words])
        nothing: Bools = np.isnan(X) | (self._unknown == X) | (happens & (X == 0))
        return nothing


# Finding the words for all columns takes as long as all else that there is to explain about one lead.
@lru_cache(4)
def _words(columns: tuple[Column, ...], stages: tuple[str, ...]) -> tuple[Words | None, ...]:
    return tuple(words_of(column, stages) for column in columns)


@dataclass(frozen=True)
class Row:
    """One lead's row of X and what each column contributes, in log odds; each of shape (n_columns,)."""

    grounds: Grounds
    current: int
    value: Float32s
    contribution: Float64s
