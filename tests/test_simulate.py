from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import poisson

from leadscore.config import read_funnel
from leadscore.errors import ConfigError
from leadscore.simulate import chain, crm, simulate, truth
from leadscore.simulate.columns import TABLES

if TYPE_CHECKING:
    from leadscore.simulate.crm import Floats, Int64s

pytestmark = pytest.mark.integration

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
FILES = ["README.md", "funnel.toml", *(f"{name}.csv" for name in TABLES)]
TARGETS = list(crm.FUNNEL.later_stages)
MORNING = pd.Timestamp("2025-03-11T08:00:00Z")  # 90 days later is before the end of the history


@dataclass(frozen=True)
class Tables:
    leads: pd.DataFrame
    transitions: pd.DataFrame
    touches: pd.DataFrame
    changes: pd.DataFrame
    truth: pd.DataFrame


def read(folder: Path) -> Tables:
    """The tables of a folder with ``known_at``, the time from which each row is known."""
    tables = {}
    for name in TABLES:
        table = pd.read_csv(folder / f"{name}.csv", keep_default_na=False, na_values=[""])
        for column in table.columns.intersection(["created_at", "occurred_at", "recorded_at", "as_of"]):
            table[column] = pd.to_datetime(table[column], utc=True)
        if "recorded_at" in table:
            table["known_at"] = table[["occurred_at", "recorded_at"]].max(axis=1)
        tables[name] = table
    return Tables(**tables)


@pytest.fixture(scope="module")
def sample() -> Tables:
    return read(SAMPLE)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("crowd")
    simulate(folder, leads=8_000, seed=5, truth_from=MORNING.date(), truth_every_days=1_000)
    return read(folder)


# The folder.


def test_the_sample_is_what_the_simulator_writes(tmp_path: Path) -> None:
    simulate(tmp_path)

    assert sorted(path.name for path in SAMPLE.iterdir()) == sorted(FILES)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (SAMPLE / name).read_bytes(), name


def test_the_sample_is_under_6_mb() -> None:
    assert sum(path.stat().st_size for path in SAMPLE.iterdir()) < 6_000_000


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, form: Literal["csv", "parquet"]) -> None:
    for name in ("one", "again"):
        simulate(tmp_path / name, leads=50, seed=7, form=form)

    for table in TABLES:
        one, again = ((tmp_path / name / f"{table}.{form}").read_bytes() for name in ("one", "again"))
        assert one == again, table


def test_another_seed_gives_another_world_under_other_names(tmp_path: Path) -> None:
    for seed in (7, 8):
        simulate(tmp_path / str(seed), leads=50, seed=seed)

    one, other = (pd.read_csv(tmp_path / str(seed) / "leads.csv") for seed in (7, 8))
    assert not set(one["lead_id"]) & set(other["lead_id"])
    assert not set(one["created_at"]) & set(other["created_at"])


def test_a_lead_of_a_full_chunk_does_not_depend_on_the_chunks_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadscore.simulate.write.CHUNK_LEADS", 100)
    simulate(tmp_path / "two", leads=200)
    simulate(tmp_path / "three", leads=300)

    for table in TABLES:
        two = (tmp_path / "two" / f"{table}.csv").read_bytes()
        assert (tmp_path / "three" / f"{table}.csv").read_bytes().startswith(two), table
    leads = pd.read_csv(tmp_path / "three" / "leads.csv")
    assert leads["lead_id"].is_unique
    assert not leads.drop(columns="lead_id").duplicated().any(), "two chunks drew the same numbers"


def test_parquet_and_csv_hold_the_same_rows(tmp_path: Path) -> None:
    simulate(tmp_path, leads=300, form="parquet")
    parquet = {name: pd.read_parquet(tmp_path / f"{name}.parquet") for name in TABLES}
    simulate(tmp_path, leads=300, form="csv")

    assert not list(tmp_path.glob("*.parquet")), "tables of the other form would be read twice"
    for name, csv in vars(read(tmp_path)).items():
        for column in TABLES[name].schema.names:
            expected = parquet[name][column]
            if expected.dtype == np.float64:
                assert_allclose(csv[column].astype(float), expected, atol=6e-6)
            else:
                assert csv[column].isna().equals(expected.isna()), (name, column)
                both = ~expected.isna()
                as_text = (
                    csv[column][both].astype(str) if column == "value" and name == "changes" else csv[column][both]
                )
                assert (as_text.to_numpy() == expected[both].to_numpy()).all(), (name, column)


