"""What was different for a while and is as before again: a model that learnt from that time learnt what does not hold.

The worked example: the champion learnt from labels that ended by 2025-03-01, the candidate from those that ended by
2025-05-01, and the history ends on 2025-06-10. In the time that only the candidate learnt from, 2025-03-01 to
2025-05-01, leads went on to sql four times as often as in the windows before, and since 2025-05-01 they do not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from leadscore.drift.entering import new_leads
from leadscore.drift.open_leads import OpenLeads, moves, touch_volumes
from leadscore.drift.result import LOOK, Drift, drift_among
from leadscore.drift.statistic import findings_of
from leadscore.drift.windows import LEAST_PAST, WINDOW_DAYS, Windows, first_known
from leadscore.history import DAY

if TYPE_CHECKING:
    from leadscore.drift.result import Finding
    from leadscore.drift.statistic import Statistic
    from leadscore.history import History
    from leadscore.history.line import Bools


@dataclass(frozen=True, slots=True)
class OnlyLearnt:
    """What is odd about a time that only one of two models learnt from.

    Attributes
    ----------
    ended : Drift
        What was different in that time, and is as before again.
    lasting : Drift
        What is wrong with the data since then.
    """

    ended: Drift
    lasting: Drift


def only_learnt(history: History, begin: int, end: int) -> OnlyLearnt | None:
    """What is odd about the time from ``begin`` to ``end``; None where that is not known.

    What came after it is the time from ``end`` on, and at least the last `WINDOW_DAYS`.
    """
    span = WINDOW_DAYS * DAY
    end = min(end, history.known_until - span)
    n_past = max(begin - first_known(history), 0) // span
    if end <= begin or n_past < LEAST_PAST:
        return None
    n_parts = max((end - begin) // span, 1)
    edges = begin - span * np.arange(n_past, -1, -1, dtype=np.int64)
    parts = begin + (end - begin) * np.arange(1, n_parts + 1, dtype=np.int64) // n_parts
    windows = Windows(np.concatenate((edges, parts, [history.known_until])))
    at = np.arange(len(windows))
    past, after = at < n_past, at == len(windows) - 1
    learnt = ~past & ~after
    rows = OpenLeads.since(history, int(windows.edges[0]))
    volumes = touch_volumes(history, rows, windows, past, learnt)
    inputs = [*new_leads(history, windows, past, learnt), *volumes]
    ended = [_ended(each, learnt, after, past) for each in (*moves(history, rows, windows, past), *inputs)]
    since = findings_of(inputs, learnt | after, past)
    # Only what no company does on purpose: other kinds of leads are what a new model is for.
    lasting = drift_among(since)
    return OnlyLearnt(
        drift_among([each for each in ended if each is not None]),
        replace(lasting, findings=tuple(each for each in lasting.findings if each.advice == LOOK)),
    )


def _ended(statistic: Statistic, learnt: Bools, after: Bools, past: Bools) -> Finding | None:
    """How the time learnt from, or a part of it, differs from the time before and that after, clear or not."""
    at = np.arange(len(learnt))
    parts = [at == part for part in np.flatnonzero(learnt)]
    looks = [learnt, *parts] if len(parts) > 1 else [learnt]
    found = [_ended_in(statistic, look, after, past) for look in looks]
    known = [each for each in found if each is not None]
    if not known:
        return None
    clearest = min(known, key=lambda each: each.p)
    return replace(clearest, p=min(clearest.p * len(looks), 1.0))


def _ended_in(statistic: Statistic, learnt: Bools, after: Bools, past: Bools) -> Finding | None:
    finding = statistic.finding(learnt, past)
    changes = [statistic.series.change(late, past) for late in (learnt, after)]
    if finding is None or changes[0] is None or changes[1] is None:
        return None
    if finding.advice != LOOK and finding.what != "level":
        return None
    z, p = changes[0].against(changes[1])
    # Between the two it is on its way from one to the other.
    p = max(p, finding.p) if z * finding.z > 0 else 1.0
    back = statistic.finding(after, past)
    again = f"; since then {back.now:.3g} again" if back is not None else ""
    return replace(finding, p=p, sentence=f"{finding.sentence}{again}")
