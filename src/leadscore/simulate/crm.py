"""The invented CRM: every number of its world.

A lead has a hidden interest, a finite Markov chain that moves once a day. Interest sets how often the lead is
touched and how fast it moves through the funnel. Everything else that matters is recorded: the lead's
attributes and owner, its stage, the calendar. So the probability of what comes, given what was recorded, is
exact (`leadscore.simulate.truth`).

Days are counted from `FIRST_DAY`. Within a day: interest moves, then touches happen, then at most one change
of stage, both at the rates of that interest and of the stage in which the day began.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from leadscore.config import parse_funnel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Int64s = NDArray[np.int64]

FIRST_DAY = date(2024, 1, 1)
DAYS = 547  # the last is 2025-06-30
MORNING_HOUR = 8
KNOWN_UNTIL = datetime.combine(FIRST_DAY + timedelta(days=DAYS), time(MORNING_HOUR), UTC)

FUNNEL = parse_funnel('preset = "b2b"', "the simulator's funnel")
STAGES = (*FUNNEL.stages, *FUNNEL.funnel.lost)
LEAD, MQL, SAL, SQL, OPPORTUNITY, WON, LOST = range(len(STAGES))

INTERESTS = ("cold", "warm", "hot", "gone")
INTEREST_MOVES = np.array(
    [
        [0.973, 0.013, 0.000, 0.014],
        [0.035, 0.946, 0.014, 0.005],
        [0.000, 0.045, 0.952, 0.003],
        [0.003, 0.000, 0.000, 0.997],
    ]
)

# Changes of stage a day, by interest, for a lead of quality 0 on an average day.
_FORWARD = {
    LEAD: (0.0040, 0.024, 0.070, 0.0002),
    MQL: (0.0040, 0.026, 0.085, 0.0002),
    SAL: (0.0040, 0.025, 0.080, 0.0002),
    SQL: (0.0030, 0.020, 0.070, 0.0002),
    OPPORTUNITY: (0.0018, 0.013, 0.050, 0.0001),
}
_SKIPS = 0.10  # of the moves forward, as many more go two stages at once
_BACK = (0.0030, 0.0020, 0.0010, 0.0020)
_LOSS = (0.0044, 0.0032, 0.0020, 0.0058)
_REOPENING = (0.0015, 0.0060, 0.0150, 0.0001)
# A lost lead can come back for so many days. No horizon may be longer, or the truth would not be exact.
REOPENING_DAYS = 180

# log of the hazard forward, per year: the market gets harder.
_DRIFT = -0.20
_SEASON = np.array([0.95, 1.02, 1.10, 1.05, 1.03, 1.00, 0.85, 0.72, 1.10, 1.15, 1.08, 0.75])  # January first
_OFFICE_WEEK = np.array([1.25, 1.40, 1.40, 1.35, 1.20, 0.25, 0.15])  # Monday first
_WEB_WEEK = np.array([1.15, 1.20, 1.20, 1.15, 1.05, 0.60, 0.65])
GROWTH = 0.5  # log of the new leads a day, from the first day to the last


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of touch.

    Attributes
    ----------
    daily : tuple of float
        Touches a day by interest, on an average day, before the stage's factor.
    of_sales : bool
        In office hours, by the lead's owner; the others are counted by machines.
    mean_value : float
        Mean of ``value``, a whole number of at least 1; 0 where the kind has none.
    """

    name: str
    direction: Literal["inbound", "outbound"]
    daily: tuple[float, float, float, float]
    of_sales: bool = False
    mean_value: float = 0.0


