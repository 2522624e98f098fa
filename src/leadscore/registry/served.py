"""Local copies of champions, from which a service goes on when the registry is away.

Each registered model of each registry has a folder of its own, in which each copy is named by its version and the
digest of its `ModelIdentity`. A copy is a folder with the model and, in ``identity.json``, which model it is and the
checksum of its manifest. Copies of earlier layouts, which did not say whose they are, are not used.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import threading
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from leadscore.errors import ModelError, RegistryError
from leadscore.history import Rules
from leadscore.model import load_model, read_about
from leadscore.model.manifest import MANIFEST
from leadscore.model.staleness import STALE_MODEL_DAYS, stale_from
from leadscore.registry.connection import connected, model_name, registry_digest
from leadscore.registry.identity import ModelIdentity, identity_of
from leadscore.registry.versions import download

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leadscore.model import FunnelModel

log = logging.getLogger(__name__)

# In the folder of a registered model: which copy was served last, and who may change copies.
LAST, LOCK = "last", "lock"
# In a copy.
MODEL, IDENTITY = "model", "identity.json"
MODEL_FOLDER, SCRATCH = "champions-", "fetching-"
# Of one registered model, and registered models beside the one in service.
COPIES_KEPT = 3
OTHER_MODELS_KEPT = 3


@dataclass(frozen=True, slots=True)
class Served:
    """A model in service.

    Attributes
    ----------
    identity : ModelIdentity
        Which of all models it is.
    model : FunnelModel
        Loaded; not to be changed.
    about : dict
        What is told of it: ``about`` of `leadscore.model.save_model`.
    rules : Rules
        What leads that are sent must keep to.
    stale_days : float
        Scores as of more days after the history that the model has learnt from are flagged ``stale_model``.
    """

    identity: ModelIdentity
    model: FunnelModel
    about: dict[str, Any]
    rules: Rules
    stale_days: float = STALE_MODEL_DAYS

    @property
    def version(self) -> int:
        """Of the registered model."""
        return self.identity.version

    @property
    def stale_from(self) -> int:
        """`leadscore.model.staleness.stale_from` of the model."""
        return stale_from(self.model, self.stale_days)


def fetch_champion(identity: ModelIdentity, folder: Path) -> Served:
    """Load a model from its local copy, or, where there is no whole copy of this very model, from the registry.

    What is fetched becomes the local copy and replaces a damaged one. Several processes may call this at once: one
    fetches, the others wait for its copy.

    Raises
    ------
    RegistryError
        MLflow cannot be reached, does not hand the version out, or has another model under its number.
    ModelError
        The registry's own files are damaged, or of another format.
    """
    own = folder / _model_folder(identity.registry, identity.name)
    copy = own / f"{identity.version}-{identity.digest()}"
    served = _whole(copy, identity, logging.DEBUG)
    if served is None:
        own.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(own):
            # Another process may have fetched it while this one waited.
            served = _whole(copy, identity, logging.WARNING) or _fetched(copy, identity)
    _note_last(own, copy.name)
    _remove_old(own, copy.name)
    return served


def last_served(folder: Path) -> Served | None:
    """The copy that was served last of the registered model and the registry that are set; None where there is none.

    Raises
    ------
    ModelError
        It is damaged, or another model's.
    """
    registry, name = registry_digest(), model_name()
    own = folder / _model_folder(registry, name)
    try:
        copy = own / (own / LAST).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    served = _loaded(copy)
    if (served.identity.registry, served.identity.name) != (registry, name):
        raise ModelError(f"{copy}: is a copy of {served.identity}, not of {name} in the registry that is set")
    return served


def _model_folder(registry: str, name: str) -> str:
    return MODEL_FOLDER + hashlib.sha256(f"{registry} {name}".encode()).hexdigest()[:16]


def _whole(copy: Path, identity: ModelIdentity, level: int) -> Served | None:
    """The copy, if it is undamaged and of this very model; if not, that is logged at this level."""
    if not copy.is_dir():
        return None
    try:
        served = _loaded(copy)
    except (ModelError, OSError) as error:
        log.log(level, "the local copy of %s cannot be used and is fetched anew: %s", identity, error)
        return None
    if served.identity != identity:
        log.log(level, "%s is a copy of %s, not of %s, which is fetched anew", copy, served.identity, identity)
        return None
    return served


def _loaded(copy: Path) -> Served:
    identity, checksum = _read_identity(copy)
    if _manifest_checksum(copy) != checksum:
        raise ModelError(f"{copy}: damaged: {MANIFEST} is not the one that was fetched")
    model = load_model(copy / MODEL).prepare()
    return Served(identity, model, read_about(copy / MODEL), Rules.of(model.funnel))


def _fetched(copy: Path, identity: ModelIdentity) -> Served:
    """Fetch a model and put it in the place of the copy; only the process that holds the lock may."""
    for left in copy.parent.glob(f"{SCRATCH}*"):
        # Of a process that was killed: a living one would hold the lock.
        shutil.rmtree(left, ignore_errors=True)
    with connected() as client, TemporaryDirectory(dir=copy.parent, prefix=SCRATCH) as scratch:
        if identity_of(client, identity.version) != identity:
            raise RegistryError(f"{identity} was replaced in the registry while it was fetched")
        new = Path(scratch) / "new"
        new.mkdir()
        download(identity.version, Path(scratch)).rename(new / MODEL)
        _write_identity(new, identity)
        served = _loaded(new)
        if copy.exists():
            copy.rename(Path(scratch) / "damaged")
        new.rename(copy)
    return served


def _write_identity(copy: Path, identity: ModelIdentity) -> None:
    written = {"identity": asdict(identity), MANIFEST: _manifest_checksum(copy)}
    (copy / IDENTITY).write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


def _read_identity(copy: Path) -> tuple[ModelIdentity, str]:
    """Which model a copy is of, and the checksum of its manifest."""
    try:
        read = json.loads((copy / IDENTITY).read_text(encoding="utf-8"))
        return ModelIdentity(**read["identity"]), str(read[MANIFEST])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{copy}: damaged: {IDENTITY} cannot be read: {error!r}") from None


def _manifest_checksum(copy: Path) -> str:
    try:
        return hashlib.sha256((copy / MODEL / MANIFEST).read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{copy}: no model: {MANIFEST} cannot be read: {error}") from None


@contextmanager
def _one_at_a_time(own: Path) -> Iterator[None]:
    """No other process changes the copies of this registered model meanwhile."""
    with (own / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _note_last(own: Path, name: str) -> None:
    noted = own / f"{LAST}-{os.getpid()}-{threading.get_ident()}"
    noted.write_text(name, encoding="utf-8")
    noted.replace(own / LAST)


def _remove_old(own: Path, served: str) -> None:
    """Keep a few copies of this registered model and of a few others, those that were changed last."""
    copies = [path for path in own.iterdir() if path.is_dir() and not path.name.startswith(SCRATCH)]
    models = [path for path in own.parent.glob(f"{MODEL_FOLDER}*") if path != own]
    for old in _all_but_newest(copies, COPIES_KEPT) + _all_but_newest(models, OTHER_MODELS_KEPT):
        if old.name != served:
            shutil.rmtree(old, ignore_errors=True)


def _all_but_newest(paths: list[Path], kept: int) -> list[Path]:
    return sorted(paths, key=_changed_at)[:-kept]


def _changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:  # another process has just removed it
        return 0
