"""The search: name the strongest suspect, leave it out, learn quickly again, until the order is credible.

A source is suspected if it alone orders the leads of one morning and current stage too well to be known beforehand
(`SUSPECT`), gives nearly all of the order that everything together gives (`SHARE`), and orders them clearly better than
the clock and the stages do: where these tell the outcome already, a source that follows them tells nothing new.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from leadscore.backtest import side_by_side
from leadscore.leaks.cell import Cells
from leadscore.leaks.leak import Suspect, leaks_of
from leadscore.metrics import ALL, ORDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd

    from leadscore.backtest import Backtest
    from leadscore.funnel import NeverClosed
    from leadscore.history import History
    from leadscore.leaks.cell import Cell, Ordered
    from leadscore.leaks.leak import Leak
    from leadscore.leaks.sources import ColumnSource

# Real funnels stand at .58 to .87. A source that alone orders better than the first is suspected, so where the model
# does not, nothing is searched; a model better than the second knows the outcome, whatever it comes from.
SUSPECT, TOO_GOOD = 0.85, 0.95
# A source whose AUC over all mornings, which costs little, is at most this has no order within them above `SUSPECT`.
SCREENED = 0.7
# Part of (order - .5) of everything together that a source gives alone.
SHARE = 0.8
MOST_ROUNDS = 10


def leaks(
    history: History, past: Backtest, figures: pd.DataFrame, closed: NeverClosed | None, n_jobs: int
) -> tuple[Leak, ...]:
    """Stages whose outcome the model seems to know beforehand, per current stage, with every source of it.

    Parameters
    ----------
    figures : DataFrame
        `leadscore.metrics.figures` of what was judged. A pair of stages whose order in it is at most `SUSPECT` costs
        nothing.
    closed : NeverClosed, optional
        Leads that nobody closed: they are left out, see `Cells.cell`.
    """
    rows = figures[(figures["current"] != ALL) & (figures[ORDER] > SUSPECT)]
    looked_at, stages = list(zip(rows["stage"], rows["current"], strict=True)), history.funnel.stages
    if not looked_at:
        return ()
    cells = Cells.of(history, past, closed)

    def suspects(pair: tuple[str, str]) -> tuple[Suspect, ...]:
        cell = cells.cell(stages.index(pair[0]) - 1, stages.index(pair[1]))
        return () if cell is None else tuple(_suspects(cell))

    with side_by_side(n_jobs) as pool:
        found = dict(zip(looked_at, pool.map(suspects, looked_at), strict=True))
    return leaks_of({pair: named for pair, named in found.items() if named}, history.funnel)


@dataclass(frozen=True)
class Alone:
    """One source alone, by its values or by its missingness.

    Attributes
    ----------
    source : ColumnSource
        Of columns of X.
    ordered : Ordered
        How well it orders the leads.
    known_of_reached : bool
        As of a `Suspect`.
    own : callable
        How well the clock and the stages do, when that is asked.
    by_missingness : bool
        As of a `Suspect`.
    """

    source: ColumnSource
    ordered: Ordered
    known_of_reached: bool
    own: Callable[[], Ordered]
    by_missingness: bool = False

    @cached_property
    def is_too_good(self) -> bool:
        """Whether it orders too well, and clearly better than the clock and the stages."""
        ordered = self.ordered
        return ordered.value > SUSPECT and ordered.least > SUSPECT and ordered.is_clearly_better_than(self.own())

    def is_suspect(self, whole: Ordered) -> bool:
        """Whether it is too good, and gives nearly all of the order that everything together gives."""
        return self.ordered.over_all_mornings > SCREENED and gives_most(self.ordered, whole) and self.is_too_good


def gives_most(part: Ordered, whole: Ordered) -> bool:
    """Whether a part of the columns orders nearly as well as all of them."""
    return part.value - 0.5 >= SHARE * (whole.value - 0.5)


def _suspects(cell: Cell) -> Iterator[Suspect]:
    """The sources that make the order of a cell too good, the strongest of what is left first."""
    whole = cell.by_model
    if whole.value <= SUSPECT:
        return
    left = {source: _alone(cell, source) for source in cell.sources}
    left_out: list[ColumnSource] = []
    while left and len(left_out) < MOST_ROUNDS:
        suspects = [found for pair in left.values() if (found := _of_source(*pair, whole)) is not None]
        explains = bool(suspects)
        if not explains:
            is_too_good = whole.value > TOO_GOOD and whole.least > TOO_GOOD
            if not cell.all_sources or not is_too_good or gives_most(cell.by_own_columns, whole):
                return
            suspects = [value for _, value in left.values()]
        strongest = max(suspects, key=lambda each: each.ordered.value)
        del left[strongest.source]
        left_out.append(strongest.source)
        without = cell.without(left_out)
        yield Suspect(
            source=strongest.source,
            by_missingness=strongest.by_missingness,
            known_of_reached=strongest.known_of_reached,
            alone=strongest.ordered.value,
            before=whole.value,
            without=without.value,
            explains=explains,
        )
        whole = without


def _alone(cell: Cell, source: ColumnSource) -> tuple[Alone, Alone]:
    """A source by its missingness, and by its values."""
    missing, of_reached = cell.by_missingness(source)
    value = Alone(source, cell.by_source(source), of_reached, lambda: cell.by_own_columns)
    return Alone(source, missing, of_reached, value.own, by_missingness=True), value


def _of_source(missing: Alone, value: Alone, whole: Ordered) -> Alone | None:
    """What a source is suspected by: its missingness, if its values do not clearly add to it, or its values."""
    by_missingness, by_value = missing.is_suspect(whole), value.is_suspect(whole)
    if by_missingness and not (by_value and value.ordered.is_clearly_better_than(missing.ordered)):
        return missing
    return value if by_value else None
