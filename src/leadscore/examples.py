"""Which moments of which leads to learn from and to judge on; splits in time."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

import numpy as np
from pandas.util import hash_array

from leadscore.funnel import open_stays
from leadscore.history import DAY
from leadscore.history.zone import EPOCH, micros, utc_offset

if TYPE_CHECKING:
    from leadscore.config import Funnel
    from leadscore.funnel import Stays
    from leadscore.history import History
    from leadscore.history.line import Bools, Float32s, Float64s, Int64s

log = logging.getLogger(__name__)

# Many leads teach more than many mornings of the same leads; few leads are seen on more mornings.
WIDER = 4
# Of the moments after an entry, at least so many are learnt from.
LEAST_KEPT = 1 / 16
# Mornings of the longest horizon that are judged on at least: nearer to each other, their outcomes are much the same.
LEAST_MORNINGS = 6
# From this share of the entries on at the end of a day, entries are whole days.
WHOLE_DAYS = 0.5


@dataclass(frozen=True, slots=True)
class Examples:
    """Leads at moments, in order of (lead, as_of), each once.

    Attributes
    ----------
    lead, as_of : ndarray of int64, shape (n_examples,)
        Position of the lead in the history; microseconds since 1970 UTC.
    on_morning : ndarray of bool, shape (n_examples,)
        Whether ``as_of`` is a morning at which a team would look at its list.
    """

    lead: Int64s
    as_of: Int64s
    on_morning: Bools

    def __len__(self) -> int:
        return len(self.lead)

    def weights(self, first_weight: float) -> Float64s:
        """Weight to learn each example with, shape (n_examples,): ``first_weight`` for a lead's first, else 1."""
        first = np.append(True, self.lead[1:] != self.lead[:-1])[: len(self)]
        return np.where(first, first_weight, 1.0)

    def of(self, kept: Bools | Int64s) -> Examples:
        """The examples that are kept."""
        return Examples(self.lead[kept], self.as_of[kept], self.on_morning[kept])


def learning_examples(history: History) -> Examples:
    """Moments to learn from: each entry into an open stage, a widening grid of days after it, and mornings.

    Leads of which a transition was set aside give none: see `_known_stays`.

    Where they would be more than ``examples.max_examples``, mornings are taken `WIDER` times as far apart. Where they
    still would be, some of the days after an entry are left out, evenly over all leads; and only if fewer than one in
    `LEAST_KEPT` could stay, leads are sampled by a hash of their ``lead_id``.
    """
    settings = history.funnel.examples
    stays = _known_stays(history)
    if history.incomplete is not None:
        log.info("%d incomplete leads are neither learnt from nor judged on", np.count_nonzero(history.incomplete))
    if n_unknown := np.count_nonzero(history.created < history.begins):
        log.info("%d leads created before history_begins are learnt from only after their first transition", n_unknown)
    n_on_grid = _n_on_grid(stays, settings.grid_days)
    for every_days in (settings.mornings_every_days, settings.mornings_every_days * WIDER):
        moments = mornings(history, every_days)
        n_later = n_on_grid + int(np.sum(_n_between(stays, moments)))
        if len(stays) + n_later <= settings.max_examples:
            break
    kept = 1.0
    if len(stays) + n_later > settings.max_examples:
        kept = max(LEAST_KEPT, (settings.max_examples - len(stays)) / n_later)
        share = settings.max_examples / (len(stays) + kept * n_later)
        log.info(
            "%d examples would be more than max_examples = %d: learning from %.0f %% of the moments after an entry",
            len(stays) + n_later,
            settings.max_examples,
            100 * kept,
        )
        if share < 1:
            chosen = _chosen(history, share)
            log.info("learning from %d of %d leads", np.count_nonzero(chosen), len(history))
            stays = stays.of(chosen[stays.lead])
    on_grid = [_later(stays, days) for days in settings.grid_days]
    lead, as_of = (np.concatenate(arrays) for arrays in zip(*on_grid, strict=True))
    of_mornings = _between(stays, moments)
    if kept < 1:
        lead, as_of = _some(history, lead, as_of, kept)
        of_mornings = _some(history, *of_mornings, kept)
    return _merged(np.append(stays.lead, lead), np.append(stays.begin, as_of), *of_mornings)


def _some(history: History, lead: Int64s, as_of: Int64s, share: float) -> tuple[Int64s, Int64s]:
    """A share of the moments, chosen by a hash of ``lead_id`` and moment."""
    with np.errstate(over="ignore"):
        mixed = hash_array(history.ids)[lead] ^ hash_array(as_of)
    kept = mixed < np.uint64(share * 2**64)
    return lead[kept], as_of[kept]


def sampled(history: History, examples: Examples, most: int) -> Examples:
    """About so many of the examples at most: those of leads chosen by a hash of their ``lead_id``."""
    share = most / max(len(examples), 1)
    if share >= 1:
        return examples
    return examples.of(_chosen(history, share)[examples.lead])


