"""What callers are answered; `leadscore.api.telling` makes it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

AsOf = Annotated[str, Field(description="The moment that it is for: all that was known then counts.")]
ScoredAt = Annotated[str, Field(description="When it was computed.")]
ModelVersion = Annotated[str, Field(description="Version of the model in the registry.")]
STAGE = "Where the lead stands; null for one that objects to profiling, or of which it is not known."
WARNINGS = (
    "What is known against the model in service, if anything: a suspected leak, an order no better than chance, or a "
    "baseline that was clearly better. A first champion goes into service with such doubts, later ones are held back."
)
FLAGS = (
    "`stale`: long not scored; `stale_model`: scored by a model whose history had ended long before; "
    "`fallback`: base rates, because outcomes are too few to learn trees or to judge them; "
    "`no_signal`: base rates, because the trees order leads no better than chance on later mornings; "
    "`level_corrected`: the trees order leads, and their level was put right; "
    "`order_unknown`: outcomes are too few to tell whether the trees order leads of this stage; "
    "`unseen:source`: the lead's value of that attribute is new to the model or was too rare to learn; check how it "
    "is written; `not_known_yet`: created, or recorded, after `as_of`, and so without a score; "
    "`unknown_stage`: no score, because the lead is older than the record of stages and has not moved since; "
    "`incomplete`: a transition of the lead could not be read when it was imported, so its stage may be another."
)
EVENT_FLAGS = (
    "`dated late`: it took place long ago (`LEADSCORE_LATE_HOURS`) and counts from now on only; load the past with "
    "`make ingest`, or send its `recorded_at` with a key of the scope `backfill`. `backfilled`: stored with the "
    "`recorded_at` that was sent."
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
    note: str = Field(description="What the base rate is of, where it is served and there are no reasons; else empty.")
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
    warnings: list[str] = Field(description=WARNINGS)


class EventDetail(BaseModel):
    """What else is to be known of one event."""

    event: int = Field(ge=0, description="Its position among the events sent, from 0.")
    flags: Annotated[tuple[str, ...], Field(description=EVENT_FLAGS)]
    field: str | None = Field(description="The field that the message is about: of a conflict `lead_id` or `type`.")
    message: str


class EventsAnswer(BaseModel):
    """What became of each event, in the order sent, and the scores of the leads that they are about."""

    received_at: str = Field(description="From then on they are known; not before, unless they state `recorded_at`.")
    outcomes: list[str] = Field(
        description="new, changed (of a known lead or `event_id`: what was stored is replaced), repeat (harmless), "
        "conflict (its `event_id` is that of an event of another lead or type; not stored), retracted (taken back "
        "before), erased (of an erased lead, not stored) or unknown (of a lead that was never sent, not stored)."
    )
    details: list[EventDetail] = Field(description="Of those events of which there is more to say; mostly none.")
    scores: list[Score]
    warnings: list[str] = Field(description=WARNINGS)


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
    warnings: list[str] = Field(description=WARNINGS)


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
    warnings: list[str] = Field(description=WARNINGS)


class ErasedAnswer(BaseModel):
    """The lead is erased, or was."""

    receipt: str = Field(description="To be shown on request; it holds nothing personal.")
    erased_at: str


class ObjectionAnswer(BaseModel):
    """Whether a lead objects to profiling."""

    lead_id: str
    do_not_score: bool


class PairAnswer(BaseModel):
    """What leads in one current stage are served for a stage to reach."""

    current: str = Field(description="The current stage.")
    state: str = Field(
        description="`ranks`: the trees order leads on later mornings, and their level is right. `level corrected`: "
        "they order them, and the level was put right. `level only`: they order them no better than chance. `unknown`: "
        "too few outcomes on later mornings to tell. `too few outcomes`: there are no trees. `not judged`: the model "
        "was never judged."
    )
    serves: str = Field(description="`trees` or `base rate`.")
    level_offset: float = Field(description="What was added to the log odds to put the level right; else 0.")
    order: float | None = Field(description="Of two leads of one morning, how often the right one stands first.")
    order_least: float | None = Field(description="The lower one-sided 99 % bound of the order.")
    order_most: float | None = Field(description="The upper one-sided 99 % bound of the order.")


class StageAnswer(BaseModel):
    """A stage that leads may reach."""

    stage: str
    horizon_days: int
    fallback: bool = Field(
        description="Base rates are served to all leads: too few outcomes to learn trees or to judge them."
    )
    no_signal: bool = Field(
        description="Base rates are served to all leads, because the trees order them no better than chance."
    )
    why: str | None = Field(description="Where base rates are served, and why, in sentences; null where trees are.")
    pairs: list[PairAnswer] = Field(description="For each current stage before this one.")


class DriftFinding(BaseModel):
    """Something that moved by more than it used to."""

    what: str = Field(
        description="`level`, `order`, `meaning`, `features`, `categories`, `missingness` or `volume`.",
    )
    subject: str = Field(description="The stage, attribute, value or kind of touch.")
    before: float = Field(description="What it was before; of a level, what the model predicted.")
    now: float
    z: float = Field(description="The difference in standard deviations of what is usual.")
    p: float = Field(description="How likely such a difference is by chance.")
    sentence: str


class DriftAnswer(BaseModel):
    """What had moved when the model was trained or recalibrated."""

    advice: str = Field(description="`go on`, `recalibrate`, `retrain on a window` or `look at the data`.")
    to_do: str = Field(description="The advice in a sentence.")
    tests: int = Field(description="How many statistics were compared; 0 where the history is too short.")
    findings: list[DriftFinding] = Field(description="The most urgent first.")


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
    drift: DriftAnswer | None = Field(description="Null for a model that was trained before drift was looked for.")
    left_out: int = Field(description="Leads that object to profiling and were not learnt from.")
    trouble: str | None = Field(description="Why a newer champion is not in service.")


class PredictiveScore(BaseModel):
    """A row of Dynamics 365's table of predictive scores, to be created with `POST msdyn_predictivescores`."""

    msdyn_score: int = Field(ge=0, le=100)
    msdyn_scoretrend: int = Field(ge=0, le=3, description="0 improving, 1 steady, 2 declining, 3 not enough known")
    msdyn_grade: int = Field(ge=0, le=3, description="0 to 3 for A to D")
    msdyn_entityid: str
    msdyn_entitytype: str
