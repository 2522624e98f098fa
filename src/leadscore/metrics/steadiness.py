"""How much scores move when nothing happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import logit

from leadscore.metrics.probabilities import LEAST

if TYPE_CHECKING:
    from leadscore.metrics.judged import Judged

SHARE = 0.95


def jitter(judged: Judged) -> list[float]:
    """Change in log odds, from one morning to the next, that 95 % of the leads to which nothing happened keep below.

    Nothing happened where stage and number of events known are the same on both mornings.

    Returns
    -------
    list of float, one per later stage
        NaN where no lead was seen on two mornings with nothing between them.
    """
    same = (np.diff(judged.lead) == 0) & (np.diff(judged.stage) == 0) & (np.diff(judged.n_known) == 0)
    odds = logit(np.clip(judged.probability, LEAST, 1 - LEAST))
    moved = np.abs(odds[1:][same] - odds[:-1][same])
    columns = (column[~np.isnan(column)] for column in moved.T)
    return [float(np.quantile(column, SHARE)) if len(column) else float("nan") for column in columns]
