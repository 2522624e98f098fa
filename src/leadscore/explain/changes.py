"""What moved a score since the last time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from leadscore.errors import ModelError
from leadscore.explain.reasons import LEAST, MOST_REASONS
from leadscore.model.typical import ABOVE, BELOW

if TYPE_CHECKING:
    from leadscore.explain.grounds import Row
    from leadscore.explain.reasons import Reasons
    from leadscore.history.line import Float64s

SINCE = "since the last score"


@dataclass(frozen=True, slots=True)
class Change:
    """One reason why a score moved.

    Attributes
    ----------
    topic, column : str
        What it is about: of the catalogue.
    sentence : str
        What has happened.
    moved : float
        What the topic contributes now less what it contributed then, in log odds.
    """

    topic: str
    column: str
    sentence: str
    moved: float


def changes(before: Reasons, after: Reasons) -> tuple[Change, ...]:
    """The topics that moved the score of a lead most between two moments, largest first, as far as sentences can tell.

    The same rules hold as for reasons: nothing becomes a merit by getting unknown, and a value that rose or fell
    moved the score the way in which leads above or below the typical value differ from the others. None where the
    base rate was served or the stage passed at either moment.

    Raises
    ------
    ModelError
        The two were explained by different models, or are about different stages.
    """
    if before.row is None or after.row is None:
        return ()
    if before.row.grounds.model is not after.row.grounds.model or before.stage != after.stage:
        raise ModelError("the two scores are of different models or stages; explain both moments with the same model")
    moved = after.row.contribution - before.row.contribution
    by_topic = after.row.grounds.by_topic(moved[None])[0]
    found: list[Change] = []
    for topic in np.argsort(-np.abs(by_topic), kind="stable"):
        if abs(by_topic[topic]) < LEAST or len(found) == MOST_REASONS:
            break
        change = _change(before.row, after.row, int(topic), moved, float(by_topic[topic]))
        if change is not None:
            found.append(change)
    return tuple(found)


def _change(before: Row, after: Row, topic: int, moved: Float64s, total: float) -> Change | None:
    grounds = after.grounds
    columns = np.flatnonzero(grounds.topic_of == topic)
    # How many there were since says more than any window; then the column that moved most.
    windowed = np.array([not _is_counted(before, after, column) for column in columns.tolist()])
    for column in columns[np.lexsort((-np.abs(moved[columns]), windowed))].tolist():
        if moved[column] * total > 0 and _agrees(before, after, column, total):
            sentence = _sentence(before, after, column)
            if sentence:
                return Change(grounds.topics[topic], grounds.columns[column].name, sentence, total)
    return None


def _is_counted(before: Row, after: Row, column: int) -> bool:
    words = after.grounds.words[column]
    return words is not None and words.counts is not None and bool(after.value[column] > before.value[column])


def _agrees(before: Row, after: Row, column: int, total: float) -> bool:
    """Whether the data say the same of the value's move as the trees do."""
    grounds = after.grounds
    old, new = float(before.value[column]), float(after.value[column])
    nothing = bool(grounds.nothing(after.value[None])[0, column])
    if grounds.columns[column].name == "stage":
        rates = grounds.model.base_rate_.rates_[:, grounds.place]
        lean = np.sign(rates[after.current] - rates[before.current])
    elif grounds.columns[column].names or np.isnan(old) or np.isnan(new):
        lean = grounds.lean(after.value[None], np.array([after.current]))[0, column]
    else:
        typical = grounds.model.typical_
        sort = typical.first_sorts[column] + (ABOVE if new > old else BELOW)
        lean = typical.direction[after.current, grounds.place, sort]
    return bool(lean == np.sign(total)) and not (nothing and total > 0)


def _sentence(before: Row, after: Row, column: int) -> str:
    """What has happened, or nothing where it would read as if nothing had."""
    words = after.grounds.words[column]
    if words is None:
        return ""
    old, new = float(before.value[column]), float(after.value[column])
    was, is_ = words.short(old), words.short(new)
    if was == is_:
        return ""
    if after.grounds.columns[column].name == "stage":
        return f"moved from {was} to {is_} {SINCE}"
    if words.counts is not None and new > old:
        return f"{words.counts.counted(new - old)} {SINCE}"
    return f"{words.full(new)}; at the last score: {was}"
