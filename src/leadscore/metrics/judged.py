"""Probabilities beside what happened."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadscore.config import Funnel
    from leadscore.history.line import Bools, Float32s, Float64s, Int64s


@dataclass(frozen=True, slots=True)
class Judged:
    """Probabilities beside what happened, on examples that were not learnt from, in order of (lead, as_of).

    Attributes
    ----------
    funnel : Funnel
        The settings.
    lead, as_of, stage : ndarray of int64, shape (n_examples,)
        The examples, and the current stage of each.
    owner : ndarray of int64, shape (n_examples,)
        Code of who works the lead; 0 for all where the funnel has no category ``owner``.
    n_known : ndarray of int64, shape (n_examples,)
        Touches, steps and changes known of the lead: while it stays the same nothing happened.
    outcome : ndarray of float32, shape (n_examples, n_later_stages)
        1 reached, 0 not, NaN passed or not ripe.
    probability, base : ndarray of float64, shape (n_examples, n_later_stages)
        Of the model, and of the base rates.
    """

    funnel: Funnel
    lead: Int64s
    as_of: Int64s
    stage: Int64s
    owner: Int64s
    n_known: Int64s
    outcome: Float32s
    probability: Float64s
    base: Float64s

    def __len__(self) -> int:
        return len(self.lead)

    @classmethod
    def joined(cls, parts: Sequence[Judged]) -> Judged:
        """Examples of several models, each judged on time of its own, as one."""
        order = np.lexsort([np.concatenate([getattr(part, name) for part in parts]) for name in ("as_of", "lead")])
        arrays = {
            each.name: np.concatenate([getattr(part, each.name) for part in parts])[order]
            for each in fields(cls)
            if each.name != "funnel"
        }
        return cls(funnel=parts[0].funnel, **arrays)

    def of(self, rows: Bools) -> Judged:
        """Some of the examples."""
        arrays = {each.name: getattr(self, each.name)[rows] for each in fields(self) if each.name != "funnel"}
        return Judged(funnel=self.funnel, **arrays)

    def pooled(self) -> Outcomes:
        """Every known (example, stage to reach)."""
        return self._outcomes(~np.isnan(self.outcome))

    def reaching(self, place: int, current: int | None = None) -> Outcomes:
        """The examples whose outcome for one later stage is known, of leads in one current stage or in any."""
        known = np.zeros(self.outcome.shape, np.bool_)
        known[:, place] = ~np.isnan(self.outcome[:, place])
        if current is not None:
            known &= (self.stage == current)[:, None]
        return self._outcomes(known)

    def _outcomes(self, known: Bools) -> Outcomes:
        row, place = np.nonzero(known)
        return Outcomes(
            lead=self.lead[row],
            as_of=self.as_of[row],
            stage=self.stage[row],
            place=place,
            outcome=self.outcome[known].astype(np.float64),
            probability=self.probability[known],
            base=self.base[known],
        )


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Known outcomes, each of shape (n,).

    Attributes
    ----------
    lead, as_of, stage : ndarray of int64
        Whose they are, the morning, and the current stage then.
    place : ndarray of int64
        The stage to reach, as a place in ``funnel.later_stages``.
    outcome : ndarray of float64
        1 reached, 0 not.
    probability, base : ndarray of float64
        Of the model, and of the base rates.
    """

    lead: Int64s
    as_of: Int64s
    stage: Int64s
    place: Int64s
    outcome: Float64s
    probability: Float64s
    base: Float64s

    def __len__(self) -> int:
        return len(self.lead)

    def of(self, rows: Bools) -> Outcomes:
        """Some of the outcomes."""
        return Outcomes(*(getattr(self, each.name)[rows] for each in fields(self)))
