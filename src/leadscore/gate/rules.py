"""The rules of the gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm

from leadscore.gate.verdict import Rule
from leadscore.leaks import ALARM
from leadscore.metrics import (
    Interval,
    Resamples,
    WithinMornings,
    loss_difference,
    loss_differences,
    order_difference,
    precision_difference,
    worked,
)
from leadscore.metrics.resampling import HALF
from leadscore.model.stage import is_at_bound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leadscore.drift import OnlyLearnt
    from leadscore.gate.comparison import Comparison
    from leadscore.history import History
    from leadscore.history.line import Bools, Float64s
    from leadscore.metrics import Judged
    from leadscore.model import FunnelModel

# A segment is looked at if this share of the leads judged, and this many of them, are in it.
SIZEABLE_SHARE, SIZEABLE_LEADS = 0.05, 40
# Chance of finding the candidate worse in one rule, be it in any of many segments, though it is not.
FALSE_ALARM = 0.01
# Nothing is said of an order whose 99 % bounds lie farther from it.
KNOWN_WITHIN = 0.1


# Where the champion knows outcomes beforehand, whatever is honest looks worse.
NO_YARDSTICK = Rule("champion", kept=True, found="it has a leak alarm, so the candidate is judged alone")


def knows_outcomes(champion: FunnelModel) -> bool:
    """Whether a leak was suspected when it was trained."""
    return any(doubt.startswith(ALARM) for doubt in champion.doubts_)


def against_the_champion(history: History, found: Comparison) -> list[Rule]:
    """What the candidate may not be clearly worse in."""
    ours, theirs = found.ours, found.theirs
    order = order_difference(ours, ours.probability, theirs.probability)
    precision = _capacity_difference(ours, theirs.probability)
    return [
        _log_loss("log loss", found, theirs.probability, "the champion's"),
        _level(found),
        Rule("order", not order.clearly_below(), f"{_signed(order)} against the champion's"),
        Rule("capacity precision", not precision.clearly_below(), f"{_signed(precision)} against the champion's"),
        _segments(history, ours, theirs),
    ]


def alone(found: Comparison, candidate: FunnelModel) -> list[Rule]:
    """What every model must do, whatever the champion is like."""
    rules = [_log_loss("base rate", found, found.ours.base, "that of the base rate")]
    if candidate.boosters():
        rules = [_ranks(found.ours), *rules]
    if np.isnan(found.logistic[~np.isnan(found.ours.outcome)]).any():
        return rules
    loss = _log_loss("logistic regression", found, found.logistic, "that of logistic regression")
    precision = _capacity_difference(found.ours, found.logistic)
    found_so = f"{loss.found}; precision at capacity {_signed(precision)}"
    return [*rules, Rule("logistic regression", loss.kept and not precision.clearly_below(), found_so)]


def of_the_model(candidate: FunnelModel, leaks: str) -> list[Rule]:
    """What the model must be like by itself."""
    stages = zip(candidate.funnel.later_stages, candidate.stages_, strict=True)
    at_bound = [name for name, stage in stages if not stage.serves_base_rate and is_at_bound(stage.slope)]
    slope = f"at its bound for {', '.join(at_bound)}" if at_bound else "within its bounds"
    return [
        Rule("calibration slope", not at_bound, slope),
        Rule("leaks", not leaks, " | ".join(leaks.splitlines()) or "none was suspected in training"),
    ]


def of_the_inputs(learnt: OnlyLearnt | None, *, by_later_mornings: bool) -> Rule:
    """What the time that only the candidate learnt from must be like.

    Broken where it differs from the time before and that since then: it does not hold any more. What lasts until now
    is no reason to keep an older model; but where later mornings do not show what it does, it is one if the data seem
    to be incomplete.
    """
    if learnt is None:
        return Rule(
            "inputs", kept=True, found="not looked at: too little time, or none that only the candidate learnt from"
        )
    found = [f"in what only the candidate learnt from: {each}" for each in learnt.ended.findings]
    if not by_later_mornings:
        found += [f"since the champion learnt: {each}" for each in learnt.lasting.findings]
    said = (
        f"nothing of {learnt.ended.n_tests} figures was different while only the candidate learnt, and as before since"
    )
    return Rule("inputs", not found, "; ".join(found) or said)


def _log_loss(name: str, found: Comparison, theirs: Float64s, whose: str) -> Rule:
    """Broken where the candidate's is clearly higher, and by more than the margin."""
    ours, margin = found.ours, found.ours.funnel.gate.margin
    mean = loss_difference(ours, ours.probability, theirs)
    # Both reasons not to know it are independent.
    low, high = (
        mean.value + side * float(np.hypot(end - mean.value, HALF * found.loss_deviation(theirs)))
        for side, end in ((-1, mean.low), (1, mean.high))
    )
    mean = Interval(mean.value, low, high)
    kept = not (Interval(-mean.value, -mean.high, -mean.low).clearly_below() and mean.value > margin)
    return Rule(name, kept, f"{_signed(mean)} against {whose}; up to {margin:+.4f} is allowed")


