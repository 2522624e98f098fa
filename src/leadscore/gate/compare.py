"""Whether a candidate may replace the champion.

What an operator asks is whether the candidate will do better from now on. Nobody knows that, so there are two kinds of
evidence, and a look at the time that only the candidate learnt from. The worked example: the champion learnt from
labels that ended by 2025-03-01, the candidate from those that ended by 2025-05-01, and the history ends on 2025-06-10.
On mornings since 2025-05-01 both are judged as they are, by what leads reached within a week or more. Where those are
too few, both recipes are learnt again at cuts in the past: at 2025-02-10 the candidate's from labels that had ended by
then, and the champion's from those that had ended by 2024-12-11, because it is 61 days older. Both are judged on the
mornings from 2025-02-10 on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leadscore.drift import only_learnt
from leadscore.gate.comparison import LATER, Comparison, enough_on
from leadscore.gate.recipe import Recipe, as_read_by
from leadscore.gate.rules import NO_YARDSTICK, against_the_champion, alone, knows_outcomes, of_the_inputs, of_the_model
from leadscore.gate.verdict import Verdict

if TYPE_CHECKING:
    from leadscore.gate.verdict import Evidence
    from leadscore.history import History
    from leadscore.model import FunnelModel


def compare(history: History, candidate: FunnelModel, champion: FunnelModel, n_jobs: int, leaks: str = "") -> Verdict:
    """Hold a candidate against the champion.

    Parameters
    ----------
    leaks : str
        The leak alarms of the candidate's training run.

    Raises
    ------
    ModelError
        One of them is of another funnel, or of attributes that the history does not have.
    TrainingError
        The history is too short to learn from one part and judge on a later one.
    """
    now = max(candidate.trained_until_, champion.trained_until_)
    ours, theirs = (Recipe(each, as_read_by(history, each), now, n_jobs) for each in (candidate, champion))
    evidence: list[Evidence] = []
    learnt = only_learnt(history, champion.trained_until_, candidate.trained_until_)
    rules = of_the_model(candidate, leaks)
    for look in (Comparison.on_later_mornings, Comparison.by_replay):
        found = look(history, ours, theirs)
        if isinstance(found, Comparison):
            inputs = of_the_inputs(learnt, by_later_mornings=found.evidence.name == LATER)
            held = [NO_YARDSTICK] if knows_outcomes(champion) else against_the_champion(history, found)
            rules = [*held, *alone(found, candidate), inputs, *rules]
            return Verdict((*evidence, found.evidence), tuple(rules))
        evidence.append(found)
    rules = [of_the_inputs(learnt, by_later_mornings=False), *rules]
    return Verdict(tuple(evidence), tuple(rules), enough_on(history, now))
