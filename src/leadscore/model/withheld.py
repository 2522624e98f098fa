"""Where base rates are served rather than trees, and why: the one place that says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from leadscore.model.pair import LEVEL_ONLY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leadscore.config import Funnel
    from leadscore.model.pair import Pair
    from leadscore.model.stage import StageModel

INSTEAD = "The base rate is served: the rate of past mornings, by current stage and days in it."
TOO_FEW, TOO_FEW_TO_JUDGE, NO_SIGNAL = "too few outcomes", "too few outcomes to judge by", "no signal"


class Withheld(NamedTuple):
    """Why the trees of a stage are not served to the leads in some current stages.

    Attributes
    ----------
    cause : str
        A few words: "too few outcomes".
    stage : str
        The stage to reach.
    current : tuple of str
        The current stages; empty for all before the stage to reach.
    text : str
        What was counted or judged, and what is served, in sentences.
    """

    cause: str
    stage: str
    current: tuple[str, ...]
    text: str

    @property
    def title(self) -> str:
        """The cause and the stages: "no signal: won from lead and mql"."""
        return f"{self.cause}: {self.stage}{f' from {_listed(self.current)}' if self.current else ''}"

    def __str__(self) -> str:
        return f"{self.title}. {self.text}"


def withheld(funnel: Funnel, place: int, stage: StageModel) -> Iterator[Withheld]:
    """Why base rates are served for a stage to reach, by cause; nothing where trees are served to all leads.

    Parameters
    ----------
    place : int
        Of the stage to reach among the later stages.
    """
    name, least = funnel.later_stages[place], funnel.lightgbm.min_outcome_leads
    if stage.fallback:
        counted = (
            f"{stage.n_reached:,} leads are known to have reached {name} and {stage.n_not_reached:,} not to have; at "
            f"least {least} of either are needed."
        )
        yield Withheld(TOO_FEW, name, (), f"{counted} {INSTEAD}")
        return
    for cause in (TOO_FEW_TO_JUDGE, NO_SIGNAL):
        found = {
            current: pair
            for current, pair in zip(funnel.stages, stage.pairs, strict=False)
            if not pair.trees and _cause(pair) == cause
        }
        if found:
            everywhere = len(found) == len(stage.pairs)
            yield Withheld(cause, name, () if everywhere else tuple(found), f"{_why(found, least)} {INSTEAD}")


def cause_of(stage: StageModel, current: int) -> str:
    """Why leads in a current stage are served the base rate, in a few words; empty where they are not."""
    if stage.fallback:
        return TOO_FEW
    pair = stage.pairs[current] if current < len(stage.pairs) else None
    return "" if pair is None or pair.trees else _cause(pair)


def _cause(pair: Pair) -> str:
    return NO_SIGNAL if pair.state == LEVEL_ONLY else TOO_FEW_TO_JUDGE


def _why(found: dict[str, Pair], least: int) -> str:
    if len(found) == 1:
        return next(iter(found.values())).describe(least)
    return " ".join(f"From {current}: {pair.describe(least)}" for current, pair in found.items())


def _listed(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
