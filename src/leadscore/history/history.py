"""The recorded history of a funnel as lines of time, and the one gate to it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from leadscore.history.line import DAY, span_of
from leadscore.history.snapshot import Snapshot
from leadscore.history.vocabulary import Vocabulary, recode
from leadscore.history.zone import micros, standard_offset

if TYPE_CHECKING:
    import numpy.typing as npt

    from leadscore.config import Funnel
    from leadscore.history.line import Bools, Changes, Float64s, Int32s, Int64s, Steps, Strings, Touches

# Earlier than any time.
ALWAYS = -(2**62)


def begins_of(funnel: Funnel) -> int:
    """``time.history_begins`` in microseconds since 1970 UTC, `ALWAYS` where it is not set."""
    begins = funnel.time.history_begins
    return ALWAYS if begins is None else micros(begins)


@dataclass(frozen=True, slots=True)
class History:
    """Everything that ever happened to every lead that may be scored.

    Leads stand in order of ``lead_id``. Leads with ``do_not_score`` are not in it.

    Attributes
    ----------
    funnel : Funnel
        The settings it was read with.
    vocabulary : Vocabulary
        What the codes mean.
    ids : ndarray of object (str), shape (n_leads,)
        ``lead_id``.
    created, known : ndarray of int64, shape (n_leads,)
        When the lead was created, and when we knew of it.
    touches, steps : Touches, Steps
        Lines of time.
    numbers : dict of str to ndarray of float64, shape (n_leads,)
        Attributes fixed at creation; NaN where missing.
    categories : dict of str to ndarray of int32, shape (n_leads,)
        Attributes fixed at creation; codes in ``vocabulary.categories``.
    changes : dict of str to Changes
        Attributes that change.
    known_until : int
        End of the recorded history.
    left_out : int
        Leads with ``do_not_score``.
    gone : ndarray of int64, shape (n_leads,), optional
        When the lead left the CRM, `leadscore.history.tables.STAYS` where it has not; None where none has.
    incomplete : ndarray of bool, shape (n_leads,), optional
        Leads of which a transition was set aside; None where there is none.
    warnings : tuple of str
        What is odd about the data and was read all the same.
    """

    funnel: Funnel
    vocabulary: Vocabulary
    ids: Strings
    created: Int64s
    known: Int64s
    touches: Touches
    steps: Steps
    numbers: dict[str, Float64s]
    categories: dict[str, Int32s]
    changes: dict[str, Changes]
    known_until: int
    left_out: int
    gone: Int64s | None = None
    incomplete: Bools | None = None
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def is_incomplete(self, lead: Int64s) -> Bools:
        """Whether a transition of each lead (its position) was set aside, shape (n,); no feature is made of it."""
        return np.zeros(len(lead), np.bool_) if self.incomplete is None else self.incomplete[lead]

    def fingerprint(self) -> str:
        """SHA-256 of all that is known and when, in hexadecimal; the order of the input's rows does not matter."""
        digest = hashlib.sha256("\n".join(self.ids).encode())
        digest.update(repr((self.known_until, self.vocabulary)).encode())
        lines = (self.touches, self.steps, *(self.changes[name] for name in sorted(self.changes)))
        fixed = (*(self.numbers[name] for name in sorted(self.numbers)), self.created, self.known, self.gone)
        coded = (self.categories[name] for name in sorted(self.categories))
        columns = (getattr(line, field.name) for line in lines for field in fields(line))
        for column in (*fixed, *coded, *columns, self.incomplete):
            if column is not None:
                digest.update(np.ascontiguousarray(column).data)
        return digest.hexdigest()

    @property
    def lost_after(self) -> int | None:
        """Microseconds in an open stage after which a lead is lost; None without ``funnel.lost_after_days``."""
        days = self.funnel.funnel.lost_after_days
        return None if days is None else days * DAY

    @property
    def begins(self) -> int:
        """From when on stages were recorded: ``time.history_begins``, `ALWAYS` where it is not set."""
        return begins_of(self.funnel)

    @property
    def day_begins(self) -> int:
        """Microseconds by which standard time in the funnel's zone is ahead of UTC."""
        return standard_offset(self.funnel.time.zone)

    def at(self, lead: npt.ArrayLike, as_of: npt.ArrayLike) -> Snapshot:
        """What was known of each ``lead`` (its position) at its ``as_of``; the only way into the history.

        Parameters
        ----------
        lead, as_of : array_like of int64, shape (n_examples,)
            Any leads at any moments, in any order.

        Raises
        ------
        ValueError
            The arrays differ in length, or a lead is not in the history.
        """
        leads, moments = np.asarray(lead, np.int64), np.asarray(as_of, np.int64)
        if leads.ndim != 1 or leads.shape != moments.shape:
            raise ValueError(f"lead and as_of must be as long as each other, got {leads.shape} and {moments.shape}")
        first, last = span_of(leads)
        if first < 0 or last >= len(self):
            raise ValueError(f"lead must be in 0 to {len(self) - 1}, got {first} to {last}")
        return Snapshot(leads, moments, self)

    def coded(self, vocabulary: Vocabulary) -> History:
        """The same history under another vocabulary, such as the one that a model was trained with.

        A category that is not in it, because it is known late, is left out.
        """
        old, touches = self.vocabulary, self.touches
        by = None if touches.by is None else recode(touches.by, old.agents, vocabulary.agents, np.int32)
        kind = recode(touches.kind, old.kinds, vocabulary.kinds, np.int16)
        names = vocabulary.categories
        return replace(
            self,
            vocabulary=vocabulary,
            touches=replace(touches, kind=kind, by=by),
            categories={
                name: recode(codes, old.categories[name], names[name], np.int32)
                for name, codes in self.categories.items()
                if name in names
            },
            changes=self.changes
            | {
                name: replace(
                    line,
                    value=recode(line.value.astype(np.int32, copy=False), old.categories[name], names[name], np.int32),
                )
                for name, line in self.changes.items()
                if name in names
            },
        )
