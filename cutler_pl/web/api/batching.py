"""Concurrent requests in batches: one thread runs the networks, whatever waits for it meanwhile runs together next."""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from cutler_pl.runtime.logging import get_logger

Item = TypeVar("Item")
Answer = TypeVar("Answer")

log = get_logger(__name__)


@dataclass(frozen=True, eq=False)
class _Job(Generic[Item, Answer]):
    """An item, and the future of its answer."""

    key: Hashable
    item: Item
    answer: "asyncio.Future[Answer]"


class Batcher(Generic[Item, Answer]):
    """Runs items of the same key together, in the order of arrival.

    Args:
        predict: Called in a thread of its own with a key and items; gives one answer per item.
        batch_size: Items of a call, at most.
        delay: Seconds that the first item waits for others where less are there.
    """

    def __init__(
        self, predict: Callable[[Hashable, Sequence[Item]], Sequence[Answer]], *, batch_size: int, delay: float = 0.0
    ) -> None:
        self._predict = predict
        self._batch_size = batch_size
        self._delay = delay
        self._waiting: deque[_Job[Item, Answer]] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="networks")
        self._task: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether submitted items will be answered."""
        return self._task is not None and not self._task.done()

    async def __aenter__(self) -> "Batcher[Item, Answer]":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._thread.shutdown(wait=True)

    async def submit(self, key: Hashable, item: Item) -> Answer:
        """The answer for an item; an item whose caller is cancelled while it waits is not run."""
        job: _Job[Item, Answer] = _Job(key, item, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._arrived.set()
        return await job.answer

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            if self._delay and len(self._waiting) < self._batch_size:
                await asyncio.sleep(self._delay)
            if batch := self._take():
                await self._answer(batch)

    def _take(self) -> list[_Job[Item, Answer]]:
        """The first job, and those of its key up to the size of a batch."""
        batch: list[_Job[Item, Answer]] = []
        rest: deque[_Job[Item, Answer]] = deque()
        for job in self._waiting:
            if job.answer.done():  # cancelled
                continue
            fits = len(batch) < self._batch_size and (not batch or job.key == batch[0].key)
            (batch if fits else rest).append(job)
        self._waiting = rest
        if not rest:
            self._arrived.clear()
        return batch

    async def _answer(self, batch: list[_Job[Item, Answer]]) -> None:
        """Run a batch; where it fails, its jobs run one by one, so that only those at fault fail."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._thread, self._predict, batch[0].key, [job.item for job in batch])
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the answer
            if len(batch) > 1:
                log.warning("a batch of %d failed (%s): its images run one by one", len(batch), error)
                for job in batch:
                    await self._answer([job])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        for job, answer in zip(batch, found, strict=True):
            if not job.answer.done():
                job.answer.set_result(answer)
