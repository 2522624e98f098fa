"""What the gate says of a candidate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Mornings decide if they hold so many leads of either outcome of the handoff.
LEAST_LEADS = 40

Decision = Literal["passed", "held back", "not comparable"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the gate, and what it found.

    Attributes
    ----------
    name : str
        Against the champion: ``log loss``, ``level``, ``order``, ``capacity precision`` and ``segments``. Of the
        candidate alone: ``ranks``, ``base rate``, ``logistic regression``, ``calibration slope`` and ``leaks``; and
        ``inputs``, of the time that only the candidate learnt from.
    kept : bool
        Whether the candidate keeps to it.
    found : str
        The figures, in a sentence without a full stop.
    """

    name: str
    kept: bool
    found: str

    def __str__(self) -> str:
        return f"{'kept' if self.kept else 'BROKEN'}: {self.name}: {self.found}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Mornings on which candidate and champion, or twins of theirs, are held against each other.

    Attributes
    ----------
    name : str
        ``later mornings`` or ``replay``.
    judged : str
        What is judged on which mornings, in words without a full stop.
    stage : str
        The stage to reach whose outcomes are counted.
    n_reached, n_not_reached : int
        Leads of either outcome.
    """

    name: str
    judged: str
    stage: str
    n_reached: int
    n_not_reached: int

    @property
    def enough(self) -> bool:
        """Whether they are enough to decide."""
        return min(self.n_reached, self.n_not_reached) >= LEAST_LEADS

    def __str__(self) -> str:
        counts = f"{self.n_reached:,} leads that reached {self.stage} and {self.n_not_reached:,} that did not"
        few = "" if self.enough else f"; too few to decide: at least {LEAST_LEADS} of either are needed"
        return f"{self.name}: {self.judged}: {counts}{few}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says of a candidate.

    Attributes
    ----------
    evidence : tuple of Evidence
        All that was looked at, the one that decides last.
    rules : tuple of Rule
        All of them, kept or not.
    enough_on : str
        The day from which later mornings will probably be enough, where nothing is enough now.
    """

    evidence: tuple[Evidence, ...]
    rules: tuple[Rule, ...]
    enough_on: str = ""

    @property
    def decision(self) -> Decision:
        """``held back`` if a rule is broken, ``not comparable`` if nothing is enough to decide, else ``passed``."""
        if not all(rule.kept for rule in self.rules):
            return "held back"
        return "passed" if any(each.enough for each in self.evidence) else "not comparable"

    @property
    def passed(self) -> bool:
        """Whether the candidate may go into service."""
        return self.decision == "passed"

    def __str__(self) -> str:
        lines = [str(each) for each in (*self.evidence, *self.rules)]
        if self.enough_on:
            lines.append(f"later mornings will probably be enough from {self.enough_on} on")
        return "\n".join(f"  {line}" for line in lines)
