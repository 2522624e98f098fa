"""What a search found, in figures and in words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from leadscore.history.zone import EPOCH
from leadscore.tuning.space import toml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leadscore.metrics import Interval
    from leadscore.tuning.space import Settings


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a search found.

    Attributes
    ----------
    cuts : tuple of int
        Where trials learnt; they were judged on the mornings from there on.
    until : int
        The first judging cut, from which on nothing was looked at. All in microseconds since 1970 UTC.
    n_trials : int
        Trials counted, of all goes; the funnel's own settings are one of them.
    own, best : dict of str to float
        ``log_loss``, ``auc`` and ``calibration_error`` of the funnel's own settings, and of the best.
    settings : dict of str to float, int or bool
        The best, as ``lightgbm.learning_rate``.
    is_own : bool
        Whether these are the funnel's own.
    gain : Interval
        Log loss of the funnel's own settings less that of the best, on the same outcomes, by bootstrap over leads.
    """

    cuts: tuple[int, ...]
    until: int
    n_trials: int
    own: dict[str, float]
    best: dict[str, float]
    settings: Settings
    is_own: bool
    gain: Interval

    @property
    def better(self) -> bool:
        """Whether the interval of the gain lies above zero."""
        return self.gain.low > 0

    def __str__(self) -> str:
        gain = f"{self.gain.value:+.5f} ({self.gain.low:+.5f} to {self.gain.high:+.5f})"
        if self.is_own:
            said = "no better than what you have: your own settings are the best of them"
        elif self.better:
            said = (
                "better than what you have on these mornings, which the best was also chosen on, and that flatters it: "
                "set it, and ask the mornings that were not looked at: make evaluate"
            )
        else:
            said = "no better than what you have: the interval of the gain includes zero"
        lines = (
            f"{self.n_trials} trials, judged on mornings from {day(self.cuts[0])} to {day(self.until)}",
            f"your own settings: {_written(self.own)}",
            f"the best:          {_written(self.best)}",
            f"gain in log loss:  {gain}",
            said,
        )
        return "\n".join((*lines, "", "# funnel.toml, in the place of these settings", toml(self.settings)))


def _written(figures: Mapping[str, float]) -> str:
    return f"log loss {figures['log_loss']:.5f}, AUC {figures['auc']:.3f}, off by {figures['calibration_error']:.2%}"


def day(moment: int) -> str:
    """The day of a moment in microseconds since 1970 UTC, as 2025-01-16."""
    return (EPOCH + timedelta(microseconds=moment)).date().isoformat()
