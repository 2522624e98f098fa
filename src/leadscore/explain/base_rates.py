"""What a base rate is of, in a sentence, where it is served rather than trees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from leadscore.model.withheld import cause_of

if TYPE_CHECKING:
    from leadscore.history import Snapshot
    from leadscore.model import FunnelModel


def base_rate_notes(model: FunnelModel, snapshot: Snapshot, place: int) -> list[str]:
    """What the base rate of reaching one stage is of, per lead, and why it is served; empty for a stage passed.

    Parameters
    ----------
    place : int
        Place of the stage among ``model.funnel.later_stages``.
    """
    funnel, learnt = model.funnel, model.stages_[place]
    rate, stage = model.base_rates(snapshot)[:, place], snapshot.steps.stage
    begin, end = model.base_rate_.bands(snapshot)
    to = f"{funnel.later_stages[place]} within {funnel.horizons[place]} days"
    causes = [f" ({cause})" if (cause := cause_of(learnt, at)) else "" for at in range(len(funnel.stages))]
    return [
        ""
        if np.isnan(each)
        else f"base rate{causes[at]} of leads at {funnel.stages[at]}{_band(*band)}: {each:.1%} reach {to}"
        for each, at, *band in zip(rate.tolist(), stage.tolist(), begin.tolist(), end.tolist(), strict=True)
    ]


def _band(begin: float, end: float) -> str:
    """For how many days in stage: " for 4 to 16 days"; empty where all leads of the stage have one rate."""
    if not begin:
        days = "a day" if end == 1 else f"{end:,.0f} days"
        return "" if end == np.inf else f" for less than {days}"
    return f" for {begin:,.0f} days or more" if end == np.inf else f" for {begin:,.0f} to {end:,.0f} days"
