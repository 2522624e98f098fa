"""What each column says of the chance to go on to a later stage, window by window.

The effect of a column is in log odds of going on within a week, among leads of the same window, stage and days in
stage; one step of Newton's method from no effect (the score over its information). So neither a level that moved nor
another mix of leads changes it. Weeks are known up to the latest, other than outcomes within a horizon.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
from pandas.util import hash_array
from scipy.stats import t as student

from leadscore.backtest import OWNER
from leadscore.drift.entering import common_values, normal_scores
from leadscore.drift.open_leads import MOST_ROWS, WEEK_DAYS
from leadscore.drift.result import RETRAIN, Finding
from leadscore.drift.windows import LEAST_PAST
from leadscore.funnel import open_stays
from leadscore.history import DAY

if TYPE_CHECKING:
    from leadscore.drift.windows import Windows
    from leadscore.history import History
    from leadscore.history.line import Bools, Float64s, Int64s

# The latest windows are those with so many leads that went on. What turned lately shows in a few windows, what turned a
# while ago more clearly in more of them.
LOOKS = (40, 80, 160)
# Weeks in stage from which on the next stratum begins.
WEEKS = (1, 2, 4, 13)
# Touches of the last days whose meaning is looked at.
TOUCH_DAYS = 30
# Nothing is said of a column whose effect on the latest leads is known too badly: its information, one over its
# variance in log odds, is less than this.
LEAST_INFORMATION = 10.0
# Effects change by this many log odds from window to window in any company.
LEAST_NOISE = 0.03
# Effects differ from window to window beyond chance if their variance is so many times that by chance.
LEAST_RATIO = 1.5
# A median of squares of normal numbers, over their mean.
MEDIAN_OF_SQUARES = 0.4549


@dataclass(frozen=True, slots=True)
class _Weeks:
    """Every week that a lead spent in a stage, counted from the moment that it entered it.

    Attributes
    ----------
    lead, begin : ndarray of int64, shape (n_weeks,)
    stratum : ndarray of int64, shape (n_weeks,)
        A number for the stage and how many weeks it has lasted.
    n_strata : int
    went_on : ndarray of float64, shape (n_weeks,)
        1 where the lead went on to a later stage in this week, else 0.
    """

    lead: Int64s
    begin: Int64s
    stratum: Int64s
    n_strata: int
    went_on: Float64s

    @classmethod
    def until(cls, history: History, windows: Windows) -> Self:
        """The weeks that begin in the windows and are over, of all leads or a sample of them."""
        week = WEEK_DAYS * DAY
        stays = open_stays(history)
        if history.incomplete is not None:
            stays = stays.of(~history.incomplete[stays.lead])
        n = -((stays.begin - stays.end) // week)
        share = MOST_ROWS / max(int(n.sum()), 1)
        if share < 1:
            kept = (hash_array(history.ids) < np.uint64(share * 2**64))[stays.lead]
            stays, n = stays.of(kept), n[kept]
        after = history.at(stays.lead, np.minimum(stays.end, history.known_until)).steps.stage
        on = (stays.end <= history.known_until) & (after > stays.stage) & (after < len(history.funnel.stages))
        number = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
        begin = np.repeat(stays.begin, n) + number * week
        last = number == np.repeat(n, n) - 1
        stratum = np.repeat(stays.stage, n) * (len(WEEKS) + 1) + np.searchsorted(WEEKS, number, side="right")
        n_strata = (len(history.funnel.stages) - 1) * (len(WEEKS) + 1)
        inside = (windows.index(begin) >= 0) & (begin + week <= history.known_until)
        lead, went_on = np.repeat(stays.lead, n), (last & np.repeat(on, n)).astype(np.float64)
        return cls(lead[inside], begin[inside], stratum[inside], n_strata, went_on[inside])


def meanings(history: History, windows: Windows) -> list[Finding]:
    """For each column, what it says lately, beside before."""
    weeks = _Weeks.until(history, windows)
    window = windows.index(weeks.begin)
    n_went_on = np.bincount(window, weeks.went_on, len(windows))[::-1].cumsum()
    looks = sorted({int(n_went_on.searchsorted(enough)) + 1 for enough in LOOKS})
    lates = [windows.last(n) for n in looks if len(windows) - n >= LEAST_PAST]
    group = window * weeks.n_strata + weeks.stratum
    found = []
    for name, column in _columns(history, weeks):
        score, information = _effects(column, weeks.went_on, group, len(windows), weeks.n_strata)
        enough = [each for each in lates if min(information[each].sum(), information[~each].sum()) >= LEAST_INFORMATION]
        if enough:
            clearest = min((_meaning(name, score, information, late) for late in enough), key=lambda each: each.p)
            found.append(replace(clearest, p=min(clearest.p * len(enough), 1.0)))
    return found


def _effects(x: Float64s, y: Float64s, group: Int64s, n_windows: int, n_groups: int) -> tuple[Float64s, Float64s]:
    """Score and information of the effect of a column in each window, shape (n_windows,) each."""
    size = n_windows * n_groups
    n = np.maximum(np.bincount(group, minlength=size), 1)
    mean, rate = np.bincount(group, x, size) / n, np.bincount(group, y, size) / n
    about = x - mean[group]
    score = np.bincount(group, about * (y - rate[group]), size)
    information = np.bincount(group, about**2, size) * rate * (1 - rate) * n / np.maximum(n - 1, 1)
    return score.reshape(n_windows, n_groups).sum(axis=1), information.reshape(n_windows, n_groups).sum(axis=1)


def _meaning(name: str, score: Float64s, information: Float64s, late: Bools) -> Finding:
    now, before = (float(score[each].sum() / information[each].sum()) for each in (late, ~late))
    sampling = 1 / information[late].sum() + 1 / information[~late].sum()
    kept = ~late & (information > 0)
    effect, variance = score[kept] / information[kept], 1 / information[kept]
    # From window to window, and if need be the median of it: an effect that turned once is no noise.
    moved = np.diff(effect) ** 2 / (variance[1:] + variance[:-1])
    n_past = max(len(moved), 1)
    ratio = min(float(np.median(moved)) / MEDIAN_OF_SQUARES, float(moved.mean())) if len(moved) else 1.0
    beyond = ratio - 1 if ratio > LEAST_RATIO else 0.0
    noise = max(beyond * float(np.median(variance)) / n_past, LEAST_NOISE**2)
    z = (now - before) / float(np.sqrt(sampling * (1 + beyond) + noise))
    freedom = n_past * ((sampling + noise) / noise) ** 2
    turned = "turned" if now * before < 0 else "changed"
    words = (
        f"what {name} says of going on {turned}: it multiplies the odds by {np.exp(now):.2f}, "
        f"before by {np.exp(before):.2f}"
    )
    return Finding("meaning", name, before, now, z, float(2 * student.sf(abs(z), freedom)), words, RETRAIN)


def _columns(history: History, weeks: _Weeks) -> list[tuple[str, Float64s]]:
    """Names, and columns of shape (n_rows,): numbers in standard deviations, values and kinds of touch as 0 and 1."""
    snapshot = history.at(weeks.lead, weeks.begin)
    names, columns = [], []
    attributes, changes = history.funnel.attributes.known_in_time, history.funnel.changes.known_in_time
    for name in (*attributes.numbers, *changes.numbers):
        value = snapshot.number(name)
        usual = np.sort(value[~np.isnan(value)])
        if len(usual) and usual[0] < usual[-1]:
            names.append(f"one standard deviation more of {name}")
            columns.append(np.nan_to_num(normal_scores(value, usual), nan=0.0))
    for name in (*attributes.categories, *changes.categories):
        if name == OWNER:
            continue
        code, values = snapshot.category(name).astype(np.int64), history.vocabulary.categories[name]
        common = common_values(values, code, 1.0)
        # Of two values one says all.
        for at in common[:1] if len(common) == 2 else common:
            names.append(f"{name} = {values[at]}")
            columns.append((code == at).astype(np.float64))
    kinds = history.vocabulary.kinds
    if len(history.touches):
        touched = np.zeros((len(weeks.lead), len(kinds)))
        for part, leads in snapshot.parts():
            touched[part] = leads.touches.count("kind", (TOUCH_DAYS,))[:, 0, :] > 0
        names += [f"a touch of kind {kind} in the last {TOUCH_DAYS} days" for kind in kinds]
        columns += list(touched.T)
    return list(zip(names, columns, strict=True))
