"""Which names have a code of their own, learnt from the examples."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from leadscore.history import MISSING, Snapshot, Vocabulary, kinds_of, names_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from leadscore.features.matrix import Block
    from leadscore.history.line import Int64s


def fit_vocabulary(snapshot: Snapshot, min_leads: int) -> Vocabulary:
    """The names that at least ``min_leads`` leads had by the last ``as_of`` of each in ``snapshot``.

    Read through the snapshot, so that no name comes from the future of the examples that are learnt from. Categories
    that are known late are left out: their values are of no feature.
    """
    last, before = snapshot[_last_of_lead(snapshot)], snapshot.vocabulary
    has_kind = np.zeros(len(before.kinds), np.int64)
    for _, part in last.parts():
        has_kind += (part.touches.count("kind")[:, 0] > 0).sum(axis=0)
    nobody = before.agents.index(MISSING)
    return Vocabulary(
        kinds=kinds_of(_often(before.kinds, has_kind, min_leads)),
        agents=_names(before.agents, snapshot, lambda part: part.touches.last_by(nobody), min_leads),
        categories={
            name: _names(names, snapshot, partial(Snapshot.category, name=name), min_leads)
            for name, names in before.categories.items()
            if name not in snapshot.funnel.known_late
        },
    )


def _last_of_lead(snapshot: Snapshot) -> Int64s:
    order = np.lexsort((snapshot.as_of, snapshot.lead))
    lead = snapshot.lead[order]
    last: Int64s = order[np.append(lead[1:] != lead[:-1], True)[: len(lead)]]
    return last


def _names(
    names: tuple[str, ...], snapshot: Snapshot, code: Callable[[Snapshot], Block], min_leads: int
) -> tuple[str, ...]:
    pairs = [np.unique(part.lead * len(names) + code(part)) for _, part in snapshot.parts()]
    distinct = np.unique(np.concatenate(pairs)) if pairs else np.empty(0, np.int64)
    n_leads = np.bincount(distinct % len(names), minlength=len(names))
    return names_of(_often(names, n_leads, min_leads))


def _often(names: tuple[str, ...], n_leads: Block, min_leads: int) -> list[str]:
    return [name for name, n in zip(names, n_leads, strict=True) if n >= min_leads]
