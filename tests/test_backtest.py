"""Each morning is judged once, by the model of the latest cut before it, and by no model that has learnt from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from leadscore.backtest import backtest, default_cuts
from leadscore.examples import judging_examples
from leadscore.history import read_history

if TYPE_CHECKING:
    from pathlib import Path


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
