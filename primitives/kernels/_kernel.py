"""The description of one kernel: what it computes, what it costs, how it is run and how it is checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..task import ITEMSIZE as ITEMSIZE
from . import _grids as grids
from . import _trials as run
from . import library
from ._operands import Arrays, Source, StructuredOperands

TOLERANCE = {"float64": 1e-11, "float32": 2e-4, "bfloat16": 2e-2}
REAL = ("float64", "float32")
DENSE = ("scipy", "numpy", "torch", "cupy")

Count = Callable[..., float]
Terms = Callable[..., tuple[float, ...]]


def _nothing(*dims: int) -> float:
    return 0.0


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel.

    Attributes
    ----------
    name : str
    dims : tuple of str
        What its dimensions are called, in order.
    meaning : str
        One line.
    flops : callable (*dims) -> float
        Nominal operations.
    elements : callable (*dims) -> float
        Entries read or written at least once.
    terms : callable (*dims) -> tuple of float
        What the time of one call grows with, besides a constant and the traffic, the dominant arithmetic first:
        the fit to measurements is a non-negative combination of these.
    operands : callable (Source, dtype, *dims) -> tuple of arrays
        Inputs as numpy arrays.
    start : callable (Setting) -> callable () -> result
        Sets up what one call needs and returns the call.
    error : callable (Trial) -> float
        Relative error of a result.
    shapes : mapping of str to tuple of dims
        Shapes to time, by rigor, in order of importance.
    check_dims : tuple of int
        The shape that the correctness gate runs.
    fresh : callable (*dims) -> float
        Entries of the largest array that a call allocates: memory that is new to the process costs page faults.
    panels : callable (*dims) -> float
        Operations in panels, which run at the speed of whatever memory the operand is in.
    slowness : float
        How far below peak it runs, roughly: keeps single calls of a grid short.
    backend_terms : mapping of str to callable
        Other terms where a backend takes another route (numpy solves triangular systems by LU).
    double_in_numpy : bool
        numpy computes it in float64 whatever the dtype (all of numpy.linalg).
    elementwise : bool
        No BLAS in it: the scipy and numpy libraries run the same code.
    """

    name: str
    dims: tuple[str, ...]
    meaning: str
    flops: Count
    elements: Count
    terms: Terms
    operands: Callable[..., Arrays]
    start: Callable[[run.Setting], run.Call]
    error: Callable[[run.Trial], float]
    shapes: grids.Shapes = field(repr=False)
    check_dims: tuple[int, ...]
    backends: tuple[str, ...] = DENSE
    dtypes: tuple[str, ...] = REAL
    fresh: Count = _nothing
    panels: Count = _nothing
    slowness: float = 1.0
    backend_terms: Mapping[str, Terms] = field(default_factory=dict, repr=False)
    double_in_numpy: bool = False
    elementwise: bool = False

    def bytes_moved(self, *dims: int, itemsize: int = 8) -> float:
        """Least traffic to and from memory [bytes]."""
        return itemsize * self.elements(*dims)

    def supports(self, backend: str, dtype: str) -> bool:
        """Whether this pair is in the catalogue (bfloat16 runs in torch only)."""
        return backend in self.backends and dtype in self.dtypes and (dtype in REAL or backend == "torch")

    def prepare(
        self, library_name: str, dims: tuple[int, ...], dtype: str, source: Source, device: str = "cpu"
    ) -> run.Call:
        """A function without arguments that does one call, on operands from `source`."""
        return self.start(self._setting(library_name, dims, dtype, source, device)[0])

    def _setting(
        self, library_name: str, dims: tuple[int, ...], dtype: str, source: Source, device: str
    ) -> tuple[run.Setting, Arrays]:
        lib = library("numpy" if library_name == "numba" else library_name)
        inputs = self.operands(source, dtype if dtype in REAL else "float32", *dims)
        return run.Setting(lib, tuple(run.place(lib, x, device) for x in inputs), dims, dtype), inputs

    def check(self, library_name: str, dtype: str, device: str = "cpu") -> float:
        """Relative error of one call on structured operands, against extended precision.

        Raises whatever the library raises: the caller decides what a failing kernel means.
        """
        on, inputs = self._setting(library_name, self.check_dims, dtype, StructuredOperands(), device)
        exact = tuple(np.asarray(x, np.longdouble) for x in inputs)
        error = float(self.error(run.Trial(on, exact, self.start(on)())))
        return error if np.isfinite(error) else float("inf")

    def tolerance(self, dtype: str) -> float:
        """Largest `check` of a correct kernel."""
        return TOLERANCE[dtype]

    def grid(self, rigor: str) -> list[tuple[int, ...]]:
        """Shapes to time at "quick", "standard" or "thorough", in order of importance."""
        return grids.within(self.shapes, rigor, self.flops, self.elements, self.slowness)
