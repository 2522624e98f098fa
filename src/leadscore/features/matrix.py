"""What a feature is, and the matrix that features make of a snapshot."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from leadscore.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from leadscore.history import Snapshot
    from leadscore.history.line import Float32s, Int64s

    Block = npt.NDArray[Any]

WORTH_WATCHING = 100_000


@dataclass(frozen=True, slots=True)
class Column:
    """One column of X.

    Attributes
    ----------
    name : str
        Unique in the catalogue.
    unit : str
        ``days``, ``touches``, ...; ``category`` for a code.
    meaning : str
        What stands in it, and what NaN means.
    topic : str
        What it is about. The columns of a topic say much the same, so that a reason is given for all together.
    names : tuple of str
        For a category, its values in order of their codes.
    """

    name: str
    unit: str
    meaning: str
    topic: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Feature:
    """Columns that are computed together.

    Attributes
    ----------
    columns : tuple of Column
        In order.
    compute : callable
        Snapshot to an array of shape (n_examples, ...), whose other axes hold the columns in order.
    """

    columns: tuple[Column, ...]
    compute: Callable[[Snapshot], Block]


def columns_of(features: Iterable[Feature]) -> tuple[Column, ...]:
    """The columns of X, in order."""
    return tuple(column for feature in features for column in feature.columns)


def matrix(features: Sequence[Feature], snapshot: Snapshot, n_jobs: int = 1) -> Float32s:
    """X, of shape (n_examples, n_columns); NaN where a value does not exist.

    Examples are computed in parts that fit the cache, on ``n_jobs`` threads; neither changes a bit.
    """
    width = sum(len(feature.columns) for feature in features)
    X = np.empty((len(snapshot), width), np.float32)

    def fill(part: tuple[slice | Int64s, Snapshot]) -> int:
        rows, examples = part
        apart = not isinstance(rows, slice)
        into = np.empty((len(examples), width), np.float32) if apart else X[rows]
        begin = 0
        for feature in features:
            end = begin + len(feature.columns)
            block = feature.compute(examples)
            if block.ndim == 1:
                into[:, begin] = block
            else:
                into[:, begin:end].reshape(block.shape)[...] = block
            begin = end
        if apart:
            X[rows] = into
        return len(examples)

    with progress("features", "examples", len(snapshot), hidden=len(snapshot) < WORTH_WATCHING) as bar:
        if n_jobs == 1:
            for filled in map(fill, snapshot.parts()):
                bar.update(filled)
        else:
            with ThreadPoolExecutor(n_jobs) as pool:
                for filled in pool.map(fill, snapshot.parts()):
                    bar.update(filled)
    return X
