"""Local copies of champions, from which a service goes on when the registry is away."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from leadscore.errors import NoChampionError
from leadscore.history import Rules
from leadscore.model import load_model, read_about
from leadscore.registry.connection import connected, model_name
from leadscore.registry.versions import champion_of, download, trained_model

if TYPE_CHECKING:
    from leadscore.model import FunnelModel

# Says which of the copies was served last.
LAST = "last"
COPIES_KEPT = 3


@dataclass(frozen=True, slots=True)
class Served:
    """A model in service.

    Attributes
    ----------
    version : int
        Of the registered model.
    model : FunnelModel
        Loaded; not to be changed.
    about : dict
        What is told of it: ``about`` of `leadscore.model.save_model`.
    rules : Rules
        What leads that are sent must keep to.
    """

    version: int
    model: FunnelModel
    about: dict[str, Any]
    rules: Rules


def champion_version() -> int:
    """Version of the champion.

    Raises
    ------
    RegistryError
        Nothing was trained, there is no champion, or MLflow cannot be reached.
    """
    with connected() as client:
        version = champion_of(trained_model(client))
    if version is None:
        raise NoChampionError(f"{model_name()} has no champion; choose one: make promote VERSION=1")
    return version


def fetch_champion(version: int, folder: Path) -> Served:
    """Copy a version from the registry, where there is no whole copy yet, and load it.

    Raises
    ------
    RegistryError
        MLflow cannot be reached, or does not hand the version out.
    ModelError
        Its folder is damaged, or of another format.
    """
    copy = folder / str(version)
    if not copy.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with connected(), TemporaryDirectory(dir=folder, prefix="fetching-") as scratch:
            fetched = download(version, Path(scratch))
            load_model(fetched)
            _moved(fetched, copy)
    served = _loaded(version, copy)
    _note(folder, version)
    return served


def last_served(folder: Path) -> Served | None:
    """The copy that was served last; None where there is none.

    Raises
    ------
    ModelError
        It is damaged.
    """
    try:
        version = int((folder / LAST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return _loaded(version, folder / str(version))


def _loaded(version: int, copy: Path) -> Served:
    model = load_model(copy).prepare()
    return Served(version, model, read_about(copy), Rules.of(model.funnel))


def _moved(fetched: Path, copy: Path) -> None:
    try:
        fetched.rename(copy)
    except OSError:
        # Another worker was faster, and its copy is as good.
        if not copy.is_dir():
            raise


def _note(folder: Path, version: int) -> None:
    """Remember what was served last, and keep no more copies than a few."""
    noted = folder / f"{LAST}-{os.getpid()}"
    noted.write_text(str(version), encoding="utf-8")
    noted.replace(folder / LAST)
    copies = sorted((path for path in folder.iterdir() if path.name.isdigit()), key=lambda path: path.stat().st_mtime)
    for old in copies[:-COPIES_KEPT]:
        if old.name != str(version):
            shutil.rmtree(old, ignore_errors=True)
