"""Work ahead: the next item of an iterator is computed in a thread while this one is used."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield what an iterator yields, the next item being computed meanwhile; only one thread runs the iterator.

    What the iterator raises is raised here. When this generator is closed, the item that is being computed is waited
    for, and the iterator is closed.
    """
    end = object()
    pool = ThreadPoolExecutor(1)
    try:
        coming = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield item  # type: ignore[misc]
    finally:
        pool.shutdown()
        if isinstance(items, Generator):
            items.close()
