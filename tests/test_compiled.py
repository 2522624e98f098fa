"""Trees as machine code: LightGBM's bits, kept for the next time, and LightGBM itself wherever that fails."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadscore.features import matrix
from leadscore.funnel import open_leads
from leadscore.model import FunnelModel, compiled, funnel_model
from leadscore.model.compiled import CompiledTrees
from leadscore.model.stage import margin_of
from tests.served import serving_base_rates

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.history import History, Snapshot
    from leadscore.history.line import Float32s

pytestmark = pytest.mark.integration

CATEGORY, N_COLUMNS = 1, 4


@pytest.fixture(scope="module")
def quick(small_model: FunnelModel, code_folder: Path) -> FunnelModel:
    return compiled.compiled(small_model, code_folder)


@pytest.fixture(scope="module")
def snapshot(small_history: History) -> Snapshot:
    return open_leads(small_history, small_history.known_until)


@pytest.fixture(scope="module")
def rows(small_model: FunnelModel, snapshot: Snapshot) -> Float32s:
    return matrix(small_model.features_, snapshot.coded(small_model.vocabulary_))


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few leads count as very many."""
    monkeypatch.setattr(funnel_model, "ROWS_APART", 1)


def machine_of(model: FunnelModel) -> CompiledTrees:
    assert model.compiled_ is not None
    return model.compiled_


def with_trees(model: FunnelModel) -> list[str]:
    stages = zip(model.funnel.later_stages, model.stages_, strict=True)
    return [name for name, stage in stages if not stage.serves_base_rate]


def mixed() -> lgb.Booster:
    """Trees that split by a category, by numbers that may be missing, and by some that never are."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(4_000, N_COLUMNS))
    X[:, CATEGORY] = rng.integers(0, 40, len(X))
    X[rng.random(len(X)) < 0.3, 2] = np.nan
    log_odds = np.nan_to_num(X[:, 2]) - X[:, 0] + 0.7 * X[:, 3] + (X[:, CATEGORY] % 3 == 2)
    data = lgb.Dataset(X, rng.random(len(X)) < 1 / (1 + np.exp(-log_odds)), categorical_feature=[CATEGORY])
    return lgb.train({"objective": "binary", "num_leaves": 12, "num_threads": 1, "verbosity": -1}, data, 40)


def thresholds(booster: lgb.Booster) -> list[float]:
    numbers = (line for line in booster.model_to_string().splitlines() if line.startswith("threshold="))
    return sorted({float(each) for line in numbers for each in line.removeprefix("threshold=").split()})


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> CompiledTrees:
    booster = mixed()
    code = tmp_path_factory.mktemp("mixed") / "trees.o"
    return CompiledTrees((booster,), (compiled._machine(booster.model_to_string(), code),))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_is_asked_the_bits_are_those_of_lightgbm(machine: CompiledTrees, data: st.DataObject) -> None:
    edges = thresholds(machine.boosters[0])
    near = [float(np.nextafter(np.float32(each), np.float32(side))) for each in edges for side in (-np.inf, np.inf)]
    number = st.sampled_from([*edges, *near, 0.0, -0.0, np.nan, np.inf, -np.inf, 1e30, -1.5, 7.0, 31.0, 64.0])
    rows = data.draw(st.lists(st.tuples(*[number] * N_COLUMNS), min_size=1, max_size=30))
    X = np.array(rows, np.float32)
    # Codes of categories are whole and small, or missing.
    X[:, CATEGORY] = np.where(np.abs(X[:, CATEGORY]) < 1_000, np.trunc(X[:, CATEGORY]), np.nan)

    margins = machine.margins(X, n_jobs=1)

    assert margins is not None
    assert np.array_equal(margins[:, 0], margin_of(machine.boosters[0], X, 1))


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_model_with_machine_code_says_the_same_bits(
    small_model: FunnelModel, quick: FunnelModel, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch, n_jobs: int
) -> None:
    monkeypatch.setattr(compiled, "ROWS_CACHED", 7)
    wanted = small_model.predict_proba(snapshot)
    monkeypatch.setattr(quick, "n_jobs", n_jobs)
    # LightGBM is asked no more than the rows that are compared.
    monkeypatch.setattr(funnel_model, "margin_of", None)

    assert np.array_equal(quick.predict_proba(snapshot), wanted, equal_nan=True)


@pytest.mark.usefixtures("many")
def test_where_the_bits_differ_lightgbm_is_asked(
    small_model: FunnelModel, quick: FunnelModel, snapshot: Snapshot, caplog: pytest.LogCaptureFixture
) -> None:
    trees = machine_of(quick)
    others = CompiledTrees(trees.boosters, trees.machine[::-1])
    wrong = FunnelModel(small_model.funnel)
    wrong.__dict__ |= quick.__dict__ | {"compiled_": others}

    assert np.array_equal(wrong.predict_proba(snapshot), small_model.predict_proba(snapshot), equal_nan=True)
    assert "compiled trees say something else than LightGBM" in caplog.text


@pytest.mark.usefixtures("many")
def test_other_trees_than_were_compiled_are_asked_of_lightgbm(
    small_model: FunnelModel, quick: FunnelModel, snapshot: Snapshot
) -> None:
    (first, *_) = with_trees(small_model)

    served = serving_base_rates(quick, [first])

    wanted = serving_base_rates(small_model, [first]).predict_proba(snapshot)
    assert np.array_equal(served.predict_proba(snapshot), wanted, equal_nan=True)
    assert not np.array_equal(wanted, small_model.predict_proba(snapshot), equal_nan=True)


def test_what_was_compiled_is_read_the_next_time_and_made_again_where_it_is_damaged(
    small_model: FunnelModel, rows: Float32s, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=compiled.__name__)
    # Of one stage: it takes seconds.
    (_, *others) = with_trees(small_model)
    model = serving_base_rates(small_model, others)
    wanted = machine_of(compiled.compiled(model, tmp_path)).margins(rows, 1)
    assert caplog.text.count("compiling the trees") == 1
    (code,) = tmp_path.iterdir()
    (code / "half-written").touch()

    for compilations in (2, 2):
        found = machine_of(compiled.compiled(model, tmp_path)).margins(rows, 1)
        assert found is not None
        assert wanted is not None
        assert np.array_equal(found, wanted)
        assert caplog.text.count("compiling the trees") == compilations
    assert [path.name for path in tmp_path.iterdir()] == [code.name]


def test_the_code_of_the_last_few_models_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_machine", lambda text, code: code.write_text(text))
    names = [f"model {number}" for number in range(compiled.KEPT + 2)]

    for name in names:
        compiled._compile([name], tmp_path / name)

    assert sorted(path.name for path in tmp_path.iterdir()) == names[-compiled.KEPT :]


def test_a_folder_that_cannot_be_written_leaves_lightgbm(
    small_model: FunnelModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    taken = tmp_path / "taken"
    taken.touch()

    assert compiled.compiled(small_model, taken) is small_model
    assert "the trees cannot be compiled" in caplog.text


def test_a_model_of_base_rates_has_nothing_to_compile(small_model: FunnelModel, tmp_path: Path) -> None:
    rates = serving_base_rates(small_model, small_model.funnel.later_stages)

    assert compiled.compiled(rates, tmp_path) is rates
    assert not list(tmp_path.iterdir())
