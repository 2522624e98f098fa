"""The columns that every engine starts from, and the columns that each must find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from leadscore.history.line import Int32s, Int64s

DAY = 86_400_000_000
BEGIN = 1_640_995_200_000_000  # 2022-01-01 UTC
SPAN_DAYS, LAST_LOOK_DAYS = 730, 760
WINDOWS_DAYS = (7, 14, 30, 90, 365)
KINDS = tuple(f"kind_{number:02}" for number in range(12))
N_COLUMNS = len(KINDS) * (len(WINDOWS_DAYS) + 1)
TOUCHES_PER_LEAD, MOMENTS_PER_LEAD = 20, 5
COUNTS = [(code, days) for days in WINDOWS_DAYS for code in range(len(KINDS))]


@dataclass(frozen=True, slots=True)
class Drawn:
    """Touches in no order, and examples in order of (lead, as_of).

    Attributes
    ----------
    lead, known : ndarray of int64, shape (n_touches,)
        Lead, and microseconds since 1970 UTC.
    kind : ndarray of int32, shape (n_touches,)
        Code in ``KINDS``.
    example_lead, as_of : ndarray of int64, shape (n_examples,)
        The examples.
    """

    lead: Int64s
    known: Int64s
    kind: Int32s
    example_lead: Int64s
    as_of: Int64s


def draw(n_touches: int) -> Drawn:
    """The same for every engine: some leads are touched far more than others, some kinds are rarer."""
    rng = np.random.default_rng(1)
    n_leads = n_touches // TOUCHES_PER_LEAD
    # The busiest leads have many times the mean, and a few have no touch at all.
    lead = rng.permutation(n_leads)[(n_leads * rng.random(n_touches) ** 1.5).astype(np.int64)]
    share = np.arange(len(KINDS), 0, -1.0)
    as_of = np.sort(rng.integers(0, LAST_LOOK_DAYS * DAY, (n_leads, MOMENTS_PER_LEAD)), axis=1)
    return Drawn(
        lead=lead,
        known=BEGIN + rng.integers(0, SPAN_DAYS * DAY, n_touches),
        kind=rng.choice(len(KINDS), n_touches, p=share / share.sum()).astype(np.int32),
        example_lead=np.repeat(np.arange(n_leads), MOMENTS_PER_LEAD),
        as_of=BEGIN + as_of.reshape(-1),
    )


def of_one_lead(drawn: Drawn, lead: int) -> Drawn:
    """The touches of one lead, and its last example."""
    own = drawn.lead == lead
    row = np.flatnonzero(drawn.example_lead == lead)[-1:]
    zero = np.zeros(np.count_nonzero(own), np.int64)
    return Drawn(zero, drawn.known[own], drawn.kind[own], np.zeros(1, np.int64), drawn.as_of[row])
