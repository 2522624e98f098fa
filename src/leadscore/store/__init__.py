"""The database: leads and what happened to them, and what was scored of them.

Times are microseconds since 1970 UTC. Functions that take a connection run in `transaction` where they write, so
that whatever else is done in the same block is stored with them, or not at all.
"""

from leadscore.store.accepting import Accepted, accept
from leadscore.store.api_keys import SCOPES, Key, create_key, find_key, list_keys, revoke_key
from leadscore.store.connection import Store, open_store, reading, transaction
from leadscore.store.erasure import Receipt, erase, erased_of, object_to_scoring
from leadscore.store.events import Change, Event, Lead, Merge, Outcome, Retraction, Touch, Transition
from leadscore.store.folder import Ingested, Loaded, ingest
from leadscore.store.histories import read_store
from leadscore.store.records import records_of
from leadscore.store.settings import stored_funnel, stored_known_until

__all__ = [
    "SCOPES",
    "Accepted",
    "Change",
    "Event",
    "Ingested",
    "Key",
    "Lead",
    "Loaded",
    "Merge",
    "Outcome",
    "Receipt",
    "Retraction",
    "Store",
    "Touch",
    "Transition",
    "accept",
    "create_key",
    "erase",
    "erased_of",
    "find_key",
    "ingest",
    "list_keys",
    "object_to_scoring",
    "open_store",
    "read_store",
    "reading",
    "records_of",
    "revoke_key",
    "stored_funnel",
    "stored_known_until",
    "transaction",
]
