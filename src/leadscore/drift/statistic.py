"""A series with what it is of, and the words for a change of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from leadscore.drift.result import GO_ON, LOOK, RETRAIN, Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadscore.drift.result import Advice, What
    from leadscore.drift.series import Change, Series
    from leadscore.history.line import Bools, Float64s

# What falls to this share of what is usual has all but ended.
ENDED = 0.25


@dataclass(frozen=True, slots=True)
class Statistic:
    """A series of a history's inputs.

    Attributes
    ----------
    what, subject : str
        As for `Finding`.
    of : str
        What is counted, in words.
    series : Series
        The statistic in each window.
    only_falls : bool
        Whether a rise is nothing to speak of.
    is_new : bool
        Whether it counts values that the model does not know.
    units : ndarray of float64, shape (n_windows,), optional
        Of a rate: what it is per, such as weeks of open leads.
    """

    what: What
    subject: str
    of: str
    series: Series
    only_falls: bool = False
    is_new: bool = False
    units: Float64s | None = None

    def finding(self, late: Bools, past: Bools) -> Finding | None:
        """How the late windows differ from those of the past, clear or not; None where one of the two has nothing."""
        change = self.series.change(late, past)
        if change is None:
            return None
        p = change.p
        if self.only_falls:
            p = p / 2 if change.z < 0 else 1 - p / 2
        before, now = change.before, change.now
        if self.units is not None:
            usual = float(self.series.n[late].sum()) / max(float(self.units[late].sum()), 1.0)
            before, now = before * usual, now * usual
        sentence = self._sentence(before, now)
        return Finding(self.what, self.subject, before, now, change.z, p, sentence, self._advice(change))

    def _sentence(self, before: float, now: float) -> str:
        if self.series.counted == "share":
            return f"{self.of}: {now:.1%}, before {before:.1%}"
        if self.series.counted == "rate":
            return f"{self.of}: {now:.3g}, before {before:.3g}"
        return f"{self.of}: {now - before:+.2f} standard deviations"

    def _advice(self, change: Change) -> Advice:
        ended = change.z < 0 and change.now <= ENDED * change.before
        if self.what == "missingness":
            return LOOK if change.z > 0 else GO_ON
        if self.is_new:
            return RETRAIN
        return LOOK if ended and self.series.counted != "mean" else GO_ON


def findings_of(statistics: Sequence[Statistic], late: Bools, past: Bools) -> list[Finding]:
    """What each statistic shows, clear or not."""
    found = (each.finding(late, past) for each in statistics)
    return [each for each in found if each is not None and not np.isnan(each.z)]
