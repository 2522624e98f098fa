"""Outcomes, window by window: what makes leads go on, how many do, and how well a model knew both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from scipy.special import ndtr
from scipy.stats import norm
from scipy.stats import t as student

from leadscore.backtest import OWNER
from leadscore.drift.entering import common_values, normal_scores
from leadscore.drift.open_leads import usual_rates
from leadscore.drift.result import RETRAIN, Finding
from leadscore.drift.series import LEAST_NOISE
from leadscore.drift.windows import LEAST_PAST, Windows
from leadscore.history import DAY
from leadscore.labels import reached
from leadscore.metrics import WithinMornings

if TYPE_CHECKING:
    from leadscore.drift.open_leads import OpenLeads
    from leadscore.history import History
    from leadscore.history.line import Bools, Float32s, Float64s, Int64s
    from leadscore.metrics import Judged
    from leadscore.metrics.judged import Outcomes as Known

# The latest outcomes are those of at least so many leads of either kind; up to so many where they can be had.
LEAST_LEADS, ENOUGH_LEADS = 40, 100
# Touches of the last days whose meaning is looked at.
TOUCH_DAYS = 30
# Of a column that tells too little of the latest leads nothing is said: its effect is not known to this many log odds.
LEAST_INFORMATION = 6.0
# Order changes by this much in any company.
ORDER_NOISE = 0.01
RESAMPLES = 100
HALF = float(norm.isf(0.025))
# A median of squares of normal numbers, over their mean.
MEDIAN_OF_SQUARES = 0.4549


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Each lead once per stage and window, on one of its mornings, and what it reached.

    Attributes
    ----------
    history : History
    rows : OpenLeads
        The leads on these mornings.
    outcome : ndarray of float32, shape (n_rows, n_later_stages)
        As `leadscore.labels.reached`.
    days : int
        Length of a window.
    """

    history: History
    rows: OpenLeads
    outcome: Float32s
    days: int

    @classmethod
    def of(cls, history: History, rows: OpenLeads, days: int) -> Self:
        """One morning of each lead, stage and window, drawn at random but the same every time."""
        ripe = rows.of(rows.as_of <= history.known_until - min(history.funnel.horizons) * DAY)
        window = (history.known_until - ripe.as_of) // (days * DAY)
        shuffled = np.random.default_rng(1).permutation(len(ripe))
        keys = (ripe.lead * len(history.funnel.stages) + ripe.stage) * (window.max(initial=0) + 1) + window
        kept = ripe.of(np.sort(shuffled[np.unique(keys[shuffled], return_index=True)[1]]))
        return cls(history, kept, reached(history, kept.lead, kept.as_of), days)

    def windows(self, place: int) -> Windows:
        """Windows of mornings whose outcomes are known for a stage to reach."""
        end = self.history.known_until - self.history.funnel.horizons[place] * DAY
        return Windows.until(self.history, end, self.days)

    def n_late(self, place: int) -> int:
        """How many of the last windows hold enough leads of either outcome; 0 where too few do, or too few are left."""
        window, known = self._known(place)
        windows = self.windows(place)
        for enough in (ENOUGH_LEADS, LEAST_LEADS):
            for n in range(1, len(windows) - LEAST_PAST + 1):
                late = known & (window >= len(windows) - n)
                leads = [len(np.unique(self.rows.lead[late & (self.outcome[:, place] == each)])) for each in (0, 1)]
                if min(leads) >= enough:
                    return n
        return 0

    def _known(self, place: int) -> tuple[Int64s, Bools]:
        window = self.windows(place).index(self.rows.as_of)
        return window, (window >= 0) & ~np.isnan(self.outcome[:, place])

    def rates(self, place: int, until: int) -> Rates:
        """How many reached a stage, window by window, beside what is usual in the windows until a moment."""
        window, known = self._known(place)
        windows = self.windows(place)
        n_groups = self.rows.n_groups
        cell = (window * n_groups + self.rows.group)[known]
        n, x = (
            np.bincount(cell, weight, len(windows) * n_groups).reshape(-1, n_groups)
            for weight in (np.ones(len(cell)), self.outcome[known, place].astype(np.float64))
        )
        past = windows.edges[1:] <= until
        usual = usual_rates(x[past].sum(axis=0), n[past].sum(axis=0))
        return Rates(x.sum(axis=1), n @ usual, n.sum(axis=1), past)


class Rates(NamedTuple):
    """How many leads reached a stage in each window.

    Attributes
    ----------
    came, expected, n : ndarray of float64, shape (n_windows,)
        Leads that did; that would have as usual, of these stages and days in stage; and leads in all.
    past : ndarray of bool, shape (n_windows,)
        The windows that are what is usual.
    """

    came: Float64s
    expected: Float64s
    n: Float64s
    past: Bools

    @property
    def n_past(self) -> int:
        """Windows of the past with any lead to come."""
        return int(np.count_nonzero(self.past & (self.expected > 0)))

    @property
    def usual(self) -> float:
        """The share that reached the stage in the past."""
        return float(self.came[self.past].sum() / max(self.n[self.past].sum(), 1.0))

    def noise(self) -> float:
        """Variance, from window to window, of the log of what came over what is usual.

        Beyond chance, and beyond a straight line: a level that rises all the time makes a model wrong.
        """
        kept = self.past & (self.expected > 0)
        came, expected = self.came[kept], self.expected[kept]
        line = np.column_stack((np.ones(len(came)), np.arange(len(came)) - len(came) / 2))
        weight = np.sqrt(expected)
        ratio = came / expected - 1
        fitted = line @ np.linalg.lstsq(line * weight[:, None], ratio * weight, rcond=None)[0]
        beyond = (expected * (ratio - fitted) ** 2).sum() * len(came) / max(len(came) - 2, 1)
        return max(float((beyond - len(came) * (1 - self.usual)) / expected.sum()), LEAST_NOISE**2)


