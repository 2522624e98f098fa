"""Values of categories that a model has not learnt: its score takes no account of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from leadscore.errors import SHOWN

if TYPE_CHECKING:
    from leadscore.history import Snapshot, Vocabulary
    from leadscore.history.line import Bools

log = logging.getLogger(__name__)


def unseen(snapshot: Snapshot, vocabulary: Vocabulary) -> dict[str, Bools]:
    """Which leads have a value that is not in the vocabulary, by attribute; shape (n_examples,) each.

    A value is in the vocabulary if enough leads had it in training. Attributes without such leads are left out.
    """
    found = {}
    for name, known in vocabulary.categories.items():
        names = snapshot.vocabulary.categories[name]
        new = set(names).difference(known)
        if not new:  # as a rule: then no lead has to be looked at
            continue
        leads = np.array([each in new for each in names])[snapshot.category(name)]
        if leads.any():
            found[name] = leads
    return found


def log_unseen(snapshot: Snapshot, vocabulary: Vocabulary) -> None:
    """Log how many leads have a value that is not in the vocabulary, by attribute, and the commonest such values."""
    for name, leads in unseen(snapshot, vocabulary).items():
        names = snapshot.vocabulary.categories[name]
        counts = np.bincount(snapshot.category(name)[leads], minlength=len(names))
        commonest = [code for code in np.argsort(-counts, kind="stable")[:SHOWN].tolist() if counts[code]]
        log.info(
            "%s: %s of %s leads have a value that the model has not learnt: %s",
            name,
            f"{np.count_nonzero(leads):,}",
            f"{len(snapshot):,}",
            ", ".join(f"{names[code]!r} ({counts[code]:,})" for code in commonest),
        )
