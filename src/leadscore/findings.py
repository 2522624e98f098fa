"""What judging on unseen time showed: figures, capacity, steadiness, and whether to trust them at all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from leadscore.funnel import never_closed
from leadscore.leaks import leaks
from leadscore.metrics import ALL, Resamples, figures, jitter, log_losses, overall, worked

if TYPE_CHECKING:
    from leadscore.backtest import Backtest
    from leadscore.funnel import NeverClosed
    from leadscore.history import History
    from leadscore.leaks import Leak
    from leadscore.metrics import Worked
    from leadscore.model import FunnelModel, Withheld


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
        Stages to reach of which the trees do not clearly beat the rate of the current stage on later mornings, or not
        the base rate by days in stage.
    leaks : tuple of Leak
        Stages whose outcome the model seems to know beforehand.
    unjudged : tuple of str
        Stages to reach for which no cut had enough outcomes to learn trees that could be judged.
    withheld : tuple of Withheld
        Why stages are served their base rate, by the model that is served.
    never_closed : NeverClosed, optional
        Leads that stay open although hardly any like them ever moved again.
    """

    figures: pd.DataFrame
    overall: dict[str, float]
    handoff: Worked
    jitter: list[float]
    no_signal: tuple[str, ...]
    leaks: tuple[Leak, ...]
    unjudged: tuple[str, ...] = ()
    withheld: tuple[Withheld, ...] = ()
    never_closed: NeverClosed | None = None

    @property
    def warnings(self) -> list[str]:
        """Sentences for whoever is about to trust the model."""
        found = (*self.withheld, *self.leaks, self.never_closed)
        return [str(each) for each in found if each is not None]

    def serving(self, model: FunnelModel) -> tuple[FunnelModel, Findings]:
        """A model with base rates for the stages that need them, and the findings about that model."""
        served = model.serving_base_rates(self.no_signal, self.unjudged)
        return served, replace(self, withheld=tuple(each for each in served.withheld() if each is not None))


def findings(history: History, past: Backtest, n_jobs: int) -> Findings:
    """What a backtest showed, about the model of the latest cut."""
    judged, resamples = past.judged, history.funnel.judging.resamples
    handoff = history.funnel.stages.index(history.funnel.funnel.handoff[1]) - 1
    table = figures(judged, resamples)
    unjudged, closed = _unjudged(past), never_closed(history)
    found = Findings(
        figures=table,
        overall=overall(judged, resamples),
        handoff=worked(judged, judged.probability[:, handoff], resamples),
        jitter=jitter(judged),
        no_signal=tuple(stage for stage in _weak(past, table) if stage not in unjudged),
        leaks=leaks(history, past, table, closed, n_jobs),
        unjudged=unjudged,
        never_closed=closed,
    )
    return found.serving(past.models[-1])[1]


def _unjudged(past: Backtest) -> tuple[str, ...]:
    stages = past.models[0].funnel.later_stages
    return tuple(
        name for place, name in enumerate(stages) if all(model.stages_[place].fallback for model in past.models)
    )


def _weak(past: Backtest, table: pd.DataFrame) -> list[str]:
    """Stages to reach whose trees have no signal, or are no better than the base rate that is served in their place.

    Signal is a clear gain over the rate of the current stage alone, so knowing the stage is none. Of trees with signal
    and base rates by days in stage, those are served that did better.
    """
    unsure = no_signal(_gains_over_stage(past))
    whole = table[(table["current"] == ALL) & (table["n"] > 0)]
    worse = set(whole.loc[~(whole["log_loss_gain"] > 0), "stage"])
    return [stage for stage in past.judged.funnel.later_stages if stage in worse or stage in unsure]


def _gains_over_stage(past: Backtest) -> pd.DataFrame:
    """Gain in log loss over the rate of the current stage, whatever the days in it: the columns of `no_signal`."""
    judged, rates = past.judged, np.stack([model.base_rate_.rates_ for model in past.models])
    of_stage = rates[np.array(past.cuts).searchsorted(judged.as_of, side="right") - 1, judged.stage]
    rows = []
    for place, stage in enumerate(judged.funnel.later_stages):
        known = np.flatnonzero(~np.isnan(judged.outcome[:, place]))
        outcome = judged.outcome[known, place].astype(np.float64)
        losses = [log_losses(outcome, each[known, place]) for each in (of_stage, judged.probability)]
        if len(known):
            low = Resamples.of(judged.lead[known], judged.funnel.judging.resamples).mean(losses[0] - losses[1]).low
            rows.append((stage, ALL, len(known), low))
    return pd.DataFrame(rows, columns=["stage", "current", "n", "log_loss_gain_low"])


def no_signal(table: pd.DataFrame) -> tuple[str, ...]:
    """Stages to reach where the interval of the gain over the base rate, in log loss, does not lie above zero."""
    whole = table[(table["current"] == ALL) & (table["n"] > 0)]
    return tuple(whole.loc[~(whole["log_loss_gain_low"] > 0), "stage"])
