"""What is served for one pair of current stage and stage to reach: trees or base rate, and at which level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

State = Literal["not judged", "ranks", "level corrected", "level only", "unknown"]
NOT_JUDGED: Final = "not judged"
RANKS: Final = "ranks"
LEVEL_CORRECTED: Final = "level corrected"
LEVEL_ONLY: Final = "level only"
UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Pair:
    """What is known of the probabilities of one pair, and what is served.

    Attributes
    ----------
    state : str
        ``ranks``: the trees order the leads of a morning, and their level is right. ``level corrected``: they order
        them, and the level was put right. ``level only``: they do not order them, and the base rate is served.
        ``unknown``: too few outcomes to tell; the trees are served if they order the leads of all current stages, else
        the base rate. ``not judged``: the model was never judged.
    trees : bool
        Whether trees are served rather than the base rate.
    slope, intercept : float
        The log odds of the trees are multiplied by the one, which is positive, and raised by the other: a line that is
        flatter than 1 where the trees are too sure.
    level : float
        What log odds, of trees or base rates, are raised by to put their level right.
    order, order_least, order_most : float
        How well the trees order leads on later mornings, and its one-sided 99 % bounds
        (`leadscore.metrics.WithinMornings`); NaN where that is not known.
    n_reached, n_not_reached : int
        Leads of either outcome on these mornings.
    predicted, observed : float
        Mean probability and share that reached on the latest mornings with known outcomes, before the correction; NaN
        where the level was not corrected.
    """

    state: State = NOT_JUDGED
    trees: bool = True
    slope: float = 1.0
    intercept: float = 0.0
    level: float = 0.0
    order: float = float("nan")
    order_least: float = float("nan")
    order_most: float = float("nan")
    n_reached: int = 0
    n_not_reached: int = 0
    predicted: float = float("nan")
    observed: float = float("nan")

    @property
    def corrected(self) -> bool:
        """Whether the log odds of the trees are changed."""
        return self.slope != 1 or self.level != 0

    def describe(self, least: int) -> str:
        """What the state means, with its figures, in a sentence.

        Parameters
        ----------
        least : int
            ``lightgbm.min_outcome_leads``.
        """
        counts = f"{self.n_reached:,} leads that reached it and {self.n_not_reached:,} that did not"
        order = f"order {self.order:.3f} ({self.order_least:.3f} to {self.order_most:.3f}) among {counts}"
        if self.state == RANKS:
            return f"The trees order leads on later mornings: {order}."
        if self.state == LEVEL_CORRECTED:
            level = f"they predicted {self.predicted:.1%} on average, and {self.observed:.1%} reached it"
            return (
                f"The trees order leads on later mornings: {order}. Their level was corrected: on the latest mornings "
                f"with known outcomes {level}."
            )
        if self.state == LEVEL_ONLY:
            return f"The trees order leads no better than chance on later mornings: {order}."
        served = (
            "The trees are served, because they order the leads of all current stages."
            if self.trees
            else "They are not known to order the leads of all current stages either."
        )
        if self.state == NOT_JUDGED:
            return "The model was not judged on later mornings."
        if min(self.n_reached, self.n_not_reached) < least:
            return f"Too few outcomes on later mornings to judge the trees by: {counts}. {served}"
        return f"Too few outcomes on later mornings to tell whether the trees order leads: {order}. {served}"


def every(pairs: Sequence[Pair], place: int) -> tuple[Pair, ...]:
    """The pairs of a stage to reach, one for each current stage before it; those that are not judged where none are."""
    return tuple(pairs) or (Pair(),) * (place + 1)
