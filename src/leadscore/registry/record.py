"""What is told of a training run, in names and numbers that MLflow takes."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from leadscore.history.zone import EPOCH
from leadscore.metrics import ALL, figures, overall

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from leadscore.features import Column
    from leadscore.history import History
    from leadscore.training import Trained


def about(trained: Trained, history: History, name: str) -> dict[str, Any]:
    """What a model carries with it beside what it needs to score: its data, and the figures of its recipe."""
    judged = trained.backtest.judged
    return {
        "data": name,
        "fingerprint": history.fingerprint(),
        "known_until": written(history.known_until),
        "cut": written(trained.backtest.cut),
        "overall": overall(judged),
        "figures": json.loads(figures(judged).to_json(orient="records", double_precision=15)),
    }


def params(trained: Trained, history: History, name: str) -> dict[str, str]:
    """Every setting that changes a prediction, and what was learnt from."""
    settings = history.funnel.model_dump(mode="json", exclude={"source", "tables"})
    return dict(_flat(settings)) | {
        "data.name": name,
        "data.fingerprint": history.fingerprint(),
        "data.leads": str(len(history)),
        "data.touches": str(len(history.touches)),
        "data.known_until": written(history.known_until),
        "backtest.cut": written(trained.backtest.cut),
    }


def metrics(trained: Trained) -> dict[str, float]:
    """Figures of the recipe on later time and facts of the model, as ``sql/log_loss``; those that exist."""
    judged = trained.backtest.judged
    found = {"examples": float(trained.n_examples)}
    found |= {f"overall/{figure}": value for figure, value in overall(judged).items()}
    table = figures(judged)
    for row in table[table["current"] == ALL].drop(columns="current").to_dict("records"):
        stage = clean(str(row.pop("stage")))
        found |= {f"{stage}/{figure}": float(value) for figure, value in row.items()}
    for name, model in zip(trained.model.funnel.later_stages, trained.model.stages_, strict=True):
        facts = {"trees": model.rounds, "slope": model.slope, "intercept": model.intercept, "fallback": model.fallback}
        found |= {f"{clean(name)}/{fact}": float(value) for fact, value in facts.items()}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def columns_table(columns: Iterable[Column]) -> pd.DataFrame:
    """Documentation of the columns of X: ``name``, ``unit``, ``meaning``, ``categories`` in order of their codes."""
    rows = [(each.name, each.unit, each.meaning, " | ".join(each.names)) for each in columns]
    return pd.DataFrame(rows, columns=["name", "unit", "meaning", "categories"])


def clean(name: str) -> str:
    """A name as MLflow allows it in those of figures and files; different names stay different."""
    return re.sub(r"[^\w-]", lambda found: f"_{ord(found[0]):x}_", name)


def written(moment: int) -> str:
    """Microseconds since 1970 UTC as ISO 8601."""
    return (EPOCH + timedelta(microseconds=moment)).isoformat()


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, setting in settings.items():
        name = f"{before}{clean(key)}"
        if isinstance(setting, dict):
            yield from _flat(setting, f"{name}.")
        else:
            yield name, setting if isinstance(setting, str) else json.dumps(setting, ensure_ascii=False)
