"""Why a stage is served its base rate rather than its trees: the one place that says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from leadscore.model.stage import StageModel

INSTEAD = "The base rate is served: the rate of past mornings, by current stage and days in it."
NO_SIGNAL = (
    "On later mornings the trees do not clearly beat the rate of the current stage, or do no better than the base rate."
)


class Withheld(NamedTuple):
    """Why the trees of a stage are not served.

    Attributes
    ----------
    cause : str
        A few words: "too few outcomes".
    stage : str
        The stage to reach.
    text : str
        What was counted or judged, and what is served, in sentences.
    """

    cause: str
    stage: str
    text: str

    def __str__(self) -> str:
        return f"{self.cause}: {self.stage}. {self.text}"


def withheld(name: str, stage: StageModel, least: int) -> Withheld | None:
    """Why a stage is served its base rate; None where its trees are.

    Parameters
    ----------
    name : str
        Of the stage to reach.
    least : int
        ``lightgbm.min_outcome_leads``.
    """
    if stage.fallback:
        counted = (
            f"{stage.n_reached:,} leads are known to have reached {name} and {stage.n_not_reached:,} not to have; at "
            f"least {least} of either are needed."
        )
        return Withheld("too few outcomes", name, f"{counted} {INSTEAD}")
    if stage.unjudged:
        counted = (
            f"There are trees, but before the cuts fewer than {least} leads had reached {name}, or not, so that none "
            "could be judged on later mornings."
        )
        return Withheld("too few outcomes to judge by", name, f"{counted} {INSTEAD}")
    if stage.no_signal:
        return Withheld("no signal", name, f"{NO_SIGNAL} {INSTEAD}")
    return None
