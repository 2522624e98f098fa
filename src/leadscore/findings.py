"""What judging on unseen time showed: figures, capacity, steadiness, and whether to trust them at all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd

from leadscore.funnel import never_closed
from leadscore.leaks import leaks
from leadscore.metrics import figures, jitter, overall, worked
from leadscore.model.withheld import NO_SIGNAL
from leadscore.pairs import as_served, judged_pairs

if TYPE_CHECKING:
    from leadscore.backtest import Backtest
    from leadscore.funnel import NeverClosed
    from leadscore.history import History
    from leadscore.leaks import Leak
    from leadscore.metrics import Judged, Worked
    from leadscore.model import FunnelModel, Withheld
    from leadscore.pairs import Pairs


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
    pairs, closed = judged_pairs(past, of_trees), never_closed(history)
    judged = as_served(past, pairs).judged
    found = Findings(
        figures=_with_those_of(judged, of_trees, pairs),
        overall=overall(judged, resamples),
        handoff=worked(judged, judged.probability[:, handoff], resamples),
        jitter=jitter(judged),
        pairs=pairs,
        leaks=leaks(history, past, of_trees, closed, n_jobs),
        never_closed=closed,
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
