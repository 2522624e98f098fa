"""Every script in ``pipelines/``, as a person would call it."""

from __future__ import annotations

import argparse
import json
import logging
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from leadscore.command import INTERVALS, SHOWN, moment, readable, write_list
from leadscore.registry.connection import connected
from tests.fixtures import enter

pytestmark = pytest.mark.integration

Here = Callable[..., tuple[int, str, str]]

PIPELINES = Path(__file__).parents[1] / "pipelines"
NAMES = sorted(path.stem for path in PIPELINES.glob("*.py"))
STAGES = ["mql", "sal", "sql", "opportunity", "won"]


def run(name: str, *arguments: object, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PIPELINES / f"{name}.py"), *map(str, arguments)]
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "LEADSCORE_"))}
    environment = ours | {"PYTHONWARNINGS": "default"} | variables
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def called(
    name: str,
    *arguments: object,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    **variables: str,
) -> tuple[int, str, str]:
    """Exit code, and what is printed, of a script that runs here: a process takes seconds to start."""
    for variable in [each for each in os.environ if each.startswith("LEADSCORE_")]:
        monkeypatch.delenv(variable)
    enter(folder, monkeypatch)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    script = PIPELINES / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
    code = 0
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as end:
        code = int(end.code or 0)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """Runs a script in the working directory after `train`, in this process; gives exit code, stdout and stderr."""
    return partial(called, folder=folder, monkeypatch=monkeypatch, capsys=capsys)


