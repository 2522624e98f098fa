"""The service as processes."""

from __future__ import annotations

import logging
import math
import os
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import uvicorn

from leadscore.api.callers import no_keys
from leadscore.api.settings import COUNTERS, is_loopback
from leadscore.errors import ConfigError
from leadscore.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leadscore.api.settings import ServiceSettings

log = logging.getLogger(__name__)


def serve(settings: ServiceSettings) -> None:
    """Serve until told to stop; requests under way are ended first.

    Raises
    ------
    ConfigError
        Other machines could call, and there are no keys.
    StoreError
        The database cannot be used.
    """
    store = open_store()
    try:
        if not is_loopback(settings.host) and no_keys(store):
            raise ConfigError(
                f"LEADSCORE_HOST={settings.host}: without API keys the service listens on this machine only; "
                "make one first: make keys CREATE=score,read NOTE=crm"
            )
        log.info("serving on http://%s:%d from %s", settings.host, settings.port, store)
    finally:
        store.close()
    with _counters(settings.workers):
        uvicorn.run(
            "leadscore.api.app:create_app",
            factory=True,
            host=settings.host,
            port=settings.port,
            workers=settings.workers,
            loop="uvloop",
            http="leadscore.api.wire:Wire",
            ws="none",
            access_log=False,
            server_header=False,
            log_config=None,
            timeout_graceful_shutdown=math.ceil(settings.request_seconds),
        )


@contextmanager
def _counters(workers: int) -> Iterator[None]:
    """Where several processes add up what they count: in files, which takes longer than to count in one process."""
    if workers == 1 or COUNTERS in os.environ:
        yield
        return
    with TemporaryDirectory(prefix="leadscore-metrics-") as folder:
        # The library reads it when it is imported, which each worker does.
        os.environ[COUNTERS] = folder
        yield
