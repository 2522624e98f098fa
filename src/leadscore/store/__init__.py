"""The database: leads and what happened to them, and what was scored of them.

Times are microseconds since 1970 UTC. Functions that take a connection run in `transaction` where they write, so
that whatever else is done in the same block is stored with them, or not at all.
"""

from leadscore.store.accepting import Accepted, accept
from leadscore.store.api_keys import SCOPES, Key, create_key, find_key, list_keys, revoke_key
from leadscore.store.connection import Store, answers, asking, open_store, reading, transaction
from leadscore.store.erasure import Receipt, erase, erased_of, object_to_scoring, objecting_of, stayed_of
from leadscore.store.events import Change, Event, Lead, Merge, Outcome, Retraction, Touch, Transition
from leadscore.store.folder import ingest
from leadscore.store.histories import read_numbered, read_store
from leadscore.store.ingested import Ingested, Loaded
from leadscore.store.lists import After, Wanted, list_page, listed_rows, published_run, run_of
from leadscore.store.publication import begin_run, publish, stage, sweep
from leadscore.store.records import records_of
from leadscore.store.relisting import PastScore, Runs, listed_scores, open_runs, relist, score_history, unlist
from leadscore.store.scored import ScoredLeads
from leadscore.store.settings import stored_funnel, stored_known_until

__all__ = [
    "SCOPES",
    "Accepted",
    "After",
    "Change",
    "Event",
    "Ingested",
    "Key",
    "Lead",
    "Loaded",
    "Merge",
    "Outcome",
    "PastScore",
    "Receipt",
    "Retraction",
    "Runs",
    "ScoredLeads",
    "Store",
    "Touch",
    "Transition",
    "Wanted",
    "accept",
    "answers",
    "asking",
    "begin_run",
    "create_key",
    "erase",
    "erased_of",
    "find_key",
    "ingest",
    "list_keys",
    "list_page",
    "listed_rows",
    "listed_scores",
    "object_to_scoring",
    "objecting_of",
    "open_runs",
    "open_store",
    "publish",
    "published_run",
    "read_numbered",
    "read_store",
    "reading",
    "records_of",
    "relist",
    "revoke_key",
    "run_of",
    "score_history",
    "stage",
    "stayed_of",
    "stored_funnel",
    "stored_known_until",
    "sweep",
    "transaction",
    "unlist",
]
