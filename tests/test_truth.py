"""On invented data whose true probabilities are known, the model comes near them."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from leadscore.backtest import learn_until
from leadscore.history import read_history
from leadscore.labels import reached
from leadscore.metrics import log_loss
from leadscore.simulate import simulate

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.history import Snapshot
    from leadscore.history.line import Float64s
    from leadscore.model import FunnelModel

pytestmark = pytest.mark.integration


@pytest.mark.slow
def test_later_data_recover_most_of_the_way_from_base_rate_to_truth(tmp_path: Path) -> None:
    simulate(tmp_path, leads=50_000, seed=7, form="parquet", truth_from=date(2025, 1, 20), truth_every_days=14)
    history = read_history(tmp_path)
    truth = pd.read_parquet(tmp_path / "truth.parquet")
    place = pd.Series(np.arange(len(history)), index=history.ids)
    lead = place[truth["lead_id"].to_numpy()].to_numpy()
    as_of = truth["as_of"].dt.as_unit("us").astype("int64").to_numpy()
    true = truth[list(history.funnel.later_stages)].to_numpy(np.float64)

    model = learn_until(history, int(as_of.min()), n_jobs=2)

    snapshot, outcome = history.at(lead, as_of), reached(history, lead, as_of)
    known = ~np.isnan(outcome)
    assert known.sum() > 500_000
    happened = outcome[known].astype(np.float64)
    base, learnt, best = (
        log_loss(happened, probability[known])
        for probability in (_of_stage(model, snapshot), model.predict_proba(snapshot), true)
    )
    recovered = (base - learnt) / (base - best)
    print(f"log loss: base rate {base:.4f}, model {learnt:.4f}, truth {best:.4f}; {recovered:.1%} of the way")  # noqa: T201
    assert recovered >= 0.86


def _of_stage(model: FunnelModel, snapshot: Snapshot) -> Float64s:
    """Rates of the current stage alone: base rates by days in it are already part of the way."""
    rates: Float64s = model.base_rate_.rates_[np.minimum(snapshot.steps.stage, len(model.stages_) - 1)]
    return rates
