"""Scores in the words of `leadscore.api.answers`."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic_core import from_json

from leadscore.api.times import written
from leadscore.explain import explain
from leadscore.scoring import HANDOFF, WIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadscore.explain import Change, Reasons
    from leadscore.model import FunnelModel
    from leadscore.registry import Served
    from leadscore.scoring import Scores


Told = dict[str, Any]
STALE, NOT_KNOWN_YET, UNKNOWN_STAGE = "stale", "not_known_yet", "unknown_stage"
NO_FLAGS = "[]"
WARNING, LONGEST_WARNING = "X-Leadscore-Warning", 1_000


def scores_told(scores: Scores, served: Served, as_of: int, scored_at: int, why: Sequence[Told | None]) -> list[Told]:
    """Scores of leads that were sent, as `Score` says: the list before the handoff, the one past it, and the rest.

    Parameters
    ----------
    why : sequence of dict, length n_leads
        Of `why_told`.
    """
    every = every_score(as_of, scored_at, str(served.version))
    open_, closed, lists = [], [], {HANDOFF: 0, WIN: 0}
    moments = scores.snapshot.as_of.tolist()
    for place in np.lexsort((scores.lead_id[scores.scored], -scores.key, ~scores.before)).tolist():
        told = score_told(scores, served.model, place, every | {"as_of": written(moments[place])})
        if told["closed"]:
            closed.append(told)
            continue
        lists[told["list"]] += 1
        told["rank"] = lists[told["list"]]
        told["reasons"] = why[scores.scored[place]]
        open_.append(told)
    scored = set(scores.scored.tolist())
    others = [without_score(scores, row) | every for row in range(len(scores.lead_id)) if row not in scored]
    return open_ + closed + others


def score_told(scores: Scores, model: FunnelModel, place: int, every: Told) -> Told:
    """The score of one lead, without its rank and reasons.

    Parameters
    ----------
    place : int
        Of the lead among those scored.
    every : dict
        Of `every_score`.
    """
    stage = int(scores.stage[place])
    lead_id = scores.lead_id[scores.scored[place]]
    if stage >= len(model.stages_):
        return unscored(lead_id, [*model.funnel.stages, "lost"][stage]) | every
    of_list = HANDOFF if scores.before[place] else WIN
    return {
        "lead_id": lead_id,
        "stage": model.funnel.stages[stage],
        "closed": False,
        "do_not_score": False,
        "list": of_list,
        "ordered_by": ordered_by(model, of_list),
        "probability": float(scores.key[place]),
        "rank": None,
        "grade": scores.grade[place],
        "probabilities": _ahead(model, stage, scores.probability[place, stage:].tolist()),
        "flags": scores.flags.of_lead(place),
        **every,
        "reasons": None,
    }


@lru_cache(16)
def ordered_by(model: FunnelModel, of_list: str) -> str:
    """The stage to reach whose probability a list is in order of."""
    return model.funnel.later_stages[place_of(model, before=of_list == HANDOFF)]


def every_score(as_of: int, scored_at: int, model_version: str) -> Told:
    """What every score says, of whatever lead."""
    return {"as_of": written(as_of), "scored_at": written(scored_at), "model_version": model_version}


def without_score(scores: Scores, row: int) -> Told:
    """A lead that objects to profiling, that was not known at its moment, or whose stage is not known."""
    lead = unscored(scores.lead_id[row], None)
    for rows, flag in ((scores.not_known_yet, NOT_KNOWN_YET), (scores.unknown, UNKNOWN_STAGE)):
        if row in rows:
            return lead | {"do_not_score": False, "flags": [flag]}
    return lead


def unscored(lead_id: str, stage: str | None) -> Told:
    """A lead that is closed, or, where no stage is said, one that objects to profiling."""
    return {
        "lead_id": lead_id,
        "stage": stage,
        "closed": stage is not None,
        "do_not_score": stage is None,
        "list": None,
        "ordered_by": None,
        "probability": None,
        "rank": None,
        "grade": None,
        "probabilities": [],
        "flags": [],
        "reasons": None,
    }


def kept_told(row: Any, model: FunnelModel, stale_before: int) -> Told:
    """A score as the store keeps it.

    Parameters
    ----------
    row
        With the columns of `leadscore.store.list_page`.
    stale_before : int
        A score whose ``as_of`` is earlier is stale.
    """
    # By place: looking each up by its name takes a third of the time of a page.
    lead_id, _, of_list, rank, key, stage, _, _, grade, probabilities, flags, as_of, scored_at, version = row
    if not of_list:
        return unscored(lead_id, stage) | every_score(as_of, scored_at, version)
    told_flags = [] if flags == NO_FLAGS else from_json(flags)
    return {
        "lead_id": lead_id,
        "stage": stage,
        "closed": False,
        "do_not_score": False,
        "list": of_list,
        "ordered_by": ordered_by(model, of_list),
        "probability": key,
        "rank": rank,
        "grade": grade,
        "probabilities": probabilities_told(from_json(probabilities), model),
        "flags": [*told_flags, STALE] if as_of < stale_before else told_flags,
        "as_of": written(as_of),
        "scored_at": written(scored_at),
        "model_version": version,
        "reasons": None,
    }


def probabilities_told(kept: Sequence[float | None], model: FunnelModel) -> list[Told]:
    """Probabilities as the store keeps them: in order of later stages, None for those passed."""
    ahead = [value for value in kept if value is not None]
    return _ahead(model, len(kept) - len(ahead), ahead)


def reasons_told(reasons: Reasons) -> Told:
    """Reasons as `leadscore.api.answers.Reasons` says."""
    ways = {"towards": reasons.towards, "against": reasons.against}
    told = {
        way: [{"sentence": each.sentence, "contribution": each.contribution} for each in found]
        for way, found in ways.items()
    }
    sums = {"everything_else": reasons.everything_else, "base": reasons.base, "margin": reasons.margin}
    return {"stage": reasons.stage, "probability": reasons.probability, "note": reasons.note, **told, **sums}


def changes_told(changes: Sequence[Change]) -> list[Told]:
    """What moved a score since the last one."""
    return [{"sentence": each.sentence, "contribution": each.moved} for each in changes]


def _ahead(model: FunnelModel, stage: int, probability: list[float]) -> list[Told]:
    return [
        {"stage": name, "horizon_days": days, "probability": each}
        for (name, days), each in zip(_to_reach(model)[stage:], probability, strict=True)
    ]


# Asked for each row of a page; of the few models that are in service one after another.
@lru_cache(8)
def _to_reach(model: FunnelModel) -> tuple[tuple[str, int], ...]:
    return tuple(zip(model.funnel.later_stages, model.funnel.horizons, strict=True))


def why_told(scores: Scores, model: FunnelModel, *, asked: bool) -> list[Told | None]:
    """Why each lead that was sent has the probability that its list is in order of.

    None for those that are closed or object, and for all where nobody has asked.
    """
    told: list[Told | None] = [None] * len(scores.lead_id)
    for before in (True, False) if asked else ():
        rows = np.flatnonzero((scores.before == before) & ~np.isnan(scores.key))
        found = explain(model, scores.snapshot[rows], place_of(model, before=before)) if len(rows) else []
        for row, reasons in zip(scores.scored[rows].tolist(), found, strict=True):
            told[row] = reasons_told(reasons)
    return told


@lru_cache(16)
def place_of(model: FunnelModel, *, before: bool) -> int:
    """Which later stage a list is in order of."""
    later = model.funnel.later_stages
    return later.index(model.funnel.funnel.handoff[1]) if before else len(later) - 1


def warning_header(model: FunnelModel) -> dict[str, str]:
    """What is known against a model, as a header of answers that have no field for it; empty where nothing is."""
    text = " | ".join(model.doubts_).encode("ascii", "replace").decode()
    return {WARNING: " ".join(text.split())[:LONGEST_WARNING]} if text else {}
