"""The only module that knows MLflow: log a training run, promote, roll back, load the champion.

Where ``MLFLOW_TRACKING_URI`` is not set, runs and versions stand in ``models/mlflow.db`` and their artefacts in
``models/artifacts``, below the working directory. Experiment and registered model have the name in
``LEADSCORE_MODEL``, by default ``leadscore``. The champion is the version with the alias ``champion``.
"""

from leadscore.registry.connection import model_name
from leadscore.registry.recalibrated import log_recalibration
from leadscore.registry.runs import Candidate, log_training
from leadscore.registry.served import Served, champion_version, fetch_champion, last_served
from leadscore.registry.versions import Contenders, Handover, contenders, load_champion, promote, rollback

__all__ = [
    "Candidate",
    "Contenders",
    "Handover",
    "Served",
    "champion_version",
    "contenders",
    "fetch_champion",
    "last_served",
    "load_champion",
    "log_recalibration",
    "log_training",
    "model_name",
    "promote",
    "rollback",
]