def _level(found: Comparison) -> Rule:
    """Broken where what the candidate says of a stage is clearly not what came, and clearly farther off."""
    ours, theirs = found.ours, found.theirs
    places = [place for place, column in enumerate(ours.outcome.T) if not np.isnan(column).all()]
    limit, said, broken = float(norm.isf(FALSE_ALARM / (2 * len(places)))), [], []
    for place in places:
        known = ours.reaching(place)
        off = known.probability - known.outcome, theirs.reaching(place).probability - known.outcome
        leads = Resamples.of(known.lead, ours.funnel.judging.resamples)
        sums = leads.by_lead(np.column_stack((np.ones(len(known)), *off)))

        def figures(drawn: Float64s, sums: Float64s = sums) -> Float64s:
            n, mine, other = drawn @ sums
            return np.array([mine / n, (abs(mine) - abs(other)) / n])

        wrong, farther = leads.intervals(figures)
        noise = float(np.hypot(_deviation(wrong), known.probability.mean() * found.share_deviation(place)))
        name, came = ours.funnel.later_stages[place], known.outcome.mean()
        words = f"{name} {came + wrong.value:.1%} and {theirs.reaching(place).probability.mean():.1%}, came {came:.1%}"
        said.append(words)
        # By more than what came may be off itself, or the smallest difference would decide where both are wrong.
        if abs(wrong.value) > limit * noise and farther.value > max(limit * _deviation(farther), noise):
            broken.append(words)
    found_so = f"clearly wrong: {'; '.join(broken)}" if broken else "; ".join(said)
    return Rule("level", not broken, f"said on average by the candidate and by the champion: {found_so}")


def _deviation(interval: Interval) -> float:
    return (interval.high - interval.low) / (2 * HALF)


def _capacity_difference(ours: Judged, theirs: Float64s) -> Interval:
    place = ours.funnel.stages.index(ours.funnel.funnel.handoff[1]) - 1
    rows, their_rows = (worked(ours, each[:, place]).rows for each in (ours.probability, theirs))
    return precision_difference(ours, rows, their_rows)


def _ranks(ours: Judged) -> Rule:
    place = ours.funnel.stages.index(ours.funnel.funnel.handoff[1]) - 1
    order = WithinMornings.of(ours.reaching(place), ours.funnel.judging.resamples).order()
    known = order.most - order.least <= 2 * KNOWN_WITHIN
    value = f"{order.interval.value:.3f} ({order.least:.3f} to {order.most:.3f}, 99 %)"
    found = f"of two leads of one morning and stage it puts the right one first with chance {value}; .5 is no order"
    return Rule("ranks", order.least > 0.5 or not known, found)


def _segments(history: History, ours: Judged, theirs: Judged) -> Rule:
    row, difference = loss_differences(ours, ours.probability, theirs.probability)
    least = max(SIZEABLE_LEADS, SIZEABLE_SHARE * len(np.unique(ours.lead[row])))
    found = []
    for name, here in segments(history, ours):
        kept = here[row]
        leads = Resamples.of(ours.lead[row[kept]], 0)
        if leads.n_leads >= least:
            found.append((name, _z(leads.by_lead(difference[kept])[:, 0])))
    limit = float(norm.isf(FALSE_ALARM / max(len(found), 1)))
    worse = [f"{name} (z {z:.1f})" for name, z in sorted(found, key=lambda each: -each[1]) if z > limit]
    said = f"log loss clearly worse in {', '.join(worse)}" if worse else "none clearly worse in log loss"
    return Rule("segments", not worse, f"{said}; {len(found)} looked at, limit z {limit:.1f}")


def segments(history: History, judged: Judged) -> Iterator[tuple[str, Bools]]:
    """Names and rows of segments: the current stage, and each value of each category."""
    for code, name in enumerate(judged.funnel.stages[:-1]):
        yield f"stage {name}", judged.stage == code
    snapshot = history.at(judged.lead, judged.as_of)
    declared = (*judged.funnel.attributes.known_in_time.categories, *judged.funnel.changes.known_in_time.categories)
    for category in declared:
        codes = snapshot.category(category)
        for code, name in enumerate(history.vocabulary.categories[category]):
            yield f"{category} {name}", codes == code


def _z(per_lead: Float64s) -> float:
    """How many standard errors the mean over leads lies above zero."""
    deviation = per_lead.std(ddof=1)
    return float(per_lead.mean() / deviation * np.sqrt(len(per_lead))) if deviation else 0.0


def _signed(interval: Interval) -> str:
    return f"{interval.value:+.4f} ({interval.low:+.4f} to {interval.high:+.4f})"
