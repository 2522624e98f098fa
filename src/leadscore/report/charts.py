"""Calibration and gains as points of a drawing; the template draws them as SVG, so that text stays text.

A drawing is `WIDTH` by `HEIGHT`; its frame leaves room for the numbers at the axes. Coordinates grow to the right
and downwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from leadscore.metrics import Interval
from leadscore.plots import calibration_groups, gains_curve
from leadscore.report.words import between, counted, percent

if TYPE_CHECKING:
    from leadscore.history.line import Float64s
    from leadscore.metrics import Judged

WIDTH, HEIGHT = 420, 330
LEFT, RIGHT, TOP, BOTTOM = 46, 408, 12, 278
# Points of a gains curve; more are not seen.
POINTS = 101
ROOM = 1.05


@dataclass(frozen=True, slots=True)
class Frame:
    """Both axes of a drawing, from 0 to ``most`` percent.

    Attributes
    ----------
    most : float
        End of both axes.
    ticks : tuple of (str, float, float)
        What stands at an axis, and where: from the left at the horizontal one, from the top at the vertical one.
    """

    most: float
    ticks: tuple[tuple[str, float, float], ...]

    @classmethod
    def to(cls, most: float) -> Frame:
        """Axes that end at ``most`` percent."""
        at = [float(tick) for tick in MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(0, most) if 0 <= tick <= most]
        return cls(most, tuple((f"{tick:g}", _across(tick, most), _down(tick, most)) for tick in at))

    def line(self, x: Float64s, y: Float64s) -> str:
        """Points in percent as the points of an SVG polyline."""
        return " ".join(f"{_across(a, self.most)},{_down(b, self.most)}" for a, b in zip(x, y, strict=True))


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was said beside what happened, in groups of about equally many rows.

    Attributes
    ----------
    frame : Frame
    line : str
        The groups, joined.
    groups : tuple of (float, float, float, float, str)
        Per group where it stands, from where to where its interval goes, and the figures in words.
    """

    frame: Frame
    line: str
    groups: tuple[tuple[float, float, float, float, str], ...]


@dataclass(frozen=True, slots=True)
class Gains:
    """Share found by working the list from the top.

    Attributes
    ----------
    frame : Frame
    ours, base : str
        In order of the probability, and of the base rate.
    at_ten : str
        Share found in the first tenth of the list.
    corner : (float, float)
        Where that stands.
    """

    frame: Frame
    ours: str
    base: str
    at_ten: str
    corner: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Charts:
    """The drawings of a stage to reach; None where there is nothing to draw."""

    stage: str
    days: int
    calibration: Calibration | None
    gains: Gains | None


def charts(judged: Judged, place: int) -> Charts:
    """Drawings of one stage to reach, a place in ``funnel.later_stages``."""
    known = judged.reaching(place)
    return Charts(
        judged.funnel.later_stages[place],
        judged.funnel.horizons[place],
        _calibration(calibration_groups(known.outcome, known.probability, known.lead)) if len(known) else None,
        _gains(known.outcome, known.probability, known.base) if known.outcome.any() else None,
    )


def _calibration(groups: Float64s) -> Calibration:
    said, share = 100 * groups[:, 0], 100 * groups[:, 1]
    # Of all that is drawn; the ends of the intervals are shares too.
    frame = Frame.to(min(100.0, max(ROOM * 100 * float(groups[:, :4].max()), 1.0)))
    return Calibration(frame, frame.line(said, share), tuple(_group(group, frame.most) for group in groups.tolist()))


def _group(group: list[float], most: float) -> tuple[float, float, float, float, str]:
    said, share, low, high, n = group
    at = f"{percent(share)} ({between(Interval(share, low, high), percent)})"
    x, y, begin, end = _across(100 * said, most), *(_down(100 * each, most) for each in (share, low, high))
    return x, y, begin, end, f"said {percent(said)}, observed {at}, {counted(n)} rows"


def _gains(outcome: Float64s, probability: Float64s, base: Float64s) -> Gains:
    frame, at = Frame.to(100), np.linspace(0, 100, POINTS)
    ours, theirs = (np.interp(at, *gains_curve(outcome, score)) for score in (probability, base))
    ten = float(np.interp(10, at, ours))
    corner = (_across(10, frame.most), _down(ten, frame.most))
    return Gains(frame, frame.line(at, ours), frame.line(at, theirs), percent(ten / 100), corner)


def _across(value: float, most: float) -> float:
    return round(LEFT + (RIGHT - LEFT) * float(value) / most, 1)


def _down(value: float, most: float) -> float:
    return round(BOTTOM - (BOTTOM - TOP) * float(value) / most, 1)
