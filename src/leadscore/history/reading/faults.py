"""Which rows break which rule, gathered over a table until all are known."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from leadscore.errors import SHOWN, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from leadscore.config import TableName
    from leadscore.history.line import Bools, Int64s


class Effect(IntEnum):
    """What a fault costs, where quarantine goes on without it."""

    NOTHING = 0  # the value is read all the same; a warning
    VALUE = 1  # the value is read as missing
    ROW = 2  # the row is set aside


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
    hints : tuple of str
        What the values look like, a sentence each.
    effect : Effect
        What it costs.
    """

    column: str
    rule: Rule
    rows: Int64s
    shown: tuple[str, ...] = ()
    leads: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    effect: Effect = Effect.ROW


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
    leads_aside : list of ndarray of int64
        Leads of rows that were set aside, as ``lead_id`` reads them.
    """

    table: TableName
    whole: list[Problem] = field(default_factory=list)
    ragged: Problem | None = None
    leads_aside: list[Int64s] = field(default_factory=list)
    _found: dict[tuple[str, Rule], list[Fault]] = field(default_factory=dict)

    def add(self, fault: Fault, offset: int = 0) -> None:
        """Gather a fault whose rows count from ``offset``."""
        if len(fault.rows):
            self._found.setdefault((fault.column, fault.rule), []).append(replace(fault, rows=fault.rows + offset))

    def each(self) -> tuple[Fault, ...]:
        """One fault per column and rule, in the order in which they were first met."""
        return tuple(_joined(faults) for faults in self._found.values())

    def rows(self, least: Effect = Effect.ROW) -> Int64s:
        """Numbers of the rows with a fault that costs ``least`` or more, ascending."""
        rows = [fault.rows for faults in self._found.values() for fault in faults if fault.effect >= least]
        return np.unique(np.concatenate(rows)) if rows else np.empty(0, np.int64)

    def kept(self, n_rows: int) -> Bools:
        """Which of the table's rows are not set aside, shape (n_rows,)."""
        kept = np.ones(n_rows, np.bool_)
        kept[self.rows()] = False
        return kept

    def problems(self) -> tuple[Problem, ...]:
        """One problem per column and rule."""
        return (*self.whole, *self._of_rows(Effect.VALUE))

    def warnings(self) -> tuple[Problem, ...]:
        """What is wrong or odd, once quarantine has dealt with it."""
        said = {Effect.NOTHING: "", Effect.VALUE: "; read as missing", Effect.ROW: "; set aside"}
        return tuple(self._of_rows(Effect.NOTHING, said))

    def _of_rows(self, least: Effect, said: Mapping[Effect, str] | None = None) -> Iterator[Problem]:
        after = said or dict.fromkeys(Effect, "")
        if self.ragged:
            yield replace(self.ragged, rule=self.ragged.rule + after[Effect.ROW])
        for fault in self.each():
            if fault.rule is not OF_A_BAD_LEAD and fault.effect >= least:
                yield self._problem(fault, after[fault.effect])

    def _problem(self, fault: Fault, after: str) -> Problem:
        but = "such as" if fault.effect == Effect.NOTHING else "not"
        named = f", {but} {', '.join(map(repr, fault.shown))}" if fault.shown else ""
        return Problem(
            table=self.table,
            column=fault.column,
            rule=fault.rule.must + named + after,
            fix=" ".join([*fault.hints, fault.rule.remedy(fault.shown)]),
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
        hints=firsts((hint for fault in faults for hint in fault.hints), SHOWN),
    )


def incomplete_leads(first: Sequence[str], count: int) -> Problem:
    """The warning that ``count`` leads are incomplete, of which the ``first`` few are named."""
    rule = "leads of which a transition was set aside are incomplete: flagged, and neither learnt from nor judged on"
    fix = "Correct these transitions, and read them again"
    return Problem("transitions", "", rule, fix, count, tuple(first), counted="lead")


def did_you_mean(name: str, names: Iterable[str]) -> str | None:
    """The one of ``names`` that ``name`` most likely was meant to be."""
    folded = {each.casefold(): each for each in names}
    initials = "".join(word[0] for word in name.casefold().split())
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    if not close and len(initials) > 1 and initials in folded:
        return folded[initials]
    return folded[close[0]] if close else None
