"""Create, revoke and list the keys of the API."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from leadscore.command import run
from leadscore.errors import StoreError
from leadscore.history.zone import micros
from leadscore.store import SCOPES, create_key, list_keys, open_store, revoke_key, transaction


def main() -> None:
    """Do one of the three, and print the new key, which is shown only now, or the list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--create", metavar="SCOPES", help=f"what the key is for: of {','.join(SCOPES)}")
    parser.add_argument("--note", default="", help="whose key it is")
    parser.add_argument("--revoke", metavar="ID", help="what stands before the point of the key")
    asked = parser.parse_args()
    now = datetime.now(UTC)
    store = open_store()
    with transaction(store) as connection:
        if asked.create is not None:
            print(create_key(connection, asked.create.split(","), note=asked.note, at=micros(now)))
        elif asked.revoke is not None and not revoke_key(connection, asked.revoke, at=micros(now)):
            raise StoreError(f"there is no key {asked.revoke} in service; make keys lists them")
        else:
            for key in list_keys(connection):
                since, state = _day(key.created_at), "in service"
                if key.revoked_at is not None:
                    state = f"revoked {_day(key.revoked_at)}"
                print(f"{key.id}  {since}  {state}  {','.join(sorted(key.scopes))}  {key.note}")
    store.close()


def _day(moment: int) -> str:
    return str(datetime.fromtimestamp(moment // 1_000_000, UTC).date())


if __name__ == "__main__":
    run(main)