KINDS = (
    Kind("email_open", "inbound", (0.060, 0.110, 0.150, 0.020)),
    Kind("email_click", "inbound", (0.009, 0.032, 0.060, 0.0015)),
    Kind("web_visit", "inbound", (0.030, 0.085, 0.170, 0.0090), mean_value=4),
    Kind("pricing_visit", "inbound", (0.001, 0.010, 0.045, 0.0001), mean_value=2),
    Kind("form", "inbound", (0.0008, 0.005, 0.015, 0.0001)),
    Kind("webinar", "inbound", (0.0010, 0.006, 0.010, 0.0002), mean_value=35),
    Kind("call_out", "outbound", (0.030, 0.034, 0.040, 0.022), of_sales=True, mean_value=6),
    Kind("call_in", "inbound", (0.0005, 0.005, 0.020, 0.0001), of_sales=True, mean_value=8),
    Kind("email_out", "outbound", (0.048, 0.052, 0.060, 0.034), of_sales=True),
    Kind("email_in", "inbound", (0.004, 0.024, 0.070, 0.0006), of_sales=True),
    Kind("meeting", "outbound", (0.0008, 0.008, 0.030, 0.0001), of_sales=True, mean_value=45),
    Kind("demo", "inbound", (0.0002, 0.004, 0.015, 0.00002), of_sales=True, mean_value=50),
)
_MACHINE_FACTOR = (1.0, 1.0, 0.9, 0.8, 0.7, 0.0, 0.3)  # by stage; a won lead is somebody else's work
_SALES_FACTOR = (0.15, 0.7, 1.2, 1.5, 1.7, 0.0, 0.05)

# Share of the touches that are recorded d days late, d = 0 to 5: independent of interest.
LATE_SALES = np.array([0.86, 0.06, 0.03, 0.02, 0.02, 0.01])
LATE_MACHINE = np.array([0.95, 0.03, 0.01, 0.005, 0.003, 0.002])
LATEST_DAYS = len(LATE_SALES) - 1
LATE = np.stack([LATE_SALES if kind.of_sales else LATE_MACHINE for kind in KINDS])


@dataclass(frozen=True, slots=True)
class Source:
    """Where leads come from.

    Attributes
    ----------
    share, direct : float
        Share of the leads; share of these that are an MQL at creation.
    quality : int
        Tenths of the log of the hazard forward.
    interest : tuple of float
        Distribution of interest at creation.
    cost : float
        Mean cost of a lead.
    first_touch : str
        Kind of the touch that made the lead; empty where none did.
    """

    name: str
    share: float
    quality: int
    interest: tuple[float, float, float, float]
    cost: float
    direct: float
    first_touch: str = ""


SOURCES = (
    Source("website", 0.24, 2, (0.56, 0.30, 0.08, 0.06), 38, 0.08, "form"),
    Source("search_ads", 0.22, -2, (0.60, 0.24, 0.04, 0.12), 74, 0.04, "form"),
    Source("social_ads", 0.17, -6, (0.60, 0.15, 0.01, 0.24), 29, 0.01, "form"),
    Source("webinar", 0.12, 1, (0.58, 0.30, 0.04, 0.08), 55, 0.10, "webinar"),
    Source("event", 0.09, 0, (0.60, 0.25, 0.03, 0.12), 160, 0.12),
    Source("referral", 0.07, 6, (0.42, 0.40, 0.15, 0.03), 12, 0.25),
    Source("outbound", 0.09, -3, (0.74, 0.12, 0.01, 0.13), 95, 0.00),
)
# Name: (share, quality in tenths).
INDUSTRIES = {
    "software": (0.28, 3),
    "manufacturing": (0.22, 0),
    "finance": (0.14, 1),
    "health": (0.13, -1),
    "retail": (0.13, -2),
    "public": (0.10, -3),
}
COUNTRIES = {"DE": (0.34, 0), "US": (0.26, 2), "GB": (0.16, 1), "FR": (0.14, -1), "PL": (0.10, -2)}
# Employees from which a size begins, and its quality in tenths.
SIZES = {1: -3, 20: 0, 100: 3, 500: 1}
EMPLOYEES_MISSING = 0.12
# Owner: quality in tenths, the same within a team. A lead that changes hands stays in the team.
TEAMS = (("ana", "ben", "cem", "dora"), ("eli", "fay", "gus", "hana"), ("ida", "jon", "kim", "leo"))
TEAM_QUALITY = (2, 0, -2)
DO_NOT_SCORE = 0.01
LOST_REASONS = {"no_answer": 0.38, "no_budget": 0.22, "timing": 0.18, "competitor": 0.14, "no_fit": 0.08}

