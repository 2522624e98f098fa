"""How fast the past is forgotten: chosen inside the training time, and only where it clearly helps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from benchmarks.worlds import World, company
from leadscore.backtest import learn_until
from leadscore.funnel import open_leads
from leadscore.model import load_model, save_model
from leadscore.model.learning import Learning

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.history import History
    from leadscore.model import FunnelModel

# In the middle of block A: what large companies do turned.
TURNED = 170


@pytest.fixture(scope="module")
def turned() -> History:
    return company(World(large=lambda day: 2.0 if day < TURNED else -2.0), 2_000, seed=1)


@pytest.fixture(scope="module")
def model(turned: History) -> FunnelModel:
    return learn_until(turned, turned.known_until, n_jobs=1)


def test_where_a_meaning_turned_the_past_is_forgotten(turned: History, model: FunnelModel) -> None:
    assert model.half_life_ == 180
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learning, "half_life", lambda _: None)
        patch.setattr(Learning, "_mix", lambda _, place, *__: model.stages_[place].mix)
        remembering = learn_until(turned, turned.known_until, n_jobs=1)
    everyone = open_leads(turned, turned.known_until)
    waiting = everyone[np.flatnonzero(everyone.steps.stage == 0)]
    large = waiting.number("employees") > 55
    ours, theirs = (each.predict_proba(waiting)[:, 0] for each in (model, remembering))
    # Large companies are worse now; who remembers less says so more clearly.
    assert ours[~large].mean() - ours[large].mean() > theirs[~large].mean() - theirs[large].mean() > 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_where_nothing_moves_all_examples_count_alike(seed: int) -> None:
    history = company(World(), 1_000, seed)

    assert learn_until(history, history.known_until, n_jobs=1).half_life_ is None


def test_later_cuts_take_the_half_life_over_and_a_saved_model_keeps_it(
    turned: History, model: FunnelModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Learning, "half_life", lambda _: pytest.fail("not to be asked"))

    again = learn_until(turned, turned.known_until, n_jobs=1, rounds_from=model)

    assert again.half_life_ == 180
    save_model(model, tmp_path / "model")
    assert load_model(tmp_path / "model").half_life_ == 180


def test_an_example_half_as_old_counts_by_the_half_life(turned: History, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Learning] = []

    def half_life(learning: Learning) -> float:
        seen.append(learning)
        return 100.0

    def models(learning: Learning) -> None:
        seen.append(learning)
        raise StopAsyncIteration

    monkeypatch.setattr(Learning, "half_life", half_life)
    monkeypatch.setattr(Learning, "models", models)
    with pytest.raises(StopAsyncIteration):
        learn_until(turned, turned.known_until, n_jobs=1)

    before, after = seen
    age = (before.as_of.max() - before.as_of) / 86_400e6
    np.testing.assert_allclose(after.weight / before.weight, 0.5 ** (age / 100))
    assert_array_equal(after.outcome, before.outcome)
