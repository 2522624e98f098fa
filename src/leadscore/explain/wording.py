"""What stands in a column, in words that a sales rep uses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from leadscore.features.catalogue import (
    ALL_TOUCHES,
    CALENDAR,
    LAST_AGENT,
    LAST_KIND,
    STEPS_BACK,
    TIME_IN_STAGE,
    VALUE,
)
from leadscore.history import MISSING, OTHER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from leadscore.features import Column

HOURS_PER_DAY = 24
# Below these many days and touches a fraction is said.
FEW = 10
# "email_in" is an inbound e-mail, but "opt_in" is no inbound opt.
SENT = {"call", "chat", "e-mail", "fax", "letter", "mail", "message", "post", "sms", "text"}
WAYS = {"in": "inbound", "inbound": "inbound", "out": "outbound", "outbound": "outbound"}
SPELT = {"email": "e-mail", "emails": "e-mails"}
SILENT_COLUMNS = {"gap_deviation"}
SILENT_UNITS = {"divisors"}
COUNTED = re.compile(r"(?P<subject>.+)_(?:(?P<days>\d+)d|all)")
SINCE = re.compile(r"days_since_(?P<which>last|first)_(?P<subject>.+)")
TYPICAL, MOST = "typical at this stage", "most at this stage"


@dataclass(frozen=True, slots=True)
class Words:
    """How the values of one column are said.

    Attributes
    ----------
    full : callable
        A value as a clause of its own: "2 calls in the last 7 days"; NaN where it is not known.
    short : callable
        The same beside the clause: "2". Two values that are said alike are no reason.
    of_most : bool
        Whether the typical value is the most frequent name, rather than a median.
    zero_is_nothing : bool
        Whether 0 says that nothing has happened.
    aspect : str
        What is said beside the subject, where several columns may say the same of the same touches: "7" days, "last".
    counts : Noun, optional
        What is counted since the beginning, so that a difference of two values is a number of them.
    """

    full: Callable[[float], str]
    short: Callable[[float], str]
    of_most: bool = False
    zero_is_nothing: bool = False
    aspect: str = ""
    counts: Noun | None = None

    def sentence(self, observed: float, typical: float) -> str:
        """The observed value, and what is typical."""
        if self.of_most and observed == typical:
            return f"{self.full(observed)}, as for most at this stage"
        return f"{self.full(observed)}; {MOST if self.of_most else TYPICAL}: {self.short(typical)}"


@dataclass(frozen=True, slots=True)
class Noun:
    """What is counted, for one and for many."""

    one: str
    many: str

    def counted(self, n: float) -> str:
        """A number of them: "no call", "1 call", "2 calls"."""
        if n == 0:
            return f"no {self.one}"
        return f"{number(n)} {self.one if n == 1 else self.many}"


def words_of(column: Column, stages: Sequence[str]) -> Words | None:
    """How the values of a column are said; None where they are never a reason that a rep could use."""
    if column.topic == CALENDAR or column.unit in SILENT_UNITS or column.name in SILENT_COLUMNS:
        return None
    if column.name == "stage":
        return _stage(stages)
    return _FIXED.get(column.name) or _category(column) or _of_touches(column) or _spent_or_attribute(column)


def _category(column: Column) -> Words | None:
    if not column.names:
        return None
    if column.topic == LAST_KIND:
        return _named(column, "last touch: {}", "no touch so far", lambda kind: noun_of(kind).one)
    if column.topic == LAST_AGENT:
        return _named(column, "last touched by {}", "last touch not by one of us", _plain)
    name = _spaced(column.name)
    return _named(column, f"{name} is {{}}", f"{name} unknown", _plain)


def _of_touches(column: Column) -> Words | None:
    if column.unit == "touches" and (found := COUNTED.fullmatch(column.name)):
        return _count(noun_of(found["subject"]), found["days"])
    if column.unit == "days" and (found := SINCE.fullmatch(column.name)):
        return _since(noun_of(found["subject"]), found["which"])
    if column.topic in {VALUE, ALL_TOUCHES} and (found := COUNTED.fullmatch(column.name)):
        return _value(found["days"]) if column.topic == VALUE else _active_days(found["days"])
    return None


def _spent_or_attribute(column: Column) -> Words:
    if column.topic in {TIME_IN_STAGE, STEPS_BACK}:
        return _spent(column.name.removeprefix("days_as_"))
    name = _spaced(column.name)
    return Words(_known(lambda value: f"{name}: {number(value)}", f"{name} unknown"), _known(number, "unknown"))


def noun_of(subject: str) -> Noun:
    """A kind of touch or a direction as a noun: ``email_in`` is an inbound e-mail."""
    if subject == OTHER:
        return Noun("touch of a rarer kind", "touches of rarer kinds")
    if subject == "touch" or subject in WAYS.values():
        way = "" if subject == "touch" else f"{subject} "
        return Noun(f"{way}touch", f"{way}touches")
    words = [SPELT.get(word, word) for word in subject.split("_") if word]
    if len(words) > 1 and words[-1].lower() in WAYS and words[-2].lower() in SENT:
        words = [WAYS[words[-1].lower()], *words[:-1]]
    return Noun(" ".join(words), " ".join([*words[:-1], _many(words[-1])])) if words else Noun(subject, subject)


def _many(word: str) -> str:
    if re.search(r"(ss|x|z|ch|sh)$", word):
        return f"{word}es"
    if re.search(r"[^aeiou]y$", word):
        return f"{word[:-1]}ies"
    return word if word.endswith("s") else f"{word}s"


def number(value: float) -> str:
    """A number with as many digits as a reader wants: "12,500", "3.5", "0.02"."""
    # float32 holds seven digits; what comes after them is noise.
    value = float(f"{value:.7g}")
    if value == int(value) or abs(value) >= FEW * FEW:
        return f"{value:,.0f}"
    digits = f"{value:.1f}" if abs(value) >= FEW else f"{value:.2g}"
    return digits.removesuffix(".0")


def duration(days: float) -> str:
    """A time in words: "less than an hour", "5 hours", "1 day", "12 days"."""
    hours = round(days * HOURS_PER_DAY)
    if hours < 1:
        return "less than an hour"
    if hours < HOURS_PER_DAY:
        return _times(hours, "hour")
    return _times(round(days), "day")


def _times(n: float, one: str) -> str:
    return f"{n:,} {one}{'' if n == 1 else 's'}"


def _known(said: Callable[[float], str], unknown: str) -> Callable[[float], str]:
    return lambda value: unknown if value != value else said(value)  # noqa: PLR0124 -- NaN


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _plain(name: str) -> str:
    return {OTHER: "another (rare) value", MISSING: "unknown"}.get(name, name)


def _within(days: str | None) -> str:
    if days is None:
        return "so far"
    return f"in the last {HOURS_PER_DAY} hours" if days == "1" else f"in the last {days} days"


def _count(noun: Noun, days: str | None) -> Words:
    when = _within(days)
    counts = None if days else noun
    return Words(
        lambda n: f"{noun.counted(n)} {when}", number, zero_is_nothing=True, aspect=days or "all", counts=counts
    )


def _since(noun: Noun, which: str) -> Words:
    return Words(
        _known(lambda days: f"{which} {noun.one} {duration(days)} ago", f"no {noun.one} so far"),
        _known(lambda days: f"{duration(days)} ago", "none so far"),
        aspect=which,
    )


def _active_days(days: str | None) -> Words:
    when = _within(days)
    return Words(
        lambda n: f"touches on {_different_days(round(n))} {when}" if n else f"no day with a touch {when}",
        lambda n: _times(round(n), "day"),
        zero_is_nothing=True,
    )


def _different_days(n: int) -> str:
    return "1 day" if n == 1 else f"{n:,} different days"


def _value(days: str | None) -> Words:
    when = _within(days)
    return Words(lambda value: f"value of the touches {when}: {number(value)}", number, zero_is_nothing=True)


def _spent(state: str) -> Words:
    return Words(
        lambda days: f"{duration(days)} spent as {state}" if days else f"no time spent as {state}",
        lambda days: duration(days) if days else "none",
    )


def _named(column: Column, clause: str, unknown: str, said: Callable[[str], str]) -> Words:
    def short(code: float) -> str:
        return "unknown" if code != code else said(column.names[int(code)])  # noqa: PLR0124 -- NaN

    def full(code: float) -> str:
        return unknown if column.names[int(code)] == MISSING else clause.format(short(code))

    return Words(full, short, of_most=True)


def _stage(stages: Sequence[str]) -> Words:
    def full(code: float) -> str:
        return f"stands at {stages[int(code)]}, stage {int(code) + 1} of {len(stages)}"

    return Words(full, lambda code: stages[int(code)])


def _week_against_before(touches: float) -> str:
    if touches == 0:
        return "as many as usual"
    return f"{number(abs(touches))} {'more' if touches > 0 else 'fewer'} than usual"


_FIXED = {
    "days_in_stage": Words(lambda days: f"no change of stage for {duration(days)}", duration),
    "days_since_created": Words(lambda days: f"created {duration(days)} ago", lambda days: f"{duration(days)} ago"),
    "steps_back": Words(
        lambda n: f"went back a stage {_times(round(n), 'time')}" if n else "never went back a stage",
        lambda n: _times(round(n), "time") if n else "never",
    ),
    "reopenings": Words(
        lambda n: f"was lost and came back {_times(round(n), 'time')}" if n else "was never lost before",
        lambda n: _times(round(n), "time") if n else "never",
    ),
    "gap_mean": Words(
        _known(lambda days: f"{duration(days)} between touches on average", "fewer than two touches so far"),
        _known(duration, "fewer than two touches"),
    ),
    "gap_longest": Words(
        _known(lambda days: f"longest time without a touch: {duration(days)}", "fewer than two touches so far"),
        _known(duration, "fewer than two touches"),
    ),
    "silence_in_gaps": Words(
        _known(
            lambda gaps: f"silent for {number(gaps)} times its usual time between touches",
            "fewer than two touches so far",
        ),
        _known(lambda gaps: f"{number(gaps)} times", "fewer than two touches"),
    ),
    "week_against_before": Words(
        lambda touches: f"touches in the last 7 days: {_week_against_before(touches)} for this lead",
        _week_against_before,
    ),
}
