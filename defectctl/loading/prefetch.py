"""The one bounded prefetcher: work on threads ahead of the consumer, results in order.

Threads suffice because image codecs and tensor operations release the interpreter lock; there are no worker
processes and so no trouble with spawn, page files or pickling.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(
    items: Iterable[Item], work: Callable[[Item], Result], threads: int = 2, depth: int = 8
) -> Iterator[Result]:
    """Yield `work(item)` for each item, in order, with at most `depth` results in hand or under way.

    An exception of `work` is raised when its item's turn comes. Closing the generator (or an exception in the
    consumer) cancels what has not begun and waits for what has. `threads=0` works in the caller's thread.
    """
    if threads <= 0:
        for item in items:
            yield work(item)
        return
    source = iter(items)
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="prefetch")
    try:
        for item in source:
            pending.append(pool.submit(work, item))
            if len(pending) >= max(depth, 1):
                break
        while pending:
            result = pending.popleft().result()
            for item in source:
                pending.append(pool.submit(work, item))
                break
            yield result
    finally:
        for future in pending:
            future.cancel()
        pool.shutdown(wait=True, cancel_futures=True)
