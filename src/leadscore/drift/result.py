"""What drift was found: findings, each with a sentence, and one advice."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

What = Literal["level", "order", "meaning", "features", "categories", "missingness", "volume"]
Advice = Literal["go on", "recalibrate", "retrain on a window", "look at the data"]

GO_ON: Advice = "go on"
RECALIBRATE: Advice = "recalibrate"
RETRAIN: Advice = "retrain on a window"
LOOK: Advice = "look at the data"
TO_DO: dict[Advice, str] = {
    GO_ON: "There is nothing to do.",
    RECALIBRATE: "Run make recalibrate, then make promote.",
    RETRAIN: "What the model learnt long ago misleads it: run make train on recent time, then make promote.",
    LOOK: "Find out what happened to the source or the tracking, and mend it, before you train or promote.",
}
NONE_FOUND = "no drift found"
# Chance of a finding in a run though nothing moved.
FALSE_ALARM = 0.01
# How that is shared out. Effects of columns are known worst; where a source died or touches stopped, that is clear.
SHARES = {"level": 0.25, "order": 0.05, "meaning": 0.45, "inputs": 0.25}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that moved by more than it used to.

    Attributes
    ----------
    what : str
        ``level``, ``order``, ``meaning``, ``features``, ``categories``, ``missingness`` or ``volume``.
    subject : str
        The stage, attribute, value or kind of touch.
    before, now : float
        The figures in the sentence: for a level, what was predicted and what was observed.
    z, p : float
        How many standard deviations of what is usual lie between them, and how likely that is by chance.
    sentence : str
        What moved, without a full stop.
    advice : str
        What to do about it.
    """

    what: What
    subject: str
    before: float
    now: float
    z: float
    p: float
    sentence: str
    advice: Advice = GO_ON

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True, slots=True)
class Drift:
    """What moved between the latest time and the time before.

    Attributes
    ----------
    findings : tuple of Finding
        The most urgent first; none in 99 of 100 runs in which nothing moves.
    n_tests : int
        How many statistics were looked at.
    """

    findings: tuple[Finding, ...] = ()
    n_tests: int = 0

    @property
    def advice(self) -> Advice:
        """Of all that the findings ask for, what comes first: on wrong data nothing should be learnt."""
        asked = {each.advice for each in self.findings}
        return next((each for each in (LOOK, RETRAIN, RECALIBRATE) if each in asked), GO_ON)

    @property
    def to_do(self) -> str:
        """What to do, in a sentence."""
        if self.findings and self.advice == GO_ON:
            return "What moved did not make the model worse so far: there is nothing to do."
        return TO_DO[self.advice]

    def __str__(self) -> str:
        if not self.findings:
            return NONE_FOUND if self.n_tests else "drift: the history is too short to tell"
        return f"drift: {self.advice}: {'; '.join(map(str, self.findings))}"

    def as_json(self) -> dict[str, Any]:
        """The same for a model to carry with it."""
        return {
            "advice": self.advice,
            "to_do": self.to_do,
            "tests": self.n_tests,
            "findings": [
                {
                    "what": each.what,
                    "subject": each.subject,
                    "before": each.before,
                    "now": each.now,
                    "z": each.z,
                    "p": each.p,
                    "sentence": f"{each.sentence[:1].upper()}{each.sentence[1:]}.",
                }
                for each in self.findings
            ],
        }


def drift_among(tests: list[Finding]) -> Drift:
    """The findings that are clear though so many were looked at.

    Holm's procedure at `FALSE_ALARM` for all together, with weights (Holm, A simple sequentially rejective multiple
    test procedure, 1979, 4), so that many columns do not drown a level. All levels are one test, as
    `leadscore.drift.level.levels` says.
    """
    shares = Counter(_share(each.what) for each in tests)
    weight = {share: SHARES[share] / (1 if share == "level" else n) for share, n in shares.items()}
    left = sorted(tests, key=lambda each: each.p / weight[_share(each.what)])
    found: list[Finding] = []
    while left and left[0].p <= FALSE_ALARM * weight[_share(left[0].what)] / _weight_of(left, weight):
        found.append(left.pop(0))
    urgent: tuple[Advice, ...] = (LOOK, RETRAIN, RECALIBRATE, GO_ON)
    found.sort(key=lambda each: (urgent.index(each.advice), -abs(each.z)))
    return Drift(tuple(found), len(tests))


def _weight_of(tests: list[Finding], weight: dict[str, float]) -> float:
    """Of all tests together, in which levels are one."""
    shares = Counter(_share(each.what) for each in tests)
    return sum(weight[share] * (1 if share == "level" else n) for share, n in shares.items())


def _share(what: What) -> str:
    return what if what in {"level", "order", "meaning"} else "inputs"