def test_every_column_stands_in_the_data_dictionary() -> None:
    text = (SAMPLE / "README.md").read_text(encoding="utf-8")
    for table in TABLES:
        section = text.split(f"## {table}.csv")[1].split("\n## ")[0]
        for column in pd.read_csv(SAMPLE / f"{table}.csv", nrows=1).columns:
            assert f"| `{column}` |" in section, (table, column)


def test_funnel_toml_is_the_b2b_preset_and_its_attributes_are_columns(sample: Tables) -> None:
    funnel = read_funnel(SAMPLE / "funnel.toml")

    assert funnel.stages == crm.FUNNEL.stages
    assert funnel.time.known_until == datetime(2025, 7, 1, 8, tzinfo=UTC)
    assert {*funnel.attributes.numbers, *funnel.attributes.categories} <= set(sample.leads.columns)
    assert {*funnel.changes.numbers, *funnel.changes.categories} == set(sample.changes["attribute"])
    assert "truth" not in (SAMPLE / "funnel.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("leads", "truth_from", "every_days", "words"),
    [
        (0, MORNING.date(), 7, "leads: must be from 1"),
        (10_000_001, None, 7, "leads: must be from 1"),
        (10, date(2024, 1, 1), 7, "truth_from: 2024-01-01"),
        (10, date(2025, 7, 2), 7, "truth_from: 2025-07-02"),
        (10, MORNING.date(), 0, "truth_every_days"),
    ],
)
def test_impossible_wishes_are_refused_before_anything_is_written(
    tmp_path: Path, leads: int, truth_from: date | None, every_days: int, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        simulate(tmp_path, leads=leads, truth_from=truth_from, truth_every_days=every_days)
    with pytest.raises(ConfigError, match="seed: must be at least 0"):
        simulate(tmp_path, seed=-1)
    assert not list(tmp_path.iterdir())


# The ingredients of a real history.


def walked(transitions: pd.DataFrame) -> pd.DataFrame:
    """Rows by known time; ``stale`` is older than one known, ``before`` the rank of the stage left."""
    rows = transitions.sort_values(["lead_id", "known_at"]).reset_index(drop=True)
    newest = rows.groupby("lead_id")["occurred_at"].cummax()
    rows["stale"] = rows["occurred_at"] < newest
    rows["rank"] = rows["stage"].map({stage: rank for rank, stage in enumerate(crm.STAGES)})
    fresh = rows[~rows["stale"]].copy()
    fresh["before"] = fresh.groupby("lead_id")["rank"].shift(fill_value=0)
    return rows.join(fresh[["before"]])


def test_every_ingredient_occurs(sample: Tables) -> None:
    rows = walked(sample.transitions)
    moves = rows[~rows["stale"] & (rows["rank"] != rows["before"])]
    forward = moves[moves["rank"] < crm.LOST]
    counts = {
        "steps back": (forward["rank"] < forward["before"]) & (forward["before"] < crm.LOST),
        "skips": forward["rank"] == forward["before"] + 2,
        "lost": moves["stage"] == "lost",
        "reopened": forward["before"] == crm.LOST,
        "won": moves["stage"] == "won",
        "filled in": rows["stale"],
        "repeats": ~rows["stale"] & (rows["rank"] == rows["before"]),
        "late touches": sample.touches["recorded_at"].notna(),
        "late changes": sample.changes["recorded_at"].notna(),
        "do_not_score": sample.leads["do_not_score"],
        "employees missing": sample.leads["employees"].isna(),
        "new owners": sample.changes[sample.changes["attribute"] == "owner"]["lead_id"].duplicated(),
    }
    few = {name: int(found.sum()) for name, found in counts.items() if found.sum() < 20}
    assert not few
    assert set(sample.touches["kind"]) == {kind.name for kind in crm.KINDS}
    assert sample.transitions["reason"].notna().equals(sample.transitions["stage"] == "lost")


def test_a_stage_is_filled_in_between_the_two_around_it_and_recorded_after_both(crowd: Tables) -> None:
    rows = walked(crowd.transitions).sort_values(["lead_id", "occurred_at"])
    lead = rows.groupby("lead_id")
    before = lead["rank"].shift(fill_value=crm.LEAD)
    after, entered = lead["rank"].shift(-1), lead["occurred_at"].shift(-1)
    filled_in = rows["recorded_at"].notna()

    assert filled_in.equals(rows["stale"])
    assert (before[filled_in] == rows["rank"][filled_in] - 1).all()
    assert (after[filled_in] == rows["rank"][filled_in] + 1).all()
    assert (after[filled_in] <= crm.WON).all()
    assert (rows["recorded_at"] > entered)[filled_in].all()


def test_the_sample_has_the_size_that_was_asked_for(sample: Tables) -> None:
    last = walked(sample.transitions).query("~stale").groupby("lead_id")["rank"].last()
    open_share = 1 - (last >= crm.WON).sum() / len(sample.leads)

    assert len(sample.leads) == 4_000
    assert 15 < len(sample.touches) / len(sample.leads) < 25
    assert 0.30 < open_share < 0.45
    assert 0.05 < (last == crm.WON).sum() / len(sample.leads) < 0.10


def test_nothing_is_known_before_the_lead_exists_or_after_the_history_ends(sample: Tables) -> None:
    created = sample.leads.set_index("lead_id")["created_at"]
    for table in (sample.transitions, sample.touches, sample.changes):
        assert (table["occurred_at"] >= table["lead_id"].map(created)).all()
        assert (table["known_at"] < pd.Timestamp(crm.KNOWN_UNTIL)).all()
        assert not (table["recorded_at"] <= table["occurred_at"]).any()


def test_rows_do_not_tell_the_order_in_time(sample: Tables) -> None:
    for table, time in ((sample.leads, "created_at"), (sample.touches, "occurred_at")):
        order = pd.Series(np.arange(len(table)))
        assert abs(order.corr(table[time].rank())) < 0.05
        assert abs(table["lead_id"].rank().corr(table[time].rank())) < 0.05


# The truth, by hand and by brute force.


@dataclass(frozen=True)
class OneLead:
    """A lead of the third day with a short history; days of touches are (day, kind, days late)."""

    moves: tuple[tuple[int, int], ...]
    touches: tuple[tuple[int, int, int], ...]
    created: int = 3
    source: int = 2
    quality: int = 24

    def arrays(self) -> tuple[chain.Leads, chain.Moves, chain.Touches]:
        one = np.ones(1, dtype=np.int64)
        leads = chain.Leads(
            created=one * self.created,
            source=one * self.source,
            industry=one,
            country=one,
            team=one,
            seat=one,
            employees=np.array([50.0]),
            direct=np.array([False]),
            do_not_score=np.array([False]),
            quality=one * self.quality,
        )
        day, stage = np.array(self.moves, dtype=np.int64).reshape(-1, 2).T
        when, kind, late = np.array(self.touches, dtype=np.int64).reshape(-1, 3).T
        return leads, chain.Moves(0 * day, day, stage), chain.Touches(0 * when, when, kind, late)

    def stage_on(self, morning: int) -> int:
        return max([(-1, 0), *(move for move in self.moves if move[0] < morning)])[1]

    def likelihood(self, day: int, morning: int, interest: int) -> float:
        """Probability of the counts and the move of a day, as recorded by a morning, given the interest."""
        stage = self.stage_on(day)
        chance = float(crm.move_probabilities(day)[self.quality, stage, interest, self.stage_on(day + 1)])
        for kind in range(len(crm.KINDS)):
            recorded = [late for when, what, late in self.touches if (when, what) == (day, kind)]
            in_time = crm.LATE[kind, : morning - day].sum()
            mean = crm.touch_rates(day)[kind, stage, interest] * in_time
            chance *= poisson.pmf(sum(day + late < morning for late in recorded), mean)
        return chance

    def interest_by_enumeration(self, morning: int) -> Floats:
        """Distribution of interest over all hidden paths, weighted by what was recorded."""
        days = range(self.created + 1, morning)
        likelihood = [[self.likelihood(day, morning, interest) for interest in range(4)] for day in days]
        weight = np.zeros(4)
        for path in itertools.product(range(4), repeat=len(days) + 1):
            steps = [crm.INTEREST_MOVES[here, there] for here, there in itertools.pairwise(path)]
            seen = [likelihood[step][interest] for step, interest in enumerate(path[1:])]
            weight[path[-1]] += crm.SOURCES[self.source].interest[path[0]] * math.prod(steps) * math.prod(seen)
        posterior: Floats = weight / weight.sum()
        return posterior


HISTORIES = {
    "silence": OneLead(moves=(), touches=()),
    "busy": OneLead(moves=(), touches=((4, 0, 0), (5, 2, 0), (5, 2, 0), (7, 6, 0), (8, 9, 0))),
    "late touches": OneLead(moves=(), touches=((4, 6, 2), (6, 9, 5), (7, 3, 1), (8, 3, 1), (8, 9, 0))),
    "forward, back, skip": OneLead(moves=((4, 1), (5, 0), (7, 2)), touches=((6, 9, 0), (8, 0, 3))),
    "lost, reopened": OneLead(moves=((4, 1), (5, crm.LOST), (7, 1)), touches=((6, 0, 0), (6, 2, 1))),
}


@pytest.mark.parametrize("lead", HISTORIES.values(), ids=HISTORIES)
def test_the_filter_is_the_sum_over_all_hidden_paths(lead: OneLead) -> None:
    mornings = [day for day in (4, 5, 8, 9, 10) if lead.stage_on(day) < crm.WON]

    for belief in truth.beliefs(*lead.arrays(), mornings):
        assert belief.stage.tolist() == [lead.stage_on(belief.day)]
        assert_allclose(belief.interest[0], lead.interest_by_enumeration(belief.day), rtol=1e-9)


def reach_by_enumeration(state: tuple[int, int], quality: int, day: int, days: int, target: int) -> float:
    """Probability of reaching a target, following every path of stage and interest."""
    if days == 0:
        return 0.0
    stage, interest = state
    total = 0.0
    for after in np.flatnonzero(crm.INTEREST_MOVES[interest]).tolist():
        row = crm.move_probabilities(day)[quality, stage, after]
        for to in np.flatnonzero(row).tolist():
            reached = target <= to <= crm.WON
            later = 1.0 if reached else reach_by_enumeration((to, after), quality, day + 1, days - 1, target)
            total += float(crm.INTEREST_MOVES[interest, after] * row[to]) * later
    return total


@pytest.mark.parametrize("stage", [crm.LEAD, crm.MQL, crm.OPPORTUNITY])
def test_the_future_is_the_sum_over_all_paths(stage: int) -> None:
    horizons = (1, 2, 3, 3, 3)
    day, quality, hot = 109, 30, 2

    ahead = truth.reach_probabilities(day, horizons)[:, quality, stage, hot]

    for target in range(stage + 1, crm.WON + 1):
        expected = reach_by_enumeration((stage, hot), quality, day, horizons[target - 1], target)
        assert_allclose(ahead[target - 1], expected, rtol=1e-9)


def test_a_later_stage_is_never_likelier_within_the_same_days_nor_any_stage_within_fewer() -> None:
    month = truth.reach_probabilities(400, (30,) * 5)
    quarter = truth.reach_probabilities(400, (90,) * 5)

    # Where both stages lie ahead: a lead that stands at the later one has reached it already.
    for target in range(1, crm.WON):
        ahead = month[:, :, :target]
        assert (ahead[target] <= ahead[target - 1]).all()
    for target in range(1, crm.WON + 1):
        assert (month[target - 1, :, :target] < quarter[target - 1, :, :target]).all()


def test_rates_of_moving_compete() -> None:
    day, quality, warm = crm.day_of(date(2024, 1, 2)), 27, 1  # quality 0.7: exp(0.7) forward, exp(-0.35) lost
    table = crm.move_probabilities(day)
    calendar = 1.40 * 0.95  # a Tuesday in January
    drift = math.exp(-0.20 / 365.25)
    forward, skip = (math.exp(0.7) * drift * rate * calendar for rate in (0.024, 0.0024))
    lost = math.exp(-0.35) * 0.0032 * calendar
    total = forward + skip + lost

    row = table[quality, crm.LEAD, warm]

    assert_allclose(table.sum(axis=-1), 1)
    assert_allclose(row[crm.LEAD], math.exp(-total))
    assert_allclose(row[[crm.MQL, crm.SAL, crm.LOST]], np.array([forward, skip, lost]) / total * -math.expm1(-total))


def test_every_lead_has_a_quality_and_no_horizon_outlasts_the_days_in_which_a_lost_lead_can_come_back() -> None:
    extremes = []
    for pick in (min, max):
        of_team = pick(crm.TEAM_QUALITY)
        of_source = pick(source.quality for source in crm.SOURCES)
        of_rest = [pick(quality for _, quality in table.values()) for table in (crm.INDUSTRIES, crm.COUNTRIES)]
        extremes.append(of_team + of_source + sum(of_rest) + pick([0, *crm.SIZES.values()]))
    assert crm.QUALITIES[0] <= extremes[0] <= extremes[1] <= crm.QUALITIES[-1]
    assert (np.diff(crm.QUALITIES) == 1).all()
    assert max(crm.FUNNEL.horizons) <= crm.REOPENING_DAYS


# The truth, against what came.


@pytest.fixture(scope="module")
def judged(crowd: Tables) -> pd.DataFrame:
    """Truth of one morning with ``reached_*``, found anew from the written transitions."""
    rows = walked(crowd.transitions).query("~stale")
    open_then = crowd.truth.set_index("lead_id")
    for target, days in zip(TARGETS, crm.FUNNEL.horizons, strict=True):
        within = (rows["known_at"] > MORNING) & (rows["known_at"] <= MORNING + timedelta(days=days))
        there = rows["rank"].between(crm.STAGES.index(target), crm.WON) & (rows["rank"] != rows["before"])
        open_then[f"reached_{target}"] = open_then.index.isin(rows.loc[within & there, "lead_id"])
    return open_then


def test_the_truth_is_of_the_leads_open_on_the_morning_that_may_be_scored(crowd: Tables) -> None:
    leads = crowd.leads.set_index("lead_id")
    known = walked(crowd.transitions).query("~stale & known_at <= @MORNING")
    stage = known.groupby("lead_id")["stage"].last().reindex(leads.index, fill_value="lead")
    is_open = (leads["created_at"] <= MORNING) & ~leads["do_not_score"] & ~stage.isin(["won", "lost"])

    assert (crowd.truth["as_of"] == MORNING).all()
    assert stage[is_open].to_dict() == dict(zip(crowd.truth["lead_id"], crowd.truth["stage"], strict=True))
    rank = crowd.truth["stage"].map(crm.STAGES.index)
    for position, target in enumerate(TARGETS, start=1):
        assert crowd.truth[target].isna().equals(position <= rank)


def z_score(reached: pd.Series[bool], probability: pd.Series[float]) -> float:
    excess = (reached.astype(float) - probability).sum()
    return float(excess / np.sqrt((probability * (1 - probability)).sum()))


@pytest.mark.parametrize("target", TARGETS)
def test_the_truth_is_the_rate_at_which_stages_are_reached(judged: pd.DataFrame, target: str) -> None:
    rows = judged[judged[target].notna()]
    stage, reached, probability = rows["stage"], rows[f"reached_{target}"], rows[target]
    tenth = pd.qcut(probability, 10, labels=False)

    assert abs(z_score(reached, probability)) < 3
    for group in (stage, tenth):
        for name, part in rows.groupby(group):
            assert abs(z_score(part[f"reached_{target}"], part[target])) < 3, name


def expected_auc(probability: Floats) -> float:
    """AUC of the probabilities, if outcomes are drawn from them."""
    ordered = np.sort(probability)
    below = np.cumsum(1 - ordered) - (1 - ordered)
    return float(ordered @ below / (ordered.sum() * (1 - ordered).sum()))


@pytest.mark.parametrize(("here", "target"), [*itertools.pairwise(crm.FUNNEL.stages), ("mql", "sql")])
def test_the_truth_ranks_well_and_steps_are_neither_rare_nor_sure(judged: pd.DataFrame, here: str, target: str) -> None:
    rows = judged[judged["stage"] == here]

    assert 0.75 < expected_auc(rows[target].to_numpy()) < 0.85
    assert 0.07 < rows[target].mean() < 0.40


def test_counts_of_touches_in_a_hidden_state_follow_its_rates() -> None:
    rng = np.random.default_rng(3)
    stage, interest = np.full(200_000, crm.SQL), np.full(200_000, 2)
    day = crm.day_of(date(2024, 3, 5))

    _, kind = chain._touches_of(rng, day, stage, interest)

    expected: Floats = crm.touch_rates(day)[:, crm.SQL, 2] * len(stage)
    counts: Int64s = np.bincount(kind, minlength=len(crm.KINDS))
    assert (np.abs(counts - expected) < 4 * np.sqrt(expected)).all()
