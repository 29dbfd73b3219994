"""How to compute: kernels, sketches and the algorithms, each in a file that can be read alone.

The registry is `BUILT_IN` below: one line for each package of algorithms, whose `ALGORITHMS` names its files. Other
packages add theirs through the entry-point group "autonla.algorithms" (an `Algorithm` or an iterable of them).
"""

from __future__ import annotations

import warnings
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from .algorithm import Algorithm, Breakdown, Outcome
from .evidence import Evidence, Finding
from .interval import Interval
from .stopping import stop_asked
from .task import Task
from .work import Calls, KernelCall, Work

BUILT_IN = {
    "eigenpairs": "eigenpairs",
    "least_squares": "least_squares",
    "linear_system": "linear_system",
    "low_rank": "low_rank",
    "matrix_function": "matrix_function",
    "sparse_linear_system": "sparse_linear_system",
}
ENTRY_POINT_GROUP = "autonla.algorithms"


@cache
def algorithms_for(kind: str) -> tuple[Algorithm, ...]:
    """Every algorithm registered for a kind of problem: the built-in ones, then those of other packages."""
    built_in: tuple[Algorithm, ...] = ()
    if kind in BUILT_IN:
        built_in = import_module(f".{BUILT_IN[kind]}", __name__).ALGORITHMS
    return built_in + tuple(a for a in _third_party() if a.kind == kind)


@cache
def _third_party() -> tuple[Algorithm, ...]:
    """Algorithms of other packages; one that cannot be loaded is left out with a warning that names it."""
    found: list[Algorithm] = []
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            loaded = point.load()
            for algorithm in (loaded,) if isinstance(loaded, Algorithm) else tuple(loaded):
                if not isinstance(algorithm, Algorithm):
                    raise TypeError(f"{type(algorithm).__name__} is not an autonla.primitives.Algorithm")
                found.append(algorithm)
        except Exception as error:  # a broken plug-in must not break the library
            warnings.warn(f"autonla: the algorithm plug-in {point.name!r} was left out: {error}", stacklevel=2)
    return tuple(found)


__all__ = [
    "Algorithm", "Breakdown", "Calls", "Evidence", "Finding", "Interval", "KernelCall", "Outcome", "Task", "Work",
    "algorithms_for", "stop_asked",
]  # fmt: skip
