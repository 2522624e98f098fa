"""Numbers, times and names of columns as a person reads them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from leadscore.explain.wording import COUNTED, SINCE, noun_of
from leadscore.features.catalogue import (
    ALL_TOUCHES,
    ATTRIBUTE,
    CALENDAR,
    KIND,
    LAST_AGENT,
    LAST_KIND,
    STAGE,
    STEPS_BACK,
    TIME_IN_STAGE,
    VALUE,
)
from leadscore.history import MISSING, OTHER
from leadscore.history.zone import EPOCH
from leadscore.metrics import Interval

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from leadscore.features import Column

NONE = "\N{EN DASH}"
MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
# Does not break at the end of a line.
SPACE = "\N{NO-BREAK SPACE}"
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
TOPICS = {
    STAGE: "the current stage",
    TIME_IN_STAGE: "time in the stages and since creation",
    STEPS_BACK: "steps back, losses and returns",
    ALL_TOUCHES: "touches of any kind, and their rhythm",
    VALUE: "value of the touches",
    LAST_KIND: "kind of the last touch",
    LAST_AGENT: "who on our side touched last",
    CALENDAR: "hour, weekday and month",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in a cell of a table: a figure, and its interval in small type."""

    text: str
    small: str = ""


def percent(share: float) -> str:
    """A share as a percentage with one decimal; a dash for NaN."""
    return NONE if math.isnan(share) else f"{100 * share:.1f}{SPACE}%"


def points(difference: float) -> str:
    """A difference of two shares in percentage points, with its sign; a dash for NaN."""
    return NONE if math.isnan(difference) else f"{100 * difference:+.1f}{SPACE}points".replace("-", MINUS)


def of_100(share: float) -> str:
    """A share as so many of 100; a dash for NaN."""
    return NONE if math.isnan(share) else f"{100 * share:.0f}"


def counted(n: float) -> str:
    """A whole number with thousands separators; a dash for NaN."""
    return NONE if math.isnan(n) else f"{n:,.0f}"


def decimal(value: float) -> str:
    """A number with three decimals; a dash for NaN."""
    return NONE if math.isnan(value) else f"{value:.3f}"


def nats(value: float) -> str:
    """A difference of log losses, with its sign; a dash for NaN."""
    return NONE if math.isnan(value) else f"{value:+.4f}".replace("-", MINUS)


def times(value: float) -> str:
    """A ratio; a dash for NaN."""
    return NONE if math.isnan(value) else f"{value:.1f}{SPACE}{TIMES}"


def cell(interval: Interval, written: Callable[[float], str]) -> Cell:
    """A figure with its interval, as far as they exist."""
    return Cell(written(interval.value), between(interval, written))


def between(interval: Interval, written: Callable[[float], str]) -> str:
    """From where to where an interval goes, the unit said once: "4.7 to 6.1 %"; empty where there is none."""
    if math.isnan(interval.low):
        return ""
    low, high = written(interval.low), written(interval.high)
    return f"{low.partition(SPACE)[0]} to {high}"


def figure(row: Mapping[str, float], name: str) -> Interval:
    """A figure of a row of `leadscore.metrics.figures`; NaN where it does not exist."""
    value, low, high = (float(row.get(f"{name}{end}", math.nan)) for end in ("", "_low", "_high"))
    return Interval(value, low, high)


def day(moment: int, zone: ZoneInfo) -> str:
    """Microseconds since 1970 UTC as a day in a time zone: "1 July 2025"."""
    local = _local(moment, zone)
    return f"{local.day} {MONTHS[local.month - 1]} {local.year}"


def minute(moment: int, zone: ZoneInfo) -> str:
    """The same with the time of day."""
    return f"{day(moment, zone)}, {_local(moment, zone):%H:%M} ({zone.key})"


def _local(moment: int, zone: ZoneInfo) -> datetime:
    return (EPOCH + timedelta(microseconds=moment)).astimezone(zone)


def listed(parts: Sequence[str]) -> str:
    """Parts of a sentence in a row: "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def value_in_words(name: str) -> str:
    """A value of a category."""
    return {OTHER: "another (rare) value", MISSING: "not known"}.get(name, name)


def topic_in_words(topic: str) -> str:
    """What the columns of a topic are about."""
    if topic.startswith(KIND):
        return noun_of(topic.removeprefix(KIND)).many
    return TOPICS.get(topic, topic.removeprefix(ATTRIBUTE).replace("_", " "))


def column_in_words(column: Column) -> str:
    """What stands in a column."""
    if column.topic == STAGE:
        return "current stage"
    if column.unit == "touches" and (found := COUNTED.fullmatch(column.name)):
        when = f"in the last {found['days']} days" if found["days"] else "so far"
        return f"{noun_of(found['subject']).many} {when}".replace("the last 1 days", "the last 24 hours")
    if column.unit == "days" and (found := SINCE.fullmatch(column.name)):
        return f"time since the {found['which']} {noun_of(found['subject']).one}"
    if column.unit == "divisors":
        return "how round the number is"
    # What NaN means is for those who read columns.csv.
    return column.meaning.removesuffix("; 0 is Monday").partition("; NaN")[0]
