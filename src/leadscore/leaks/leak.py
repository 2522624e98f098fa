"""A leak in words, and what to do about it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from leadscore.config import Attributes, Funnel
    from leadscore.leaks.sources import ColumnSource


# What the sentence of a leak begins with.
ALARM = "leak?"


@dataclass(frozen=True, slots=True)
class Suspect:
    """A source that seems to know whether leads reach a stage.

    Attributes
    ----------
    source : ColumnSource
        The attribute or the kind of touch.
    by_missingness : bool
        Whether it is enough to know if there is a value, or any touch of the kind.
    known_of_reached : bool
        Whether there is one more often for leads that reached the stage than for the others.
    alone : float
        Order of the leads of one morning and current stage by this source alone, or by its missingness alone if
        ``by_missingness``: .5 is chance, 1 is perfect.
    before, without : float
        Order before this source was left out, and by what was left then.
    explains : bool
        Whether it gives most of the order by itself; if not, it is the strongest of several.
    """

    source: ColumnSource
    by_missingness: bool
    known_of_reached: bool
    alone: float
    before: float
    without: float
    explains: bool = True

    def how(self, stage: str) -> str:
        """What of the source tells whether leads reach the stage, in words."""
        if not self.explains:
            return f"the strongest source, with an order of {order(self.alone)} alone"
        if not self.by_missingness:
            return "by their number and dates" if self.source.is_touch else "by its value"
        missing = "there are none" if self.source.is_touch else "missing"
        return f"{missing} for those that {'did not reach' if self.known_of_reached else 'reached'} {stage}"


@dataclass(frozen=True, slots=True)
class Leak:
    """A stage whose outcome the model seems to know beforehand.

    Attributes
    ----------
    stage, current : str
        Stage to reach, and the current stage from which the order is too good.
    suspects : tuple of Suspect
        The sources that were left out one after another until the order was credible, at least one.
    remedies : tuple of str
        What to do about each of them, if it is filled in afterwards.
    """

    stage: str
    current: str
    suspects: tuple[Suspect, ...]
    remedies: tuple[str, ...]

    def __str__(self) -> str:
        return f"{ALARM} {self.stage} from {self.current}: {self.text}"

    @property
    def text(self) -> str:
        """How good the order is with and without each source, and what to do."""
        steps = [
            f"{order(each.without)} {'also ' if number else ''}without {each.source} ({each.how(self.stage)})"
            for number, each in enumerate(self.suspects)
        ]
        names = " and ".join(str(each.source) for each in self.suspects)
        single = len(self.suspects) == 1 and not self.suspects[0].source.is_touch
        return (
            f"order {order(self.suspects[0].before)} on later mornings; {', '.join(steps)}. Check that {names} "
            f"{'is' if single else 'are'} known at the time, and not filled in afterwards. If not, "
            f"{'; '.join(dict.fromkeys(self.remedies))}; then train again"
        )


def order(value: float) -> str:
    """An order with two decimals: ".97"."""
    return f"{value:.2f}".removeprefix("0")


def leaks_of(found: dict[tuple[str, str], tuple[Suspect, ...]], funnel: Funnel) -> tuple[Leak, ...]:
    """Leaks by (stage to reach, current stage), each with what to do about all of them together.

    A setting can stand in ``funnel.toml`` only once, so each ``known_late`` names what is to be in it in the end.
    """
    everything = {each.source: None for suspects in found.values() for each in suspects}
    remedies = {source: _remedy(source, everything, funnel) for source in everything}
    return tuple(
        Leak(stage, current, suspects, tuple(remedies[each.source] for each in suspects))
        for (stage, current), suspects in found.items()
    )


def _remedy(source: ColumnSource, everything: Iterable[ColumnSource], funnel: Funnel) -> str:
    if source.is_touch:
        return f"give {source} the recorded_at of the CRM, or leave them out of the touches table"
    names = [each.name for each in everything if not each.is_touch]
    if _declares(funnel.changes, source.name):
        return f"give its rows the recorded_at of the CRM, or set {_known_late(funnel.changes, names)} under [changes]"
    return f"set {_known_late(funnel.attributes, names)} under [attributes] of funnel.toml"


def _known_late(section: Attributes, names: Iterable[str]) -> str:
    """The line of a section that says which of the names that it declares are known late."""
    late = dict.fromkeys((*section.known_late, *(name for name in names if _declares(section, name))))
    return f"known_late = {json.dumps(list(late), ensure_ascii=False)}"


def _declares(section: Attributes, name: str) -> bool:
    return name in (*section.numbers, *section.categories)
