"""Which model a version is: another registry, or another run, may have a version of the same number."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException

from leadscore.errors import NoChampionError
from leadscore.registry.connection import connected, model_name, registry_digest
from leadscore.registry.versions import champion_of, trained_model

if TYPE_CHECKING:
    import mlflow

UNKNOWN = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What tells one registered model version from every other.

    Attributes
    ----------
    registry : str
        `leadscore.registry.connection.registry_digest`.
    name : str
        Of the registered model.
    version : int
    run_id, model_id, source : str
        Of the MLflow run and its logged model, and where that is; empty where MLflow has none.
    created_at : int
        When the version was registered, in milliseconds since 1970 UTC.
    """

    registry: str
    name: str
    version: int
    run_id: str
    model_id: str
    source: str
    created_at: int

    def digest(self) -> str:
        """SHA-256 of all of it, the first 16 hexadecimal digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        return f"{self.name} version {self.version} of run {self.run_id or 'unknown'}"


def champion_identity() -> ModelIdentity:
    """Which model the champion is.

    Raises
    ------
    RegistryError
        Nothing was trained, there is no champion, or MLflow cannot be reached.
    """
    with connected() as client:
        version = champion_of(trained_model(client))
        if version is None:
            raise NoChampionError(f"{model_name()} has no champion; choose one: make promote VERSION=1")
        return identity_of(client, version)


def identity_of(client: mlflow.MlflowClient, version: int) -> ModelIdentity:
    """Which model a version is; call it while `connected`."""
    registered = client.get_model_version(model_name(), str(version))
    return ModelIdentity(
        registry=registry_digest(),
        name=model_name(),
        version=version,
        run_id=registered.run_id or "",
        model_id=registered.model_id or "",
        source=registered.source or "",
        created_at=int(registered.creation_timestamp),
    )


def is_registered(identity: ModelIdentity) -> bool:
    """Whether the registry has this very model under its number.

    Raises
    ------
    RegistryError
        MLflow cannot be reached.
    """
    with connected() as client:
        try:
            return identity_of(client, identity.version) == identity
        except MlflowException as error:
            if error.error_code in UNKNOWN:
                return False
            raise
