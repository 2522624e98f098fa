"""Ours: the path that training, lists and the API take."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.funnel_of_touches import BEGIN, KINDS, WINDOWS_DAYS
from leadscore.config import parse_funnel
from leadscore.features import days_since_last, matrix, touch_counts
from leadscore.history import build_history
from leadscore.history.tables import Coded, LeadTable, Tables, TouchTable, TransitionTable

if TYPE_CHECKING:
    from benchmarks.funnel_of_touches import Drawn
    from leadscore.features import Feature
    from leadscore.history import History
    from leadscore.history.line import Float32s, Int64s

FUNNEL = parse_funnel('preset = "b2b"')


@dataclass(frozen=True, slots=True)
class Loaded:
    """Checked tables, as the readers hand them over, and the examples."""

    tables: Tables
    lead: Int64s
    as_of: Int64s


def load(drawn: Drawn) -> Loaded:
    """Tables without transitions, of leads that are all created at the beginning."""
    n_leads = int(drawn.example_lead[-1]) + 1
    created, none = np.full(n_leads, BEGIN), np.empty(0, np.int64)
    # Of the same length, so that the order of ids is the order of leads.
    ids = np.array([f"{number:09}" for number in range(n_leads)], object)
    tables = Tables(
        LeadTable(ids, created, created, np.zeros(n_leads, np.bool_)),
        TransitionTable(none, none, none, none.astype(np.int8)),
        TouchTable(drawn.lead, drawn.known, Coded(drawn.kind, KINDS)),
        {},
        int(drawn.as_of.max()),
    )
    return Loaded(tables, drawn.example_lead, drawn.as_of)


def build(loaded: Loaded) -> History:
    """The lines of time: sorting, and coding the kinds."""
    return build_history(loaded.tables, FUNNEL)


def features(history: History) -> list[Feature]:
    """The columns asked for."""
    kinds = history.vocabulary.kinds
    return [touch_counts("kind", kinds, *WINDOWS_DAYS), days_since_last("kind", kinds)]


def found(history: History, loaded: Loaded) -> Float32s:
    """X of all examples."""
    return matrix(features(history), history.at(loaded.lead, loaded.as_of), os.cpu_count() or 1)


def compared(X: Float32s) -> Float32s:
    """The columns that the peers compute too."""
    return X
