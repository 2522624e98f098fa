"""Settings are searched in the time before the first judging cut alone, and a search that was ended goes on."""

from __future__ import annotations

import fcntl
import runpy
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.trial import TrialState

from leadscore.backtest import backtest, default_cuts
from leadscore.config import parse_funnel
from leadscore.errors import TrainingError
from leadscore.examples import learning_examples
from leadscore.history import DAY, History, build_history, read_history
from leadscore.metrics import Interval, log_loss
from leadscore.registry.connection import connected, experiment_id
from leadscore.tuning import SPACE, Limits, Tuned, before_judging, inner_cuts, settings_of, toml, tune, with_settings
from leadscore.tuning.search import _rounds_are_set
from tests.fixtures import enter
from tests.lines import FUNNEL, random_tables, taken
from tests.test_no_leakage import rewritten_after

if TYPE_CHECKING:
    from collections.abc import Mapping

    import mlflow

    from leadscore.history.tables import Tables

ROOT = Path(__file__).parents[1]
STUDY = Path("models") / "tuning.db"
ROUNDS = "lightgbm.rounds"
FEW = IntDistribution(5, 20, log=True)
# As `make tune` would, but the second trial is never to end.
KILLED = """
import os, signal, sys
from pathlib import Path
from optuna.distributions import IntDistribution
from leadscore.history import read_history
from leadscore.tuning import SPACE, Limits, search, tune

judge, calls = search.backtest, []

def killed_in_the_third(*arguments):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return judge(*arguments)

search.backtest = killed_in_the_third
SPACE["lightgbm.rounds"] = IntDistribution(5, 20, log=True)
tune(read_history(Path(sys.argv[1])), "small", Path("models/tuning.db"), Limits(60, 4, lambda: 0.0))
"""


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACE, ROUNDS, FEW)


@pytest.fixture(scope="module")
def history(small: Path) -> History:
    return read_history(small)


