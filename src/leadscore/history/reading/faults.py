"""Which rows break which rule, gathered over a table until all are known."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from leadscore.errors import SHOWN, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from leadscore.config import TableName
    from leadscore.history.line import Bools, Int64s


@dataclass(frozen=True, slots=True)
class Rule:
    """What a value must be, what to do where it is not, and the values to choose from if they are few."""

    must: str
    fix: str
    choices: tuple[str, ...] = ()

    def remedy(self, shown: Iterable[str]) -> str:
        """What to do about the bad values ``shown``."""
        near = {value: did_you_mean(value, self.choices) for value in shown}
        meant = [f"{close!r} for {value!r}" for value, close in near.items() if close]
        return (f"Did you mean {', '.join(meant)}? " if meant else "") + self.fix


@dataclass(frozen=True, slots=True)
class Fault:
    """Rows of one column that break one rule.

    Attributes
    ----------
    rows : ndarray of int64, ascending
        Row numbers from 0: of the chunk while it is checked, of the table once gathered.
    shown : tuple of str
        The first few distinct bad values, where they say more than the rule.
    leads : tuple of str
        The first few leads whose rows these are.
    causes : tuple of (str, str)
        Likely causes, with an example of each.
    """

    column: str
    rule: Rule
    rows: Int64s
    shown: tuple[str, ...] = ()
    leads: tuple[str, ...] = ()
    causes: tuple[tuple[str, str], ...] = ()


# Not a problem of its own: the lead's own rows are one. They go where the lead goes.
OF_A_BAD_LEAD = Rule("of a quarantined lead", "Put the lead right")


@dataclass(slots=True)
class Faults:
    """All faults of one table.

    Attributes
    ----------
    table : str
        Its name.
    whole : list of Problem
        Problems of the table as a whole, which no quarantine can mend.
    ragged : Problem, optional
        Rows with the wrong number of values; they have no place among the rows that were read.
    """

    table: TableName
    whole: list[Problem] = field(default_factory=list)
    ragged: Problem | None = None
    _found: dict[tuple[str, Rule], list[Fault]] = field(default_factory=dict)

    def add(self, fault: Fault, offset: int = 0) -> None:
        """Gather a fault whose rows count from ``offset``."""
        if len(fault.rows):
            self._found.setdefault((fault.column, fault.rule), []).append(replace(fault, rows=fault.rows + offset))

    def each(self) -> tuple[Fault, ...]:
        """One fault per column and rule, in the order in which they were first met."""
        return tuple(_joined(faults) for faults in self._found.values())

    def rows(self) -> Int64s:
        """Row numbers that break any rule, ascending."""
        if not self._found:
            return np.empty(0, np.int64)
        return np.unique(np.concatenate([fault.rows for faults in self._found.values() for fault in faults]))

    def kept(self, n_rows: int) -> Bools:
        """Which of the table's rows break no rule, shape (n_rows,)."""
        kept = np.ones(n_rows, np.bool_)
        kept[self.rows()] = False
        return kept

    def problems(self) -> tuple[Problem, ...]:
        """One problem per column and rule."""
        ragged = (self.ragged,) if self.ragged else ()
        return (
            *self.whole,
            *ragged,
            *(self._problem(fault) for fault in self.each() if fault.rule is not OF_A_BAD_LEAD),
        )

    def _problem(self, fault: Fault) -> Problem:
        named = f", not {', '.join(map(repr, fault.shown))}" if fault.shown else ""
        likely = "; ".join(f"{cause}: {example}" for cause, example in fault.causes)
        return Problem(
            table=self.table,
            column=fault.column,
            rule=fault.rule.must + named,
            fix=(f"The likely cause is {likely}. " if likely else "") + fault.rule.remedy(fault.shown),
            rows=len(fault.rows),
            leads=fault.leads,
        )


def _joined(faults: list[Fault]) -> Fault:
    def firsts(texts: Iterable[str], most: int) -> tuple[str, ...]:
        return tuple(dict.fromkeys(texts))[:most]

    return replace(
        faults[0],
        rows=np.concatenate([fault.rows for fault in faults]),
        shown=firsts((text for fault in faults for text in fault.shown), SHOWN),
        leads=firsts((lead for fault in faults for lead in fault.leads), SHOWN + 1),
        causes=tuple(dict(cause for fault in faults for cause in fault.causes).items()),
    )


def did_you_mean(name: str, names: Iterable[str]) -> str | None:
    """The one of ``names`` that ``name`` most likely was meant to be."""
    folded = {each.casefold(): each for each in names}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    return folded[close[0]] if close else None
