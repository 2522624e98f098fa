"""What the trees of each stage go by, in words that a rep understands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from leadscore.report.words import column_in_words, counted, listed, percent, topic_in_words

if TYPE_CHECKING:
    from leadscore.features import Column
    from leadscore.history.line import Float64s
    from leadscore.model import FunnelModel

TOPICS, COLUMNS = 8, 3


@dataclass(frozen=True, slots=True)
class Topic:
    """What some columns are about, and how much the trees gain from them.

    Attributes
    ----------
    name : str
        In words.
    share : str
        Of the total gain of the trees.
    width : float
        Of its bar, in percent of the widest.
    columns : tuple of (str, str)
        Those the trees gain most from: in words, and their share of the total gain. None where the topic has but one,
        which says the same.
    """

    name: str
    share: str
    width: float
    columns: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Driven:
    """What reaching a stage is told by.

    Attributes
    ----------
    stage : str
    note : str
        Why there is nothing to show, or what to know of it; may be empty.
    topics : tuple of Topic
        Of the largest share first.
    rest : str
        What the topics not shown come to; empty where all are shown.
    """

    stage: str
    note: str
    topics: tuple[Topic, ...]
    rest: str


def driven(model: FunnelModel, place: int) -> Driven:
    """What the trees of a stage gain most from."""
    name, stage, columns = model.funnel.later_stages[place], model.stages_[place], model.columns_
    gain = np.zeros(len(columns)) if stage.booster is None else stage.booster.feature_importance("gain")
    if not gain.sum() > 0:
        note = "Too few outcomes: there are no trees." if stage.fallback else "The trees tell no lead from another."
        return Driven(name, note, (), "")
    share = gain / gain.sum()
    topics = _topics(columns, share)
    widest = topics[0][1]
    why = [each for each in model.withheld() if each.stage == name]
    notes = [f"These trees are not in service{_from(each.current)}: {each.cause}." for each in why]
    if stage.mix.weight != 1:
        notes.append(f"These trees are {percent(stage.mix.weight)} of the log odds, a logistic regression is the rest.")
    note = " ".join(notes)
    shown = tuple(
        Topic(topic_in_words(topic), percent(total), round(100 * total / widest, 1), _columns(topic, columns, share))
        for topic, total in topics[:TOPICS]
    )
    rest = topics[TOPICS:]
    others = f"{counted(len(rest))} other topics: {percent(sum(total for _, total in rest))}" if rest else ""
    return Driven(name, note, shown, others)


def _from(current: tuple[str, ...]) -> str:
    return f" for leads at {listed(list(current))}" if current else ""


def _topics(columns: tuple[Column, ...], share: Float64s) -> list[tuple[str, float]]:
    """The topics that the trees use and the share of each, largest first."""
    total: dict[str, float] = {}
    for column, part in zip(columns, share.tolist(), strict=True):
        total[column.topic] = total.get(column.topic, 0.0) + part
    used = [(topic, part) for topic, part in total.items() if part > 0]
    return sorted(used, key=lambda each: -each[1])


def _columns(topic: str, columns: tuple[Column, ...], share: Float64s) -> tuple[tuple[str, str], ...]:
    of_topic = [place for place, column in enumerate(columns) if column.topic == topic and share[place] > 0]
    if len(of_topic) == 1:
        return ()
    top = sorted(of_topic, key=lambda place: -share[place])[:COLUMNS]
    return tuple((column_in_words(columns[place]), percent(float(share[place]))) for place in top)
