"""The catalogue: every feature of a funnel.

A feature is given a `Snapshot` and nothing else, so it cannot see what comes after ``as_of``. Features use no
logarithm, exponential or float sum over events: those may differ in the last bit between one lead and a crowd.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from leadscore.errors import ConfigError
from leadscore.features.matrix import Column, Feature, columns_of
from leadscore.history import MISSING, OTHER
from leadscore.history.touches import DIRECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leadscore.config import Funnel
    from leadscore.features.matrix import Block
    from leadscore.history import Snapshot, Vocabulary
    from leadscore.history.touches import Channel, Windows

WEEK, WEEKS_BEFORE = 7, 28
# A number that somebody has rounded was estimated, not computed.
ROUND = np.array((5.0, 10, 50, 100, 500, 1_000, 5_000, 10_000))[:, None]
# Topics: what a column is about, beside the attributes and the kinds of touch.
STAGE, TIME_IN_STAGE, STEPS_BACK, ALL_TOUCHES = "stage", "time in stage", "steps back", "touches"
VALUE, LAST_KIND, LAST_AGENT, CALENDAR = "value of touches", "last touch", "last agent", "calendar"
# What the topic of an attribute and of a kind of touch begins with; its name follows.
ATTRIBUTE, KIND = "attribute ", "touches of kind "


def catalogue(funnel: Funnel, vocabulary: Vocabulary) -> tuple[Feature, ...]:
    """Every feature of a funnel, in the order of the columns of X.

    Raises
    ------
    ConfigError
        An attribute or a kind of touch has the name of another column.
    """
    features = (
        *_attributes(funnel, vocabulary),
        *_standing(funnel),
        *_touches("kind", vocabulary.kinds, funnel.features.windows_days),
        *_touches("direction", DIRECTIONS, funnel.features.windows_days),
        *_touches("any", ("touch",), funnel.features.windows_days),
        *_rhythm(funnel.features.windows_days),
        *_last(vocabulary),
        *_calendar(funnel.features.calendar),
    )
    names = [column.name for column in columns_of(features)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"attributes or kinds of touch named like another column: {', '.join(twice)}; rename them")
    return features


def _attributes(funnel: Funnel, vocabulary: Vocabulary) -> Iterator[Feature]:
    for declared, when in (
        (funnel.attributes.known_in_time, "when the lead was created"),
        (funnel.changes.known_in_time, "as last known"),
    ):
        for name in declared.numbers:
            topic = f"{ATTRIBUTE}{name}"
            column = Column(name, "as in the source", f"{name} {when}; NaN where missing", topic)
            yield Feature((column,), partial(_number, name=name))
            meaning = f"how round {name} is: how many of 5, 10, 50, ... 10,000 divide it; NaN where missing"
            yield Feature((Column(f"{name}_roundness", "divisors", meaning, topic),), partial(_roundness, name=name))
        for name in declared.categories:
            column = Column(name, "category", f"{name} {when}", f"{ATTRIBUTE}{name}", vocabulary.categories[name])
            yield Feature((column,), partial(_category, name=name))


def _number(seen: Snapshot, name: str) -> Block:
    return seen.number(name)


def _category(seen: Snapshot, name: str) -> Block:
    return seen.category(name)


def _roundness(seen: Snapshot, name: str) -> Block:
    number = seen.number(name)
    divided: Block = np.add.reduce(np.logical_not(np.mod(number, ROUND)), axis=0, dtype=np.float64)
    np.copyto(divided, np.nan, where=np.isnan(number))
    return divided


def _standing(funnel: Funnel) -> Iterator[Feature]:
    yield Feature(
        (Column("stage", "place in the funnel", "current stage; 0 is the first", STAGE),),
        lambda seen: seen.steps.stage,
    )
    yield Feature(
        (Column("days_in_stage", "days", "time since the lead entered its current stage", TIME_IN_STAGE),),
        lambda seen: seen.steps.days_in_stage,
    )
    yield Feature(
        (Column("days_since_created", "days", "time since the lead was created", TIME_IN_STAGE),),
        lambda seen: seen.days_since_created,
    )
    states = (*funnel.stages[:-1], "lost")
    spent = tuple(
        Column(
            f"days_as_{state}",
            "days",
            f"time spent as {state}, this stay included",
            STEPS_BACK if state == "lost" else TIME_IN_STAGE,
        )
        for state in states
    )
    stages = np.array([*range(len(funnel.stages) - 1), funnel.lost_code])
    yield Feature(spent, lambda seen: seen.steps.days_spent().take(stages, axis=1))
    yield Feature(
        (Column("steps_back", "steps", "how often the lead went back to an earlier stage", STEPS_BACK),),
        lambda seen: seen.steps.steps_back(),
    )
    yield Feature(
        (Column("reopenings", "steps", "how often the lead was lost and came back", STEPS_BACK),),
        lambda seen: seen.steps.reopenings(),
    )


def _touches(channel: Channel, names: tuple[str, ...], windows: tuple[int, ...]) -> Iterator[Feature]:
    yield touch_counts(channel, names, *windows, None)
    yield days_since_last(channel, names)
    columns = tuple(
        Column(
            f"days_since_first_{name}", "days", f"time since the first of: {_what(name)}; NaN without one", _what(name)
        )
        for name in names
    )
    yield Feature(columns, lambda seen: seen.touches.days_since_first(channel))


def touch_counts(channel: Channel, names: tuple[str, ...], *windows: int | None) -> Feature:
    """Touches of each channel that became known in ``(as_of - days, as_of]`` of each window; of None, in all."""
    columns = tuple(
        Column(f"{name}_{_span(days)}", "touches", f"{_what(name)} {_in_the_last(days)}", _what(name))
        for days in windows
        for name in names
    )
    return Feature(columns, lambda seen: seen.touches.count(channel, windows))


def _span(days: int | None) -> str:
    return "all" if days is None else f"{days}d"


def _in_the_last(days: int | None) -> str:
    return "in all" if days is None else f"in the last {days} days"


def days_since_last(channel: Channel, names: tuple[str, ...]) -> Feature:
    """Days from the last touch of each channel to ``as_of``; NaN without one."""
    columns = tuple(
        Column(
            f"days_since_last_{name}", "days", f"time since the last of: {_what(name)}; NaN without one", _what(name)
        )
        for name in names
    )
    return Feature(columns, lambda seen: seen.touches.days_since_last(channel))


def _what(name: str) -> str:
    if name == "touch":
        return ALL_TOUCHES
    if name == OTHER:
        return "touches of rarer kinds"
    return f"{name} touches" if name in DIRECTIONS else f"{KIND}{name}"


def _rhythm(windows: tuple[int, ...]) -> Iterator[Feature]:
    columns: list[Column] = []
    for days in (*windows, None):
        meaning = f"calendar days with a touch {_in_the_last(days)}"
        columns.append(Column(f"active_days_{_span(days)}", "days", meaning, ALL_TOUCHES))
        meaning = (
            "sum of the values of all touches" if days is None else f"sum of the values of touches {_in_the_last(days)}"
        )
        columns.append(Column(f"value_{_span(days)}", "as in the source", meaning, VALUE))
    yield Feature(tuple(columns), partial(_days_and_values, windows=(*windows, None)))
    gaps = (
        Column("gap_mean", "days", "mean time between touches; NaN with fewer than two", ALL_TOUCHES),
        Column(
            "gap_deviation",
            "days",
            "standard deviation of the times between touches; NaN with fewer than two",
            ALL_TOUCHES,
        ),
        Column("gap_longest", "days", "longest time between touches; NaN with fewer than two", ALL_TOUCHES),
        Column(
            "silence_in_gaps",
            "gaps",
            "time since the last touch over gap_mean; NaN where gap_mean is NaN or 0",
            ALL_TOUCHES,
        ),
    )
    yield Feature(gaps, _gaps)
    column = Column(
        "week_against_before",
        "touches",
        "touches in the last 7 days less the weekly mean of the 21 days before them",
        ALL_TOUCHES,
    )
    yield Feature((column,), _week_against_before)


def _days_and_values(seen: Snapshot, windows: Windows) -> Block:
    block = np.empty((len(seen), len(windows), 2))
    block[:, :, 0] = seen.touches.active_days(windows)
    block[:, :, 1] = seen.touches.value_sum(windows)
    return block


def _gaps(seen: Snapshot) -> Block:
    mean_deviation_longest = seen.touches.gap_days()
    mean, silence = mean_deviation_longest[0], seen.touches.days_since_last("any")[:, 0]
    block = np.empty((4, len(mean)))
    block[:3], block[3] = mean_deviation_longest, np.nan
    np.divide(silence, mean, out=block[3], where=mean > 0)
    return block.T


def _week_against_before(seen: Snapshot) -> Block:
    week, month = seen.touches.count("any", (WEEK, WEEKS_BEFORE))[:, :, 0].T
    difference: Block = week - (month - week) / (WEEKS_BEFORE / WEEK - 1)
    return difference


def _last(vocabulary: Vocabulary) -> Iterator[Feature]:
    kinds, agents = (*vocabulary.kinds, MISSING), vocabulary.agents
    yield Feature(
        (Column("last_kind", "category", "kind of the last touch", LAST_KIND, kinds),),
        lambda seen: seen.touches.last_kind(len(kinds) - 1),
    )
    yield Feature(
        (Column("last_by", "category", "who on our side touched last", LAST_AGENT, agents),),
        lambda seen: seen.touches.last_by(agents.index(MISSING)),
    )


def _calendar(parts: tuple[str, ...]) -> Iterator[Feature]:
    meaning = {
        "hour": ("hour", "0 to 23", "hour of as_of, local time"),
        "weekday": ("weekday", "0 to 6", "weekday of as_of, local time; 0 is Monday"),
        "month": ("month", "1 to 12", "month of as_of, local time"),
    }
    columns = tuple(Column(*meaning[part], CALENDAR) for part in parts)
    yield Feature(columns, lambda seen: seen.local_time(parts))