def orders(judged: Judged, outcomes: Outcomes) -> list[Finding]:
    """For each stage to reach, how the leads of one morning were put in order lately, beside the mornings before."""
    found = []
    for place, stage in enumerate(judged.funnel.later_stages):
        late = _late(judged, outcomes.windows(place), outcomes.n_late(place))
        now, before = (judged.of(rows).reaching(place) for rows in (late, ~late))
        if min(_fewest_leads(each) for each in (now, before)) < LEAST_LEADS:
            continue
        orders = [WithinMornings.of(each, RESAMPLES).order().interval for each in (now, before)]
        deviations = [(each.high - each.low) / (2 * HALF) for each in orders]
        z = (orders[0].value - orders[1].value) / float(np.sqrt(np.square([*deviations, ORDER_NOISE]).sum()))
        words = (
            f"{stage}: of two leads of one morning and stage, one of which got there, the model put the right one first "
            f"{orders[0].value:.0%} of the time, before {orders[1].value:.0%}"
        )
        # An order that became better is nothing to speak of.
        found.append(Finding("order", stage, orders[1].value, orders[0].value, z, float(ndtr(z)), words, RETRAIN))
    return [each for each in found if not np.isnan(each.z)]


def meanings(outcomes: Outcomes) -> list[Finding]:
    """For each column, what it says of the outcome lately, beside before.

    The effect of a column is in log odds of going on to the next stage, among leads of the same stage, days in stage
    and window; one step of Newton's method from no effect (the score over its information). So neither a level that
    moved nor another mix of leads changes it.
    """
    history = outcomes.history
    handoff = history.funnel.stages.index(history.funnel.funnel.handoff[1]) - 1
    n_late = outcomes.n_late(handoff)
    n_windows = min(len(outcomes.windows(place)) for place in range(len(history.funnel.later_stages)))
    if not n_late or n_windows - n_late < LEAST_PAST:
        return []
    found = []
    names, columns = _columns(outcomes)
    score, information = np.zeros((2, len(names), n_windows))
    for place in range(len(history.funnel.later_stages)):
        windows = outcomes.windows(place)
        window = windows.index(outcomes.rows.as_of) - (len(windows) - n_windows)
        rows = (window >= 0) & (outcomes.rows.stage == place) & ~np.isnan(outcomes.outcome[:, place])
        group = window[rows] * outcomes.rows.n_groups + outcomes.rows.group[rows]
        y = outcomes.outcome[rows, place].astype(np.float64)
        for at, column in enumerate(columns):
            u, v = _effects(column[rows], y, group, n_windows, outcomes.rows.n_groups)
            score[at] += u
            information[at] += v
    late = np.arange(n_windows) >= n_windows - n_late
    for name, u, v in zip(names, score, information, strict=True):
        if min(v[late].sum(), v[~late].sum()) >= LEAST_INFORMATION:
            found.append(_meaning(name, u, v, late))
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
    # From window to window, and the median of it: an effect that turned once is no noise.
    moved = np.diff(effect) ** 2 / (variance[1:] + variance[:-1])
    n_past = max(len(moved), 1)
    beyond = max(float(np.median(moved)) / MEDIAN_OF_SQUARES - 1, 0.0) if len(moved) else 0.0
    noise = max(beyond * float(np.median(variance)) / n_past, LEAST_NOISE**2)
    z = (now - before) / float(np.sqrt(sampling * (1 + beyond) + noise))
    freedom = n_past * ((sampling + noise) / noise) ** 2
    turned = "turned" if now * before < 0 else "changed"
    words = (
        f"what {name} says of the outcome {turned}: it multiplies the odds by {np.exp(now):.2f}, "
        f"before by {np.exp(before):.2f}"
    )
    return Finding("meaning", name, before, now, z, float(2 * student.sf(abs(z), freedom)), words, RETRAIN)


def _columns(outcomes: Outcomes) -> tuple[list[str], list[Float64s]]:
    """Names, and columns of shape (n_rows,): numbers in standard deviations, values and kinds of touch as 0 and 1."""
    history, rows = outcomes.history, outcomes.rows
    snapshot = history.at(rows.lead, rows.as_of)
    names, columns = [], []
    for name in (*history.funnel.attributes.numbers, *history.funnel.changes.numbers):
        value = snapshot.number(name)
        usual = np.sort(value[~np.isnan(value)])
        if len(usual) and usual[0] < usual[-1]:
            names.append(f"one standard deviation more of {name}")
            columns.append(np.nan_to_num(normal_scores(value, usual), nan=0.0))
    for name in (*history.funnel.attributes.categories, *history.funnel.changes.categories):
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
        touched = np.zeros((len(rows), len(kinds)))
        for part, leads in snapshot.parts():
            touched[part] = leads.touches.count("kind", (TOUCH_DAYS,))[:, 0, :] > 0
        names += [f"a touch of kind {kind} in the last {TOUCH_DAYS} days" for kind in kinds]
        columns += list(touched.T)
    return names, columns


def _late(judged: Judged, windows: Windows, n_late: int) -> Bools:
    window = windows.index(judged.as_of)
    late: Bools = (window >= 0) & (window >= len(windows) - n_late)
    return late


def _fewest_leads(known: Known) -> int:
    return min(len(np.unique(known.lead[known.outcome == each])) for each in (0, 1))
