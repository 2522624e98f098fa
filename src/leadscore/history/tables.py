"""Checked tables: columns of numbers and codes, in the order of their files.

What reading and checking hand to `leadscore.history.build`. Times are microseconds since 1970 UTC in int64;
``known`` is the later of ``occurred_at`` and ``recorded_at``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from leadscore.history.line import Bools, Float64s, Int8s, Int32s, Int64s, Strings

# Later than any time.
STAYS = int(np.iinfo(np.int64).max)


@dataclass(frozen=True, slots=True)
class Coded:
    """A column of categories.

    Attributes
    ----------
    codes : ndarray of int32, shape (n_rows,)
        Place in ``names``; -1 where missing.
    names : tuple of str
        Distinct, in any order.
    """

    codes: Int32s
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LeadTable:
    """One row per lead, each ``lead_id`` once, in any order.

    Attributes
    ----------
    ids : ndarray of object (str), shape (n_leads,)
        ``lead_id``.
    created, known : ndarray of int64, shape (n_leads,)
        When the lead was created, and when we knew of it.
    do_not_score : ndarray of bool, shape (n_leads,)
        Leads that object to being scored.
    numbers : dict of str to ndarray of float64, shape (n_leads,)
        Declared attributes; NaN where missing.
    categories : dict of str to Coded
        Declared attributes.
    gone : ndarray of int64, shape (n_leads,), optional
        When the lead left the CRM, `STAYS` where it has not: from then on it is not listed.
    incomplete : ndarray of bool, shape (n_leads,), optional
        Leads of which a transition was set aside: where they stand is not known for sure.
    """

    ids: Strings
    created: Int64s
    known: Int64s
    do_not_score: Bools
    numbers: dict[str, Float64s] = field(default_factory=dict)
    categories: dict[str, Coded] = field(default_factory=dict)
    gone: Int64s | None = None
    incomplete: Bools | None = None


@dataclass(frozen=True, slots=True)
class TransitionTable:
    """One row per transition.

    Attributes
    ----------
    lead : ndarray of int64, shape (n_transitions,)
        Row of the `LeadTable`.
    occurred, known : ndarray of int64, shape (n_transitions,)
        When it happened, and when we knew of it.
    stage : ndarray of int8, shape (n_transitions,)
        Code of the stage entered.
    recorded : ndarray of int64, shape (n_transitions,), optional
        ``recorded_at``, or ``occurred_at`` where that is missing; None where it is ``occurred`` in every row.
    whole_day : ndarray of bool, shape (n_transitions,), optional
        Whether ``occurred`` is the end of a day, of which no time is known; None where no row is.
    """

    lead: Int64s
    occurred: Int64s
    known: Int64s
    stage: Int8s
    recorded: Int64s | None = None
    whole_day: Bools | None = None


def recorded_apart(occurred: Int64s, recorded: Int64s | None) -> Int64s | None:
    """``recorded`` of a table; None where it says no more than ``occurred``."""
    return None if recorded is None or np.array_equal(occurred, recorded) else recorded


@dataclass(frozen=True, slots=True)
class TouchTable:
    """One row per touch.

    Attributes
    ----------
    lead : ndarray of int64, shape (n_touches,)
        Row of the `LeadTable`.
    known : ndarray of int64, shape (n_touches,)
        When we knew of it.
    kind : Coded
        Never missing.
    direction : ndarray of int8, shape (n_touches,), optional
        0 not said, 1 inbound, 2 outbound.
    by : Coded, optional
        Who on our side.
    value : ndarray of float64, shape (n_touches,), optional
        NaN where there is none.
    """

    lead: Int64s
    known: Int64s
    kind: Coded
    direction: Int8s | None = None
    by: Coded | None = None
    value: Float64s | None = None


@dataclass(frozen=True, slots=True)
class ChangeTable:
    """One row per dated value of one attribute: ``value`` is float64 for a number, `Coded` for a category.

    ``recorded`` is as in `TransitionTable`.
    """

    lead: Int64s
    occurred: Int64s
    known: Int64s
    value: Float64s | Coded
    recorded: Int64s | None = None


@dataclass(frozen=True, slots=True)
class Tables:
    """A whole data set, checked.

    Attributes
    ----------
    known_until : int
        End of the recorded history, in microseconds since 1970 UTC.
    warnings : tuple of str
        What is odd about the data and was read all the same: a sentence each, with counts. Logged once, kept in the
        `History`, and shown in the report.
    """

    leads: LeadTable
    transitions: TransitionTable
    touches: TouchTable
    changes: dict[str, ChangeTable]
    known_until: int
    warnings: tuple[str, ...] = ()
