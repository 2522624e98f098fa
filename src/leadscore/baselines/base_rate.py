"""Base rates: what is known of a lead of which only its stage is known, and for how long it has stood there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.special import expit, logit
from sklearn.base import BaseEstimator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadscore.history import Snapshot
    from leadscore.history.line import Float32s, Float64s, Int64s

# Rates of few leads are shrunk as if so many more leads had shown the rate of the whole; those of bands, more so.
PRIOR, BAND_PRIOR = 10.0, 20.0
# Bands of days in stage begin at some of these, so that each band holds at least so many leads.
BAND_DAYS = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0)
LEAST_LEADS = 20
# As if so many more leads of each band had reached a stage, and as many had been expected to.
PRIOR_REACHED = 1.0


class BaseRate(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """The share of leads that reached each later stage, by current stage and days in it.

    A lead stands in the list of many mornings, so rows are not independent: shares are of rows, which is what a team
    sees, but how far a share is trusted goes by the number of leads behind it.

    Attributes
    ----------
    band_days_ : ndarray of float64, shape (n_bands - 1,)
        Where all bands but the first begin; empty for a model that was trained before there were bands.
    rates_ : ndarray of float64, shape (n_stages - 1, n_later_stages)
        Share by (current stage, stage to reach), shrunk towards the share among all examples that had not
        passed the stage; NaN where none shows it.
    band_rates_ : ndarray of float64, shape (n_stages - 1, n_bands, n_later_stages)
        The same per band of days in stage, shrunk towards the rate of the stage times what the band does to the odds
        of all stages together.
    """

    band_days_: Float64s
    rates_: Float64s
    band_rates_: Float64s

    def fit(self, X: Snapshot, y: Float32s, band_days: Sequence[float] | Float64s | None = None) -> Self:
        """Learn the rates.

        Parameters
        ----------
        X : Snapshot
            Leads open on past mornings.
        y : ndarray of float32, shape (n_examples, n_later_stages)
            1 reached, 0 not, NaN not known.
        band_days : sequence of float, optional
            Where all bands of days in stage but the first begin, ascending; by default chosen by counts of leads.
        """
        rows = np.flatnonzero(~np.isnan(y).all(axis=1))
        lead, y, n_later = X.lead[rows], y[rows], y.shape[1]
        stage, days = X.steps.stage[rows], X.steps.days_in_stage[rows]
        self.band_days_ = np.array(_bands(days, lead) if band_days is None else band_days, np.float64)
        share, n_leads = _shares(stage, n_later, lead, y)
        self.rates_ = _shrunk(share, n_leads, _shares(np.zeros_like(stage), 1, lead, y, none=np.nan)[0], PRIOR)
        self.band_rates_ = self.rates_[:, None]
        if n_begins := len(self.band_days_):
            cell = stage * (n_begins + 1) + self._band(days)
            cells = _shares(cell, n_later * (n_begins + 1), lead, y)
            share, n_leads = (each.reshape(n_later, n_begins + 1, n_later) for each in cells)
            self.band_rates_ = _shrunk(share, n_leads, _by_band(self.rates_, share, n_leads), BAND_PRIOR)
        return self

    @classmethod
    def learnt(cls, rates: Float64s, band_days: Float64s, band_rates: Float64s) -> Self:
        """Rates that were learnt before."""
        found = cls()
        found.rates_, found.band_days_, found.band_rates_ = rates, band_days, band_rates
        return found

    @classmethod
    def of_stages(cls, rates: Sequence[BaseRate]) -> Self:
        """Rates of each stage to reach, taken from those learnt for it alone; all in the same bands."""
        return cls.learnt(
            np.column_stack([each.rates_[:, place] for place, each in enumerate(rates)]),
            rates[0].band_days_,
            np.stack([each.band_rates_[..., place] for place, each in enumerate(rates)], axis=-1),
        )

    def predict_proba(self, X: Snapshot) -> Float64s:
        """Rate of each later stage, shape (n_examples, n_later_stages); NaN for stages already passed."""
        stage, n_later = X.steps.stage, self.rates_.shape[1]
        rates: Float64s = self.band_rates_[np.minimum(stage, n_later - 1), self._band(X.steps.days_in_stage)]
        rates[np.arange(1, n_later + 1) <= stage[:, None]] = np.nan
        return rates

    def bands(self, X: Snapshot) -> tuple[Float64s, Float64s]:
        """From how many days in stage to how many the rate of each example is of, (n_examples,) each."""
        band, ends = self._band(X.steps.days_in_stage), np.concatenate(([0.0], self.band_days_, [np.inf]))
        return ends[band], ends[band + 1]

    def _band(self, days: Float64s) -> Int64s:
        return self.band_days_.searchsorted(days, side="right")


def _bands(days: Float64s, lead: Int64s) -> list[float]:
    """Where bands begin: at the first of `BAND_DAYS` with `LEAST_LEADS` leads in the band before and from there on."""
    begins: list[float] = []
    for day in BAND_DAYS:
        before = (days >= (begins[-1] if begins else -np.inf)) & (days < day)
        if min(len(np.unique(lead[rows])) for rows in (before, days >= day)) >= LEAST_LEADS:
            begins.append(day)
    return begins


def _shares(cell: Int64s, n_cells: int, lead: Int64s, y: Float32s, *, none: float = 0.0) -> tuple[Float64s, Float64s]:
    """Share of the rows of each cell that reached each stage, and of how many leads they are; (n_cells, n_later) each.

    ``none`` where no row shows it.
    """
    share, n_leads = np.full((n_cells, y.shape[1]), none), np.zeros((n_cells, y.shape[1]))
    for place, outcome in enumerate(y.T):
        known = np.flatnonzero(~np.isnan(outcome))
        n = np.bincount(cell[known], minlength=n_cells)
        reached = np.bincount(cell[known], outcome[known], n_cells)
        np.divide(reached, n, out=share[:, place], where=n > 0)
        once = np.unique(lead[known] * n_cells + cell[known])
        n_leads[:, place] = np.bincount(once % n_cells, minlength=n_cells)
    return share, n_leads


def _shrunk(share: Float64s, n_leads: Float64s, whole: Float64s, prior: float) -> Float64s:
    shrunk: Float64s = (share * n_leads + prior * whole) / (n_leads + prior)
    return shrunk


def _by_band(rates: Float64s, share: Float64s, n_leads: Float64s) -> Float64s:
    """Rate of each stage in each band if time in stage did the same to the odds of all, of the shape of ``share``.

    What it does is how many leads of a band reached a stage, over how many the rates of their stages let expect.
    """
    expected = np.nansum(rates[:, None] * n_leads, axis=(0, 2)) + PRIOR_REACHED
    observed = np.sum(share * n_leads, axis=(0, 2)) + PRIOR_REACHED
    by_band: Float64s = expit(logit(rates)[:, None] + np.log(observed / expected)[:, None])
    return by_band
