"""The yardstick: an endpoint that parses the same body as `POST /v1/scores` and answers a constant."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from leadscore.api.bodies import ScoresAsked  # noqa: TC001 - FastAPI reads it

ANSWER: dict[str, Any] = {
    "scores": [
        {
            "lead_id": "L1000003",
            "stage": "sal",
            "probabilities": [
                {"stage": stage, "horizon_days": days, "probability": 0.1234567890123456}
                for stage, days in (("sql", 45), ("opportunity", 60), ("won", 90))
            ],
        }
    ]
}

app = FastAPI()


@app.post("/v1/scores")
async def score(asked: ScoresAsked) -> dict[str, Any]:  # noqa: ARG001 - only parsed
    """A constant."""
    return ANSWER
