"""The shape of a problem, as an algorithm needs to know it: no budgets, no arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .tuning import DEFAULT, Tuning

ITEMSIZE = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
UNIT_ROUNDOFF = {"float64": 2.0**-53, "float32": 2.0**-24, "bfloat16": 2.0**-8, "float16": 2.0**-11}


@dataclass(frozen=True, slots=True)
class Task:
    """Everything about a problem that is not its entries.

    Attributes
    ----------
    kind : str
        "linear_system" | "least_squares" | "low_rank" | ...
    m, n : int
        Shape of A.
    nrhs : int
        Number of right-hand sides (1 for a vector b; 0 where there is none).
    dtype : str
        Working dtype of the operands, "float64" or "float32".
    library : str
        Where the operands live: "numpy" | "torch" | "cupy".
    device : str
        "cpu" or a device name.
    order : str
        "C" if rows of A are contiguous, "F" if columns are.
    target : float
        Error asked for, in the kind's default metric; iterative algorithms stop by it.
    metric : str
        What the answer's error is measured in; "" stands for the kind's default metric.
    rank : int or None
        LowRank: the rank asked for, None for the smallest that meets `target`. Eigenpairs: how many.
    ridge : float
        LeastSquares: the weight lambda of ||b - Ax||^2 + lambda ||x||^2.
    center : bool
        LowRank: whether the column means are removed first.
    structure : str
        LinearSystem: "general" | "symmetric" | "spd" | "indefinite" (symmetric, not positive definite) | "upper" |
        "lower" | "banded" | "diagonal", as declared by the user or found by a probe.
    bandwidth : tuple of int
        Lower and upper bandwidth when `structure` is "banded".
    seed : int
        Key of the counter-based random streams.
    tuning : Tuning
        Free parameters of the algorithms.
    access : str
        "dense" | "sparse" (scipy.sparse, compressed rows) | "operator" (products alone).
    nnz : int
        Stored entries of a sparse A.
    which : str
        Eigenpairs: "LA" | "SA" | "LM" | "SM", the part of the spectrum that is wanted; "" for other kinds.
    function : str
        MatrixFunction: "inv" | "sqrt" | "inv_sqrt" | "sign" | "exp" | "log" | "inv_root 3" | "callable"; "" otherwise.
    call : callable or None
        What "callable" stands for: eigenvalues (k,) to values (k,). A plan on file does not hold it.
    """

    kind: str
    m: int
    n: int
    nrhs: int = 1
    dtype: str = "float64"
    library: str = "numpy"
    device: str = "cpu"
    order: str = "C"
    target: float = 1e-12
    metric: str = ""
    rank: int | None = None
    ridge: float = 0.0
    center: bool = False
    structure: str = "general"
    bandwidth: tuple[int, int] | None = None
    seed: int = 0
    tuning: Tuning = DEFAULT
    access: str = "dense"
    nnz: int = 0
    which: str = ""
    function: str = ""
    call: Callable[[Any], Any] | None = None

    @property
    def itemsize(self) -> int:
        """Bytes of one entry of the operands."""
        return ITEMSIZE[self.dtype]

    @property
    def unit_roundoff(self) -> float:
        """Unit roundoff of the operands' dtype."""
        return UNIT_ROUNDOFF[self.dtype]
