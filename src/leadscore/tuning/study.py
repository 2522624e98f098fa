"""Where a search stands, so that it can go on: an Optuna study in a SQLite file."""

from __future__ import annotations

import fcntl
import hashlib
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from leadscore.errors import TrainingError
from leadscore.tuning.space import SPACE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from leadscore.history import History

# These change no probability.
OTHERWISE = {"source", "tables", "owner", "gate"}


def key_of(history: History) -> str:
    """What a search is known by: the history, and every setting that changes a probability and is not searched."""
    settings: dict[str, Any] = history.funnel.model_dump(mode="json", exclude=OTHERWISE)
    for place in SPACE:
        section, name = place.split(".")
        del settings[section][name]
    known_by = f"{history.fingerprint()} {json.dumps(settings, sort_keys=True)}"
    return hashlib.sha256(known_by.encode()).hexdigest()[:16]


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Nobody else searches in the same file: a trial under way there is then one that was killed.

    Raises
    ------
    TrainingError
        Somebody does.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainingError(f"{file}: another search is under way in it; wait for its end, or end it") from None
        yield


@contextmanager
def opened(file: Path, name: str) -> Iterator[optuna.Study]:
    """The study of this name, made where there is none; a trial that was under way when it ended has failed.

    Raises
    ------
    TrainingError
        The file holds something else.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = optuna.storages.RDBStorage(f"sqlite:///{file.resolve()}")
    except SQLAlchemyError as error:
        raise TrainingError(f"{file}: cannot hold a search: {error}; name another file, or remove it") from error
    try:
        study = optuna.create_study(storage=storage, study_name=name, direction="minimize", load_if_exists=True)
        for unfinished in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(unfinished.number, state=TrialState.FAIL)
        yield study
    finally:
        storage.remove_session()
        storage.engine.dispose()
