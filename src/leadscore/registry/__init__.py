"""The only module that knows MLflow: promote, roll back, load the champion.

Whoever logs imports `leadscore.registry.runs`, `leadscore.registry.recalibrated` or `leadscore.registry.trials`: they
draw and write reports, which takes long to load.

Where ``MLFLOW_TRACKING_URI`` is not set, runs and versions stand in ``models/mlflow.db`` and their artefacts in
``models/artifacts``, below the working directory. Experiment and registered model have the name in
``LEADSCORE_MODEL``, by default ``leadscore``. The champion is the version with the alias ``champion``.
"""

from leadscore.registry.connection import model_name
from leadscore.registry.identity import ModelIdentity, champion_identity, is_registered
from leadscore.registry.served import Served, fetch_champion, last_served
from leadscore.registry.versions import Contenders, Handover, contenders, load_champion, promote, rollback

__all__ = [
    "Contenders",
    "Handover",
    "ModelIdentity",
    "Served",
    "champion_identity",
    "contenders",
    "fetch_champion",
    "is_registered",
    "last_served",
    "load_champion",
    "model_name",
    "promote",
    "rollback",
]
