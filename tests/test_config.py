"""``funnel.toml``: every bad setting reported at once; presets; frozen."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from leadscore.config import Funnel, funnel_of, parse_funnel, presets, read_funnel
from leadscore.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

B2B = 'preset = "b2b"\n'


def test_every_bad_setting_is_named_in_one_error() -> None:
    with pytest.raises(ConfigError) as error:
        parse_funnel(
            B2B + 'surprise = 1\n[time]\nknown_until = "soon"\ntimezone = "Mars/Base"\n[owner]\ncapacity = 0\n'
        )

    lines = str(error.value).splitlines()
    assert lines[0] == "funnel.toml: 4 bad settings"
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "time.timezone",
        "time.known_until",
        "owner.capacity",
        "surprise",
    ]


@pytest.mark.parametrize("name", presets())
def test_presets_are_whole_funnels(name: str) -> None:
    funnel = parse_funnel(f'preset = "{name}"')

    assert set(funnel.horizon_days) == set(funnel.later_stages)
    assert funnel.funnel.handoff[0] in funnel.stages


def test_the_usual_funnels_ship_with_the_package() -> None:
    assert presets() == ("aida", "b2b", "donor", "ecommerce", "pipeline", "saas-trial", "tofu-mofu-bofu")


def test_settings_beside_a_preset_change_it_one_by_one() -> None:
    funnel = parse_funnel(B2B + "[horizon_days]\nwon = 120\n")

    assert funnel.horizon_days["won"] == 120
    assert funnel.horizon_days["mql"] == 30


def test_stages_of_its_own_need_horizons_of_its_own() -> None:
    with pytest.raises(ConfigError, match="missing: b"):
        parse_funnel(B2B + '[funnel]\nstages = ["a", "b"]\nhandoff = ["a", "b"]\n[horizon_days]\n')


STAGES = '[funnel]\nstages = ["mql", "demo", "sql", "won"]\nhandoff = ["mql", "sql"]\n'


def test_preset_keeps_horizons_of_kept_stages() -> None:
    # Of the preset, sal and opportunity are gone, and mql is the first stage, which has no horizon.
    funnel = parse_funnel(f"{B2B}{STAGES}[horizon_days]\ndemo = 5\nwon = 120\n")

    assert funnel.horizon_days == {"demo": 5, "sql": 45, "won": 120}
    assert funnel.horizons == (5, 45, 120)


def test_a_stage_that_is_not_in_the_preset_needs_a_horizon() -> None:
    with pytest.raises(ConfigError, match=r"missing: demo$"):
        parse_funnel(B2B + STAGES)


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2025-07-01T08:00:00", datetime(2025, 7, 1, 6, tzinfo=UTC)),
        ("2025-07-01", datetime(2025, 6, 30, 22, tzinfo=UTC)),
        ("2025-07-01T08:00:00Z", datetime(2025, 7, 1, 8, tzinfo=UTC)),
        ("2024-03-31T02:30:00", datetime(2024, 3, 31, 1, 30, tzinfo=UTC)),
    ],
    ids=["local", "first moment of a day", "offset", "skipped by the clocks"],
)
def test_known_until_without_offset_is_local_time(written: str, moment: datetime) -> None:
    funnel = parse_funnel(f'{B2B}[time]\nknown_until = {written}\ntimezone = "Europe/Berlin"\n')

    assert funnel.time.known_until == moment
    assert Funnel.model_validate_json(funnel.model_dump_json()) == funnel


def test_queries_may_be_long() -> None:
    query = "SELECT 1 --" + "x" * 5_000
    funnel = parse_funnel(f'{B2B}[source]\nurl = "sqlite://"\n[tables.touches]\nquery = "{query}"\n')

    assert funnel.tables["touches"].query == query


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('preset = "b3b"', "none of aida, b2b"),
        ("[funnel", "not TOML"),
        (B2B + '[funnel]\nstages = ["a", "b", "a"]\nhandoff = ["a", "b"]\n', "named twice: a"),
        (B2B + '[funnel]\nstages = ["a", "lost"]\nhandoff = ["a", "lost"]\n', "both a stage and a lost name: lost"),
        (B2B + '[funnel]\nstages = ["a", "b"]\nhandoff = ["b", "a"]\n', "handoff must lead forward"),
        (B2B + '[funnel]\nstages = ["a", "b"]\nhandoff = ["a", "c"]\n', "handoff names unknown stages: c"),
        (B2B + "[horizon_days]\nlead = 5\n", "unknown: lead"),
        (B2B + "[horizon_days]\nmql = 0\n", "greater than or equal to 1"),
        (B2B + '[attributes]\nnumbers = ["x"]\ncategories = ["x"]\n', "attributes declared in two ways: x"),
        (B2B + '[attributes]\nnumbers = ["x"]\n[changes]\nnumbers = ["x"]\n', "attributes declared in two ways: x"),
        (B2B + "[features]\nwindows_days = [7, 3]\n", "must go up"),
        (B2B + "[time]\nyears = [1900, 2100]\n", "at most 140 years"),
        (B2B + '[time]\nwhole_days = ["leads.name"]\n', "no time column"),
        (B2B + '[tables.touches]\nfile = "t.csv"\nquery = "SELECT 1"\n', "a file and a query; leave one"),
        (B2B + '[tables.touches]\nquery_file = "t.sql"\nquery = "SELECT 1"\n', "a query and a query_file; leave one"),
        (B2B + '[tables.touches]\nquery_file = "t.sql"\n', "say in .source. url"),
        (B2B + "[time]\nknown_until = 2025-07-01T08:00:00\n", "known_until: needs a time zone.*timezone"),
        (
            B2B + '[tables.transitions]\ncolumns = { stage = { "Deal won" = "won" } }\n',
            "stage: must be the name of a col",
        ),
        (B2B + '[tables.transitions]\ncolumns = ["stage"]\n', "must be a table of our names"),
        (B2B + '[tables.touches]\nquery = "SELECT 1"\n', "say in .source. url"),
        (B2B + "[lightgbm]\nnum_leaves = 1\n", "lightgbm.num_leaves"),
    ],
)
def test_an_impossible_setting_is_an_error(settings: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_funnel(settings)


def test_settings_never_change() -> None:
    with pytest.raises(ValidationError):
        parse_funnel(B2B).owner.capacity = 5  # type: ignore[misc]


def test_a_missing_file_is_an_error_that_says_what_a_data_set_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a data set is a folder"):
        read_funnel(tmp_path / "funnel.toml")


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    (tmp_path / "funnel.toml").write_bytes(b"\xef\xbb\xbf" + B2B.encode())

    assert read_funnel(tmp_path / "funnel.toml").stages[0] == "lead"


@pytest.mark.parametrize(
    ("zone", "written", "moment"),
    [
        ("", "2024-03-01", "2024-03-01T00:00:00Z"),
        ("Europe/Berlin", "2024-03-01", "2024-02-29T23:00:00Z"),
        ("Europe/Berlin", "2024-03-01T09:00:00", "2024-03-01T08:00:00Z"),
        ("Europe/Berlin", "2024-03-01T09:00:00Z", "2024-03-01T09:00:00Z"),
        ("Europe/Berlin", '"2024-03-01"', "2024-02-29T23:00:00Z"),
    ],
)
def test_history_begins_on_a_day_or_at_a_time(zone: str, written: str, moment: str) -> None:
    settings = f'preset = "b2b"\n[time]\nhistory_begins = {written}\n' + (f'timezone = "{zone}"' if zone else "")
    funnel = parse_funnel(settings)

    assert funnel.time.history_begins == datetime.fromisoformat(moment)
    assert funnel_of(funnel.model_dump(mode="json")) == funnel


@pytest.mark.parametrize(
    ("written", "rule"), [("2024-03-01T09:00:00", "needs a time zone"), ("2024", "must be a date")]
)
def test_history_begins_is_refused(written: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=f"time.history_begins: {rule}"):
        parse_funnel(f'preset = "b2b"\n[time]\nhistory_begins = {written}')
