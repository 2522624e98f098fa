"""Store a data set folder in the database; a second time it changes nothing, and what broke off is gone on with."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from leadscore.command import data_set_arguments, run
from leadscore.history.zone import micros
from leadscore.store import ingest, open_store

log = logging.getLogger("leadscore.ingest")


def main() -> None:
    """Check, store, print what became of each table."""
    parser = data_set_arguments(__doc__)
    parser.add_argument("--whole", action="store_true", help="an export of everything: take out what it has not")
    parser.add_argument("--confirm", action="store_true", help="with --whole: take out more than 5 %% of a table, too")
    asked = parser.parse_args()
    store = open_store()
    ingested = ingest(
        store,
        asked.data,
        received_at=micros(datetime.now(UTC)),
        known_until=asked.known_until,
        quarantine=asked.quarantine,
        whole=asked.whole,
        confirm=asked.confirm,
    )
    print(ingested)
    log.info("%s is in %s", asked.data.resolve().name, store)
    store.close()


if __name__ == "__main__":
    run(main)
