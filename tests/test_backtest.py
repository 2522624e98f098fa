"""Each morning is judged once, by the model of the latest cut before it, and by no model that has learnt from it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import lightgbm as lgb
import numpy as np

from leadscore.backtest import backtest, default_cuts, learn_until
from leadscore.examples import judging_examples
from leadscore.funnel import open_leads
from leadscore.history import read_history

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    import pytest

    from leadscore.history import History


def test_each_morning_is_judged_once_by_the_model_of_the_latest_cut(small: Path) -> None:
    history = read_history(small)
    cuts = default_cuts(history)
    assert len(cuts) == 2

    past = backtest(history, cuts, n_jobs=1)

    judged, listed = past.judged, judging_examples(history, cuts[0])
    np.testing.assert_array_equal(judged.lead, listed.lead)
    np.testing.assert_array_equal(judged.as_of, listed.as_of)
    for model, begin, end in zip(past.models, cuts, (cuts[1], history.known_until + 1), strict=True):
        rows = (judged.as_of >= begin) & (judged.as_of < end)
        assert rows.any()
        assert model.trained_until_ <= begin
        expected = model.predict_proba(history.at(judged.lead[rows], judged.as_of[rows]))
        np.testing.assert_array_equal(judged.probability[rows], expected)


def test_a_model_that_is_only_judged_gives_the_same_probabilities(small_history: History) -> None:
    everyone = open_leads(small_history, small_history.known_until)

    explained, judged = (
        learn_until(small_history, small_history.known_until, n_jobs=1, with_reasons=each) for each in (True, False)
    )

    np.testing.assert_array_equal(judged.predict_proba(everyone), explained.predict_proba(everyone))
    assert not hasattr(judged, "grades_")


def test_later_cuts_grow_as_many_trees_as_the_first(small_history: History) -> None:
    funnel = small_history.funnel
    few = funnel.model_copy(update={"lightgbm": funnel.lightgbm.model_copy(update={"min_outcome_leads": 10})})
    history = replace(small_history, funnel=few)
    first, later = backtest(history, default_cuts(history), n_jobs=1).models

    found = [place for place, stage in enumerate(first.stages_) if stage.rounds_found]
    assert found
    assert [later.stages_[place].own_rounds for place in found] == [first.stages_[place].own_rounds for place in found]
    assert {later.stages_[place].shared_rounds for place in found} == {first.stages_[found[0]].shared_rounds}
    [by_itself] = backtest(history, default_cuts(history)[1:], n_jobs=1).models
    assert [stage.rounds for stage in by_itself.stages_] != [stage.rounds for stage in later.stages_]


def test_learning_never_asks_lightgbm_for_several_threads(
    small_history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    written = lgb.basic._param_dict_to_str

    def noted(parameters: dict[str, Any] | None) -> str:
        asked.append(dict(parameters or {}).get("num_threads"))
        return str(written(parameters))

    monkeypatch.setattr(lgb.basic, "_param_dict_to_str", noted)
    learn_until(small_history, small_history.known_until, n_jobs=2, with_reasons=False)

    # Some of these calls were under way at the same time.
    assert len(asked) > 20
    assert set(asked) == {1}
