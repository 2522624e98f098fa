"""How long ago the history ended that a model has learnt from."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from leadscore.history import DAY
from leadscore.history.zone import EPOCH

if TYPE_CHECKING:
    from leadscore.model.funnel_model import FunnelModel

log = logging.getLogger(__name__)

# A quarter. Whatever the horizons, the newest outcomes learnt from ended when the history did, so they are no part of
# it: what counts is how much may have changed since.
STALE_MODEL_DAYS = 90.0


def stale_from(model: FunnelModel, days: float = STALE_MODEL_DAYS) -> int:
    """The last moment that is not more than ``days`` after the history, in microseconds since 1970 UTC.

    Scores as of a later moment are flagged ``stale_model``.
    """
    return model.trained_until_ + int(days * DAY)


def stale_history(model: FunnelModel, moment: int, days: float, name: str = "now") -> str | None:
    """How long before a moment the model's history ends, where that is more than ``days``; None where it is not."""
    if moment <= stale_from(model, days):
        return None
    return f"ends {(moment - model.trained_until_) // DAY} days before {name}: retrain"


def warn_of_stale_history(model: FunnelModel, as_of: int, days: float) -> None:
    """Log a warning where scores as of a moment are flagged ``stale_model``."""
    day = (EPOCH + timedelta(microseconds=as_of)).date().isoformat()
    if stale := stale_history(model, as_of, days, day):
        log.warning("the history that the model has learnt from %s", stale)
