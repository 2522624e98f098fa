"""How the service is run: settings from the environment."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from leadscore.errors import ConfigError
from leadscore.model.staleness import STALE_MODEL_DAYS

# Where several processes add up what they count: the setting of the Prometheus library.
COUNTERS = "PROMETHEUS_MULTIPROC_DIR"


class ServiceSettings(BaseSettings):
    """Settings of the service; each is an environment variable with ``LEADSCORE_`` before its name, in capitals.

    Attributes
    ----------
    host, port : str, int
        Where the service listens. Without API keys it listens on loopback only.
    workers : int
        Processes.
    champion_seconds : float
        How often each worker looks for a new champion.
    models : Path
        Folder of the local copies of champions.
    max_body_bytes : int
        Largest body of a request.
    max_history : int
        Most transitions, touches and changes of one lead that is sent to be scored.
    max_per_second : float
        Requests that one key may make in a second, on average over `burst_seconds`, in each worker.
    burst_seconds : float
        How long a key may save up what it has not used.
    request_seconds : float
        Longest time of a request, its body included; and how long a stop waits for requests under way.
    stale_hours : float
        A stored score whose ``as_of`` is older is flagged ``stale``.
    late_hours : float
        An event that took place longer ago, and does not state when it was recorded, is flagged ``dated late``.
    stale_model_days : float
        A score as of more days after the end of the history that its model has learnt from is flagged ``stale_model``.
    """

    model_config = SettingsConfigDict(env_prefix="LEADSCORE_", frozen=True)

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    champion_seconds: Annotated[float, Field(gt=0)] = 5.0
    models: Path = Path("models/served")
    max_body_bytes: Annotated[int, Field(ge=1_000)] = 16_000_000
    max_history: Annotated[int, Field(ge=1)] = 20_000
    max_per_second: Annotated[float, Field(gt=0)] = 2_000.0
    burst_seconds: Annotated[float, Field(gt=0)] = 5.0
    request_seconds: Annotated[float, Field(gt=0)] = 30.0
    stale_hours: Annotated[float, Field(gt=0)] = 48.0
    late_hours: Annotated[float, Field(gt=0)] = 24.0
    stale_model_days: Annotated[float, Field(gt=0, le=36_500)] = STALE_MODEL_DAYS


def service_settings() -> ServiceSettings:
    """The settings of the service, from the environment.

    Raises
    ------
    ConfigError
        One of them is impossible; the message names each that is.
    """
    try:
        return ServiceSettings()
    except ValidationError as error:
        faults = (f"LEADSCORE_{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors())
        raise ConfigError("; ".join(faults)) from None


# Callers of every request are asked.
@lru_cache(1024)
def is_loopback(host: str) -> bool:
    """Whether only this machine is reached at an address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
