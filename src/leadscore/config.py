"""``funnel.toml`` to frozen, checked settings; the presets.

Every number that changes a prediction stands here, with its default.
"""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, date, datetime, time
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.functional_validators import AfterValidator

from leadscore.errors import ConfigError

FILE = "funnel.toml"
PRESETS = files("leadscore") / "presets"
# One int64 key holds 11 bits of lead and 52 bits of microseconds, which are 142 years.
MAX_YEARS = 140
DATE = re.compile(r"\d{4}-\d\d-\d\d")

T = TypeVar("T")


def _distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    repeated = sorted({str(value) for value in values if values.count(value) > 1})
    if repeated:
        raise ValueError(f"named twice: {', '.join(repeated)}")
    return values


def _ascending(values: tuple[int, ...]) -> tuple[int, ...]:
    if any(later <= earlier for earlier, later in pairwise(values)):
        raise ValueError("must go up")
    return values


Name = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], AfterValidator(_distinct)]
Days = Annotated[int, Field(ge=1, le=3650)]
AscendingDays = Annotated[tuple[Days, ...], AfterValidator(_ascending)]
TableName = Literal["leads", "transitions", "touches", "changes"]
TABLES: tuple[TableName, ...] = ("leads", "transitions", "touches", "changes")


def in_zone(moment: datetime, zone: str | None) -> datetime:
    """A moment in UTC, read as local time of ``zone`` where it has no offset.

    Raises
    ------
    ValueError
        It has no offset, and there is no zone.
    """
    if moment.tzinfo is None:
        if zone is None:
            raise ValueError("needs a time zone: write 2024-03-04T09:00:00Z, or set [time] timezone")
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    return moment.astimezone(UTC)


