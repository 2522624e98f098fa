"""A training run in MLflow, and its model as a candidate."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version as version_of
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import mlflow

from leadscore.model import save_model
from leadscore.plots import stage_figure
from leadscore.registry import record
from leadscore.registry.connection import connected, experiment_id, model_name
from leadscore.registry.versions import CHAMPION, champion_of, registered_model
from leadscore.report import report

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow.models.model import ModelInfo

    from leadscore.history import History
    from leadscore.model import FunnelModel
    from leadscore.training import Trained

# Its _load_pyfunc is what MLflow calls with the folder of the model.
LOADER = "leadscore.scoring"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A freshly trained model in the registry.

    Attributes
    ----------
    version : int
        Of the registered model.
    run_id : str
        The MLflow run with its settings, figures and plots.
    is_champion : bool
        Whether it went into service at once, for want of a champion.
    report : str
        The report of the run as HTML; empty where nothing was trained.
    """

    version: int
    run_id: str
    is_champion: bool
    report: str = ""


def log_training(trained: Trained, history: History, name: str) -> Candidate:
    """Log a training run and register its model as a candidate; the first candidate becomes champion.

    Parameters
    ----------
    name : str
        What the data set is called.

    Raises
    ------
    RegistryError
        MLflow refuses, or cannot be reached.
    """
    # MLflow itself notes the git commit of the script that runs, where there is one.
    tags = {"leadscore.version": version_of("leadscore")} | record.tags(trained)
    with connected() as client:
        with mlflow.start_run(experiment_id=experiment_id(client), run_name=name, tags=tags) as run:
            mlflow.log_params(record.params(trained, history, name))
            logged = _log_model_files(trained.model, record.about(trained, history, name) | {"run_id": run.info.run_id})
            # Metrics that are there before their model are read one by one and stored again for it.
            mlflow.log_metrics(record.metrics(trained), model_id=logged.model_id)
            _log_files(trained)
            html = report(trained, history, name, run_id=run.info.run_id, trained_at=1_000 * run.info.start_time)
            mlflow.log_text(html, "report.html")
            version = _register(logged)
        first = champion_of(registered_model(client)) is None
        if first:
            client.set_registered_model_alias(model_name(), CHAMPION, str(version))
    return Candidate(version, run.info.run_id, first, html)


def _log_files(trained: Trained) -> None:
    judged = trained.backtest.judged
    mlflow.log_text(trained.findings.figures.to_csv(index=False), "figures.csv")
    mlflow.log_text(record.columns_table(trained.model.columns_).to_csv(index=False), "columns.csv")
    for place, stage in enumerate(trained.model.funnel.later_stages):
        picture = stage_figure(judged, trained.model, place)
        mlflow.log_figure(picture, f"plots/{place + 1}_{record.clean(stage)}.png")


def log_model(model: FunnelModel, about: Mapping[str, Any]) -> int:
    """Log a model to the run under way and register it; its version."""
    return _register(_log_model_files(model, about))


def _log_model_files(model: FunnelModel, about: Mapping[str, Any]) -> ModelInfo:
    with TemporaryDirectory() as folder:
        saved = Path(folder) / "funnel_model"
        save_model(model, saved, about)
        # Given requirements are not inferred, and without a signature its slow check is not made.
        logged: ModelInfo = mlflow.pyfunc.log_model(
            name="model",
            loader_module=LOADER,
            data_path=str(saved),
            pip_requirements=[f"leadscore=={version_of('leadscore')}"],
        )
    return logged


def _register(logged: ModelInfo) -> int:
    return int(mlflow.register_model(logged.model_uri, model_name()).version)
