"""Work on many pieces on all cores; what it does lets go of Python's lock."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Item = TypeVar("Item")
Done = TypeVar("Done")


def on_all_cores(work: Callable[[Item], Done], items: Iterable[Item]) -> Iterator[Done]:
    """``work`` done on each item, in order; few are under way at a time. One item alone needs no thread."""
    ahead = iter(items)
    first = list(zip(range(2), ahead, strict=False))
    if len(first) < 2:
        yield from (work(item) for _, item in first)
        return
    cores = os.cpu_count() or 1
    under_way: deque[Future[Done]] = deque()
    with ThreadPoolExecutor(cores) as pool:
        for item in chain((item for _, item in first), ahead):
            under_way.append(pool.submit(work, item))
            if len(under_way) > cores:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


def done(pieces: Iterable[None]) -> None:
    """Wait until all is done that gives nothing."""
    deque(pieces, maxlen=0)