class Section(BaseModel):
    """A table of ``funnel.toml``: frozen, and no setting that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Stages(Section):
    """The steps of the funnel.

    Attributes
    ----------
    stages : tuple of str
        In order; the last is the win.
    lost : tuple of str
        The names that mean lost. Several names are one lost state.
    handoff : (str, str)
        The step that the list is for: leads that have not reached its second stage stand in the first list, in
        order of the probability of reaching it.
    lost_after_days : int, optional
        An open lead that has been in its stage for more days than this is lost from then on, until it moves. For
        records in which leads are left open rather than closed.
    """

    stages: Annotated[Names, Field(min_length=2, max_length=20)]
    lost: Names = ("lost",)
    handoff: tuple[Name, Name]
    lost_after_days: Days | None = None

    @model_validator(mode="after")
    def _known(self) -> Self:
        both = sorted(set(self.stages) & set(self.lost))
        if both:
            raise ValueError(f"both a stage and a lost name: {', '.join(both)}")
        if unknown := [stage for stage in self.handoff if stage not in self.stages]:
            raise ValueError(f"handoff names unknown stages: {', '.join(unknown)}")
        if self.stages.index(self.handoff[0]) >= self.stages.index(self.handoff[1]):
            raise ValueError(f"handoff must lead forward: {self.handoff[0]} does not come before {self.handoff[1]}")
        return self


class Times(Section):
    """How the source writes times.

    Attributes
    ----------
    known_until : datetime, optional
        The end of the recorded history, in ``timezone`` where it has no offset. It is said here or by the export
        (``--known-until``), never guessed.
    timezone : str, optional
        IANA name of the zone of naive times; also the zone of mornings and of the calendar. Without it a naive
        time is an error, and mornings and calendar are in UTC.
    whole_days : tuple of str
        Columns as ``table.column`` whose times mean a day. A whole day is known at its end. A date written
        without a time is always a whole day.
    years : (int, int)
        First and last year that a time may lie in; at most 140 years.
    future_days : int
        How far a time may lie ahead: after the end of the recorded history, or after the moment of a request. Later
        ones are refused by the API; in a data set they are warned of, and count when their time comes.
    history_begins : date or datetime, optional
        From when on the source recorded stages, where leads are older than that; a date means its midnight in
        ``timezone``. Where a lead that was created before stood until its first transition is not known: it is not
        learnt from until then, and not listed.
    """

    timezone: str | None = None
    # After the zone that it may be written in.
    known_until: datetime | None = None
    whole_days: Names = ()
    years: tuple[int, int] = (1990, 2100)
    future_days: Days = 730
    history_begins: datetime | None = None

    @field_validator("history_begins", mode="before")
    @classmethod
    def _begins(cls, begins: Any, info: ValidationInfo) -> Any:
        if isinstance(begins, str):
            begins = date.fromisoformat(begins) if DATE.fullmatch(begins) else datetime.fromisoformat(begins)
        if begins is None or (isinstance(begins, datetime) and begins.tzinfo is not None):
            return begins
        if not isinstance(begins, date):
            raise ValueError("must be a date or a time: write 2024-03-01 or 2024-03-01T09:00:00Z")
        zone = info.data.get("timezone")
        if not isinstance(begins, datetime):
            begins = datetime.combine(begins, time())
        elif zone is None:
            raise ValueError("needs a time zone: write 2024-03-01T09:00:00Z, or set time.timezone")
        return begins.replace(tzinfo=ZoneInfo(zone or "UTC")).astimezone(UTC)

    @field_validator("timezone")
    @classmethod
    def _zone(cls, name: str | None) -> str | None:
        if name is not None and name not in available_timezones():
            raise ValueError(f"no such time zone: {name!r}; write an IANA name such as Europe/Berlin")
        return name

    @field_validator("known_until")
    @classmethod
    def _aware(cls, moment: datetime | None, info: ValidationInfo) -> datetime | None:
        if moment is None or "timezone" not in info.data:  # a bad zone is already reported
            return moment
        return in_zone(moment, info.data["timezone"])

    @field_validator("whole_days")
    @classmethod
    def _columns(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        for column in columns:
            table, _, name = column.partition(".")
            if table not in TABLES or name not in {"created_at", "occurred_at", "recorded_at"}:
                raise ValueError(f"{column!r} is no time column: write table.column, such as leads.created_at")
        return columns

    @field_validator("years")
    @classmethod
    def _span(cls, years: tuple[int, int]) -> tuple[int, int]:
        first, last = years
        if not (1 <= first <= last <= 9998 and last - first < MAX_YEARS):
            raise ValueError(f"must go up and span at most {MAX_YEARS} years, got {first} to {last}")
        return years

    @property
    def zone(self) -> ZoneInfo:
        """Zone of mornings and of the calendar."""
        return ZoneInfo(self.timezone or "UTC")


class Owners(Section):
    """The people who work the leads.

    Attributes
    ----------
    capacity : int
        Leads that one owner can contact in a day.
    """

    capacity: Annotated[int, Field(ge=1, le=100_000)] = 20


class Attributes(Section):
    """Columns of ``leads`` that are fixed when the lead is created, or attributes in the dated rows of ``changes``.

    What sales fill in later is the future of the lead: it belongs in the dated rows of ``changes``.

    Attributes
    ----------
    numbers, categories : tuple of str
        The attributes that are read.
    known_late : tuple of str
        Those of them that are filled in after the outcome, or may be. They are read and stored, and no feature is made
        of them.
    """

    numbers: Names = ()
    categories: Names = ()
    known_late: Names = ()

    @model_validator(mode="after")
    def _declared(self) -> Self:
        if unknown := [name for name in self.known_late if name not in (*self.numbers, *self.categories)]:
            raise ValueError(
                f"known_late names attributes that are neither in numbers nor in categories of this section: "
                f"{', '.join(unknown)}"
            )
        return self

    @property
    def known_in_time(self) -> Attributes:
        """The attributes that features are made of: all but those of ``known_late``."""
        numbers, categories = (
            tuple(name for name in names if name not in self.known_late) for names in (self.numbers, self.categories)
        )
        return Attributes(numbers=numbers, categories=categories)


class Table(Section):
    """Where a table comes from, where it is not ``<name>.parquet`` or ``<name>.csv`` in the folder.

    Attributes
    ----------
    file : str, optional
        File in the folder, ``.csv`` or ``.parquet``.
    query : str, optional
        SQL whose result is the table; needs ``[source] url``.
    query_file : str, optional
        File in the folder with such SQL.
    columns : dict of str to str
        Our name to the source's, where they differ.
    allow_repeats : bool
        Whether rows without an ``event_id`` may all stand there several times, each an event of its own. Otherwise
        such a table is taken for one that was delivered several times, which is an error.
    """

    file: Name | None = None
    query: Text | None = None
    query_file: Name | None = None
    columns: dict[Name, Name] = {}
    allow_repeats: bool = False

    @field_validator("columns", mode="before")
    @classmethod
    def _names(cls, columns: Any) -> Any:
        if not isinstance(columns, dict):
            raise ValueError('must be a table of our names and the source\'s, such as { lead_id = "Record ID" }')
        for ours, theirs in columns.items():
            if not isinstance(theirs, str):
                raise ValueError(
                    f'{ours}: must be the name of a column of the source, such as {ours} = "Name"; values are not'
                    " renamed here: name stages in [funnel] as the source writes them, and change other values there"
                )
        return columns

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        given = [name for name in ("file", "query", "query_file") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"has {' and '.join(f'a {name}' for name in given)}; leave one")
        return self

    @property
    def is_query(self) -> bool:
        """Whether it is what a database answers."""
        return self.query is not None or self.query_file is not None


class Source(Section):
    """The database that the queries go to.

    Attributes
    ----------
    url : str, optional
        SQLAlchemy URL; ``${NAME}`` in it is read from the environment, so that no password stands here.
    """

    url: Text | None = None


class FeatureSettings(Section):
    """What the model sees.

    Attributes
    ----------
    windows_days : tuple of int
        How far back the counts look.
    calendar : tuple of str
        Which of ``hour``, ``weekday``, ``month`` of ``as_of`` are columns. Month needs years of history. The hour is
        left out where entries into stages are whole days: it would tell an entry from a morning, and nothing else.
    min_category_leads : int
        A category, kind or agent of fewer training leads than this is ``__other__``.
    """

    windows_days: Annotated[AscendingDays, Field(min_length=1, max_length=12)] = (1, 3, 7, 14, 30, 90)
    calendar: Annotated[tuple[Literal["hour", "weekday", "month"], ...], AfterValidator(_distinct)] = (
        "hour",
        "weekday",
    )
    min_category_leads: Annotated[int, Field(ge=1)] = 20


class ExampleSettings(Section):
    """Which moments of a lead's past are learnt from.

    Attributes
    ----------
    grid_days : tuple of int
        Days after entering a stage at which the lead, if still there, is an example.
    morning_hour : int
        Hour of the day, in ``time.timezone``, at which a team looks at its list.
    mornings_every_days : int
        Days from one training morning to the next; four times as many, where there would be too many examples.
    first_weight : float
        Weight of the first example of each lead; that of the others is 1. Leads that stay open long give many
        examples; the first is the one that every lead gives.
    max_examples : int
        Leads are sampled, by a hash of their ``lead_id``, so that training has about this many examples at most.
    """

    grid_days: AscendingDays = (1, 2, 4, 8, 16, 32, 64, 128)
    morning_hour: Annotated[int, Field(ge=0, le=23)] = 8
    mornings_every_days: Days = 5
    first_weight: Annotated[float, Field(ge=1, le=1_000)] = 5.0
    max_examples: Annotated[int, Field(ge=1_000)] = 500_000


class JudgingSettings(Section):
    """How the recipe is judged on time that it has not seen.

    Attributes
    ----------
    cuts : int
        Cuts in time, each with a model that has learnt from labels that had ended by it, and that is judged on the
        mornings from there to the next cut. Fewer where they would be less than a week apart.
    mornings_every_days : int
        Days from one morning of the judging to the next.
    max_examples : int
        Examples to judge on at most, about: beyond that mornings are taken farther apart, and then leads are sampled.
    resamples : int
        Bootstrap resamples of leads behind each interval.
    """

    cuts: Annotated[int, Field(ge=1, le=50)] = 4
    mornings_every_days: Days = 3
    max_examples: Annotated[int, Field(ge=1_000)] = 500_000
    resamples: Annotated[int, Field(ge=20, le=10_000)] = 200


class GateSettings(Section):
    """When a candidate may replace the champion.

    Attributes
    ----------
    margin : float
        How much worse, in log loss in nats, the candidate may be even where that is clear.
    """

    margin: Annotated[float, Field(ge=0, le=1)] = 0.002


class LightGBMSettings(Section):
    """Settings of the trees, under LightGBM's own names.

    Attributes
    ----------
    rounds, own_rounds : int
        Trees for all stages together, and some more for each stage alone, where the history is too short to find the
        numbers on a later block.
    max_rounds : int
        Most trees of either sort, where it is not.
    early_stopping_rounds : int
        Rounds without improvement on the later block after which the search for the number ends.
    min_outcome_leads : int
        A stage with fewer leads of either outcome is served its base rate.
    """

    rounds: Annotated[int, Field(ge=1, le=10_000)] = 150
    own_rounds: Annotated[int, Field(ge=0, le=10_000)] = 75
    max_rounds: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    early_stopping_rounds: Annotated[int, Field(ge=1)] = 60
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.05
    num_leaves: Annotated[int, Field(ge=2, le=4096)] = 5
    min_data_in_leaf: Annotated[int, Field(ge=1)] = 20
    lambda_l2: Annotated[float, Field(ge=0)] = 5.0
    feature_fraction: Annotated[float, Field(gt=0, le=1)] = 0.5
    bagging_fraction: Annotated[float, Field(gt=0, le=1)] = 0.8
    max_bin: Annotated[int, Field(ge=2, le=255)] = 127
    cat_smooth: Annotated[float, Field(ge=0)] = 50.0
    extra_trees: bool = True
    min_outcome_leads: Annotated[int, Field(ge=2)] = 40
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 1


class Funnel(Section):
    """A checked ``funnel.toml``."""

    funnel: Stages
    horizon_days: dict[Name, Days]
    time: Times = Times()
    owner: Owners = Owners()
    attributes: Attributes = Attributes()
    changes: Attributes = Attributes()
    tables: dict[TableName, Table] = {}
    source: Source = Source()
    features: FeatureSettings = FeatureSettings()
    examples: ExampleSettings = ExampleSettings()
    judging: JudgingSettings = JudgingSettings()
    gate: GateSettings = GateSettings()
    lightgbm: LightGBMSettings = LightGBMSettings()

    @field_validator("horizon_days")
    @classmethod
    def _of_later_stages(cls, days: dict[str, int], info: ValidationInfo) -> dict[str, int]:
        stages: Stages | None = info.data.get("funnel")
        if stages is None:  # already reported
            return days
        later = stages.stages[1:]
        missing = [stage for stage in later if stage not in days]
        unknown = [stage for stage in days if stage not in later]
        if missing or unknown:
            raise ValueError(
                "must name each stage but the first"
                + (f"; missing: {', '.join(missing)}" if missing else "")
                + (f"; unknown: {', '.join(unknown)}" if unknown else "")
            )
        return days

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        fixed = {*self.attributes.numbers, *self.attributes.categories}
        dated = {*self.changes.numbers, *self.changes.categories}
        twice = sorted(
            (fixed & dated)
            | (set(self.attributes.numbers) & set(self.attributes.categories))
            | (set(self.changes.numbers) & set(self.changes.categories))
        )
        if twice:
            raise ValueError(f"attributes declared in two ways: {', '.join(twice)}")
        queries = [name for name, table in self.tables.items() if table.is_query]
        if queries and self.source.url is None:
            raise ValueError(f"[tables.{queries[0]}] has a query; say in [source] url where it goes")
        return self

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages in order; the last is the win."""
        return self.funnel.stages

    @property
    def later_stages(self) -> tuple[str, ...]:
        """The stages that can be reached: all but the first."""
        return self.funnel.stages[1:]

    @property
    def horizons(self) -> tuple[int, ...]:
        """Horizon of each of ``later_stages``, in days."""
        return tuple(self.horizon_days[stage] for stage in self.later_stages)

    @property
    def known_late(self) -> frozenset[str]:
        """The attributes that no feature is made of."""
        return frozenset((*self.attributes.known_late, *self.changes.known_late))

    @property
    def lost_code(self) -> int:
        """Code of the lost state: one past the win."""
        return len(self.funnel.stages)


