"""Batches on an SQLite file, each killed at a random moment; `test_publication` starts this."""

from __future__ import annotations

import os
import signal
import sys

import numpy as np
import sqlalchemy as sa

from leadscore.store import Store, begin_run, open_store, publication, publish, stage, sweep
from leadscore.store.schema import listed, published, runs
from tests.stores import NOON
from tests.test_publication import everyone

LEADS, TIMES = int(sys.argv[2]), int(sys.argv[3])
publication.ROWS, publication.HOLD_SECONDS, publication.PAUSE_SECONDS = 7, 0, 0
rng = np.random.default_rng(3)


def publish_one(store: Store, version: str) -> None:
    with begin_run(store, as_of=NOON, model_version=version, at=NOON) as run:
        stage(store, run, everyone(version))
        publish(store, run, at=NOON)
        sweep(store, keep_from=0)


def killed_at(moment: int, version: str) -> bool:
    """Publish in a process that is killed at the so-manieth moment; whether there was such a moment."""
    child = os.fork()
    if not child:
        store = open_store(sys.argv[1])
        left = iter(range(moment))

        def tick(*_: object) -> None:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        for event in ("before_cursor_execute", "after_cursor_execute", "commit"):
            sa.event.listen(store.engine, event, tick)
        publish_one(store, version)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def in_force() -> tuple[str, ...]:
    """The versions in the list in force, which must be whole; nothing else may be left but what a run explains."""
    store = open_store(sys.argv[1])
    with store.engine.connect() as connection:
        query = sa.select(listed.c.model_version).join(published, published.c.run == listed.c.run)
        found = connection.execute(query).scalars().all()
        told = connection.execute(sa.select(runs.c.run).where(runs.c.state == "published")).scalars().all()
        pointed = connection.execute(sa.select(published.c.run)).scalars().all()
    store.close()
    if len(found) != LEADS or len(set(found)) != 1 or told != pointed:
        sys.exit(
            f"{len(found)} leads of versions {sorted(set(found))} in force; {told} published, {pointed} pointed at"
        )
    return tuple(set(found))


def main() -> None:
    """Kill, look, publish, look."""
    done, version, before = 0, 10, in_force()
    while done < TIMES:
        version += 1
        done += killed_at(int(rng.integers(0, 190)), str(version))
        if in_force() not in {before, (str(version),)}:
            sys.exit("a list that nobody published is in force")
        before = in_force()
    store = open_store(sys.argv[1])
    publish_one(store, "1000")
    with store.engine.connect() as connection:
        rows = connection.execute(sa.select(sa.func.count()).select_from(listed)).scalar_one()
    if in_force() != ("1000",) or rows != 2 * LEADS:
        sys.exit(f"{rows} rows are left after all")
    sys.stdout.write(f"killed {done} times")


if __name__ == "__main__":
    main()
