"""A lead gets the same bits alone and in a crowd, whatever the order, the parts, the threads and the disk."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from leadscore.config import Funnel
from leadscore.features import matrix
from leadscore.history import build_history, line, order, snapshot
from leadscore.history.tables import Coded, Tables
from leadscore.labels import reached
from leadscore.model import FunnelModel, load_model, save_model
from tests.lines import (
    FUNNEL,
    VOCABULARY,
    each_table,
    examples_of,
    features_of,
    leads_taken,
    matrix_of,
    positions,
    random_tables,
    taken,
    tiny_tables,
)

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.history import Snapshot
    from leadscore.history.line import Float32s, Float64s

FEW_TREES = {
    "rounds": 10,
    "max_rounds": 20,
    "min_outcome_leads": 5,
    "min_data_in_leaf": 10,
    "learning_rate": 0.3,
}
SMALL = Funnel.model_validate(FUNNEL.model_dump() | {"lightgbm": FEW_TREES})


@pytest.fixture(scope="module")
def tables() -> Tables:
    return random_tables(seed=5, n_leads=120)


@pytest.fixture(scope="module")
def crowd(tables: Tables) -> Snapshot:
    history = build_history(tables, SMALL)
    examples = examples_of(tables, seed=5, per_lead=15)
    return history.at(positions(history, tables, examples.lead), examples.as_of)


@pytest.fixture(scope="module")
def outcome(tables: Tables, crowd: Snapshot) -> Float32s:
    return reached(build_history(tables, SMALL), crowd.lead, crowd.as_of)


@pytest.fixture(scope="module")
def model(crowd: Snapshot, outcome: Float32s) -> FunnelModel:
    fitted = FunnelModel(SMALL).fit(crowd, outcome)
    assert not any(stage.fallback for stage in fitted.stages_)
    return fitted


@pytest.fixture(scope="module")
def probability(crowd: Snapshot, model: FunnelModel) -> Float64s:
    return model.predict_proba(crowd)


def test_an_example_has_the_same_features_alone_and_in_a_crowd(crowd: Snapshot) -> None:
    features, coded = features_of(), crowd.coded(VOCABULARY)

    alone = np.concatenate([matrix(features, coded[row : row + 1]) for row in range(len(crowd))])

    assert_same(alone, matrix(features, coded))


def test_a_lead_has_the_same_features_in_a_history_of_its_own(tables: Tables) -> None:
    for lead in np.flatnonzero(~tables.leads.do_not_score)[:40]:
        examples = examples_of(tables, seed=6)
        its = examples[examples.lead == lead]

        assert_same(matrix_of(only(lead, tables), replace(its, lead=np.zeros_like(its.lead))), matrix_of(tables, its))


def test_the_values_of_a_lead_keep_their_cents_next_to_leads_of_billions(tables: Tables) -> None:
    # A running sum of floats would lose them.
    touches = tables.touches
    value = np.zeros(len(touches.lead)) if touches.value is None else touches.value
    rich = replace(touches, value=np.where(touches.lead % 2, value, value * 1e7))
    mixed, examples = replace(tables, touches=rich), examples_of(tables, seed=6)
    its = examples[examples.lead == 119]

    alone = matrix_of(only(119, mixed), replace(its, lead=np.zeros_like(its.lead)))

    assert_same(matrix_of(mixed, examples)[examples.lead == 119], alone)


def only(lead: int, tables: Tables) -> Tables:
    """One lead and its events, as the API is given them."""

    def its(table: Any, _name: str) -> Any:
        kept = taken(table, np.flatnonzero(table.lead == lead))
        return replace(kept, lead=np.zeros_like(kept.lead))

    return each_table(replace(tables, leads=leads_taken(tables.leads, np.array([lead]))), its)


def test_a_lead_has_the_same_probabilities_alone_and_in_a_crowd(
    crowd: Snapshot, model: FunnelModel, probability: Float64s
) -> None:
    rows = range(0, len(crowd), 3)

    alone = np.concatenate([model.predict_proba(crowd[row : row + 1]) for row in rows])

    assert_same(alone, probability[::3])


def test_two_threads_find_what_one_does(
    crowd: Snapshot, outcome: Float32s, probability: Float64s, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "TOUCHES_PER_PART", 50)
    features, coded = features_of(), crowd.coded(VOCABULARY)

    assert_same(matrix(features, coded, n_jobs=2), matrix(features, coded, n_jobs=1))
    assert_same(FunnelModel(SMALL, n_jobs=2).fit(crowd, outcome).predict_proba(crowd), probability)


@pytest.mark.parametrize(("touches", "examples"), [(1, 1), (7, 1 << 20), (1 << 19, 10), (300, 300), (1 << 20, 1 << 20)])
def test_features_do_not_depend_on_how_the_examples_are_parted(
    touches: int, examples: int, crowd: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = matrix(features_of(), crowd.coded(VOCABULARY))
    monkeypatch.setattr(snapshot, "TOUCHES_PER_PART", touches)
    monkeypatch.setattr(snapshot, "EXAMPLES_PER_PART", examples)

    parts = list(crowd.parts())

    assert (len(parts) == 1) == (touches == 1 << 20)
    assert_same(matrix(features_of(), crowd.coded(VOCABULARY)), whole)
    assert_same(np.sort(np.concatenate([np.arange(len(crowd))[rows] for rows, _ in parts])), np.arange(len(crowd)))


@pytest.mark.parametrize(("leads_per_key", "rows_per_chunk"), [(1, 1), (8, 100), (64, 7), (2_048, 50)])
def test_lines_do_not_depend_on_how_they_are_cut_up_to_be_sorted(
    leads_per_key: int, rows_per_chunk: int, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    history, examples = build_history(tables, FUNNEL), examples_of(tables, seed=5)
    X = matrix_of(tables, examples)
    monkeypatch.setattr(line, "LEADS_PER_KEY", leads_per_key)
    monkeypatch.setattr(order, "LEADS_PER_KEY", leads_per_key)
    monkeypatch.setattr(order, "ROWS_PER_CHUNK", rows_per_chunk)
    monkeypatch.setattr(snapshot, "LEADS_PER_KEY", leads_per_key)

    assert_same(build_history(tables, FUNNEL), history)
    assert_same(matrix_of(tables, examples), X)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_rows_does_not_matter(seed: int, tables: Tables) -> None:
    assert_same(build_history(shuffled(tables, seed), FUNNEL), build_history(tables, FUNNEL))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(few=tiny_tables(), seed=st.integers(0, 99))
def test_the_order_of_the_rows_of_tiny_lines_does_not_matter(few: Tables, seed: int) -> None:
    assert_same(build_history(shuffled(few, seed), FUNNEL), build_history(few, FUNNEL))


def shuffled(tables: Tables, seed: int) -> Tables:
    """The same rows of every table in another order, and categories coded otherwise."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(tables.leads.ids))
    place = np.argsort(order)
    leads = leads_taken(tables.leads, order)
    other = {name: recoded(column, rng) for name, column in leads.categories.items()}

    def shuffle(table: Any, _name: str) -> Any:
        mixed = taken(table, rng.permutation(len(table.known)))
        codes = {
            field.name: recoded(getattr(mixed, field.name), rng)
            for field in fields(mixed)
            if isinstance(getattr(mixed, field.name), Coded)
        }
        return replace(mixed, lead=place[mixed.lead], **codes)

    return each_table(replace(tables, leads=replace(leads, categories=other)), shuffle)


def recoded(column: Coded, rng: np.random.Generator) -> Coded:
    order = rng.permutation(len(column.names))
    place = np.append(np.argsort(order), -1).astype(np.int32)
    return Coded(place[column.codes], tuple(column.names[code] for code in order))


def test_a_model_that_was_saved_gives_the_same_probabilities(
    crowd: Snapshot, model: FunnelModel, probability: Float64s, tmp_path: Path
) -> None:
    save_model(model, tmp_path / "model")

    assert_same(load_model(tmp_path / "model").predict_proba(crowd), probability)


def assert_same(found: Any, wanted: Any) -> None:
    """Equal bit for bit and of the same type; of a dataclass, each field."""
    assert type(found) is type(wanted)
    if isinstance(wanted, np.ndarray) and wanted.dtype != object:
        assert found.dtype == wanted.dtype
        assert_array_equal(as_bytes(found), as_bytes(wanted))
    elif is_dataclass(wanted):
        for field in fields(wanted):
            assert_same(getattr(found, field.name), getattr(wanted, field.name))
    elif isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for name, each in wanted.items():
            assert_same(found[name], each)
    else:
        assert_array_equal(found, wanted)


def as_bytes(array: Any) -> Any:
    return np.ascontiguousarray(array).view(np.uint8)
