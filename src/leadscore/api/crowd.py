"""Requests that come at the same time are worked on together.

Most of the work on one request is the fixed cost of each step, which a crowd pays once. While one crowd is worked on
in a thread the next gathers.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from fastapi.concurrency import run_in_threadpool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Asked = TypeVar("Asked")
Told = TypeVar("Told")

# From the answers to a crowd to the work on the next one, at most. A single caller never waits.
PATIENCE_SECONDS = 0.003


@dataclass
class Crowd(Generic[Asked, Told]):
    """Requests of one kind.

    Attributes
    ----------
    work : callable
        What is asked by some requests, to what each is told, in their order: an answer, or the error to raise.
    most : int
        No more requests are worked on at once.
    """

    work: Callable[[Sequence[Asked]], Sequence[Told | Exception]]
    most: int
    _waiting: list[tuple[Asked, asyncio.Future[Told]]] = field(default_factory=list)
    _working: asyncio.Task[None] | None = None
    _expected: int = 1
    _until: float = 0.0

    async def ask(self, asked: Asked) -> Told:
        """What one request is told."""
        loop = asyncio.get_running_loop()
        told: asyncio.Future[Told] = loop.create_future()
        self._waiting.append((asked, told))
        if self._working is None:
            # Begins when all requests have been read that have come by now.
            self._working = loop.create_task(self._work())
        return await told

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                crowd, self._waiting = self._waiting[: self.most], self._waiting[self.most :]
                await self._work_on(crowd)
                self._expected = len(crowd) + len(self._waiting)
                self._until = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        finally:
            self._working = None

    async def _gather(self) -> None:
        """Wait for those who were just answered, if they ask again: together they cost less than in turn."""
        loop = asyncio.get_running_loop()
        while len(self._waiting) < min(self._expected, self.most) and loop.time() < self._until:
            # Not for a time: the loop's clock goes by milliseconds.
            await asyncio.sleep(0)

    async def _work_on(self, crowd: Sequence[tuple[Asked, asyncio.Future[Told]]]) -> None:
        answers: Sequence[Told | Exception]
        try:
            answers = await run_in_threadpool(self.work, [asked for asked, _ in crowd])
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
            answers = [error] * len(crowd)
        for (_, told), answer in zip(crowd, answers, strict=True):
            # Nobody waits any more for a request that took too long.
            if told.done():
                continue
            if isinstance(answer, Exception):
                told.set_exception(answer)
            else:
                told.set_result(answer)
