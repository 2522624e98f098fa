"""Odoo's predictive lead scoring on plain codes: counters of leads won and lost, and what they say of a lead.

Source: what addons/crm of odoo/odoo computes, after a description of it and not after its code. Counters are those of
a rebuild from scratch: every row is created once, and nothing is taken off it.

The worked example of this module: of 18 closed leads 4 were won in BE and 2 in FR; 6 were lost in New and FR, 3 in
Qualified and FR, 2 in Qualified and BE, 1 in Proposal and BE. A lead in Qualified and BE is then at 72.24 %.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

if TYPE_CHECKING:
    from leadscore.history.line import Bools, Float64s, Int64s

SMOOTHING = 0.1
# Tags of fewer closed leads, smoothing included, say nothing.
LEAST_TAGGED = 50
# In per cent. A lead at 0 or 100 would count as lost or won.
LOWEST, HIGHEST = 0.01, 99.99
NONE = -1


@dataclass(frozen=True, slots=True)
class LeadValues:
    """Stage, team and values of some leads as codes from 0 up; -1 is none.

    Attributes
    ----------
    stage : ndarray of int64, shape (n_leads,)
        Place in the order of the stages; the last is the win.
    team : ndarray of int64, shape (n_leads,)
        Who works the lead.
    fields : dict of str to ndarray of int64, shape (n_leads,)
        One value per lead. Where being absent tells something (phone, e-mail), it is a value with a code.
    tagged, tag : ndarray of int64, shape (n_tags,)
        Row of the lead and code of the tag, for each tag on each lead; a lead may have any number.
    """

    stage: Int64s
    team: Int64s
    fields: dict[str, Int64s]
    tagged: Int64s = field(default_factory=lambda: np.empty(0, np.int64))
    tag: Int64s = field(default_factory=lambda: np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.stage)


@dataclass(frozen=True, slots=True)
class Counters:
    """Stored counters of leads won and lost, of each team, by value of one field.

    Attributes
    ----------
    won, lost : ndarray of float64, shape (n_teams + 1, n_values)
        Smoothing included; 0 where there is no row. The last team is all of them together.
    """

    won: Float64s
    lost: Float64s

    @classmethod
    def stored(cls, n_won: Float64s, n_lost: Float64s) -> Counters:
        """Smooth numbers of leads, of which those of the last team are of no team, and sum them over all.

        The sum is of stored counters, so the smoothing of all teams together grows with their number.
        """
        smoothing = SMOOTHING * (n_won + n_lost > 0)
        won, lost = n_won + smoothing, n_lost + smoothing
        won[-1], lost[-1] = won.sum(axis=0), lost.sum(axis=0)
        return cls(won, lost)

    @property
    def of_team(self) -> Bools:
        """Whether each team has a row, shape (n_teams + 1,)."""
        has_row: Bools = np.any(self.won + self.lost > 0, axis=1)
        return has_row

    def stage_log_odds(self) -> Float64s:
        """Log odds of winning of which only the stage is known, as in `LogOdds`.

        The odds in the first stage are the prior, against which the counters of the other stages are weighed. So
        they cancel, except in a stage without a row.
        """
        own = _log_quotient(self.won, self.lost, np.nan)
        first = own[:, :1]
        own = np.where(np.isnan(own), first, own)
        own[np.isnan(first[:, 0])] = np.nan
        return np.hstack((own, first))

    def log_ratios(self, least: float = 0) -> Float64s:
        """Log of each value's share among the won over its share among the lost, as in `LogOdds`.

        Parameters
        ----------
        least : float, default 0
            Values with smaller counters, won and lost together, are left out, also of what the shares are of.
        """
        counted = self.won + self.lost >= least
        won, lost = self.won * counted, self.lost * counted
        all_won, all_lost = won.sum(axis=1, keepdims=True), lost.sum(axis=1, keepdims=True)
        ratios = _log_quotient(won * all_lost, lost * all_won, 0)
        return np.hstack((ratios, np.zeros((len(ratios), 1))))


@dataclass(frozen=True, slots=True)
class LogOdds:
    """What is added up to the log odds of winning.

    In each table the row of a team without counters is that of all teams, which comes last. The last column is for
    a value that nobody of the team had, and for none.

    Attributes
    ----------
    stage : ndarray of float64, shape (n_teams + 1, n_stages + 1)
        Log odds of a lead of which only the stage is known; NaN where no lead of the team was closed in a stage.
    fields : dict of str to ndarray of float64, shape (n_teams + 1, n_values + 1)
        Log of the value's share among the won over its share among the lost.
    tags : ndarray of float64, shape (n_teams + 1, n_tags + 1)
        The same of tags; 0 for those of few leads.
    """

    stage: Float64s
    fields: dict[str, Float64s]
    tags: Float64s

    def percent(self, leads: LeadValues) -> Float64s:
        """Probability of winning in per cent, to two decimals, shape (n_leads,).

        From 0.01 to 99.99, but 100 in the last stage and 0 without a stage. NaN where no closed lead of the team,
        or of any where the team has none, was counted in a stage.
        """
        win = self.stage.shape[1] - 2
        log_odds = _looked_up(self.stage, leads.team, leads.stage)
        for name, table in self.fields.items():
            log_odds += _looked_up(table, leads.team, leads.fields[name])
        of_tags = _looked_up(self.tags, leads.team[leads.tagged], leads.tag)
        log_odds += np.bincount(leads.tagged, of_tags, len(leads))
        percent: Float64s = np.clip(np.round(100 * expit(log_odds), 2), LOWEST, HIGHEST)
        percent[leads.stage == win] = 100
        percent[leads.stage == NONE] = 0
        return percent


def learn(closed: LeadValues, won: Bools, n_stages: int) -> LogOdds:
    """Count closed leads, and say what the counters say.

    Parameters
    ----------
    closed : LeadValues
        Their stage is the one in which they were lost; that of the won does not matter.
    won : ndarray of bool, shape (n_leads,)
        Whether each was won, rather than lost.
    n_stages : int
        How many there are, the win included.
    """
    n_teams = _n_codes(closed.team)
    stage = _stages_counted(closed, won, (n_teams + 1, n_stages))
    fields = {name: _values_counted(closed.team, value, won, n_teams) for name, value in closed.fields.items()}
    tags = _values_counted(closed.team[closed.tagged], closed.tag, won[closed.tagged], n_teams)
    has_row = np.any([counters.of_team for counters in (stage, *fields.values(), tags)], axis=0)
    team = np.where(has_row, np.arange(n_teams + 1), NONE)
    return LogOdds(
        stage=stage.stage_log_odds()[team],
        fields={name: counters.log_ratios()[team] for name, counters in fields.items()},
        tags=tags.log_ratios(LEAST_TAGGED)[team],
    )


def _stages_counted(closed: LeadValues, won: Bools, shape: tuple[int, int]) -> Counters:
    """A won lead counts in every stage, a lost one in that in which it was lost and in all before it."""
    n_won = _counts(closed.team[won], np.zeros(np.count_nonzero(won), np.int64), (shape[0], 1))
    lost = ~won & (closed.stage != NONE)
    lost_there = _counts(closed.team[lost], closed.stage[lost], shape)
    return Counters.stored(n_won.repeat(shape[1], axis=1), lost_there[:, ::-1].cumsum(axis=1)[:, ::-1])


def _values_counted(team: Int64s, value: Int64s, won: Bools, n_teams: int) -> Counters:
    shape, known = (n_teams + 1, _n_codes(value)), value != NONE
    return Counters.stored(*(_counts(team[rows], value[rows], shape) for rows in (known & won, known & ~won)))


def _counts(team: Int64s, value: Int64s, shape: tuple[int, int]) -> Float64s:
    """Number of leads by (team, value), with those of no team last."""
    cell = np.where(team == NONE, shape[0] - 1, team) * shape[1] + value
    return np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)


def _log_quotient(over: Float64s, under: Float64s, otherwise: float) -> Float64s:
    """Log of ``over / under``, ``otherwise`` where one of them is 0."""
    both = (over > 0) & (under > 0)
    quotient = np.divide(over, under, out=np.ones_like(over), where=both)
    return np.where(both, np.log(quotient), otherwise)


def _looked_up(table: Float64s, team: Int64s, value: Int64s) -> Float64s:
    """``table[team, value]``, with the last row and column for codes that it does not hold and for none."""
    n_rows, n_columns = table.shape
    row = np.where(team < n_rows - 1, team, NONE)
    found: Float64s = table[row, np.where(value < n_columns - 1, value, NONE)]
    return found


def _n_codes(code: Int64s) -> int:
    return int(code.max(initial=NONE)) + 1