QUALITIES = np.arange(-20, 21)  # of leads: the sum of the qualities of what is known of them


def sales_kinds() -> NDArray[np.bool_]:
    """Which kinds are by the lead's owner, shape (n_kinds,)."""
    return np.array([kind.of_sales for kind in KINDS])


def day_of(day: date) -> int:
    """Days from `FIRST_DAY`."""
    return (day - FIRST_DAY).days


def _calendar(day: int, week: Floats) -> float:
    today = FIRST_DAY + timedelta(days=day)
    return float(week[today.weekday()] * _SEASON[today.month - 1])


def arrivals() -> Floats:
    """Share of the leads that are created on each day, shape (`DAYS`,)."""
    weight = np.array([_calendar(day, _OFFICE_WEEK) for day in range(DAYS)])
    weight *= np.exp(GROWTH * np.arange(DAYS) / DAYS)
    shares: Floats = weight / weight.sum()
    return shares


def _stage_factors() -> Floats:
    return np.array([_SALES_FACTOR if kind.of_sales else _MACHINE_FACTOR for kind in KINDS])


# Touches on an average day, shape (n_kinds, n_stages, n_interests).
TOUCH_RATES: Floats = np.array([kind.daily for kind in KINDS])[:, None, :] * _stage_factors()[:, :, None]


@lru_cache(maxsize=1024)
def touch_rates(day: int) -> Floats:
    """Mean number of touches on a day, shape (n_kinds, n_stages, n_interests)."""
    calendar = np.where(sales_kinds(), _calendar(day, _OFFICE_WEEK), _calendar(day, _WEB_WEEK))
    return TOUCH_RATES * calendar[:, None, None]


def _move_rates() -> tuple[Floats, Floats]:
    """Rates of (stage, interest, next stage), and how each grows with quality."""
    rates = np.zeros((len(STAGES), len(INTERESTS), len(STAGES)))
    exponent = np.zeros((len(STAGES), len(STAGES)))
    for stage, forward in _FORWARD.items():
        rates[stage, :, stage + 1] = forward
        if stage + 2 <= WON:
            rates[stage, :, stage + 2] = _SKIPS * np.array(forward)
        if stage > LEAD:
            rates[stage, :, stage - 1] = _BACK
        rates[stage, :, LOST] = _LOSS
        exponent[stage, stage + 1 : WON + 1] = 1
        exponent[stage, LOST] = -0.5
    rates[LOST, :, MQL] = _REOPENING
    exponent[LOST, MQL] = 1
    return rates, exponent


_RATES, _EXPONENT = _move_rates()


@lru_cache(maxsize=1024)
def move_probabilities(day: int) -> Floats:
    """Probability of each next stage, shape (n_qualities, n_stages, n_interests, n_stages).

    Rates compete: a day without a move has probability ``exp(-sum of rates)``, and a move goes to each stage
    in proportion to its rate.
    """
    drift = np.where(_EXPONENT > 0, np.exp(_DRIFT * day / 365.25), 1.0)
    factor = np.exp(QUALITIES[:, None, None] / 10 * _EXPONENT) * drift * _calendar(day, _OFFICE_WEEK)
    rates = _RATES * factor[:, :, None, :]
    total = rates.sum(axis=-1, keepdims=True)
    moving = -np.expm1(-total)
    probabilities: Floats = np.divide(rates * moving, total, out=np.zeros_like(rates), where=total > 0)
    stay = np.arange(len(STAGES))
    probabilities[:, stay, :, stay] = np.moveaxis(np.exp(-total[..., 0]), 1, 0)
    return probabilities
