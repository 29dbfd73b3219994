"""Kernels that fail at a chosen call: what an exhausted, broken or lying library does to a solve.

A kernel call is a call of a method of `library(name)`, of a function of its array namespace, or of a compiled kernel
of our own. `Faults` counts them and lets chosen ones fail in a chosen way: raise, return NaN of the right shape, or
return numbers of which one is wrong. Operators of arrays (``A + B``) are not kernel calls; `raising_at` raises at any
line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import FrameType, FunctionType
from typing import Any

import numpy as np
import pytest
import torch

from autonla.planner import attempts
from autonla.planner.kinds.least_squares import LeastSquaresKind
from autonla.planner.kinds.linear_system import LinearSystemKind
from autonla.planner.kinds.low_rank import LowRankKind
from autonla.primitives.kernels import _numba
from autonla.primitives.kernels._library import Library
from autonla.primitives.kernels._numpy import NumpyLibrary
from autonla.primitives.kernels._scipy import ScipyLibrary
from autonla.primitives.kernels._torch import TorchLibrary

_LIBRARIES = (Library, NumpyLibrary, ScipyLibrary, TorchLibrary)
_KINDS = (LinearSystemKind, LeastSquaresKind, LowRankKind)
_COMPILED = ("sparse_sign_apply", "residual_compensated", "residual_double_double", "rmatvec_compensated")
_CONVERSIONS = ("asarray", "to_numpy")  # they return views, most often of the user's own operands
PHASES = ("run", "certify", "other")
"""Who makes a call: an algorithm, a certificate, or anything else (probes, glances, scaling)."""

RAISED: dict[str, Callable[[], BaseException]] = {
    "no memory": lambda: MemoryError("Unable to allocate 3.00 TiB for an array with shape (640000, 640000)"),
    "no memory in torch": lambda: RuntimeError(
        "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"
        " allocate 3298534883328 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "no memory in torch on Windows": lambda: RuntimeError(
        "[enforce fail at alloc_cpu.cpp:114] data. DefaultCPUAllocator: not enough memory: you tried to allocate 9 MB."
    ),
    "no memory on a device": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    "no convergence": lambda: np.linalg.LinAlgError("SVD did not converge"),
    "no convergence in torch": lambda: torch.linalg.LinAlgError("linalg.svd: The algorithm failed to converge"),
}
"""Errors of libraries, by what has happened."""


def not_a_number(value: Any) -> Any:
    """The same, all floating-point numbers NaN."""
    return _changed(value, lambda a: 0.0 * a + np.nan)


def one_number_wrong(value: Any) -> Any:
    """The same, the largest number of each array 1 % too large (0.01 where all are zero)."""

    def change(a: Any) -> Any:
        if not isinstance(a, (np.ndarray, torch.Tensor)) or a.ndim == 0:
            return 1.01 * a if a else a + 0.01
        a = a.clone() if isinstance(a, torch.Tensor) else a.copy(order="K")
        if 0 not in a.shape:
            at = np.unravel_index(int(abs(a).argmax()), tuple(a.shape))
            a[at] = 1.01 * a[at] if a[at] else 0.01
        return a

    return _changed(value, change)


def _changed(value: Any, change: Callable[[Any], Any]) -> Any:
    """`value` with `change` applied to every floating-point array or number in it."""
    if isinstance(value, (torch.Tensor, np.ndarray, float, np.floating)):
        floating = value.is_floating_point() if isinstance(value, torch.Tensor) else np.asarray(value).dtype.kind == "f"
        return change(value) if floating else value
    if isinstance(value, tuple):
        parts = [_changed(v, change) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _changed(getattr(value, f.name), change) for f in fields(value)})
    return value


class Faults:
    """Counts kernel calls, and makes chosen ones fail: see `arm`.

    Attributes
    ----------
    count : int
        Calls since it was armed, in the phases that count.
    fired : str
        The first call that failed, and in which phase; empty if none did.
    each : dict
        By the name of a kernel, what to do before each call of it.
    """

    def __init__(self) -> None:
        self._phase = "other"
        self.each: dict[str, Callable[[], None]] = {}
        self.arm()

    def arm(
        self,
        at: int = -1,
        *,
        error: Callable[[], BaseException] | None = None,
        corrupt: Callable[[Any], Any] | None = None,
        always: bool = False,
        phases: tuple[str, ...] = PHASES,
    ) -> None:
        """Start counting again, and let call number `at` (from 0) fail; with `always` all that follow it too.

        Parameters
        ----------
        error : callable () -> exception, optional
            Raised in place of the call.
        corrupt : callable result -> result, optional
            Applied to what the call returns.
        phases : tuple of str
            Calls that count.
        """
        self.count, self.fired = 0, ""
        self._at, self._error, self._corrupt, self._always, self._phases = at, error, corrupt, always, phases

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, counted."""

        def call(*arguments: Any, **how: Any) -> Any:
            if name in self.each:
                self.each[name]()
            if self._phase not in self._phases or (name in _CONVERSIONS and self._error is None):
                return function(*arguments, **how)
            number, self.count = self.count, self.count + 1
            if self._at < 0 or number < self._at or (number > self._at and not self._always):
                return function(*arguments, **how)
            self.fired = self.fired or f"{name} ({self._phase})"
            if self._error is not None:
                raise self._error()
            result = function(*arguments, **how)
            return result if self._corrupt is None else self._corrupt(result)

        return call

    def in_phase(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, during which calls are made by `phase`."""

        def call(*arguments: Any, **how: Any) -> Any:
            before = self._phase
            self._phase = "certify" if before == "certify" else phase  # a certificate may run the algorithm again
            try:
                return function(*arguments, **how)
            finally:
                self._phase = before

        return call


@contextmanager
def faulty_kernels() -> Iterator[Faults]:
    """Every library, namespace and compiled kernel is wrapped inside the block."""
    faults = Faults()
    with pytest.MonkeyPatch.context() as patch:
        for cls in _LIBRARIES:
            for name, member in list(vars(cls).items()):
                if name == "xp":
                    patch.setattr(cls, name, _Namespace(member, faults))
                elif isinstance(member, FunctionType) and (not name.startswith("_") or name == "_dot"):
                    patch.setattr(cls, name, faults.wrap(name, member))
        for name in _COMPILED:
            patch.setattr(_numba, name, faults.wrap(name, getattr(_numba, name)))
        for kind in _KINDS:
            patch.setattr(kind, "certify", faults.in_phase("certify", kind.certify))
        original = attempts.run_and_certify

        def run_and_certify(kind: Any, prepared: Any, entry: Any, *rest: Any, **how: Any) -> Any:
            algorithm = replace(entry.algorithm, solve=faults.in_phase("run", entry.algorithm.solve))
            return original(kind, prepared, replace(entry, algorithm=algorithm), *rest, **how)

        patch.setattr(attempts, "run_and_certify", run_and_certify)
        yield faults


class _Namespace:
    """An array namespace whose functions are counted."""

    def __init__(self, xp: Any, faults: Faults, name: str = "xp") -> None:
        self._xp, self._faults, self._name = xp, faults, name

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._xp, name)
        if name == "linalg":
            return _Namespace(member, self._faults, "xp.linalg")
        if isinstance(member, type) or not callable(member):
            return member
        return self._faults.wrap(f"{self._name}.{name}", member)


def lines_run(call: Callable[[], Any], *under: Path) -> list[tuple[str, int]]:
    """(file, line) of all lines below these folders that a call runs in this thread, in the order of that."""
    seen: dict[tuple[str, int], None] = {}
    with _traced(under, lambda at: seen.setdefault(at)):
        call()
    return list(seen)


def raising_at(call: Callable[[], Any], where: tuple[str, int], error: BaseException) -> Any:
    """What a call returns, an error being raised the first time that it comes to a line."""

    def watch(at: tuple[str, int]) -> None:
        if at == where:
            raise error  # tracing ends with it

    with _traced((Path(where[0]).parent,), watch):
        return call()


@contextmanager
def _traced(under: tuple[Path, ...], watch: Callable[[tuple[str, int]], Any]) -> Iterator[None]:
    """`watch` hears of every line that runs below some folders in this thread."""
    prefixes = tuple(f"{folder.resolve()}/" for folder in under)

    def lines(frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            watch((frame.f_code.co_filename, frame.f_lineno))
        return lines

    def frames(frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        return lines if name != __file__ and os.path.realpath(name).startswith(prefixes) else None  # not what is below

    before = sys.gettrace()
    sys.settrace(frames)
    try:
        yield
    finally:
        sys.settrace(before)