def _chosen(history: History, share: float) -> Bools:
    """A share below 1 of the leads, shape (n_leads,); the same leads each time, and among those of a larger share."""
    return np.asarray(hash_array(history.ids) < np.uint64(share * 2**64), np.bool_)


def judging_examples(history: History, since: int, every_days: int | None = None) -> Examples:
    """All leads open on each of a series of mornings at or after ``since``: what reps would have seen.

    Leads of which a transition was set aside are left out: see `_known_stays`.

    Parameters
    ----------
    every_days : int, optional
        Days from one morning to the next. By default ``judging.mornings_every_days``, or a multiple of it where there
        would be more than ``judging.max_examples``, but of the longest horizon at least `LEAST_MORNINGS` mornings.
    """
    settings, stays = history.funnel.judging, _known_stays(history)
    every = settings.mornings_every_days if every_days is None else every_days
    moments = mornings(history, every)
    moments = moments[moments >= since]
    if every_days is None:
        n = int(np.sum(_n_between(stays, moments)))
        most = max(1, max(history.funnel.horizons) // LEAST_MORNINGS // every)
        moments = moments[:: min(most, math.ceil(n / settings.max_examples) or 1)]
    lead, as_of = _between(stays, moments)
    return Examples(lead, as_of, np.ones(len(lead), np.bool_))


def _known_stays(history: History) -> Stays:
    """Stays in open stages of the leads whose transitions were all read.

    Of the others it is not known where they stood: after the transition that was set aside they may only seem open,
    and before it an outcome may be missing. When it happened may be what could not be read, so no moment is safe.
    """
    stays = open_stays(history)
    return stays if history.incomplete is None else stays.of(~history.incomplete[stays.lead])


def settings_to_learn(history: History, examples: Examples) -> Funnel:
    """The settings to learn these examples with: without the ``hour`` where it tells only how an example was made.

    Where entries into stages are whole days, which are known at the day's end, they stand in the last hour of a day and
    mornings in another: the hour tells the two apart, and says nothing of a lead that is scored.
    """
    settings, features = history.funnel, history.funnel.features
    moments = examples.as_of[~examples.on_morning]
    at_the_end = (moments + utc_offset(moments, settings.time.zone) + 1) % DAY == 0
    if "hour" not in features.calendar or not len(moments) or at_the_end.mean() < WHOLE_DAYS:
        return settings
    calendar = tuple(each for each in features.calendar if each != "hour")
    return settings.model_copy(update={"features": features.model_copy(update={"calendar": calendar})})


def mornings(history: History, every_days: int) -> Int64s:
    """Mornings from the first lead to ``known_until``, in microseconds since 1970 UTC.

    Local time; which days they fall on does not depend on the history.
    """
    zone, hour = history.funnel.time.zone, history.funnel.examples.morning_hour
    if not len(history):
        return np.empty(0, np.int64)
    first, last = int(history.known.min()) // DAY - 1, history.known_until // DAY + 1
    days = range(first + -first % every_days, last + 1, every_days)
    moments = [datetime.combine((EPOCH + timedelta(days=day)).date(), time(hour), zone) for day in days]
    found = np.array([micros(moment.astimezone(UTC)) for moment in moments], np.int64)
    within: Int64s = found[(found >= history.known.min()) & (found <= history.known_until)]
    return within


def known_by(outcome: Float32s, as_of: Int64s, funnel: Funnel, cut: int) -> Float32s:
    """The outcomes that were known at ``cut``: NaN where ``as_of + horizon`` lies after it."""
    end = as_of[:, None] + np.array(funnel.horizons) * DAY
    return np.where(end <= cut, outcome, np.float32(np.nan))


def _n_on_grid(stays: Stays, grid_days: tuple[int, ...]) -> int:
    return sum(int(np.count_nonzero(stays.begin + days * DAY < stays.end)) for days in grid_days)


def _later(stays: Stays, days: int) -> tuple[Int64s, Int64s]:
    as_of = stays.begin + days * DAY
    still = as_of < stays.end
    return stays.lead[still], as_of[still]


def _n_between(stays: Stays, moments: Int64s) -> Int64s:
    return moments.searchsorted(stays.end) - moments.searchsorted(stays.begin)


def _between(stays: Stays, moments: Int64s) -> tuple[Int64s, Int64s]:
    """The moments within each stay, shape (n_examples,) each."""
    n = _n_between(stays, moments)
    first = moments.searchsorted(stays.begin)
    place = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
    return np.repeat(stays.lead, n), moments[np.repeat(first, n) + place]


def _merged(lead: Int64s, as_of: Int64s, lead_on_morning: Int64s, morning: Int64s) -> Examples:
    lead, as_of = np.concatenate((lead, lead_on_morning)), np.concatenate((as_of, morning))
    on_morning = np.arange(len(lead)) >= len(lead) - len(morning)
    order = np.lexsort((~on_morning, as_of, lead))
    lead, as_of, on_morning = lead[order], as_of[order], on_morning[order]
    once = np.concatenate(([True], (lead[1:] != lead[:-1]) | (as_of[1:] != as_of[:-1])))[: len(lead)]
    return Examples(lead[once], as_of[once], on_morning[once])
