"""One statistic, window by window: whether it differs lately by more than it used to differ from window to window.

The noise has two parts. One is chance: of 140 leads that come in now 42 come from a webinar, now 35. The other is what
changes from window to window all the same, by seasons, campaigns and growth, and is estimated from the windows before:
what they differ by beyond chance (method of moments, as DerSimonian and Laird, Meta-analysis in clinical trials, 1986).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from scipy.special import logit, xlogy
from scipy.stats import t as student

if TYPE_CHECKING:
    from leadscore.history.line import Bools, Float64s

# Odds, rates and spreads change by this share from window to window in any company, even if its past shows less.
LEAST_NOISE = 0.05


class Change(NamedTuple):
    """By how much a statistic differs lately.

    Attributes
    ----------
    before, now : float
        The statistic of the windows before and of the latest.
    z : float
        The difference in standard deviations of what is usual.
    p : float
        The chance of such a difference or a larger one, either way.
    apart, sampling, noise, freedom : float
        The difference on the scale of the link; its variance by chance, and from window to window; degrees of freedom.
    """

    before: float
    now: float
    z: float
    p: float
    apart: float = 0.0
    sampling: float = 0.0
    noise: float = 0.0
    freedom: float = 1.0

    def against(self, other: Change) -> tuple[float, float]:
        """How this differs from another one of the same past: ``z`` and ``p``."""
        z = (self.apart - other.apart) / float(np.sqrt(self.sampling + other.sampling + self.noise + other.noise))
        return z, float(2 * student.sf(abs(z), min(self.freedom, other.freedom)))


@dataclass(frozen=True, slots=True)
class Series:
    """A statistic in each window.

    Attributes
    ----------
    counted : str
        ``share``: ``x`` of ``n`` leads; ``rate``: ``x`` events where ``n`` are usual; ``mean``: ``x`` is a sum over
        ``n``, each with the variance ``spread``.
    x, n : ndarray of float64, shape (n_windows,)
    spread : float
        For means only.
    least_noise : float
        What the statistic differs by from window to window at least: a share of rates and odds, or of a deviation.
    """

    counted: Literal["share", "rate", "mean"]
    x: Float64s
    n: Float64s
    spread: float = 1.0
    least_noise: float = LEAST_NOISE

    def change(self, late: Bools, past: Bools) -> Change | None:
        """How the late windows together differ from those of the past; None where one of the two has nothing."""
        x, n = float(self.x[late].sum()), float(self.n[late].sum())
        total = float(self.n[past].sum())
        if n <= 0 or total <= 0:
            return None
        usual = self._usual(float(self.x[past].sum()), total)
        variance, slope = self._moments(usual, n)
        root, apart = self._apart(x, n, usual)
        noise, n_past = self._noise(past, usual)
        sampling = variance / slope**2 * (1 + n / total)
        # Satterthwaite: what chance does is known, what else moves is estimated from so many windows.
        freedom = max(n_past - 1, 1) * ((sampling + noise) / noise) ** 2
        if not root:
            return Change(usual, x / n, 0.0, 1.0, 0.0, sampling, noise, freedom)
        # As far as chance is concerned a deviance, which is right for few events, too; beyond it, the link.
        z = float(np.sign(root) / np.sqrt((1 + n / total) / root**2 + noise / apart**2))
        return Change(usual, x / n, z, float(2 * student.sf(abs(z), freedom)), apart, sampling, noise, freedom)

    def _usual(self, x: float, n: float) -> float:
        if self.counted == "share":
            return (x + 0.5) / (n + 1)
        return (x + 0.5) / n if self.counted == "rate" else x / n

    def _moments(self, usual: float, n: float) -> tuple[float, float]:
        """Variance of ``x`` by chance, and what it changes by for a unit of the link."""
        if self.counted == "share":
            return n * usual * (1 - usual), n * usual * (1 - usual)
        return (n * usual, n * usual) if self.counted == "rate" else (n * self.spread, n)

    def _apart(self, x: float, n: float, usual: float) -> tuple[float, float]:
        """The difference as a signed root of the deviance, and on the scale of the link."""
        expected = n * usual
        if self.counted == "mean":
            return (x - expected) / float(np.sqrt(n * self.spread)), x / n - usual
        deviance = xlogy(x, x / expected)
        if self.counted == "share":
            deviance += xlogy(n - x, (n - x) / (n - expected))
            link = logit((x + 0.5) / (n + 1)) - logit(usual)
        else:
            deviance -= x - expected
            link = np.log((x + 0.5) / (expected + 0.5))
        side = np.sign(x - expected)
        return float(side * np.sqrt(max(2 * deviance, 0.0))), float(side * max(abs(link), 1e-9))

    def _noise(self, past: Bools, usual: float) -> tuple[float, int]:
        """Variance from window to window beyond chance, on the scale of the link; and of how many windows."""
        kept = past & (self.n > 0)
        n = self.n[kept]
        beyond = (self.x[kept] - n * usual) ** 2 * (len(n) / max(len(n) - 1, 1))
        moments = [self._moments(usual, each) for each in n.tolist()]
        variance, slope = (np.array(column) for column in zip(*moments, strict=True))
        found = float((beyond - variance).sum() / (slope**2).sum())
        return max(found, self.least_noise**2 * (self.spread if self.counted == "mean" else 1.0)), len(n)
