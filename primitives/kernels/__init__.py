"""The leaves: one call into numpy, SciPy's LAPACK, torch, cupy or numba each.

`library(name)` gives the dense kernels of one library behind one set of method names, so that an algorithm is written
once. A library is one thread pool: NumPy's and SciPy's wheels carry separate OpenBLAS pools and torch brings another,
and alternating between busy pools costs milliseconds, so an algorithm stays within the one its options name.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._library import Library

LIBRARIES = ("numpy", "scipy", "torch", "cupy")


@cache
def library(name: str) -> Library:
    """Dense kernels of one library; torch and cupy are imported by the first call that names them.

    Parameters
    ----------
    name : str
        "numpy" | "scipy" | "torch" | "cupy".

    Raises
    ------
    KeyError
        If there is no such library.
    ImportError
        If it is not installed.
    """
    if name == "numpy":
        from ._numpy import NumpyLibrary

        return NumpyLibrary()
    if name == "scipy":
        from ._scipy import ScipyLibrary

        return ScipyLibrary()
    if name == "torch":
        from ._torch import TorchLibrary

        return TorchLibrary()
    if name == "cupy":
        from ._cupy import CupyLibrary

        return CupyLibrary()
    raise KeyError(f"no library {name!r}: one of {', '.join(LIBRARIES)}")
