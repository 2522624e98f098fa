"""Where one lead stands: its latest score, why, and how it came there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import logit

from leadscore.api.telling import (
    STALE,
    Told,
    every_score,
    place_of,
    probabilities_told,
    reasons_told,
    score_told,
    without_score,
)
from leadscore.explain import changes, explain
from leadscore.history.line import DAY
from leadscore.publishing import incomplete_among, sent_record
from leadscore.scoring import score_leads
from leadscore.store import listed_rows, reading, records_of, score_history, stayed_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadscore.explain import Change, Reasons
    from leadscore.registry import Served
    from leadscore.scoring import Scores
    from leadscore.store import PastScore, Store

IMPROVING, STEADY, DECLINING, TOO_EARLY = "improving", "steady", "declining", "too early"
# A trend is against a score of about a week ago, and no earlier than of yesterday.
TREND_DAYS, LEAST_DAYS = 7, 1
# In log odds: no smaller change is one, where training saw none.
LEAST_CHANGE = 0.02


@dataclass(frozen=True)
class Standing:
    """A lead, scored as of the moment of its latest score.

    Attributes
    ----------
    lead_id : str
        Of the lead that stayed, where it was merged.
    served : Served
        The model in service.
    record : dict
        The whole history, as it is sent to be scored.
    scores : Scores
        As of ``as_of`` by the model in service.
    as_of, scored_at : int
        Of the latest score, in microseconds since 1970 UTC.
    rank : int, optional
    past : sequence of PastScore
        Earlier scores, oldest first.
    """

    lead_id: str
    served: Served
    record: dict[str, Any]
    scores: Scores
    as_of: int
    scored_at: int
    rank: int | None
    past: Sequence[PastScore]

    def told(self, stale_before: int) -> Told:
        """The score with its reasons."""
        every = every_score(self.as_of, self.scored_at, str(self.served.version))
        if not len(self.scores.scored):
            return without_score(self.scores, 0) | every
        told = score_told(self.scores, self.served.model, 0, every)
        if told["closed"]:
            return told
        flags = [*told["flags"], *([STALE] if self.as_of < stale_before else [])]
        reasons = None if self._reasons is None else reasons_told(self._reasons)
        return told | {"rank": self.rank, "flags": flags, "reasons": reasons}

    def trend(self) -> str:
        """Whether the probability that the list is in order of has moved more than it does when nothing happens."""
        if not self._is_open:
            return TOO_EARLY
        earlier = self._earlier()
        if earlier is None:
            return TOO_EARLY
        stages = self.served.model.funnel.stages
        now, then = int(self.scores.stage[0]), stages.index(earlier.stage) if earlier.stage in stages else -1
        if now != then:
            return IMPROVING if now > then else DECLINING
        probability = earlier.probabilities[self._place]
        jitter = self.served.about["jitter"].get(self.served.model.funnel.later_stages[self._place])
        if probability is None:
            return TOO_EARLY
        moved = _log_odds(float(self.scores.key[0])) - _log_odds(probability)
        if abs(moved) <= max(LEAST_CHANGE, jitter or 0.0):
            return STEADY
        return IMPROVING if moved > 0 else DECLINING

    def changed(self) -> tuple[Change, ...]:
        """What moved the score since the one before, by the model in service."""
        if not self._is_open or not self.past or self._reasons is None:
            return ()
        before = score_leads(
            self.served.model, [self.record], np.array([self.past[-1].as_of], np.int64), self.served.rules
        )
        if not len(before.scored):
            return ()
        was = explain(self.served.model, before.snapshot, self._place)
        return changes(was[0], self._reasons)

    def past_probabilities(self, past: PastScore) -> list[Told]:
        """Probabilities of an earlier score."""
        return probabilities_told(past.probabilities, self.served.model)

    def for_dynamics(self) -> Told:
        """The score as Dynamics 365 takes it."""
        trends = (IMPROVING, STEADY, DECLINING, TOO_EARLY)
        return {
            "msdyn_score": round(100 * float(self.scores.key[0])),
            "msdyn_scoretrend": trends.index(self.trend()),
            "msdyn_grade": "ABCD".index(self.scores.grade[0]),
            "msdyn_entityid": self.lead_id,
            "msdyn_entitytype": "lead",
        }

    @property
    def _is_open(self) -> bool:
        return len(self.scores.scored) > 0 and int(self.scores.stage[0]) < len(self.served.model.stages_)

    @property
    def _place(self) -> int:
        return place_of(self.served.model, before=bool(self.scores.before[0]))

    @cached_property
    def _reasons(self) -> Reasons | None:
        return explain(self.served.model, self.scores.snapshot, self._place)[0] if self._is_open else None

    def _earlier(self) -> PastScore | None:
        """The latest score that is a week old, else the oldest one that is a day old."""
        older = [each for each in self.past if each.as_of <= self.as_of - LEAST_DAYS * DAY]
        week = [each for each in older if each.as_of <= self.as_of - TREND_DAYS * DAY]
        return week[-1] if week else older[0] if older else None


def standing_of(store: Store, served: Served, lead_id: str, now: int) -> Standing | None:
    """Where a lead stands; None where there is no such lead.

    A lead that was never scored is scored as of now.
    """
    with reading(store) as connection:
        stands = stayed_of(connection, lead_id)
        records = records_of(connection, [stands])
        if not records:
            return None
        row = listed_rows(connection, [stands]).get(stands)
        past = score_history(connection, records[0]["lead"])
    as_of, scored_at = (now, now) if row is None else (row.as_of, row.scored_at)
    record = sent_record(records[0], served.model.funnel.time)
    scores = score_leads(
        served.model,
        [record],
        np.array([as_of], np.int64),
        served.rules,
        stale_days=served.stale_days,
        incomplete=incomplete_among(records),
    )
    earlier = [each for each in past if each.as_of < as_of]
    return Standing(stands, served, record, scores, as_of, scored_at, None if row is None else row.rank, earlier)


def _log_odds(probability: float) -> float:
    return float(logit(np.clip(probability, 1e-9, 1 - 1e-9)))
