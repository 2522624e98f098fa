"""Servers as processes of their own, and what they use."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).parents[1]
STARTED_WITHIN_SECONDS = 180
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers.

    Attributes
    ----------
    url : str
    pid : int
        Of the process that was started; workers are its children.
    """

    url: str
    pid: int

    def cpu_seconds(self) -> float:
        """CPU time that it has used, workers included."""
        return sum(_cpu_seconds(pid) for pid in self._processes())

    def memory_mb(self) -> float:
        """Memory of its largest process that nobody shares."""
        return max(_private_mb(pid) for pid in self._processes())

    def _processes(self) -> list[int]:
        return [self.pid, *_descendants(self.pid)]


@contextmanager
def ours(folder: Path, database: str, workers: int) -> Iterator[Server]:
    """`make serve` in a folder with a registry."""
    port = free_port()
    named = {
        "LEADSCORE_DATABASE_URL": database,
        "LEADSCORE_PORT": str(port),
        "LEADSCORE_WORKERS": str(workers),
        "LEADSCORE_MAX_PER_SECOND": "1000000",
    }
    command = [sys.executable, str(ROOT / "pipelines" / "serve.py")]
    with started(command, folder, named, f"http://127.0.0.1:{port}", "/readyz") as server:
        yield server


@contextmanager
def bare(folder: Path, workers: int) -> Iterator[Server]:
    """The yardstick."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "benchmarks.api_bare:app", "--port", str(port)]
    command += ["--workers", str(workers), "--loop", "uvloop", "--http", "httptools", "--no-access-log"]
    with started(command, folder, {"PYTHONPATH": str(ROOT)}, f"http://127.0.0.1:{port}", "/openapi.json") as server:
        yield server


@contextmanager
def mlflow_serve(folder: Path, workers: int) -> Iterator[Server]:
    """What `mlflow models serve` makes of the champion."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/leadscore@champion"]
    command += ["--env-manager", "local", "--port", str(port), "--workers", str(workers)]
    with started(command, folder, {}, f"http://127.0.0.1:{port}", "/ping") as server:
        yield server


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@contextmanager
def started(command: Sequence[str], folder: Path, named: Mapping[str, str], url: str, path: str) -> Iterator[Server]:
    """A server that runs until the block ends; its log is in the folder."""
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"} | dict(named)
    with (folder / "server.log").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(  # noqa: S603
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            _wait_for(f"{url}{path}", process)
            yield Server(url, process.pid)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + STARTED_WITHIN_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise SystemExit(f"the server of {url} ended with {process.returncode}; server.log says why")
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - loopback
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise SystemExit(f"{url} did not answer within {STARTED_WITHIN_SECONDS} s")


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text(encoding="ascii").split()):
            found += [child, *_descendants(child)]
    return found


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _private_mb(pid: int) -> float:
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    kilobytes = sum(int(row.split()[1]) for row in rows if row.startswith(("Private_Clean", "Private_Dirty")))
    return kilobytes / 1024
