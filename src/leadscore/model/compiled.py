"""Trees as machine code, for lists of very many leads: the bits of LightGBM, many times quicker.

lleaves writes each tree as a function and adds them up in their order, in double precision, as LightGBM does. What it
has compiled is kept in a folder, because that takes longer than to score a million leads.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import lleaves
import numpy as np
from llvmlite import binding

from leadscore.errors import ModelError
from leadscore.model.manifest import check_manifest, write_manifest
from leadscore.model.stage import margin_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import lightgbm as lgb

    from leadscore.history.line import Float32s, Float64s
    from leadscore.model.funnel_model import FunnelModel

log = logging.getLogger(__name__)

# Rows of X that go through all trees while they are in a core's cache.
ROWS_CACHED = 1 << 11
# Rows of X that LightGBM is asked for, too, each time.
ROWS_CHECKED = 256
# All trees are in one block: another would be added up by itself first, which changes the last bits.
ONE_BLOCK = 1 << 30
SCRATCH = "compiling-"
# Of the folder, and of lleaves where it does not know what stands in a tree.
REFUSALS = (OSError, AssertionError, ValueError, RuntimeError)
# Models whose machine code stays.
KEPT = 3


@dataclass(frozen=True, slots=True)
class CompiledTrees:
    """The trees of some stages as machine code.

    Attributes
    ----------
    boosters : tuple of lightgbm.Booster
        What was compiled.
    machine : tuple of lleaves.Model
        In the same order.
    """

    boosters: tuple[lgb.Booster, ...]
    machine: tuple[lleaves.Model, ...]

    def margins(self, X: Float32s, n_jobs: int) -> Float64s | None:
        """Sum of the trees of each stage for each row of X, shape (n_rows, n_stages); None if LightGBM's differ."""
        found = np.empty((len(X), len(self.machine)))

        def fill(begin: int) -> None:
            rows = slice(begin, begin + ROWS_CACHED)
            part = X[rows].astype(np.float64)
            for column, trees in enumerate(self.machine):
                found[rows, column] = trees.predict(part, n_jobs=1)

        with ThreadPoolExecutor(n_jobs) as pool:
            list(pool.map(fill, range(0, len(X), ROWS_CACHED)))
        checked = X[:ROWS_CHECKED]
        told = np.column_stack([margin_of(booster, checked, n_jobs) for booster in self.boosters])
        if np.array_equal(found[:ROWS_CHECKED], told):
            return found
        log.warning("compiled trees say something else than LightGBM, which is asked in their place")
        return None


def compiled(model: FunnelModel, folder: Path) -> FunnelModel:
    """The same model, whose trees are machine code where it is asked for many leads at once, if they can be.

    Parameters
    ----------
    folder : Path
        Keeps what was compiled of the last few models; made where it is missing.
    """
    boosters = tuple(model.boosters())
    if not boosters:
        return model
    texts = [booster.model_to_string() for booster in boosters]
    kept = folder / _fingerprint(texts)
    try:
        try:
            check_manifest(kept)
        except ModelError:
            _compile(texts, kept)
        machine = tuple(_machine(text, kept / _name(place)) for place, text in enumerate(texts))
    except REFUSALS as error:
        log.warning("the trees cannot be compiled in %s, so LightGBM is asked: %r", folder, error)
        return model
    quick = copy(model)
    quick.compiled_ = CompiledTrees(boosters, machine)
    return quick


def _compile(texts: Sequence[str], kept: Path) -> None:
    folder = kept.parent
    folder.mkdir(parents=True, exist_ok=True)
    log.info("compiling the trees of %d stages, once for this model and machine", len(texts))
    with TemporaryDirectory(dir=folder, prefix=SCRATCH) as scratch:
        code = Path(scratch) / kept.name
        code.mkdir()
        for place, text in enumerate(texts):
            _machine(text, code / _name(place))
        write_manifest(code)
        # Where it was damaged. Another batch that was faster has compiled the same.
        shutil.rmtree(kept, ignore_errors=True)
        with suppress(OSError):
            code.rename(kept)
    others = sorted(
        (path for path in folder.iterdir() if not path.name.startswith(SCRATCH) and path != kept),
        key=lambda path: path.stat().st_mtime,
    )
    for old in others[: 1 - KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def _machine(text: str, code: Path) -> lleaves.Model:
    """A booster's text as machine code, which is read from a file or, where there is none, written to it."""
    with TemporaryDirectory() as scratch:
        trees = Path(scratch) / "trees.txt"
        trees.write_text(text, encoding="utf-8")
        found = lleaves.Model(str(trees))
        found.compile(str(code), raw_score=True, fblocksize=ONE_BLOCK)
    return found


def _name(place: int) -> str:
    return f"trees_{place + 1}.o"


def _fingerprint(texts: Sequence[str]) -> str:
    """Of the trees, of what compiles them, and of the processor that they are compiled for."""
    parts = [version("lleaves"), version("llvmlite"), binding.get_host_cpu_name()]
    parts.append(binding.get_host_cpu_features().flatten())
    return hashlib.sha256("\0".join([*parts, *texts]).encode()).hexdigest()[:32]
