"""Answers of an invented company, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

Example = dict[str, Any]

LEAD_ID, OTHER = "L1000003", "L1000041"
AS_OF, SCORED_AT = "2025-03-04T09:00:00Z", "2025-03-04T09:00:01.250000Z"
MADE: Example = {"as_of": AS_OF, "scored_at": SCORED_AT, "model_version": "7"}
AHEAD = [
    {"stage": "sql", "horizon_days": 30, "probability": 0.31},
    {"stage": "won", "horizon_days": 90, "probability": 0.08},
]
SCORE: Example = {
    "lead_id": LEAD_ID,
    "stage": "mql",
    "closed": False,
    "do_not_score": False,
    "list": "handoff",
    "ordered_by": "sql",
    "probability": 0.31,
    "rank": 1,
    "grade": "A",
    "probabilities": AHEAD,
    "flags": [],
    **MADE,
    "reasons": None,
}
CLOSED: Example = SCORE | {
    "lead_id": OTHER,
    "stage": "won",
    "closed": True,
    "list": None,
    "ordered_by": None,
    "probability": None,
    "rank": None,
    "grade": None,
    "probabilities": [],
}
REASONS: Example = {
    "stage": "sql",
    "probability": 0.31,
    "towards": [{"sentence": "3 calls in the last 7 days", "contribution": 0.62}],
    "against": [{"sentence": "21 days in this stage", "contribution": -0.18}],
    "note": "",
    "everything_else": 0.11,
    "base": -1.4,
    "margin": -0.85,
}
# By the name of the schema.
EXAMPLES: dict[str, Example] = {
    "ScoresAnswer": {"scores": [SCORE, CLOSED], "warnings": []},
    "EventsAnswer": {
        "received_at": SCORED_AT,
        "outcomes": ["changed", "new", "conflict"],
        "details": [
            {
                "event": 2,
                "flags": [],
                "field": "lead_id",
                "message": "event_id crm-4711 is that of an event of another lead; not stored",
            }
        ],
        "scores": [SCORE],
        "warnings": [],
    },
    "LeadsAnswer": {
        "run": {
            "run": 12,
            "as_of": AS_OF,
            "published_at": "2025-03-04T09:02:10Z",
            "model_version": "7",
            "leads": 48_210,
        },
        "leads": [SCORE],
        "next": "WzEyLCJoYW5kb2ZmIiwwLjMxLDNd",
        "warnings": [],
    },
    "LeadAnswer": {
        "lead_id": LEAD_ID,
        "score": SCORE | {"reasons": REASONS},
        "trend": "improving",
        "warnings": [],
        "changed": [{"sentence": "3 calls in the last 7 days", "contribution": 0.4}],
        "history": [{"stage": "mql", "probabilities": AHEAD, **MADE, "as_of": "2025-02-25T09:00:00Z"}],
    },
    "ErasedAnswer": {"receipt": "6f1c0e0a-3c55-4d7e-9a57-0b8f6a1c2d3e", "erased_at": SCORED_AT},
    "Objection": {"do_not_score": True},
    "ObjectionAnswer": {"lead_id": LEAD_ID, "do_not_score": True},
    "PredictiveScore": {
        "msdyn_score": 31,
        "msdyn_scoretrend": 0,
        "msdyn_grade": 0,
        "msdyn_entityid": LEAD_ID,
        "msdyn_entitytype": "lead",
    },
    "ModelAnswer": {
        "model_version": "7",
        "trained_until": "2025-03-01T00:00:00Z",
        "data": "data/crm",
        "stages": [
            {
                "stage": "sql",
                "horizon_days": 30,
                "fallback": False,
                "no_signal": False,
                "why": None,
                "pairs": [
                    {
                        "current": "mql",
                        "state": "ranks",
                        "serves": "trees",
                        "level_offset": 0.0,
                        "order": 0.72,
                        "order_least": 0.69,
                        "order_most": 0.75,
                    }
                ],
            },
        ],
        "handoff": ["mql", "sql"],
        "grades": {"handoff": [0.24, 0.11, 0.04], "win": [0.42, 0.2, 0.09]},
        "figures": {"log_loss_gain": 0.061, "auc": 0.78},
        "stage_figures": [{"stage": "sql", "auc": 0.79}],
        "warnings": [],
        "drift": {
            "advice": "recalibrate",
            "to_do": "Run make recalibrate, then make promote.",
            "tests": 92,
            "findings": [
                {
                    "what": "level",
                    "subject": "sql",
                    "before": 0.075,
                    "now": 0.251,
                    "z": 9.1,
                    "p": 1e-12,
                    "sentence": "Sql: predicted 7.5% on average, observed 25.1%, on the mornings since 2025-01-06.",
                }
            ],
        },
        "left_out": 14,
        "trouble": None,
    },
    "Problem": {
        "type": "about:blank",
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": "1 field cannot be used",
        "request_id": "2f6c1d0b9a4e7788",
        "errors": [{"field": "body.leads.0.created_at", "rule": "Field required"}],
    },
}
