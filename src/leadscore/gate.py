"""The gate: a candidate goes into service only if it is not worse than the champion on time that neither has seen.

The worked example: mornings from 2025-03-01 are ripe. The champion learnt from labels that ended by 2025-02-10, so it
is judged as it is. The candidate learnt from labels that ended by 2025-06-01: for it stands a twin, which is the same
recipe learnt from labels that had ended by 2025-03-01. Another candidate is the champion recalibrated on labels that
ended by 2025-06-01: the trees of its twin learn from labels that had ended by 2025-02-10, and its calibration from
those that had ended by 2025-03-01.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm

from leadscore.backtest import default_cuts, judge, learn_until
from leadscore.errors import ModelError
from leadscore.examples import judging_examples
from leadscore.metrics import (
    Resamples,
    calibration_difference,
    loss_difference,
    loss_differences,
    precision_difference,
    worked,
)
from leadscore.recalibration import recalibrate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leadscore.examples import Examples
    from leadscore.history import History
    from leadscore.history.line import Float64s
    from leadscore.metrics import Interval, Judged
    from leadscore.model import FunnelModel

log = logging.getLogger(__name__)

# A segment is looked at if this share of the leads judged, and this many of them, are in it.
SIZEABLE_SHARE, SIZEABLE_LEADS = 0.05, 40
# Chance of finding some segment worse though none is.
FALSE_ALARM = 0.05


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the gate, and what it found.

    Attributes
    ----------
    name : str
        ``log loss``, ``capacity precision``, ``calibration`` or ``segments``.
    kept : bool
        Whether the candidate keeps to it.
    found : str
        The figures, in a sentence without a full stop.
    """

    name: str
    kept: bool
    found: str

    def __str__(self) -> str:
        return f"{'kept' if self.kept else 'BROKEN'}: {self.name}: {self.found}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says of a candidate.

    Attributes
    ----------
    rules : tuple of Rule
        All of them, kept or not.
    candidate, champion : str
        What was judged: the model itself, or its twin.
    """

    rules: tuple[Rule, ...]
    candidate: str
    champion: str

    @property
    def passed(self) -> bool:
        """Whether every rule is kept."""
        return all(rule.kept for rule in self.rules)

    def __str__(self) -> str:
        lines = (f"candidate: {self.candidate}; champion: {self.champion}", *map(str, self.rules))
        return "\n".join(f"  {line}" for line in lines)


def compare(history: History, candidate: FunnelModel, champion: FunnelModel, n_jobs: int) -> Verdict:
    """Hold a candidate against the champion on the same latest ripe mornings, from which neither has learnt.

    Raises
    ------
    ModelError
        One of them is of another funnel, or of attributes that the history does not have.
    TrainingError
        The history is too short to learn from one part and judge on a later one.
    """
    first_morning = default_cuts(history)[0]
    mornings = judging_examples(history, first_morning)
    ours, how_ours = _judged(history, candidate, mornings, first_morning, n_jobs)
    theirs, how_theirs = _judged(history, champion, mornings, first_morning, n_jobs)
    rules = (
        _log_loss(ours, theirs),
        _capacity_precision(ours, theirs),
        _calibration(ours, theirs),
        _segments(history, ours, theirs),
    )
    return Verdict(rules, how_ours, how_theirs)


def _judged(
    history: History, model: FunnelModel, mornings: Examples, first_morning: int, n_jobs: int
) -> tuple[Judged, str]:
    """A model on the mornings, or its twin if it learnt from labels that ended later; and which of the two."""
    read_so = as_read_by(history, model)
    if model.trained_until_ <= first_morning:
        return judge(read_so, model, mornings), "as it is"
    log.info("a model learnt from some of the mornings: its recipe is learnt again from what was known before")
    # No later than the model's own: the trees of a recalibrated model may be old, and its twin's must not be younger.
    twin = learn_until(read_so, min(first_morning, model.grown_until_), n_jobs)
    unsure = [each.stage for each in model.withheld() if each is not None]
    twin, how = twin.serving_base_rates(unsure), "a twin learnt before the first morning judged"
    if model.recalibrated_:
        twin, how = recalibrate(read_so, twin, n_jobs, first_morning).model, f"{how}, recalibrated by then"
    return judge(read_so, twin, mornings), how


def as_read_by(history: History, model: FunnelModel) -> History:
    """The history with the settings of a model: its features, examples and trees.

    Raises
    ------
    ModelError
        Stages, horizons or time zone differ, or the history has not the attributes.
    """
    ours, theirs = history.funnel, model.funnel
    differ = [part for part in ("funnel", "horizon_days") if getattr(ours, part) != getattr(theirs, part)]
    differ += ["time.timezone"] if ours.time.timezone != theirs.time.timezone else []
    if differ:
        raise ModelError(
            f"the model is of another funnel: {', '.join(differ)} of funnel.toml differ from what it was trained with; "
            "the two cannot be compared: train a first champion under another LEADSCORE_MODEL"
        )
    has = {*history.numbers, *history.categories, *history.changes}
    needs = {name for each in (theirs.attributes, theirs.changes) for name in (*each.numbers, *each.categories)}
    if missing := sorted(needs - has):
        raise ModelError(
            f"the model reads attributes that the data set does not declare: {', '.join(missing)}; "
            "declare them in funnel.toml, so that the two can be compared"
        )
    return replace(
        history, funnel=theirs.model_copy(update={"owner": ours.owner, "judging": ours.judging, "gate": ours.gate})
    )


def _log_loss(ours: Judged, theirs: Judged) -> Rule:
    margin = ours.funnel.gate.margin
    mean = loss_difference(ours, ours.probability, theirs.probability)
    return Rule(
        "log loss", mean.high <= margin, f"{_signed(mean)} against the champion's; at most {margin:+.4f} allowed"
    )


def _capacity_precision(ours: Judged, theirs: Judged) -> Rule:
    place = ours.funnel.stages.index(ours.funnel.funnel.handoff[1]) - 1
    rows, their_rows = (worked(each, each.probability[:, place]).rows for each in (ours, theirs))
    precision = precision_difference(ours, rows, their_rows)
    return Rule("capacity precision", not precision.high < 0, f"{_signed(precision)} against the champion's")


def _calibration(ours: Judged, theirs: Judged) -> Rule:
    error = calibration_difference(ours, ours.probability, theirs.probability)
    return Rule("calibration", not error.low > 0, f"calibration error {_signed(error)} against the champion's")


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


def segments(history: History, judged: Judged) -> Iterator[tuple[str, np.typing.NDArray[np.bool_]]]:
    """Names and rows of segments: the current stage, and each value of each category."""
    for code, name in enumerate(judged.funnel.stages[:-1]):
        yield f"stage {name}", judged.stage == code
    snapshot = history.at(judged.lead, judged.as_of)
    declared = (*judged.funnel.attributes.categories, *judged.funnel.changes.categories)
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
