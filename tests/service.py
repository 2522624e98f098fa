"""The service on a real socket, with a small company's champion and history behind it."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
import pandas as pd
import uvicorn

from leadscore.api.app import create_app
from leadscore.api.settings import ServiceSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from leadscore.api.service import Service


# Of the simulated company, fixed at creation.
ATTRIBUTES = ("employees", "source", "industry", "country")


class Clock:
    """Microseconds since 1970 UTC; time passes when the test says so."""

    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


@dataclass(frozen=True)
class Running:
    """A service that answers.

    Attributes
    ----------
    client : Client
        Of its address.
    service : Service
        Its parts.
    """

    client: httpx2.Client
    service: Service

    def get(self, path: str, **more: Any) -> httpx2.Response:
        return self.client.get(path, **more)

    def post(self, path: str, body: Any, **more: Any) -> httpx2.Response:
        return self.client.post(path, json=body, **more)


def settings_of(folder: Path, **others: Any) -> ServiceSettings:
    """Settings of a service whose copies of champions lie in a folder."""
    return ServiceSettings(models=folder / "served", **others)


@contextmanager
def running(settings: ServiceSettings, now: Callable[[], int], **others: Any) -> Iterator[Running]:
    """A service on a free port, in a thread; its database and registry are those of the environment."""
    app = create_app(settings, now, **others)
    config = uvicorn.Config(
        app, loop="uvloop", http="leadscore.api.wire:Wire", ws="none", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the service did not start; its log says why")
            thread.join(0.01)
        with httpx2.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=30) as client:
            yield Running(client, app.state.service)
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def leads_as_sent(folder: Path) -> dict[str, dict[str, Any]]:
    """All leads of a data set folder, as they are sent to be scored."""
    tables = {
        name: pd.read_csv(folder / f"{name}.csv", dtype=str) for name in ("leads", "transitions", "touches", "changes")
    }
    found: dict[str, dict[str, Any]] = {}
    for row in _rows(tables["leads"]):
        attributes = {name: row[name] for name in ATTRIBUTES if name in row}
        own = {name: row[name] for name in ("lead_id", "created_at", "recorded_at") if name in row}
        objects = row.get("do_not_score") == "true"
        found[row["lead_id"]] = own | {
            "attributes": attributes,
            "do_not_score": objects,
            "transitions": [],
            "touches": [],
            "changes": [],
        }
    for name in ("transitions", "touches", "changes"):
        for row in _rows(tables[name]):
            lead_id = row.pop("lead_id")
            if "value" in row and name == "touches":
                row["value"] = float(row["value"])
            found[lead_id][name].append(row)
    return found


def _rows(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for row in table.to_dict("records"):
        yield {str(name): value for name, value in row.items() if not pd.isna(value)}
