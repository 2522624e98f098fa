"""Scores on their way into the store: many leads at once, as columns."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

if TYPE_CHECKING:
    from leadscore.history.line import Float64s, Int64s, Strings

# Columns of `listed` that differ from lead to lead, and those that are the same for all.
PER_LEAD = ("lead", "rank", "as_of", "stage", "probabilities", "flags", "list", "key", "owner", "source", "grade")
PER_RUN = ("run", "scored_at", "model_version")


@dataclass(frozen=True, slots=True)
class ScoredLeads:
    """Scores of one lead or of a million, as they are stored; arrays have the shape (n_leads,).

    Attributes
    ----------
    lead : ndarray of int64
        Numbers in the store, each once.
    as_of : ndarray of int64
        Microseconds since 1970 UTC.
    stage : ndarray of str
        The current stage.
    probabilities : ndarray of str
        Lists in JSON, in order of later stages; null for those already passed. Read again they are the same bits.
    flags : ndarray of str
        Lists in JSON.
    of_list : ndarray of str
        ``handoff`` or ``win``; empty for a lead that is won or lost, which stands in no list.
    rank : ndarray of int64, optional
        Place in that list, from 1. None where a few leads are scored anew: ranks are those of a publication.
    key : ndarray of float64
        The probability that the list is in order of; 0 for a lead that is won or lost.
    owner, source : ndarray of str or None
    grade : ndarray of str
        A to D; empty for a lead that is won or lost.
    scored_at : int
        Microseconds since 1970 UTC.
    model_version : str
    """

    lead: Int64s
    as_of: Int64s
    stage: Strings
    probabilities: Strings
    flags: Strings
    of_list: Strings
    rank: Int64s | None
    key: Float64s
    owner: Strings
    source: Strings
    grade: Strings
    scored_at: int
    model_version: str

    def __len__(self) -> int:
        return len(self.lead)

    def columns(self, rows: Int64s | slice) -> dict[str, list[Any]]:
        """The columns `PER_LEAD` of some rows."""
        lead = self.lead[rows].tolist()
        rank = [None] * len(lead) if self.rank is None else self.rank[rows].tolist()
        arrays = {
            "as_of": self.as_of,
            "stage": self.stage,
            "probabilities": self.probabilities,
            "flags": self.flags,
            "list": self.of_list,
            "key": self.key,
            "owner": self.owner,
            "source": self.source,
            "grade": self.grade,
        }
        return {"lead": lead, "rank": rank} | {name: array[rows].tolist() for name, array in arrays.items()}

    def rows(self) -> list[dict[str, Any]]:
        """All of it but the run, row by row, in order of the lead."""
        columns = self.columns(np.argsort(self.lead))
        same = {"scored_at": self.scored_at, "model_version": self.model_version}
        return [dict(zip(columns, values, strict=True)) | same for values in zip(*columns.values(), strict=True)]

    def as_listed(self) -> Int64s:
        """Rows in the order of their lists: so nearly all indexes of the list grow at their ends."""
        return np.argsort(self.lead) if self.rank is None else np.lexsort((self.rank, self.of_list == "win"))


def as_csv(scored: ScoredLeads, rows: Int64s) -> memoryview:
    """The columns `PER_LEAD` of some rows as CSV; nothing between commas is NULL.

    Arrow writes the shortest number that reads back as the same bits, and puts all text in quotes.
    """
    columns = scored.columns(rows)
    table = pa.table([pa.array(columns[name], _ARROW.get(name, pa.string())) for name in PER_LEAD], list(PER_LEAD))
    text = BytesIO()
    pa.csv.write_csv(table, text, pa.csv.WriteOptions(include_header=False))
    return text.getbuffer()


_ARROW = {"lead": pa.int64(), "as_of": pa.int64(), "rank": pa.int64(), "key": pa.float64()}
