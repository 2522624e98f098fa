"""What callers are answered; `leadscore.api.telling` makes it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

AsOf = Annotated[str, Field(description="The moment that it is for: all that was known then counts.")]
ScoredAt = Annotated[str, Field(description="When it was computed.")]
ModelVersion = Annotated[str, Field(description="Version of the model in the registry.")]
STAGE = "Where the lead stands; null for one that objects to profiling."
FLAGS = (
    "`stale`: long not scored; `fallback`: base rates for want of outcomes; `no_signal`: base rates for want of skill; "
    "`incomplete`: a transition of the lead could not be read when it was imported, so its stage may be another."
)


class Probability(BaseModel):
    """How likely a lead is to reach a stage within its horizon."""

    stage: str
    horizon_days: int
    probability: float = Field(ge=0, le=1)


class Why(BaseModel):
    """One reason for a probability."""

    sentence: str
    contribution: float = Field(description="In log odds; positive speaks for the lead.")


class Reasons(BaseModel):
    """Why a lead has the probability that its list is in order of."""

    stage: str = Field(description="The stage to reach.")
    probability: float
    towards: list[Why]
    against: list[Why]
    everything_else: float = Field(description="What is no reason contributes so much, in log odds.")
    base: float = Field(description="Where every lead starts, in log odds.")
    margin: float = Field(description="The sum of all of these, before calibration.")


Probabilities = list[Probability]


class Score(BaseModel):
    """The score of a lead."""

    lead_id: str
    stage: str | None = Field(description=STAGE)
    closed: bool = Field(description="Whether the lead is won or lost, and so has no probabilities.")
    do_not_score: bool = Field(description="Whether the lead objects to profiling, and so has no score.")
    list: str | None = Field(description="`handoff` before the handoff, `win` past it; null where there is no score.")
    ordered_by: str | None = Field(description="The stage whose probability that list is in order of.")
    probability: float | None = Field(description="That probability.")
    rank: int | None = Field(description="Place in that list, from 1; null for a lead that is new since it was made.")
    grade: str | None = Field(description="A to D, among the leads that the model has learnt from.")
    probabilities: Probabilities = Field(description="Of each later stage.")
    flags: Annotated[tuple[str, ...], Field(description=FLAGS)]
    as_of: AsOf
    scored_at: ScoredAt
    model_version: ModelVersion
    reasons: Reasons | None = Field(default=None, description="Where they were asked for.")


class ScoresAnswer(BaseModel):
    """Scores, likeliest first: the list before the handoff, then the one past it, then leads without a score."""

    scores: list[Score]


class EventsAnswer(BaseModel):
    """What became of each event, in the order sent, and the scores of the leads that they are about."""

    received_at: str = Field(description="From then on they are known; not before.")
    outcomes: list[str] = Field(
        description="new, changed, repeat (harmless), retracted (taken back before), erased (of an erased lead, not "
        "stored) or unknown (of a lead that was never sent, not stored)."
    )
    scores: list[Score]


class Run(BaseModel):
    """The publication that a list is of."""

    run: int
    as_of: AsOf
    published_at: str
    model_version: ModelVersion
    leads: int


class LeadsAnswer(BaseModel):
    """A page of the list."""

    run: Run
    leads: list[Score]
    next: str | None = Field(description="Send it as `cursor` for the next page; null on the last one.")


class PastScore(BaseModel):
    """A score that a lead had."""

    stage: str
    probabilities: list[Probability]
    as_of: AsOf
    scored_at: ScoredAt
    model_version: ModelVersion


class Moved(BaseModel):
    """What moved a score since the last one."""

    sentence: str
    contribution: float = Field(description="In log odds, now less then.")


class LeadAnswer(BaseModel):
    """One lead: its score, why, and how it came there."""

    lead_id: str
    score: Score = Field(description="With its reasons.")
    trend: str = Field(description="improving, steady, declining, or too early (to tell).")
    changed: list[Moved] = Field(description="What moved the score since the last one.")
    history: list[PastScore] = Field(description="Earlier scores, oldest first.")


class ErasedAnswer(BaseModel):
    """The lead is erased, or was."""

    receipt: str = Field(description="To be shown on request; it holds nothing personal.")
    erased_at: str


class ObjectionAnswer(BaseModel):
    """Whether a lead objects to profiling."""

    lead_id: str
    do_not_score: bool


class StageAnswer(BaseModel):
    """A stage that leads may reach."""

    stage: str
    horizon_days: int
    fallback: bool = Field(description="Base rates are served, for want of outcomes to learn from.")
    no_signal: bool = Field(description="Base rates are served, because the model does no better on later time.")


class ModelAnswer(BaseModel):
    """The model in service."""

    model_version: ModelVersion
    trained_until: str | None = Field(description="The end of the history that it has learnt from.")
    data: str | None = Field(description="Where that history was.")
    stages: list[StageAnswer]
    handoff: tuple[str, str]
    grades: dict[str, list[float | None]] = Field(description="From which probability on A, B and C begin, by list.")
    figures: dict[str, float | None] = Field(description="Over all stages, on later time.")
    stage_figures: list[dict[str, float | str | None]]
    warnings: list[str]
    left_out: int = Field(description="Leads that object to profiling and were not learnt from.")
    trouble: str | None = Field(description="Why a newer champion is not in service.")


class PredictiveScore(BaseModel):
    """A row of Dynamics 365's table of predictive scores, to be created with `POST msdyn_predictivescores`."""

    msdyn_score: int = Field(ge=0, le=100)
    msdyn_scoretrend: int = Field(ge=0, le=3, description="0 improving, 1 steady, 2 declining, 3 not enough known")
    msdyn_grade: int = Field(ge=0, le=3, description="0 to 3 for A to D")
    msdyn_entityid: str
    msdyn_entitytype: str
