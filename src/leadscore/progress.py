"""Progress bars on long work: for a person at a terminal, and never in a log."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from tqdm import tqdm

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS_UNTIL_SHOWN = 1


class Bar(Protocol):
    """What is told how far the work is."""

    def update(self, n: int = 1, /) -> object:
        """So many more pieces are done."""


class _NoBar:
    def update(self, n: int = 1, /) -> object:
        return n


_NO_BAR = _NoBar()


@contextmanager
def progress(what: str, unit: str, total: int | None = None, *, hidden: bool = False) -> Iterator[Bar]:
    """A bar on a terminal, from the second second of the work on.

    Parameters
    ----------
    what, unit : str
        ``learning`` and ``stages``.
    total : int, optional
        How many pieces there are, where that is known.
    hidden : bool
        No bar, for work so small that making one takes a share of its time.
    """
    if hidden:
        yield _NO_BAR
        return
    with tqdm(
        desc=what,
        total=total,
        unit=f" {unit}",
        unit_scale=True,
        leave=False,
        delay=SECONDS_UNTIL_SHOWN,
        disable=None,
    ) as bar:
        yield bar
