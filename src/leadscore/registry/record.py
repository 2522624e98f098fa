"""What is told of a training run, in names and numbers that MLflow takes."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from leadscore.history.zone import EPOCH
from leadscore.metrics import ALL
from leadscore.model.withheld import TOO_FEW
from leadscore.registry.versions import DRIFT, LEAKS, LONGEST_TAG

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from leadscore.features import Column
    from leadscore.history import History
    from leadscore.metrics import Worked
    from leadscore.model import FunnelModel
    from leadscore.peers import Peer
    from leadscore.training import Trained


def about(trained: Trained, history: History, name: str) -> dict[str, Any]:
    """What a model carries with it beside what it needs to score: its data, and the figures of its recipe."""
    found = trained.findings
    return {
        "data": name,
        "fingerprint": history.fingerprint(),
        "known_until": written(history.known_until),
        "cuts": [written(cut) for cut in trained.backtest.cuts],
        "overall": found.overall,
        "handoff": _worked(found.handoff),
        "baselines": {each.name: _peer(each) for each in trained.peers},
        "jitter": dict(zip(trained.model.funnel.later_stages, map(_or_none, found.jitter), strict=True)),
        "warnings": found.warnings,
        "drift": trained.drift.as_json(),
        "left_out": history.left_out,
        "figures": json.loads(found.figures.to_json(orient="records", double_precision=15)),
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
        "examples.half_life_days": "none" if trained.model.half_life_ is None else f"{trained.model.half_life_:g}",
        "backtest.cuts": ", ".join(map(written, trained.backtest.cuts)),
    }


def metrics(trained: Trained) -> dict[str, float]:
    """Figures of the recipe on later time and facts of the model, as ``sql/log_loss``; those that exist."""
    findings, table = trained.findings, trained.findings.figures
    found = {"examples": float(trained.n_examples), "warnings": float(len(findings.warnings))}
    found |= {f"overall/{figure}": value for figure, value in findings.overall.items()}
    found |= {f"handoff/{figure}": value for figure, value in _worked(findings.handoff).items() if value is not None}
    for row in table[table["current"] == ALL].drop(columns="current").to_dict("records"):
        stage = clean(str(row.pop("stage")))
        found |= {f"{stage}/{figure}": float(value) for figure, value in row.items()}
    for name, model in zip(trained.model.funnel.later_stages, trained.model.stages_, strict=True):
        facts = {
            "trees": model.rounds,
            "weight_of_trees": model.mix.weight,
            "slope": model.slope,
            "intercept": model.intercept,
        }
        facts |= {"fallback": model.fallback, "no_signal": model.no_signal}
        facts |= {"level_corrected": any(pair.level for pair in model.pairs)}
        found |= {f"{clean(name)}/{fact}": float(value) for fact, value in facts.items()}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def tags(trained: Trained) -> dict[str, str]:
    """What whoever looks at a list of runs should see: whether the figures are to be trusted."""
    findings = trained.findings
    found = {
        "leadscore.no_signal": ", ".join(findings.no_signal),
        "leadscore.pairs": "\n".join(_pairs(trained.model)),
        LEAKS: "\n".join(map(str, findings.leaks)),
        DRIFT: str(trained.drift)[:LONGEST_TAG],
    }
    return {name: text for name, text in found.items() if text}


def _pairs(model: FunnelModel) -> Iterator[str]:
    """What each pair is served: "won from mql: ranks"."""
    for name, stage, pairs in zip(model.funnel.later_stages, model.stages_, model.pairs(), strict=True):
        for current, pair in zip(model.funnel.stages, pairs, strict=False):
            yield f"{name} from {current}: {TOO_FEW if stage.fallback else pair.state}"


def _worked(worked: Worked) -> dict[str, float | None]:
    """Working the list up to capacity, in numbers; None where a figure does not exist."""
    found: dict[str, float | None] = {
        "contacts": worked.contacts,
        "contacts_per_conversion": _or_none(worked.contacts_per_conversion),
    }
    for name in ("precision", "recall"):
        interval = getattr(worked, name)
        found |= {name: _or_none(interval.value)}
        found |= {f"{name}_low": _or_none(interval.low), f"{name}_high": _or_none(interval.high)}
    return found


def _peer(peer: Peer) -> dict[str, Any]:
    """A baseline in numbers, and by how much the model is better."""
    gains = {"log_loss_gain": peer.loss_gain, "precision_gain": peer.precision_gain}
    found = {"log_loss": peer.log_loss, "calibration_error": peer.calibration_error, "handoff_auc": peer.auc}
    for name, gain in gains.items():
        found |= {name: gain.value, f"{name}_low": gain.low, f"{name}_high": gain.high}
    return {name: _or_none(value) for name, value in found.items()} | {"handoff": _worked(peer.handoff)}


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


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
