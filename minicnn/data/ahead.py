"""Work done ahead of whoever needs it, by threads.

Threads and not processes, as what takes time here (decoding, scaling, arithmetic on arrays) lets other
threads run meanwhile, and what is made need not be copied from one process to another.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
Y = TypeVar("Y")


def ahead(make: Callable[[T], Y], of: Iterable[T], workers: int, prefetch: int) -> Iterator[Y]:
    """``map(make, of)``, made by so many threads before it is asked for, in the same order.

    At most ``workers + prefetch`` results are waiting or being made.  An exception comes up where its
    result would have.  When the iterator is closed, or dropped, what was begun is waited for, and nothing
    else begun. Without workers everything is made when it is asked for.

    >>> list(ahead(abs, [-3, 1, -2], workers=2, prefetch=1))
    [3, 1, 2]
    """
    if not workers:
        yield from map(make, of)
        return
    executor = ThreadPoolExecutor(workers, thread_name_prefix="minicnn-data")
    waiting: deque[Future[Y]] = deque()
    try:
        for item in of:
            waiting.append(executor.submit(make, item))
            if len(waiting) == workers + prefetch:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)