@pytest.fixture(scope="module")
def searched(
    history: History, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Tuned, list[Any]]:
    """A folder with a search of four trials in one go, and what it found; not to be changed."""
    folder = tmp_path_factory.mktemp("searched")
    shutil.copytree(empty_store, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        patch.setitem(SPACE, ROUNDS, FEW)
        found = search(history, 4)
        return folder, found, trials()


@pytest.fixture
def again(searched: tuple[Path, Tuned, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tuned:
    """The working directory with that search in it."""
    shutil.copytree(searched[0] / "models", tmp_path / "models")
    enter(tmp_path, monkeypatch)
    return searched[1]


def search(history: History, n_trials: int) -> Tuned:
    return tune(history, "small", STUDY, Limits(60, n_trials, lambda: 0.0))


def stored() -> list[optuna.trial.FrozenTrial]:
    storage = optuna.storages.RDBStorage(f"sqlite:///{STUDY.resolve()}")
    found = [each for study in storage.get_all_studies() for each in storage.get_all_trials(study._study_id)]
    storage.remove_session()
    storage.engine.dispose()
    return found


def trials() -> list[tuple[float, dict[str, Any]]]:
    """Value and settings of each trial counted, in order."""
    return [(each.values[0], each.user_attrs["settings"]) for each in stored() if each.state is TrialState.COMPLETE]


def runs(kind: str) -> list[mlflow.entities.Run]:
    """Runs of searches or of trials, oldest first."""
    with connected() as client:
        here = experiment_id(client)
        return list(client.search_runs([here], f"tags.`leadscore.{kind}` LIKE '%'", order_by=["start_time", "run_id"]))


def changed(history: History, settings: Mapping[str, Any]) -> History:
    return with_settings(history, settings)


@pytest.fixture(scope="module")
def tables() -> Tables:
    return random_tables(5, 250)


def of_lines(tables: Tables) -> History:
    """Short horizons, so that there is time for cuts within the time before the first cut; leads are sampled."""
    settings = FUNNEL.model_dump(exclude_unset=True) | {
        "horizon_days": {"mql": 3, "sql": 5, "won": 7},
        "examples": {"max_examples": 1_500, "mornings_every_days": 10},
        "judging": {"cuts": 2, "resamples": 20},
        "lightgbm": {"rounds": 8, "min_outcome_leads": 5, "max_rounds": 10},
    }
    return build_history(tables, type(FUNNEL).model_validate(settings))


def test_no_trial_moves_when_everything_after_the_first_cut_is_rewritten(store: Path, tables: Tables) -> None:
    history = of_lines(tables)
    cut = default_cuts(history)[0]
    rewritten = of_lines(another_future(tables, cut))
    assert default_cuts(rewritten)[0] == cut
    assert len(learning_examples(rewritten)) != len(learning_examples(history))

    found, before = search(history, 3), trials()
    STUDY.unlink()
    also_found, after = search(rewritten, 3), trials()

    assert len(before) == 3
    # Equal floats are equal bits here: none is 0 or NaN.
    assert after == before
    assert also_found == found
    assert len({value for value, _ in before}) == 3


def another_future(tables: Tables, cut: int) -> Tables:
    """Other events and leads after the cut, with names that nobody had heard of before; some leads are gone."""
    rewritten = rewritten_after(tables, cut, seed=2)
    touches = rewritten.touches
    kept = np.flatnonzero((touches.known <= cut) | (touches.lead % 3 > 0))
    touches = taken(touches, kept)
    late = touches.known > cut
    names = ("a fresh kind", *touches.kind.names)
    codes = np.where(late & (touches.lead % 2 == 0), 0, touches.kind.codes + 1).astype(np.int32)
    fresh = replace(touches, kind=replace(touches.kind, codes=codes, names=names))
    return replace(rewritten, touches=fresh, known_until=tables.known_until)


def test_what_happens_before_the_first_cut_moves_trials(store: Path, tables: Tables) -> None:
    history = of_lines(tables)
    search(history, 1)
    before = trials()
    STUDY.unlink()
    search(of_lines(another_future(tables, default_cuts(history)[0] - 20 * DAY)), 1)

    assert trials() != before


def test_trials_are_judged_on_mornings_whose_outcomes_were_known_at_the_first_cut(history: History) -> None:
    past, first = before_judging(history), default_cuts(history)[0]
    cuts = inner_cuts(past)

    judged = backtest(past, cuts, n_jobs=1).judged

    assert len(cuts) == 2
    assert cuts == default_cuts(past)
    assert max(cuts) < judged.as_of.max() <= first
    ends = judged.as_of[:, None] + np.array(history.funnel.horizons) * DAY
    assert np.isfinite(judged.outcome).any()
    assert (ends[np.isfinite(judged.outcome)] <= first).all()


def test_the_first_trial_is_the_funnels_own_settings_and_its_value_their_log_loss(
    history: History, searched: tuple[Path, Tuned, list[Any]]
) -> None:
    past = before_judging(history)
    known = backtest(past, inner_cuts(past), n_jobs=1).judged.pooled()
    _, found, ((value, settings), *_) = searched

    assert settings == settings_of(history.funnel)
    assert value == log_loss(known.outcome, known.probability) == found.own["log_loss"]


def test_the_best_is_the_trial_with_the_lowest_log_loss_and_the_gain_is_paired(
    history: History, searched: tuple[Path, Tuned, list[Any]]
) -> None:
    _, found, tried = searched

    assert found.n_trials == len(tried) == 4
    assert (found.best["log_loss"], found.settings) == min(tried, key=lambda each: each[0])
    assert found.gain.value == pytest.approx(tried[0][0] - found.best["log_loss"], abs=1e-12)
    assert found.gain.low < found.gain.value < found.gain.high


def test_a_search_of_the_own_settings_alone_gains_nothing(store: Path, history: History) -> None:
    found = search(history, 1)

    assert (found.n_trials, found.is_own, found.gain) == (1, True, Interval(0.0, 0.0, 0.0))
    assert not found.better
    assert "no better than what you have" in str(found)


def test_every_trial_is_a_run_below_that_of_the_search(again: Tuned) -> None:
    (parent,) = runs("search")
    tried = trials()

    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["gain_low"] == again.gain.low
    assert parent.data.tags["data.name"] == "small"
    assert parent.data.tags["known_until"] == "2024-12-09"
    assert [each.data.tags["leadscore.trial"] for each in runs("trial")] == ["0", "1", "2", "3"]
    assert [each.data.tags["leadscore.own_settings"] for each in runs("trial")] == ["true", *["false"] * 3]
    for run, (value, settings) in zip(runs("trial"), tried, strict=True):
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.info.status == "FINISHED"
        assert run.data.params == {name: str(setting) for name, setting in settings.items()}
        assert run.data.metrics["log_loss"] == value
        assert set(run.data.metrics) == {"log_loss", "auc", "calibration_error"}


def test_a_search_in_two_goes_finds_what_one_go_finds(
    store: Path, history: History, searched: tuple[Path, Tuned, list[Any]]
) -> None:
    search(history, 2)

    assert search(history, 4) == searched[1]
    assert trials() == searched[2]
    assert len(runs("search")) == 1
    assert len(runs("trial")) == 4


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on_and_does_not_count_the_trial_under_way(
    store: Path, small: Path, history: History, searched: tuple[Path, Tuned, list[Any]]
) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(small)], check=False, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert [each.state for each in stored()] == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.RUNNING]
    assert [each.info.status for each in runs("trial")] == ["FINISHED", "FINISHED", "RUNNING"]

    found = search(history, 4)

    assert found == searched[1]
    assert trials() == searched[2]
    assert [each.state for each in stored()].count(TrialState.FAIL) == 1
    assert [each.info.status for each in runs("trial")] == ["FINISHED", "FINISHED", "KILLED", "FINISHED", "FINISHED"]
    assert [each.info.status for each in runs("search")] == ["FINISHED"]


def test_a_search_with_all_its_trials_says_again_what_it_found(again: Tuned, history: History) -> None:
    assert search(history, 4) == again
    assert len(runs("trial")) == 4


def test_a_search_ends_after_the_trial_in_which_its_time_is_up(store: Path, history: History) -> None:
    minutes = count(step=60)  # the clock is asked once at the beginning and once before each trial

    found = tune(history, "small", STUDY, Limits(150, 6, lambda: float(next(minutes))))

    assert found.n_trials == 3


def test_without_any_time_the_own_settings_are_tried_all_the_same(store: Path, history: History) -> None:
    assert tune(history, "small", STUDY, Limits(0, 3, lambda: 0.0)).n_trials == 1


def test_other_own_settings_are_tried_in_the_same_search(again: Tuned, history: History) -> None:
    # Outside of what is searched.
    other = {"lightgbm.lambda_l2": 80.0, "lightgbm.num_leaves": 3, "lightgbm.learning_rate": 0.3}

    found = search(changed(history, other), 6)

    own = settings_of(history.funnel) | other
    assert trials()[4][1] == own
    assert found.n_trials == 6
    assert found.own["log_loss"] == trials()[4][0]
    assert len(runs("search")) == 1


@pytest.mark.parametrize(
    ("section", "settings"),
    [("features", {"windows_days": (7,)}), ("judging", {"mornings_every_days": 7}), ("lightgbm", {"seed": 2})],
)
def test_settings_that_are_not_searched_make_it_another_search(
    again: Tuned, history: History, section: str, settings: dict[str, Any]
) -> None:
    update = {section: getattr(history.funnel, section).model_copy(update=settings)}
    other = replace(history, funnel=history.funnel.model_copy(update=update))

    assert search(other, 1).n_trials == 1
    assert len(runs("search")) == 2


def test_models_of_another_name_are_searched_apart(
    again: Tuned, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEADSCORE_MODEL", "it's another")

    assert search(history, 1).n_trials == 1


def test_trials_of_other_code_are_not_gone_on_with(
    again: Tuned, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadscore.tuning.search._loss", lambda _judged: 0.5)

    with pytest.raises(TrainingError, match=r"had log loss 0\.\d{9} .* 0\.500000000 now.*--study"):
        search(history, 5)


def test_two_searches_at_once_are_refused(again: Tuned, history: History) -> None:
    with STUDY.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TrainingError, match=r"tuning\.db: another search is under way"):
            search(history, 5)


def test_a_file_that_holds_something_else_is_refused(store: Path, history: History) -> None:
    STUDY.write_text("no database\n" * 100)

    with pytest.raises(TrainingError, match=r"tuning\.db: cannot hold a search"):
        search(history, 1)


@pytest.mark.parametrize(("days", "told"), [(5, "more than twice"), (30, "no room for 2 cuts a week apart")])
def test_a_short_history_is_not_searched(tables: Tables, days: int, told: str) -> None:
    history = of_lines(tables)
    longest, first = max(history.funnel.horizons), int(history.known.min())
    past = replace(history, known_until=first + (longest + days) * DAY)

    with pytest.raises(TrainingError, match=rf"before the first judging cut, 2024-\d\d-\d\d.*{told}"):
        inner_cuts(past)


def test_the_number_of_trees_is_searched_only_where_it_is_a_setting(history: History) -> None:
    models = backtest(before_judging(history), inner_cuts(before_judging(history)), n_jobs=1).models
    for model in models:
        assert any(not stage.fallback for stage in model.stages_)
    assert _rounds_are_set(models)
    for model in models:
        model.stages_ = tuple(replace(stage, rounds_found=not stage.fallback) for stage in model.stages_)

    assert not _rounds_are_set(models)


def test_where_trees_are_counted_on_later_time_their_number_stays(
    store: Path, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadscore.tuning.search._rounds_are_set", lambda _models: False)

    search(history, 3)

    assert {settings[ROUNDS] for _, settings in trials()} == {history.funnel.lightgbm.rounds}


def test_the_best_settings_are_written_as_funnel_toml_reads_them(searched: tuple[Path, Tuned, list[Any]]) -> None:
    _, found, tried = searched
    _, _, block = str(found).partition("# funnel.toml")

    assert settings_of(parse_funnel(f'preset = "b2b"\n#{block}')) == found.settings
    for _, settings in tried:
        assert settings_of(parse_funnel(f'preset = "b2b"\n{toml(settings)}')) == settings


@pytest.mark.parametrize(
    ("low", "said"),
    [(-0.001, "no better than what you have: the interval"), (0.0, "no better than"), (0.001, "better than what")],
)
def test_a_gain_whose_interval_includes_zero_is_said_to_be_none(
    searched: tuple[Path, Tuned, list[Any]], low: float, said: str
) -> None:
    found = replace(searched[1], is_own=False, gain=Interval(0.002, low, 0.004))

    assert any(line.startswith(said) for line in str(found).splitlines())
    assert found.better == (low > 0)


def test_the_script_prints_what_was_found_and_changes_no_setting(
    again: Tuned, small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (small / "funnel.toml").read_bytes()
    called = ["tune.py", str(small), "--jobs", "1", "--minutes", "1", "--trials", "4"]
    monkeypatch.setattr(sys, "argv", called)

    runpy.run_path(str(ROOT / "pipelines" / "tune.py"))["main"]()

    assert capsys.readouterr().out == f"{again}\n"
    assert (small / "funnel.toml").read_bytes() == before
