"""The model in service: the registry's champion, kept in a local copy and swapped in one step."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from leadscore.errors import LeadscoreError, NoChampionError
from leadscore.model.staleness import STALE_MODEL_DAYS
from leadscore.registry import Served, champion_identity, fetch_champion, is_registered, last_served

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)

STOP_SECONDS = 1.0
NO_CHAMPION = "there is no champion"


@dataclass
class Champion:
    """The champion of one worker, and what is wrong with a newer one.

    Attributes
    ----------
    folder : Path
        Local copies of champions.
    seconds : float
        From one look at the registry to the next.
    swapped : callable
        Told of each model that comes into service.
    stale_days : float
        Of each `Served`.
    served : Served, optional
        The model in service; None before there was any. Read it once per request: the next read may be another.
    trouble : str
        Why there is no newer champion, or none at all, for callers; the log knows more. Empty where all is well.
    """

    folder: Path
    seconds: float
    swapped: Callable[[Served], None] = lambda _served: None
    stale_days: float = STALE_MODEL_DAYS
    served: Served | None = None
    trouble: str = ""
    _stopped: threading.Event = field(default_factory=threading.Event)
    _watching: threading.Thread | None = None

    def start(self) -> None:
        """Load the champion, or the last one that was served here; then look for a new one every few seconds."""
        self.refresh()
        if self.served is None:
            self._fall_back()
        self._watching = threading.Thread(target=self._watch, name="champion", daemon=True)
        self._watching.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        if self._watching is not None:
            # A registry that is away may keep it for long; it is a daemon.
            self._watching.join(STOP_SECONDS)

    def refresh(self) -> None:
        """Take the registry's champion where it is another; keep the present one where that cannot be."""
        try:
            identity = champion_identity()
        except NoChampionError as error:
            self._in_trouble(NO_CHAMPION, error)
            return
        except (LeadscoreError, OSError) as error:
            self._in_trouble("the registry cannot be reached", error)
            return
        # Not the number alone: a new registry has a version 1 of its own.
        if self.served is None or identity != self.served.identity:
            try:
                self.served = replace(fetch_champion(identity, self.folder), stale_days=self.stale_days)
            except (LeadscoreError, OSError) as error:
                self._in_trouble(f"version {identity.version} cannot be loaded", error)
                return
            self.swapped(self.served)
            log.info("champion: %s is in service", identity)
        self.trouble = ""

    def _in_trouble(self, trouble: str, error: Exception) -> None:
        if trouble != self.trouble:
            serving = f"going on with version {self.served.version}" if self.served else "no model is in service"
            log.warning("champion: %s; %s: %s", trouble, serving, error)
        self.trouble = trouble

    def _fall_back(self) -> None:
        try:
            served = last_served(self.folder)
            # A registry that answers can say whether the copy is its own.
            if served is not None and self.trouble == NO_CHAMPION and not is_registered(served.identity):
                log.warning("champion: the local copy is of %s, which the registry does not have", served.identity)
                return
        except (LeadscoreError, OSError) as error:
            log.warning("champion: the local copy cannot be used: %s", error)
            return
        if served is not None:
            self.served = replace(served, stale_days=self.stale_days)
            log.warning("champion: the local copy of %s is in service", served.identity)

    def _watch(self) -> None:
        while not self._stopped.wait(self.seconds):
            self.refresh()
