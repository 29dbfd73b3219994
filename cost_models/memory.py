"""The peak of resident memory during a run, beyond what was resident before.

Linux keeps the high-water mark of a process and lets it be reset (proc(5), /proc/pid/clear_refs), so nothing has to
watch: LAPACK's workspaces and torch's tensors are seen like everything else. Elsewhere a thread samples.

Memory that was freed earlier and not returned to the system is used again without becoming resident: the number can
be lower than what was allocated, never higher.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType

_SAMPLE_SECONDS = 0.002


class PeakMemory:
    """Measures the peak of resident memory beyond the start [bytes].

    >>> with PeakMemory() as memory:
    ...     x = bytearray(50_000_000)
    >>> memory.bytes > 40_000_000
    True

    Attributes
    ----------
    bytes : int
        Peak beyond the start, once the block is left; 0 where nothing could be measured.
    method : str
        "high-water mark" | "sampling" | "none".
    """

    __slots__ = ("_start", "_watcher", "bytes", "method")

    def __init__(self) -> None:
        self.bytes = 0
        self.method = "none"
        self._start = 0
        self._watcher: _Watcher | None = None

    def __enter__(self) -> PeakMemory:
        self.bytes = 0
        if _reset_high_water_mark() and (start := _high_water_mark()) is not None:
            self.method, self._start = "high-water mark", start
        elif (watcher := _Watcher.started()) is not None:
            self.method, self._watcher = "sampling", watcher
        else:
            self.method = "none"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.method == "high-water mark":
            self.bytes = max(0, (_high_water_mark() or 0) - self._start)
        elif self._watcher is not None:
            self.bytes = self._watcher.stop()
            self._watcher = None

    @property
    def result(self) -> tuple[int, str]:
        """(bytes, method)."""
        return self.bytes, self.method


def _reset_high_water_mark() -> bool:
    try:
        file = os.open("/proc/self/clear_refs", os.O_WRONLY)  # bare calls: pathlib takes ten times as long
        try:
            os.write(file, b"5")
        finally:
            os.close(file)
    except OSError:
        return False
    return True


def _high_water_mark() -> int | None:
    """VmHWM of this process [bytes]; right after a reset that is what is resident now."""
    try:
        file = os.open("/proc/self/status", os.O_RDONLY)
        try:
            text = os.read(file, 1 << 14)
        finally:
            os.close(file)
        at = text.index(b"VmHWM:") + 6
        return 1024 * int(text[at : text.index(b"kB", at)])
    except (OSError, ValueError):
        return None


class _Watcher(threading.Thread):
    """Samples resident memory; peaks between two samples are missed."""

    def __init__(self, process: object) -> None:
        super().__init__(name="autonla-memory", daemon=True)
        self._process = process
        self._done = threading.Event()
        self._first = self._peak = self._resident()

    @classmethod
    def started(cls) -> _Watcher | None:
        try:
            import psutil

            watcher = cls(psutil.Process())
        except Exception:  # measuring memory must not break the run that is measured
            return None
        watcher.start()
        return watcher

    def _resident(self) -> int:
        return int(self._process.memory_info().rss)  # pyright: ignore[reportAttributeAccessIssue]

    def run(self) -> None:
        while not self._done.wait(_SAMPLE_SECONDS):
            self._peak = max(self._peak, self._resident())

    def stop(self) -> int:
        """Peak beyond the first sample [bytes]."""
        self._done.set()
        self.join()
        return max(0, max(self._peak, self._resident()) - self._first)
