"""New leads, window by window: how many there are, and what is known of them when they come in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm

from leadscore.backtest import OWNER
from leadscore.drift.series import Series
from leadscore.drift.statistic import Statistic
from leadscore.history import DAY, MISSING

if TYPE_CHECKING:
    from leadscore.drift.windows import Windows
    from leadscore.history import History
    from leadscore.history.line import Bools, Float64s, Int64s

# Attributes that change are read so many days after a lead came in.
CHANGES_KNOWN_DAYS = 7
# Of each category so many values are looked at, the most common first, if so many leads with it are to be expected.
MOST_VALUES, LEAST_LEADS = 20, 5.0
# Values are new if they were not there in the first so many windows, in which every value is new.
FIRST_WINDOWS = 3
# In any company there come a fifth more or fewer leads in some windows.
VOLUME_NOISE = 0.2


def new_leads(history: History, windows: Windows, past: Bools, late: Bools) -> list[Statistic]:
    """How many leads came in, and the distribution of each attribute and of what is missing."""
    recorded = history.created >= history.begins
    lead = np.flatnonzero(recorded)
    window = windows.index(history.known[lead])
    count = np.bincount(window[window >= 0], minlength=len(windows)).astype(np.float64)
    lengths = np.diff(windows.edges) / (windows.edges[1] - windows.edges[0])
    everything = Series("rate", count, lengths, least_noise=VOLUME_NOISE)
    found = [Statistic("volume", "new leads", "new leads per window", everything, only_falls=True)]
    later = windows.index(
        np.where(history.known + CHANGES_KNOWN_DAYS * DAY <= windows.edges[-1], history.known, 0)[lead]
    )
    snapshots = {
        fixed: history.at(lead, history.known[lead] + (0 if fixed else CHANGES_KNOWN_DAYS * DAY))
        for fixed in ((True, False) if history.changes else (True,))
    }
    attributes, changes = history.funnel.attributes.known_in_time, history.funnel.changes.known_in_time
    for fixed, names in ((True, attributes.numbers), (False, changes.numbers)):
        for name in names:
            value = snapshots[fixed].number(name)
            found += _number(name, value, window if fixed else later, past)
    for fixed, names in ((True, attributes.categories), (False, changes.categories)):
        for name in names:
            values = history.vocabulary.categories[name]
            code = snapshots[fixed].category(name).astype(np.int64)
            inside = window if fixed else later
            found += _missing(name, code == values.index(MISSING), inside, len(past))
            if name != OWNER:
                found += _category(name, history, code, inside, (past, late))
    return found


def common_values(values: tuple[str, ...], code: Int64s, share_of: float) -> list[int]:
    """Codes of the values that are common enough to be looked at, the most common first.

    Parameters
    ----------
    code : ndarray of int64
        Of the leads that count.
    share_of : float
        How many leads of these there will be; each value must be expected `LEAST_LEADS` times.
    """
    n = np.bincount(code, minlength=len(values)).astype(np.float64)
    n[values.index(MISSING)] = 0
    enough = np.flatnonzero(n * share_of >= LEAST_LEADS)
    ordered: list[int] = enough[np.argsort(-n[enough], kind="stable")][:MOST_VALUES].tolist()
    return ordered


def _number(name: str, value: Float64s, window: Int64s, past: Bools) -> list[Statistic]:
    n_windows = len(past)
    missing = np.isnan(value)
    found = _missing(name, missing, window, n_windows)
    usual = np.sort(value[(window >= 0) & past[window] & ~missing])
    if len(usual) < LEAST_LEADS or usual[0] == usual[-1]:
        return found
    known = (window >= 0) & ~missing
    score = normal_scores(value[known], usual)
    at, n = window[known], np.bincount(window[known], minlength=n_windows).astype(np.float64)
    of_past = score[past[at]]
    for what, column in (("in its middle", score), ("in its spread", np.abs(score - np.median(of_past)))):
        spread = float(column[past[at]].var())
        if spread > 0:
            total = np.bincount(at, column, n_windows).astype(np.float64)
            series = Series("mean", total, n, spread)
            found.append(Statistic("features", name, f"{name} of new leads moved {what}", series))
    return found


def normal_scores(value: Float64s, usual: Float64s) -> Float64s:
    """Where values stand among usual ones, which are sorted, as quantiles of a normal distribution."""
    rank = (usual.searchsorted(value, side="left") + usual.searchsorted(value, side="right")) / 2
    scores: Float64s = norm.ppf((rank + 0.5) / (len(usual) + 1))
    return scores


def _missing(name: str, missing: Bools, window: Int64s, n_windows: int) -> list[Statistic]:
    inside = window >= 0
    n, x = (np.bincount(window[rows], minlength=n_windows).astype(np.float64) for rows in (inside, inside & missing))
    return [Statistic("missingness", name, f"new leads without {name}", Series("share", x, n))]


def _category(name: str, history: History, code: Int64s, window: Int64s, masks: tuple[Bools, Bools]) -> list[Statistic]:
    values, (past, late) = history.vocabulary.categories[name], masks
    known = (window >= 0) & (code != values.index(MISSING))
    code, window = code[known], window[known]
    count = np.zeros((len(values), len(past)))
    np.add.at(count, (code, window), 1)
    n = count.sum(axis=0)
    of_past = code[past[window]]
    common = common_values(values, of_past, float(n[late].sum()) / max(float(n[past].sum()), 1.0))
    # Of two values one says all.
    looked_at = common[:1] if len(np.unique(of_past)) == 2 else common
    found = [
        Statistic(
            "categories",
            f"{name} = {values[at]}",
            f"new leads with {name} = {values[at]}",
            Series("share", count[at], n),
        )
        for at in looked_at
    ]
    first = np.where(count.any(axis=1), (count > 0).argmax(axis=1), -1)
    is_new = first[:, None] == np.arange(len(past))
    # Late windows count as one: a value that came in the first of them is new in all.
    is_new[:, late] = late[first][:, None] & (first >= 0)[:, None]
    x = (count * is_new).sum(axis=0)
    largest = values[int((count * is_new)[:, late].sum(axis=1).argmax())]
    usable = np.where(np.arange(len(past)) < FIRST_WINDOWS, 0.0, n)
    series = Series("share", np.where(usable > 0, x, 0.0), usable)
    of = f"new leads with values of {name} never seen before, such as {largest}"
    return [*found, Statistic("categories", f"{name}: new values", of, series, is_new=True)]
