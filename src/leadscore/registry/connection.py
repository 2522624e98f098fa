"""Where MLflow is, and its errors as ours."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from leadscore.errors import RegistryError

# MLflow reads these when it is imported: nothing is sent home, only warnings are logged, nothing is copied from
# the working directory into a model, and a machine without git is no error. Connections are not kept: one to an SQLite
# file would go on reading the former file where another has replaced it.
for _name, _value in (
    ("MLFLOW_DISABLE_TELEMETRY", "true"),
    ("MLFLOW_LOGGING_LEVEL", "WARNING"),
    ("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false"),
    ("MLFLOW_UV_AUTO_DETECT", "false"),
    ("GIT_PYTHON_REFRESH", "quiet"),
    ("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool"),
):
    os.environ.setdefault(_name, _value)

import mlflow  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator


def model_name() -> str:
    """Name of the registered model and of the experiment: ``LEADSCORE_MODEL``, by default ``leadscore``."""
    return os.environ.get("LEADSCORE_MODEL") or "leadscore"


@contextmanager
def connected() -> Iterator[mlflow.MlflowClient]:
    """A client of the store in ``MLFLOW_TRACKING_URI``, by default the local one.

    Raises
    ------
    RegistryError
        MLflow refuses what is asked in the block, or cannot be reached.
    """
    uri = _address()
    try:
        if uri == _local_store():
            _local_folder().mkdir(exist_ok=True)
        mlflow.set_tracking_uri(uri)
        yield mlflow.MlflowClient()
    except MlflowException as error:
        raise RegistryError(f"MLflow refuses: {error.message} (in {where()})") from error


def where() -> str:
    """The store, in words: an address may hold a password."""
    local = mlflow.get_tracking_uri() == _local_store()
    return f"{_local_folder()}" if local else "the store that MLFLOW_TRACKING_URI names"


def registry_digest() -> str:
    """SHA-256 of the store's address without user and password, in hexadecimal."""
    parts = urlsplit(_address())
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return hashlib.sha256(address.encode()).hexdigest()


def experiment_id(client: mlflow.MlflowClient) -> str:
    """The experiment that training runs stand in; made when there is none."""
    found = client.get_experiment_by_name(model_name())
    if found is not None:
        return str(found.experiment_id)
    # Any other store has its own place for artefacts.
    local = mlflow.get_tracking_uri() == _local_store()
    artefacts = (_local_folder() / "artifacts").as_uri() if local else None
    return str(client.create_experiment(model_name(), artefacts))


def _address() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or _local_store()


def _local_store() -> str:
    return f"sqlite:///{_local_folder() / 'mlflow.db'}"


def _local_folder() -> Path:
    return Path("models").resolve()
