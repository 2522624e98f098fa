"""The model in service."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request

from leadscore.api.answers import ModelAnswer
from leadscore.api.callers import Guarded, needs
from leadscore.api.documents import REFUSED
from leadscore.api.json import JSON
from leadscore.api.service import service_of
from leadscore.model.staleness import stale_history
from leadscore.model.withheld import TOO_FEW
from leadscore.scoring import HANDOFF, WIN

if TYPE_CHECKING:
    from leadscore.model import FunnelModel
    from leadscore.registry import Served

router = APIRouter(route_class=Guarded)


@router.get("/v1/model", openapi_extra=needs("read"), response_model=ModelAnswer, responses=REFUSED)
async def show_model(request: Request) -> JSON:
    """The model in service: what it has learnt from, what it predicts, how good it is, and what to know of it."""
    service = service_of(request)
    return JSON(_model_info(service.served(), service.now()) | {"trouble": service.champion.trouble or None})


def _model_info(served: Served, now: int) -> dict[str, Any]:
    model, about = served.model, served.about
    return {
        "model_version": str(served.version),
        "trained_until": about.get("known_until"),
        "data": about.get("data"),
        "stages": _stages(model),
        "handoff": model.funnel.funnel.handoff,
        "grades": {
            name: [None if math.isnan(edge) else edge for edge in edges]
            for name, edges in zip((HANDOFF, WIN), model.grades_.edges.tolist(), strict=True)
        },
        "figures": about.get("overall", {}),
        "stage_figures": about.get("figures", []),
        "warnings": [*dict.fromkeys((*about.get("warnings", []), *model.doubts_)), *_stale(served, now)],
        "drift": about.get("drift"),
        "left_out": about.get("left_out", 0),
    }


def _stale(served: Served, now: int) -> list[str]:
    stale = stale_history(served.model, now, served.stale_days)
    return [f"The history that the model has learnt from {stale}"] if stale else []


def _stages(model: FunnelModel) -> list[dict[str, Any]]:
    funnel = model.funnel
    why: dict[str, list[str]] = {}
    for each in model.withheld():
        why.setdefault(each.stage, []).append(str(each))
    return [
        {
            "stage": name,
            "horizon_days": days,
            "fallback": learnt.serves_base_rate and not learnt.no_signal,
            "no_signal": learnt.no_signal,
            "why": " ".join(why[name]) if name in why else None,
            "pairs": [
                {
                    "current": current,
                    "state": TOO_FEW if learnt.fallback else pair.state,
                    "serves": "trees" if pair.trees and not learnt.fallback else "base rate",
                    "level_offset": pair.level,
                    "order": _or_none(pair.order),
                    "order_least": _or_none(pair.order_least),
                    "order_most": _or_none(pair.order_most),
                }
                for current, pair in zip(funnel.stages, pairs, strict=False)
            ],
        }
        for name, days, learnt, pairs in zip(
            funnel.later_stages, funnel.horizons, model.stages_, model.pairs(), strict=True
        )
    ]


def _or_none(figure: float) -> float | None:
    return None if math.isnan(figure) else figure
