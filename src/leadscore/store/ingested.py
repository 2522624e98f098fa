"""What became of a data set folder that was stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from leadscore.errors import SHOWN

if TYPE_CHECKING:
    from leadscore.config import TableName

# Counts that are shown where they are not 0, and how they are worded.
COUNTS = {
    "changed": "changed",
    "corrected": "corrected",
    "late": "of them more than a day after they were known",
    "redated": "with other dates",
    "outdated": "left as a later export has them",
    "repeated": "repeated",
    "erased": "erased",
    "merged": "merged",
    "retracted": "retracted",
}


@dataclass(slots=True)
class Loaded:
    """What became of the rows of one table.

    Attributes
    ----------
    rows : int
        Rows that broke no rule.
    new, repeated : int
        Stored; known already, or there twice.
    changed : int
        Leads that are known with other contents, or that are back.
    corrected, late : int
        Events that are known with other contents, which they now have no more; and those of them whose dates say that
        they were known more than a day before the import: the past is read as corrected.
    redated : int
        Known with the same contents, and now with the dates of the export.
    outdated : int
        Known with other contents or dates, which stay: a later export was stored before this one.
    erased, merged, retracted : int
        Left out, because the lead was erased, the lead itself was merged into another (events of it are stored as
        the other's), or the event was taken back.
    vanished : int
        Rows of the store that were known by the end of the export's history, and that the export does not have. Of
        leads it does not have the events are not among them.
    vanished_leads : tuple of str
        The first few leads that these are, or are of.
    removed : bool
        Whether they were taken out. Of leads: taken off the list, while their past still teaches.
    unchanged : bool
        The file was imported before, and not read again.
    """

    rows: int = 0
    new: int = 0
    changed: int = 0
    corrected: int = 0
    late: int = 0
    redated: int = 0
    outdated: int = 0
    repeated: int = 0
    erased: int = 0
    merged: int = 0
    retracted: int = 0
    vanished: int = 0
    vanished_leads: tuple[str, ...] = ()
    removed: bool = False
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of each table of a folder."""

    tables: dict[TableName, Loaded] = field(default_factory=dict)

    def __str__(self) -> str:
        return "\n".join(f"{table}: {in_words(loaded)}" for table, loaded in self.tables.items())


def in_words(loaded: Loaded) -> str:
    """What became of one table, in a line."""
    if loaded.unchanged:
        return "the same as at its last import, nothing to do"
    said = [f"{loaded.new:,} new"]
    said += [f"{count:,} {words}" for name, words in COUNTS.items() if (count := getattr(loaded, name))]
    if loaded.vanished:
        what = "no longer in the export" + (", taken out" if loaded.removed else "")
        named = ", ".join(loaded.vanished_leads[:SHOWN]) + (", ..." if len(loaded.vanished_leads) > SHOWN else "")
        said.append(f"{loaded.vanished:,} {what} (leads {named})")
    return ", ".join(said)
