"""Every error that leadscore raises on purpose.

LeadscoreError
├── ConfigError      funnel.toml: a setting is missing, unknown or impossible
├── DataError        a table breaks a rule; carries one Problem per rule broken
├── ModelError       a model folder is missing, damaged or made for something else
├── TrainingError    the history is too short or too poor to learn from
├── RegistryError    MLflow: no such version, a promotion refused
│   └── NoChampionError  nothing was trained or promoted yet
└── StoreError       the database cannot be reached or used, or holds nothing yet
"""

from __future__ import annotations

from dataclasses import dataclass

SHOWN = 5


class LeadscoreError(Exception):
    """Something the user can put right; the message says how."""


class ConfigError(LeadscoreError):
    """A ``funnel.toml`` that cannot be used; the message names every bad setting."""


class ModelError(LeadscoreError):
    """A model folder that is missing, damaged or made for something else."""


class TrainingError(LeadscoreError):
    """A history that is too short or too poor to learn from."""


class RegistryError(LeadscoreError):
    """MLflow has no champion, no such version, or refuses a promotion."""


class NoChampionError(RegistryError):
    """MLflow has no champion: nothing was trained or promoted yet."""


class StoreError(LeadscoreError):
    """A database that cannot be reached or used, or that holds nothing yet; no password stands in the message."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One rule that a table breaks.

    Attributes
    ----------
    table, column : str
        Where; ``column`` is empty where the rule is about whole rows.
    rule : str
        What the rows should have been, in a sentence without a full stop.
    rows : int
        How many rows break it; 0 where the table as a whole does.
    counted : str
        What is counted, in the singular, where not rows.
    leads : tuple of str
        Which leads, the first few in order of the file.
    fix : str
        What to do about it.
    paths : tuple of str
        Where each value stands in records that a caller sent, such as ``leads.0.touches.3.occurred_at``.
    """

    table: str
    column: str
    rule: str
    fix: str
    rows: int = 0
    leads: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    counted: str = "row"

    def __str__(self) -> str:
        where = f"{self.table}.{self.column}" if self.column else self.table
        how_many = f" ({self.rows:,} {self.counted}{'s' if self.rows != 1 else ''})" if self.rows else ""
        which = ""
        if self.leads:
            more = ", ..." if len(self.leads) > SHOWN else ""
            which = f"; leads {', '.join(self.leads[:SHOWN])}{more}"
        return f"{where}: {self.rule}{how_many}{which}. {self.fix}"


class DataError(LeadscoreError):
    """Tables that break rules of the data set folder.

    Attributes
    ----------
    problems : tuple of Problem
        One per rule broken, in the order of the tables.
    """

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"{len(problems)} problem{'s' if len(problems) != 1 else ''} in the data:\n{lines}")
