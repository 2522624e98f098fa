"""The whole list: every open lead in the store scored, and put in the place of the list in force."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from leadscore.errors import SHOWN
from leadscore.funnel import open_leads
from leadscore.model.compiled import compiled
from leadscore.model.staleness import STALE_MODEL_DAYS, warn_of_stale_history
from leadscore.model.unseen import log_unseen
from leadscore.publishing import scored_leads
from leadscore.store import begin_run, publish, read_numbered, stage, sweep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from leadscore.model import FunnelModel
    from leadscore.store import Store

log = logging.getLogger(__name__)

# Open leads from which on compiled trees, which a champion's first batch waits for, are soon made up for.
WORTH_COMPILING = 300_000


@dataclass(frozen=True, slots=True)
class Published:
    """A list that was scored and published.

    Attributes
    ----------
    run : int
    leads : int
        How many stand in it.
    not_known_yet : int
        Leads in the store that are left out, because they were created or recorded after the moment of the list.
    seconds : dict of str to float
        What each step took: ``read``, ``compile``, ``score``, ``stage``, ``publish``, ``sweep``.
    """

    run: int
    leads: int
    not_known_yet: int
    seconds: dict[str, float]


def publish_list(
    store: Store,
    model: FunnelModel,
    version: str,
    as_of: int,
    *,
    keep_from: int,
    now: Callable[[], int],
    compiled_in: Path | None = None,
    stale_days: float = STALE_MODEL_DAYS,
) -> Published:
    """Score every open lead in the store as of a moment, and put the list in the place of the one in force.

    Until the last step the one in force stays whole, whatever breaks off; the next batch clears up.

    Parameters
    ----------
    as_of : int
        Microseconds since 1970 UTC. What the store came to know later does not count.
    keep_from : int
        Scores as of an earlier moment are deleted from the history.
    now : callable
        Microseconds since 1970 UTC.
    compiled_in : Path, optional
        The folder where the trees are kept as machine code, which is worth while for very many leads. It changes no
        bit; by default there is none.
    stale_days : float
        As of more days after the history that the model has learnt from, scores are flagged ``stale_model``.

    Raises
    ------
    StoreError
        The database cannot be used, or another batch is under way.
    DataError, ModelError
        What is stored does not fit the model's funnel.
    """
    times = [now()]
    warn_of_stale_history(model, as_of, stale_days)
    with begin_run(store, as_of=as_of, model_version=version, at=times[0]) as run:
        history, number = read_numbered(store, model.funnel, as_of)
        times.append(now())
        snapshot = open_leads(history, as_of)
        if compiled_in is not None and len(snapshot) >= WORTH_COMPILING:
            model = compiled(model, compiled_in)
        times.append(now())
        probability, places = model.predict_proba(snapshot), number[snapshot.lead]
        log_unseen(snapshot, model.vocabulary_)
        scored = scored_leads(
            model,
            version,
            snapshot,
            probability,
            number=places,
            scored_at=times[0],
            ranked=True,
            stale_days=stale_days,
        )
        times.append(now())
        leads = stage(store, run, scored)
        times.append(now())
        publish(store, run, at=times[-1])
        times.append(now())
        log.info("run %d of %d leads is the list in force", run, leads)
        if not len(history):
            log.warning("the list is empty: the database holds no leads; is it the right one?")
        not_known_yet = int(np.count_nonzero(history.known > as_of))
        if not_known_yet:
            log.warning(
                "%d leads are not listed: they were created, or recorded, after the moment of the list; first %s",
                not_known_yet,
                ", ".join(history.ids[history.known > as_of][:SHOWN].tolist()),
            )
        sweep(store, keep_from=keep_from)
        times.append(now())
    steps = ("read", "compile", "score", "stage", "publish", "sweep")
    return Published(run, leads, not_known_yet, dict(zip(steps, (np.diff(times) / 1e6).tolist(), strict=True)))
