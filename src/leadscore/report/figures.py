"""The rows of the findings' figures, apart: over all leads, and per current stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from leadscore.training import Trained


def over_all(trained: Trained) -> list[dict[str, Any]]:
    """Figures of each stage to reach over all leads that had not passed it, in order of the stages."""
    table = trained.findings.figures
    return _records(table[_first_of_stage(table)])


def by_current(trained: Trained) -> list[dict[str, Any]]:
    """Figures of each stage to reach from each current stage."""
    table = trained.findings.figures
    return _records(table[~_first_of_stage(table)])


def _first_of_stage(table: pd.DataFrame) -> pd.Series[bool]:
    # By position, not by the word for all leads: a stage may be called that.
    return ~table["stage"].duplicated()


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
