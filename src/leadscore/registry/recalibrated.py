"""A recalibrated model in MLflow, as a candidate."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING

import mlflow
import numpy as np

from leadscore.registry import record
from leadscore.registry.connection import connected, experiment_id, model_name
from leadscore.registry.runs import Candidate, log_model
from leadscore.registry.versions import DRIFT, LONGEST_TAG, RECALIBRATED_FROM

if TYPE_CHECKING:
    from typing import Any

    from leadscore.drift import Drift
    from leadscore.history import History
    from leadscore.recalibration import Moved, Recalibrated


def log_recalibration(found: Recalibrated, drift: Drift, history: History, name: str, source: int) -> Candidate:
    """Log what moved and register the recalibrated model as a candidate; the champion stays.

    Run and version carry the tag ``leadscore.recalibrated_from``.

    Parameters
    ----------
    drift : Drift
        What moved since the source learnt.
    name : str
        What the data set is called.
    source : int
        The version that was recalibrated.

    Raises
    ------
    RegistryError
        MLflow refuses, or cannot be reached.
    """
    tag = {RECALIBRATED_FROM: str(source)}
    about = {
        "data": name,
        "fingerprint": history.fingerprint(),
        "known_until": record.written(history.known_until),
        "recalibrated_from": source,
        "drift": drift.as_json(),
        "moved": [_told(each) for each in found.moved],
    }
    with connected() as client:
        tags = tag | {"leadscore.version": version_of("leadscore"), DRIFT: str(drift)[:LONGEST_TAG]}
        with mlflow.start_run(experiment_id=experiment_id(client), run_name=f"{name}, recalibrated", tags=tags) as run:
            mlflow.log_params({f"data.{key}": str(about[key]) for key in ("fingerprint", "known_until")})
            mlflow.log_params({"data.name": name, "recalibrated_from": str(source)})
            mlflow.log_metrics({key: number for each in found.moved for key, number in _metrics(each).items()})
            version = log_model(found.model, about | {"run_id": run.info.run_id})
        client.set_model_version_tag(model_name(), str(version), RECALIBRATED_FROM, str(source))
    return Candidate(version, run.info.run_id, is_champion=False)


def _metrics(moved: Moved) -> dict[str, float]:
    """The calibration and what it says on average, as ``sql/said_after``; those that exist."""
    found = {"slope": moved.slope[1], "intercept": moved.intercept[1], "observed": moved.observed}
    found |= {"said_before": moved.said[0], "said_after": moved.said[1], "examples": float(moved.n_examples)}
    stage = record.clean(moved.stage)
    return {f"{stage}/{name}": value for name, value in found.items() if np.isfinite(value)}


def _told(moved: Moved) -> dict[str, Any]:
    """What moved, in JSON: null where a figure does not exist."""
    told = asdict(moved) | {"mornings": [record.written(each) for each in moved.mornings] if moved.n_examples else []}
    if not moved.n_examples:
        told |= {"said": None, "observed": None}
    return told
