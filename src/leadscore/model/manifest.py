"""Checksums of the files in a folder, so that none is missing, changed or foreign."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from leadscore.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = "manifest.json"


def write_manifest(folder: Path) -> None:
    """Note what is in a folder: its last file."""
    sums = {path.name: _checksum(path) for path in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps(sums, indent=2) + "\n", encoding="utf-8")


def check_manifest(folder: Path) -> None:
    """Raise a ModelError where a folder does not hold what was noted of it."""
    try:
        sums = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: no model: {MANIFEST} cannot be read: {error}") from None
    present = {path.name for path in folder.iterdir()} - {MANIFEST}
    wrong = sorted(present ^ set(sums)) + sorted(
        name for name in present & set(sums) if _checksum(folder / name) != sums[name]
    )
    if wrong:
        raise ModelError(f"{folder}: damaged: missing, changed or foreign files: {', '.join(wrong)}; train again")


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
