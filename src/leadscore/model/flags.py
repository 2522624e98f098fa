"""What is to be known of a lead's probabilities beside their numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from leadscore.model.pair import LEVEL_CORRECTED, NOT_JUDGED, UNKNOWN
from leadscore.model.staleness import STALE_MODEL_DAYS, stale_from
from leadscore.model.unseen import unseen
from leadscore.model.withheld import NO_SIGNAL as NO_SIGNAL_CAUSE
from leadscore.model.withheld import cause_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from leadscore.history import Snapshot
    from leadscore.history.line import Bools, Int64s, Strings
    from leadscore.model.funnel_model import FunnelModel
    from leadscore.model.stage import StageModel

FALLBACK, NO_SIGNAL, STALE_MODEL = "fallback", "no_signal", "stale_model"
CORRECTED, ORDER_UNKNOWN = "level_corrected", "order_unknown"
INCOMPLETE, UNSEEN = "incomplete", "unseen"


@dataclass(frozen=True, slots=True)
class LeadFlags:
    """The flags of some leads.

    Attributes
    ----------
    combinations : tuple of list of str
        Those that occur, and some that do not.
    code : ndarray of int64, shape (n_leads,)
        The combination that each lead has.
    """

    combinations: tuple[list[str], ...]
    code: Int64s

    def of_lead(self, row: int) -> list[str]:
        """The flags of one lead."""
        return self.combinations[int(self.code[row])]

    def __getitem__(self, rows: slice | Int64s) -> LeadFlags:
        """The flags of the leads of these rows."""
        return LeadFlags(self.combinations, self.code[rows])

    def as_text(self, text_of: Callable[[Sequence[str]], str]) -> Strings:
        """The flags of each lead as one text, shape (n_leads,)."""
        return np.array([text_of(each) for each in self.combinations], object)[self.code]


def lead_flags(model: FunnelModel, snapshot: Snapshot, stale_days: float = STALE_MODEL_DAYS) -> LeadFlags:
    """The flags of each lead; won and lost leads, which have no probabilities, have none.

    ``fallback``, ``no_signal``, ``level_corrected`` and ``order_unknown`` are of the stages ahead, ``stale_model`` of a
    model whose history ended more than ``stale_days`` before ``as_of``, ``incomplete`` of a lead of which a transition
    was set aside, ``unseen:<attribute>`` of values that the model has not learnt.
    """
    n_stages, code = len(model.stages_), snapshot.steps.stage
    is_open = code < n_stages
    combinations = [_of_stages(model.stages_[stage:], stage) for stage in range(n_stages + 2)]
    for flag, leads in _of_leads(model, snapshot, stale_days):
        combined, code = np.unique(2 * code + (leads & is_open), return_inverse=True)
        combinations = [combinations[each // 2] + each % 2 * [flag] for each in combined.tolist()]
    return LeadFlags(tuple(combinations), code)


def _of_stages(ahead: Sequence[StageModel], current: int) -> list[str]:
    """The flags of leads in a current stage, by the stages ahead of it."""
    found = {_of_pair(stage, current) for stage in ahead}
    return [flag for flag in (FALLBACK, NO_SIGNAL, CORRECTED, ORDER_UNKNOWN) if flag in found]


def _of_pair(stage: StageModel, current: int) -> str:
    if cause := cause_of(stage, current):
        return NO_SIGNAL if cause == NO_SIGNAL_CAUSE else FALLBACK
    state = stage.pairs[current].state if stage.pairs else NOT_JUDGED
    return {LEVEL_CORRECTED: CORRECTED, UNKNOWN: ORDER_UNKNOWN}.get(state, "")


def _of_leads(model: FunnelModel, snapshot: Snapshot, stale_days: float) -> Iterator[tuple[str, Bools]]:
    stale = snapshot.as_of > stale_from(model, stale_days)
    if stale.any():
        yield STALE_MODEL, stale
    incomplete = snapshot.incomplete
    if incomplete.any():
        yield INCOMPLETE, incomplete
    for name, leads in unseen(snapshot, model.vocabulary_).items():
        yield f"{UNSEEN}:{name}", leads
