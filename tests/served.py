"""Models that serve base rates where tests want them to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leadscore.model.pair import LEVEL_ONLY, UNKNOWN, Pair

if TYPE_CHECKING:
    from collections.abc import Collection

    from leadscore.model import FunnelModel


def serving_base_rates(
    model: FunnelModel, no_signal: Collection[str] = (), unjudged: Collection[str] = ()
) -> FunnelModel:
    """The model with base rates for some stages to reach, for want of signal or of outcomes to judge by."""
    rates = {name: Pair(LEVEL_ONLY, trees=False) for name in no_signal}
    rates |= {name: Pair(UNKNOWN, trees=False) for name in unjudged}
    stages = model.funnel.later_stages
    return model.serving([[rates[name]] * (place + 1) if name in rates else [] for place, name in enumerate(stages)])
