"""Score every open lead in the database with the champion, and publish the list in the place of the former one."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from leadscore.api.settings import service_settings
from leadscore.batch import publish_list
from leadscore.command import cores, moment, run
from leadscore.garbage import look_seldom
from leadscore.history import DAY
from leadscore.history.zone import micros
from leadscore.registry import load_champion
from leadscore.store import open_store

# Trees as machine code, of the last few champions.
COMPILED = Path("models/compiled")


def main() -> None:
    """Score, publish, print what was published."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--as-of", type=moment, help="the moment of the prediction; default: now")
    parser.add_argument("--keep-days", type=float, default=90, help="how long scores stay in the history of leads")
    parser.add_argument("--jobs", type=int, default=cores(), help="threads; default: the cores of this machine")
    asked = parser.parse_args()
    stale_days = service_settings().stale_model_days
    look_seldom()
    model, version = load_champion(asked.jobs)
    began, store = _now(), open_store()
    as_of = began if asked.as_of is None else micros(asked.as_of)
    keep_from = began - int(asked.keep_days * DAY)
    done = publish_list(
        store, model, str(version), as_of, keep_from=keep_from, now=_now, compiled_in=COMPILED, stale_days=stale_days
    )
    store.close()
    steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in done.seconds.items())
    total = sum(done.seconds.values())
    print(f"run {done.run}: {done.leads:,} leads scored by version {version} and published in {total:.1f} s ({steps})")
    for doubt in model.doubts_:
        print(f"warning: {doubt}")
    if done.not_known_yet:
        print(f"{done.not_known_yet:,} leads are left out: created or recorded after the moment of the list")


def _now() -> int:
    return micros(datetime.now(UTC))


if __name__ == "__main__":
    run(main)