def worked(name: str, *arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    done = run(name, *arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    return done


@pytest.fixture(scope="module")
def folder(empty_store: Path, small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working directory after `train`, without any environment variable."""
    folder = tmp_path_factory.mktemp("pipelines")
    shutil.copytree(empty_store, folder, dirs_exist_ok=True)
    done = worked("train", small, "--jobs", "1", folder=folder)
    (folder / "train.out").write_text(done.stdout)
    (folder / "train.err").write_text(done.stderr)
    return folder


def test_train_prints_the_figures_of_every_stage_and_says_what_stands_where(folder: Path) -> None:
    printed = (folder / "train.out").read_text().splitlines()

    baselines = ["baseline", "base", "naive", "logistic", "most", "oldest"]
    assert [line.split()[0] for line in printed] == ["stage", *STAGES, "at", *baselines]
    assert "observed" in printed[0]
    assert "the model is better by" in printed[7]
    assert "leadscore version 1 is champion" in (folder / "train.err").read_text()
    assert {path.name for path in folder.iterdir()} == {"models", "reports", "train.out", "train.err"}
    assert {path.name for path in (folder / "models").iterdir()} == {"mlflow.db", "artifacts"}


def test_rank_writes_every_open_lead_and_prints_the_top_of_both_lists(
    folder: Path, small: Path, here: Here, caplog: pytest.LogCaptureFixture
) -> None:
    out = folder / "lists" / "ranked.parquet"
    caplog.set_level("INFO")
    code, output, _ = here("rank", small, "--out", out, "--top", 3, "--as-of", "2025-06-02T08:00:00+02:00")
    assert code == 0

    ranked = pd.read_parquet(out)
    assert set(ranked["list"]) == {"handoff", "win"}
    assert ranked["lead_id"].is_unique
    printed = output.splitlines()
    assert sum(line.startswith("before the handoff: the top 3 of") for line in printed) == 1
    best = next(line for line in printed if line.split()[:1] == ["1"])
    for told in (ranked["lead_id"][0], ranked["stage"][0], "days", "%"):
        assert told in best
    assert f"{len(ranked)} open leads ranked by version 1" in caplog.text


def test_rank_writes_csv_below_ranked_by_default(folder: Path, small: Path, here: Here) -> None:
    assert here("rank", small)[0] == 0

    ranked = pd.read_csv(folder / "ranked" / "small.csv")
    assert list(ranked["rank"][:2]) == [1, 2]
    assert ranked["sql_45d"].between(0, 1).any()
    text = pd.read_csv(folder / "ranked" / "small.csv", dtype=str)
    assert text["sql_45d"].dropna().str.fullmatch(r"0\.\d{1,4}").all()
    assert text["days_in_stage"].str.fullmatch(r"\d+\.\d").all()
    assert {"owner", "grade", "flags", "reason_1"} <= set(text)


def test_rank_counts_leads_of_later_and_says_that_a_list_is_empty(
    small: Path, here: Here, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    code, printed, _ = here("rank", small, "--as-of", "2024-01-02T00:00:00Z", "--out", small.parent / "early.csv")

    assert code == 0
    assert "no lead is open past the handoff" in printed
    assert "Empty" not in printed
    assert "leads were created, or became known, after the moment of the list: not listed" in caplog.text


def test_a_list_is_written_exactly_as_parquet_and_readably_as_csv(tmp_path: Path) -> None:
    ranked = pd.DataFrame({"rank": [1], "days_in_stage": [1 / 3], "won_90d": [1 / 3], "flags": [""]})

    for name in ("list.csv", "list.parquet"):
        write_list(ranked, tmp_path / "lists" / name)

    assert (tmp_path / "lists" / "list.csv").read_text() == "rank,days_in_stage,won_90d,flags\n1,0.3,0.3333,\n"
    assert pd.read_parquet(tmp_path / "lists" / "list.parquet")["won_90d"][0] == 1 / 3


def test_evaluate_ends_with_one_line_of_json(small: Path, here: Here) -> None:
    code, printed, _ = here("evaluate", small, "--jobs", "1", "--cut", "2025-01-15T08:00:00Z")

    assert code == 0
    *table, last = printed.splitlines()
    told = json.loads(last)
    assert len(table) == 8 + len(told["stages"])
    assert table[1 + len(told["stages"])].startswith("at 2 contacts per owner and morning")
    assert told["data"] == "small"
    assert {row["stage"] for row in told["stages"]} == set(STAGES)
    assert set(told["overall"]) >= {"log_loss", "base_log_loss", "mean_score", "base_rate", "log_loss_gain_low"}


def test_promote_and_rollback_move_the_champion(
    folder: Path, small: Path, here: Here, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    enter(folder, monkeypatch)
    with connected() as client:
        source = client.get_model_version("leadscore", "1")
        client.create_model_version("leadscore", str(source.source), source.run_id)

    code, printed, _ = here("promote", small, "--jobs", "1")
    assert code == 0
    assert "champion is version 2, was 1" in caplog.text
    assert "kept: log loss: +0.0000" in printed
    assert here("rollback")[0] == 0
    assert "champion is version 1 again, was 2" in caplog.text


def test_what_is_ingested_is_ranked_as_the_folder_is_and_a_second_time_changes_nothing(
    folder: Path, small: Path, here: Here
) -> None:
    _, first, _ = here("ingest", small)
    _, second, _ = here("ingest", small)
    for source in (small, "store"):
        assert here("rank", source, "--out", folder / f"{Path(source).name}.parquet")[0] == 0

    of_folder, of_store = (pd.read_parquet(folder / f"{name}.parquet") for name in (small.name, "store"))
    pd.testing.assert_frame_equal(of_folder, of_store, check_exact=True)
    assert first != second
    assert (folder / "models" / "leadscore.db").is_file()
    as_of = "2025-07-01T08:00:00Z"
    told = worked("score", "--as-of", as_of, "--keep-days", 30, "--jobs", 1, folder=folder).stdout
    assert told.startswith(f"run 1: {len(of_store):,} leads scored by version 1 and published in ")


def test_keys_are_created_listed_and_revoked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = partial(called, "keys", folder=tmp_path, monkeypatch=monkeypatch, capsys=capsys)
    _, key, _ = keys("--create", "score,read", "--note", "CRM")
    key_id, _, secret = key.strip().partition(".")

    code, listed, _ = keys()
    assert code == 0
    assert listed.split()[0] == key_id
    assert "in service  read,score  CRM" in listed
    assert secret not in listed
    code, revoked, _ = keys("--revoke", key_id)
    assert code == 0
    assert "revoked" in revoked
    code, _, error = keys("--revoke", key_id)
    assert code == 2
    assert "no key" in error


def test_serve_without_keys_refuses_other_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve = partial(called, folder=tmp_path, monkeypatch=monkeypatch, capsys=capsys, LEADSCORE_HOST="0.0.0.0")  # noqa: S104
    code, _, error = serve("serve")

    assert code == 2
    assert "without API keys the service listens on this machine only" in error
    assert "Traceback" not in error


def test_serve_names_the_wrong_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve = partial(called, folder=tmp_path, monkeypatch=monkeypatch, capsys=capsys, LEADSCORE_PORT="many")
    code, _, error = serve("serve")

    assert code == 2
    assert "LEADSCORE_PORT: Input should be a valid integer" in error


def test_simulate_writes_a_data_set_folder(tmp_path: Path, here: Here) -> None:
    assert here("simulate", tmp_path / "data", "--leads", 50)[0] == 0

    assert (tmp_path / "data" / "funnel.toml").is_file()


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (("train", "nowhere"), "nowhere"),
        (("rank", "nowhere"), "nowhere"),
        (("promote", "--version", "9"), "no version 9"),
        (("rollback",), "nothing to roll back to"),
    ],
    ids=lambda each: each[0] if isinstance(each, tuple) else "",
)
def test_an_error_of_ours_is_one_message_and_exit_code_2(here: Here, call: tuple[str, ...], told: str) -> None:
    code, printed, error = here(*call)

    assert code == 2
    assert told in error
    assert "Traceback" not in error
    assert printed == ""


@pytest.mark.parametrize("text", ["2025-03-04", "2025-03-04T08:00:00", "yesterday"])
def test_a_moment_without_a_time_zone_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="write 2025-03-04T08:00:00Z"):
        moment(text)


@pytest.mark.parametrize("name", NAMES)
def test_a_script_is_short(name: str) -> None:
    assert len((PIPELINES / f"{name}.py").read_text().splitlines()) <= 55


def test_every_script_is_called_here() -> None:
    called = {"train", "rank", "evaluate", "recalibrate", "tune", "promote", "rollback", "simulate", "ingest", "keys"}
    assert called | {"score", "serve"} == set(NAMES)


def test_figures_that_no_stage_has_are_dashes() -> None:
    names = [*SHOWN, *(f"{name}_{end}" for name in INTERVALS for end in ("low", "high"))]
    table = pd.DataFrame({"stage": ["mql"], "current": ["all"]} | {name: [float("nan")] for name in names})

    assert readable(table).split()[-len(SHOWN) :] == ["-"] * len(SHOWN)
