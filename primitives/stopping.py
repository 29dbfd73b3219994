"""Whether whoever started an algorithm wants it to stop.

Time limits are no business of an algorithm's. One whose number of iterations nobody knows beforehand asks after each
of them, and ends with what it has: the certificate tells how good that is. One that has nothing yet raises Breakdown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_SIGNAL: ContextVar[Callable[[], bool] | None] = ContextVar("autonla_stop", default=None)


def stop_asked() -> bool:
    """Whether to stop; False where nobody may ask for it. Takes a fraction of a microsecond."""
    signal = _SIGNAL.get()
    return signal is not None and signal()


@contextmanager
def stopped_by(signal: Callable[[], bool]) -> Iterator[None]:
    """Inside the block, in this thread, `signal` answers for `stop_asked`."""
    token = _SIGNAL.set(signal)
    try:
        yield
    finally:
        _SIGNAL.reset(token)
