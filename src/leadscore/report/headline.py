"""The first screen: what the list brings beside what the team could do without it, and whether to trust it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from leadscore.funnel import open_leads
from leadscore.model.staleness import stale_from
from leadscore.peers import BASE_RATE, LOGISTIC, NAIVE_BAYES, OLDEST, RECENT
from leadscore.report.figures import over_all
from leadscore.report.words import between, counted, day, figure, listed, of_100, percent

if TYPE_CHECKING:
    from leadscore.drift import Drift
    from leadscore.history import History
    from leadscore.metrics import Interval
    from leadscore.peers import Peer
    from leadscore.training import Trained

OURS = "in order of this model's probability"
IN_ORDER = {
    BASE_RATE: "in order of the base rate (stage and days in it)",
    NAIVE_BAYES: "in order of naive Bayes, as in Odoo",
    LOGISTIC: "in order of a logistic regression",
    RECENT: "most recently touched first",
    OLDEST: "oldest first",
}
SHORT = IN_ORDER | {BASE_RATE: "the base rate (stage and days in it)", NAIVE_BAYES: NAIVE_BAYES, LOGISTIC: LOGISTIC}
# Orders that a team without a score works in.
WITHOUT_SCORE = (BASE_RATE, RECENT, OLDEST)
BETTER, WORSE, ALIKE = "the model is better", "the model is worse", "no clear difference"


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning: in a few words, and what to do about it."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Bar:
    """What an order of the list brings.

    Attributes
    ----------
    label : str
        The order.
    of_100 : str
        Of 100 contacts, how many reached the handoff.
    between : str
        The interval; empty without one.
    held : str
        What the model is beside it, beyond chance; empty for what is served.
    width, low, high : float
        Percent of the widest bar; those of the interval 0 without one.
    """

    label: str
    of_100: str
    between: str
    held: str
    width: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Headline:
    """The first screen.

    Attributes
    ----------
    warnings : tuple of Warned
        None if there is nothing to warn of.
    moved : Drift
        What moved between the latest time and the time before.
    stage : str
        The handoff's second stage, which the list is for.
    days : int
        Its horizon.
    found : str
        Of 100 leads contacted from the top of the list as it is served, how many reached it; a dash without any.
    between : str
        The interval of that, in words; empty without one.
    without : str
        What it would be in the orders of a team without a score.
    verdict : str
        Which orders the model is better than, beyond chance.
    bars : tuple of Bar
        What is served, and every baseline.
    contacts, capacity, recall : str
        How many contacts that was, how many a day each owner makes, and the share that was found of those to find.
    said : str
        Whether its probabilities were right on average, in a sentence; empty where that is not known.
    off : str
        The stages of which they clearly were not, in a sentence; empty without any.
    tiles : tuple of (str, str, str)
        What else a reader wants at once: a heading, a figure, and what it is.
    """

    warnings: tuple[Warned, ...]
    moved: Drift
    stage: str
    days: int
    found: str
    between: str
    without: str
    verdict: str
    bars: tuple[Bar, ...]
    contacts: str
    capacity: str
    recall: str
    said: str
    off: str
    tiles: tuple[tuple[str, str, str], ...]


def headline(trained: Trained, history: History, trained_at: int | None) -> Headline:
    """The first screen of a training run."""
    funnel, ours = history.funnel, trained.findings.handoff
    place = handoff_place(trained)
    by_name = {peer.name: peer for peer in trained.peers}
    # Where no trees are in service, the list is in order of the base rate.
    in_service = not trained.model.stages_[place].serves_base_rate
    without = [by_name[name] for name in WITHOUT_SCORE if name in by_name and (in_service or name != BASE_RATE)]
    return Headline(
        warnings=warned(trained),
        moved=trained.drift,
        stage=funnel.later_stages[place],
        days=funnel.horizons[place],
        found=of_100(ours.precision.value),
        between=between(ours.precision, of_100),
        without=_without(without),
        verdict=_verdict(trained.peers),
        bars=_bars(trained, in_service=in_service),
        contacts=counted(ours.contacts),
        capacity=counted(funnel.owner.capacity),
        recall=percent(ours.recall.value),
        said=_said(trained, place) if in_service else "",
        off=_off(trained),
        tiles=_tiles(trained, history, place, trained_at),
    )


def handoff_place(trained: Trained) -> int:
    """The stage that the list is for, as a place in ``funnel.later_stages``."""
    funnel = trained.model.funnel
    return funnel.later_stages.index(funnel.funnel.handoff[1])


def warned(trained: Trained) -> tuple[Warned, ...]:
    """What whoever is about to trust the model must know first."""
    found = trained.findings
    warnings = [Warned(f"Leak? {leak.stage} from {leak.current}", _sentence(leak.text)) for leak in found.leaks]
    warnings += [Warned(_title(why.title), why.text) for why in trained.model.withheld()]
    leaks = set(map(str, found.leaks))
    warnings += [
        Warned("The gate would hold this model back", f"{_title(doubt)}.")
        for doubt in trained.model.doubts_
        if doubt not in leaks
    ]
    if found.never_closed is not None:
        title, _, text = str(found.never_closed).partition(": ")
        warnings.append(Warned(_title(title), f"{text}."))
    return tuple(warnings)


def _title(words: str) -> str:
    return words[:1].upper() + words[1:]


def _sentence(text: str) -> str:
    return f"{_title(text)}."


def _without(peers: list[Peer]) -> str:
    known = [peer for peer in peers if not math.isnan(peer.handoff.precision.value)]
    parts = [f"{IN_ORDER[peer.name]} {of_100(peer.handoff.precision.value)}" for peer in known]
    if parts:
        label, _, number = parts[0].rpartition(" ")
        parts[0] = f"{label} it would be {number}"
    return listed(parts) if parts else ""


def _verdict(peers: tuple[Peer, ...]) -> str:
    sentences = []
    for held, before, after in (
        (BETTER, "The model is better than", " by more than chance explains"),
        (WORSE, "It is worse than", " by more than chance explains"),
        (ALIKE, "It is neither clearly better nor clearly worse than", ""),
    ):
        names = [SHORT[peer.name] for peer in peers if _held(peer.precision_gain) == held]
        sentences += [f"{before} {listed(names)}{after}."] if names else []
    better = [SHORT[peer.name] for peer in peers if peer.loss_gain.high < 0]
    if better:
        sentences.append(f"The probabilities of {listed(better)} are clearly better (log loss).")
    return " ".join(sentences)


def _held(gain: Interval) -> str:
    if gain.low > 0:
        return BETTER
    return WORSE if gain.high < 0 else ALIKE


def _bars(trained: Trained, *, in_service: bool) -> tuple[Bar, ...]:
    rows = [(OURS, trained.findings.handoff.precision, "")] if in_service else []
    for peer in trained.peers:
        held = _held(peer.precision_gain) if in_service or peer.name != BASE_RATE else ""
        rows.append((IN_ORDER[peer.name], peer.handoff.precision, held))
    ends = [end for _, share, _ in rows for end in (share.value, share.high) if not math.isnan(end)]
    widest = max(ends, default=0.0) or 1.0
    return tuple(_bar(label, share, held, widest) for label, share, held in rows)


def _bar(label: str, share: Interval, held: str, widest: float) -> Bar:
    width, low, high = (round(100 * float(np.nan_to_num(end)) / widest, 2) for end in _ends(share))
    return Bar(label, of_100(share.value), between(share, of_100), held, width, low, high)


def _ends(share: Interval) -> tuple[float, float, float]:
    return share.value, share.low, share.high


def _said(trained: Trained, place: int) -> str:
    row = over_all(trained)[place]
    said, observed, order = (figure(row, name) for name in ("mean_score", "base_rate", "order"))
    if math.isnan(observed.value):
        return ""
    ends = between(observed, percent)
    found = (
        f"Over all leads open on those mornings it said {percent(said.value)} on average; "
        f"{percent(observed.value)}{f' ({ends})' if ends else ''} got there."
    )
    if math.isnan(order.value):
        return found
    return (
        f"{found} Of two leads in the same stage on the same morning, one of which got there, it put the right one "
        f"first {of_100(order.value)} times of 100."
    )


def _off(trained: Trained) -> str:
    parts = []
    for row, model in zip(over_all(trained), trained.model.stages_, strict=True):
        said, observed = (figure(row, name) for name in ("mean_score", "base_rate"))
        apart = said.low > observed.high or said.high < observed.low
        if apart and not model.serves_base_rate:
            parts.append(f"{row['stage']} ({percent(said.value)} said, {percent(observed.value)} observed)")
    return f"On average its probabilities were clearly off for {listed(parts)}." if parts else ""


def _until(flagged: str) -> str:
    return f"scores as of a day after {flagged} are flagged stale_model: retrain by then"


def _tiles(trained: Trained, history: History, place: int, trained_at: int | None) -> tuple[tuple[str, str, str], ...]:
    zone, judged = history.funnel.time.zone, trained.backtest.judged
    stage = open_leads(history, history.known_until).steps.stage
    on_list = int(np.count_nonzero(stage <= place))
    mornings = np.unique(judged.as_of[~np.isnan(judged.outcome).all(axis=1)])
    known = day(history.known_until, zone)
    first, last = (day(int(moment), zone) for moment in (mornings[0], mornings[-1]))
    flagged = day(stale_from(trained.model), zone)
    trained_on = (
        ("Known until", known, f"the end of the recorded history that was learnt from; {_until(flagged)}")
        if trained_at is None
        else ("Trained", day(trained_at, zone), f"from what was known on {known}; {_until(flagged)}")
    )
    return (
        ("Open leads", counted(len(stage)), f"{counted(on_list)} of them not yet {history.funnel.later_stages[place]}"),
        trained_on,
        (
            "Judged on",
            f"{counted(len(mornings))} mornings",
            f"{first} to {last}, each later than what had been learnt from by then",
        ),
    )
