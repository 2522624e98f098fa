"""How good the recipe is and what the trees use, as a picture per stage."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from leadscore.history.zone import EPOCH
from leadscore.metrics import Ordering, Tenths
from leadscore.metrics import gains as share_found

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from leadscore.history.line import Float64s, Int64s
    from leadscore.metrics import Judged
    from leadscore.model import FunnelModel

    # Of shape (n_groups, 5): mean probability, share that reached, its interval's ends, examples.
    Groups = Float64s

COLUMNS = 12
# 97.5 % quantile of the standard normal distribution.
Z = 1.959964
OURS, REFERENCE, FAINT = "#1f5fa8", "#6b6b6b", "#c9c9c9"
SMALL: dict[str, Any] = {"fontsize": 9, "color": REFERENCE}


def stage_figure(judged: Judged, model: FunnelModel, place: int) -> Figure:
    """Calibration, gains and importance of one stage to reach, beside each other.

    Parameters
    ----------
    judged : Judged
        Probabilities of the recipe on later mornings, beside what happened.
    model : FunnelModel
        Whose trees the importance is taken from.
    place : int
        The stage, as a place in ``funnel.later_stages``.
    """
    figure = Figure(figsize=(15.5, 5.2), dpi=110, layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    outcome, probability, base, lead = _known(judged, place)
    if len(outcome):
        calibration(left, calibration_groups(outcome, probability, lead), float(outcome.mean()))
        gains(middle, outcome, probability, base)
    else:
        for axes in (left, middle):
            axes.text(0.5, 0.5, "no outcome known yet", ha="center", transform=axes.transAxes, **SMALL)
    importance(right, model, place)
    figure.suptitle(_title(judged, place, outcome, lead), fontsize=12, parse_math=False)
    return figure


def calibration_groups(outcome: Float64s, probability: Float64s, lead: Int64s) -> Groups:
    """Groups of about equally many examples, by probability: what was said beside what happened.

    Returns
    -------
    ndarray of float64, shape (n_groups, 5)
        Mean probability, share that reached, lower and upper end of its 95 % interval (Wilson 1927, with each
        lead counted once, since the mornings of one lead are not independent), examples.
    """
    tenths = Tenths.of(probability)
    rows = []
    for each in range(tenths.n_groups):
        here = tenths.group == each
        share = float(outcome[here].mean())
        ends = _wilson(share, len(np.unique(lead[here])))
        rows.append((float(probability[here].mean()), share, *ends, float(here.sum())))
    return np.array(rows)


def calibration(axes: Axes, groups: Groups, observed: float) -> None:
    """Share that reached against the probability given, in groups of equally many examples."""
    said, share, low, high = 100 * groups[:, :4].T
    most = min(100.0, 1.05 * max(high.max(), said.max()))
    axes.plot([0, most], [0, most], color=REFERENCE, linewidth=1, label="as often as said")
    axes.axhline(100 * observed, color=REFERENCE, linestyle=":", label=f"base rate observed: {100 * observed:.1f} %")
    axes.errorbar(
        said,
        share,
        yerr=(np.maximum(share - low, 0), np.maximum(high - share, 0)),
        fmt="o-",
        color=OURS,
        ecolor=FAINT,
        elinewidth=3,
        label=f"tenths by probability, about {groups[0, 4]:,.0f} each",
    )
    axes.set(
        title="Calibration",
        xlim=(0, most),
        ylim=(0, most),
        xlabel="mean probability given, %",
        ylabel="share that reached the stage, %",
    )
    axes.legend(loc="upper left", fontsize=9, frameon=False)
    axes.text(
        0.98,
        0.02,
        "bars: 95 % interval, each lead counted once",
        ha="right",
        transform=axes.transAxes,
        **SMALL,
    )


def gains(axes: Axes, outcome: Float64s, probability: Float64s, base: Float64s) -> None:
    """Share of those that reached which is found by working the list from the top."""
    axes.plot([0, 100], [0, 100], color=REFERENCE, linewidth=1, label="any order")
    axes.set(
        title="Gains",
        xlim=(0, 100),
        ylim=(0, 100),
        xlabel="share of the list worked from the top, %",
        ylabel="share of those that reached it, found, %",
    )
    if not outcome.any():
        axes.text(50, 50, "none reached the stage", ha="center", **SMALL)
        return
    worked, found = gains_curve(outcome, base)
    axes.plot(worked, found, color=REFERENCE, linestyle="--", label="in order of the base rate")
    worked, found = gains_curve(outcome, probability)
    axes.plot(worked, found, color=OURS, linewidth=2, label="in order of the probability")
    at_ten = float(np.interp(10, worked, found))
    axes.plot([10, 10, 0], [0, at_ten, at_ten], color=FAINT, zorder=0)
    axes.annotate(
        f"top 10 %: {at_ten:.0f} % found",
        (10, at_ten),
        (8, -6),
        textcoords="offset points",
        va="top",
        fontsize=9,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )
    axes.legend(loc="lower right", fontsize=9, frameon=False)


def gains_curve(outcome: Float64s, probability: Float64s) -> tuple[Float64s, Float64s]:
    """Percent of the list worked and percent found, at each distinct probability; ties are worked in any order."""
    worked, found = share_found(*Ordering.of(outcome, probability).counts())
    return 100 * worked, 100 * found


def importance(axes: Axes, model: FunnelModel, place: int) -> None:
    """The columns that the trees of a stage gain most from."""
    axes.set(title="Importance, of the model trained on everything", xlabel="share of the trees' total gain, %")
    booster = model.stages_[place].booster
    if booster is None:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "too few outcomes: base rate served", ha="center", transform=axes.transAxes, **SMALL)
        return
    gain = booster.feature_importance("gain")
    top = np.argsort(-gain, kind="stable")[:COLUMNS]
    top = top[gain[top] > 0][::-1]
    names = [column.name for column in model.columns_]
    axes.barh([names[column] for column in top], 100 * gain[top] / max(gain.sum(), 1e-12), color=OURS)
    rest = f"{np.count_nonzero(gain)} of {len(gain)} columns are used, in {booster.num_trees()} trees"
    axes.text(0.98, 0.02, rest, ha="right", transform=axes.transAxes, **SMALL)


def _known(judged: Judged, place: int) -> tuple[Float64s, Float64s, Float64s, Int64s]:
    known = judged.reaching(place)
    return known.outcome, known.probability, known.base, known.lead


def _wilson(share: float, n: int) -> tuple[float, float]:
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return float(centre - half), float(centre + half)


def _title(judged: Judged, place: int, outcome: Float64s, lead: Int64s) -> str:
    reach = f"Reach {judged.funnel.later_stages[place]} within {judged.funnel.horizons[place]} days"
    if not len(outcome):
        return f"{reach}: not judged"
    mornings = judged.as_of[~np.isnan(judged.outcome[:, place])]
    first, last = (_day(moment) for moment in (mornings.min(), mornings.max()))
    return (
        f"{reach}: judged on {len(outcome):,} rows of the lists of {len(np.unique(mornings))} mornings, "
        f"{len(np.unique(lead)):,} leads, {first} to {last}, later than what was learnt from"
    )


def _day(moment: Any) -> str:
    return (EPOCH + timedelta(microseconds=int(moment))).date().isoformat()