def presets() -> tuple[str, ...]:
    """Names of the funnels that ship with the package."""
    names = (Path(entry.name) for entry in PRESETS.iterdir())
    return tuple(sorted(name.stem for name in names if name.suffix == ".toml"))


def parse_funnel(text: str, where: str = FILE) -> Funnel:
    """Check the text of a ``funnel.toml``; ``preset`` in it names the settings that it changes.

    Raises
    ------
    ConfigError
        The text is not TOML, or a setting is missing, unknown or impossible. The message names every bad
        setting, not only the first.
    """
    settings = _toml(text, where)
    name = settings.pop("preset", None)
    if name is not None:
        if name not in presets():
            raise ConfigError(f"{where}: preset: {name!r} is none of {', '.join(presets())}")
        settings = _merged(_toml((PRESETS / f"{name}.toml").read_text(), name), settings)
    return funnel_of(settings, where)


def funnel_of(settings: dict[str, Any], where: str = FILE) -> Funnel:
    """Check settings that were read elsewhere, such as those that a model carries.

    Raises
    ------
    ConfigError
        As `parse_funnel`.
    """
    try:
        return Funnel.model_validate(settings)
    except ValidationError as error:
        lines = [f"  {_place(each['loc'])}{each['msg'].removeprefix('Value error, ')}" for each in error.errors()]
        raise ConfigError(
            f"{where}: {len(lines)} bad setting{'s' if len(lines) != 1 else ''}\n" + "\n".join(lines)
        ) from None


def read_funnel(path: Path) -> Funnel:
    """Read and check a ``funnel.toml``.

    Raises
    ------
    ConfigError
        There is no such file, or as `parse_funnel`.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; a data set is a folder with a {FILE} and its tables") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    return parse_funnel(text, str(path))


def _toml(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not TOML: {error}") from None


def _place(loc: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, loc))}: " if loc else ""


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    own = over.get("funnel")
    if isinstance(own, dict) and "stages" in own:
        under = _without_stages(under, own["stages"])
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(under.get(key), dict)
        merged[key] = _merged(under[key], value) if both else value
    return merged


def _without_stages(preset: dict[str, Any], stages: Any) -> dict[str, Any]:
    """A preset for a funnel with stages of its own: it keeps the horizons of the stages that are still there."""
    later = stages[1:] if isinstance(stages, list) else []
    horizons = {stage: days for stage, days in preset["horizon_days"].items() if stage in later}
    return {key: value for key, value in preset.items() if key != "funnel"} | {"horizon_days": horizons}
