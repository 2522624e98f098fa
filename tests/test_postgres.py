"""The throw-away PostgreSQL that other tests use."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[1]
STARTS_ONE = """
import sys, psycopg
from tests.postgres import server
with server() as url, psycopg.connect(url) as connection:
    print(url)
    print(connection.execute("SHOW data_directory").fetchone()[0], flush=True)
    sys.stdin.read()
"""


def test_the_server_goes_with_the_process_that_started_it_however_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEADSCORE_TEST_POSTGRES_URL", raising=False)
    command = [sys.executable, "-c", STARTS_ONE]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url, folder = (process.stdout.readline().strip() for _ in range(2))
        assert Path(folder).is_dir()
        process.send_signal(signal.SIGKILL)
        assert process.stderr.read() == ""  # to its end: what stops the server writes there, too

    assert not Path(folder).parent.exists()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(url)
