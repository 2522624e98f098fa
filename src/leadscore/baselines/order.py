"""Orders without a probability, in which teams without a score work their leads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.base import BaseEstimator

from leadscore.config import MAX_YEARS

if TYPE_CHECKING:
    from leadscore.history import Snapshot
    from leadscore.history.line import Float64s

# Longer than any recorded history, so that every lead that was touched comes before those that never were.
NEVER_DAYS = 366.0 * MAX_YEARS


class _Order(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """An order that has nothing to learn."""

    def fit(self, X: Snapshot, y: object = None) -> Self:  # noqa: ARG002  # scikit-learn's signature
        """Learn nothing."""
        return self


class MostRecentlyTouched(_Order):
    """Leads touched last come first; then those never touched, newest first."""

    def decision_function(self, X: Snapshot) -> Float64s:
        """Higher comes first, shape (n_examples,): minus the days since the last touch.

        For a lead that was never touched, minus the days since it was created and `NEVER_DAYS`.
        """
        silent = X.touches.days_since_last("any")[:, 0]
        return -np.where(np.isnan(silent), NEVER_DAYS + X.days_since_created, silent)


class OldestFirst(_Order):
    """Leads created first come first."""

    def decision_function(self, X: Snapshot) -> Float64s:
        """Higher comes first, shape (n_examples,): days since the lead was created."""
        return X.days_since_created
