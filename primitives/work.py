"""What an algorithm asks of the machine: kernel calls and extra memory. No seconds: those are cost_models' business."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple


class KernelCall(NamedTuple):
    """`count` calls of one kernel.

    Attributes
    ----------
    kernel : str
        A name registered in `primitives.kernels.catalogue` ("gemm", "potrf", ...).
    dims : tuple of int
        The kernel's dimensions, in the order its catalogue entry names them.
    dtype, backend : str
        "float64" | "float32" | ...; "numpy" | "scipy" | "torch" | "cupy" | "numba".
    count : float
        How often; a forecast of iterations may be fractional.

    A tuple, for a plan makes and prices some hundreds of them.
    """

    kernel: str
    dims: tuple[int, ...]
    dtype: str
    backend: str
    count: float = 1.0


@dataclass(frozen=True, slots=True)
class Work:
    """Kernel calls plus the peak of the memory held beyond the inputs [bytes].

    `spread` is the factor, to either side of what is counted, within which the amount of work is in 90 % of cases,
    where that is a forecast itself: of iterations, of fill. `reductions` counts inner products, or blocks of them, that
    the next step waits for: beside what it takes to read their vectors, each is a synchronization, which takes time
    where vectors are spread over many processes, or the result has to come back from a device.
    """

    calls: tuple[KernelCall, ...]
    peak_bytes: float = 0.0
    spread: float = 1.0
    reductions: float = 0.0

    def __add__(self, other: Work) -> Work:
        """One after the other: calls add, and the larger peak counts (each frees its own), and the larger spread."""
        return Work(
            self.calls + other.calls,
            max(self.peak_bytes, other.peak_bytes),
            max(self.spread, other.spread),
            self.reductions + other.reductions,
        )

    def holding(self, extra_bytes: float) -> Work:
        """The same work while `extra_bytes` more are kept alive."""
        return replace(self, peak_bytes=self.peak_bytes + extra_bytes)


class Calls:
    """Writes a list of calls of one backend and dtype the way an algorithm's steps are read.

    >>> k = Calls("numpy", "float64")
    >>> Work((k("syrk", 1000, 50), k("potrf", 50), k("trsm", 50, 1, count=4)), 8 * 50 * 50).calls[1].dims
    (50,)
    """

    __slots__ = ("backend", "dtype")

    def __init__(self, backend: str, dtype: str) -> None:
        self.backend, self.dtype = backend, dtype

    def __call__(self, kernel: str, *dims: int, count: float = 1.0) -> KernelCall:
        for d in dims:
            if d.__class__ is not int or d < 1:
                dims = tuple([max(1, int(d)) for d in dims])
                break
        return KernelCall(kernel, dims, self.dtype, self.backend, count)
