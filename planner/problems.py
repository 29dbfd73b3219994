"""The problems that can be stated. Validated at construction, immutable; no numerical work happens here."""

from __future__ import annotations

import operator
from abc import ABC
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..profiles.errors import InvalidProblem
from .operand import (
    as_working,
    contiguous,
    dense_or_linear,
    device_of,
    library_of,
    memory_order,
    same_home,
    sparse_bytes,
    without_gradient,
    working_dtype,
)

DECLARATIONS = ("general", "symmetric", "spd", "upper", "lower", "triangular", "banded", "diagonal")
FUNCTIONS = ("inv", "sqrt", "inv_sqrt", "polar", "sign", "exp", "log")
WHICH = ("LA", "SA", "LM", "SM")


def _choice(argument: str, value: Any, allowed: tuple[Any, ...]) -> Any:
    if not isinstance(value, type(allowed[0])) or value not in allowed:  # arrays have no one truth value
        raise InvalidProblem(
            f"{argument} = {value!r} is not one of {', '.join(map(repr, allowed))}",
            argument=argument,
            found=repr(value),
        )
    return value


def _count(argument: str, value: Any, low: int, high: int) -> int:
    try:
        count = low - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:  # arrays, fractions
        count = low - 1
    if not low <= count <= high:
        raise InvalidProblem(
            f"{argument} = {value!r} must be an integer from {low} to {high}",
            argument=argument,
            found=repr(value),
        )
    return count


def _ready(value: Any, dtype: str) -> tuple[Any, int]:
    """An operand in the dtype that is computed with, contiguous, and the bytes of a copy."""
    plain = without_gradient(value)
    library = library_of(plain)
    if library == "operator":
        return as_working(plain, dtype), 0
    if library == "sparse":
        ready = as_working(plain, dtype)
        shared = plain.format == "csr" and np.shares_memory(ready.data, plain.data)
        return ready, 0 if shared else sparse_bytes(ready)
    ready = contiguous(as_working(plain, dtype))
    return ready, 0 if ready is plain else int(ready.nbytes)


class Problem(ABC):
    """A numerical linear algebra problem: operands, shape and the metric its error is measured in.

    Attributes
    ----------
    kind : str
        "linear_system", "least_squares", "low_rank", ...
    A : array
        The operand, as it was handed in.
    metric : str
        The measure of error; see the class docstrings.
    """

    kind: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]] = ()
    __slots__ = ("A", "_copied", "_working", "metric")

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __setstate__(self, state: tuple[None, dict[str, Any]]) -> None:
        self._set(**state[1])

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a {type(self).__name__} is immutable; make a new one")

    def _set_matrix(self, A: Any, metric: str | None, *, square: bool = False) -> None:
        A = dense_or_linear("A", A, (2,))
        if square and A.shape[0] != A.shape[1]:
            raise InvalidProblem(
                f"A must be square, got shape {tuple(A.shape)}; for a rectangular A use LeastSquares",
                argument="A",
                found=str(tuple(A.shape)),
            )
        if self.metrics:
            _choice("metric", metric, self.metrics)
        self._set(A=A, metric=metric, _working=None, _copied=0)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of A."""
        return tuple(self.A.shape)

    @property
    def access(self) -> str:
        """ "numpy" | "torch" | "cupy" for explicit dense operands, else "sparse" | "operator" | "dask"."""
        return library_of(self.A) or "numpy"

    @property
    def dense(self) -> bool:
        """Whether every operand is an explicit dense array."""
        return self.access in ("numpy", "torch", "cupy")

    @property
    def library_of_values(self) -> str:
        """Library of the arrays that go in and come out: of an operator that of b, of a sparse matrix by its device."""
        if self.access == "operator":
            return library_of(getattr(self, "b", None)) or "numpy"
        return ("numpy" if self.device == "cpu" else "cupy") if self.access == "sparse" else self.access

    @property
    def device(self) -> str:
        """Device that holds the operands."""
        return device_of(self.A)

    def working(self) -> tuple[Any, Any, str]:
        """(A, b or None, dtype) in the dtype that is computed with, contiguous; sparse matrices in compressed rows.

        Shares memory with what was handed in wherever dtype and layout allow.
        """
        if self._working is None:
            b = getattr(self, "b", None)
            dtype = working_dtype(self.A) if b is None else working_dtype(self.A, b)
            A, copied_A = _ready(self.A, dtype)
            b, copied_b = (None, 0) if b is None else _ready(b, dtype)
            self._set(_working=(A, b, dtype), _copied=copied_A + copied_b)
        return self._working  # type: ignore[return-value]

    @property
    def copied_bytes(self) -> int:
        """Memory of the copies that `working` made, where it could not share it [B]."""
        self.working()
        return self._copied

    def order(self) -> str:
        """Memory order of the working copy of A."""
        return memory_order(self.working()[0])

    def __repr__(self) -> str:
        m, n = self.shape
        return f"{type(self).__name__}({m}x{n} {self.access})"


class _WithRightHandSide(Problem):
    __slots__ = ("b",)

    def _set_rhs(self, b: Any) -> None:
        b = dense_or_linear("b", b, (1, 2))
        if library_of(b) in ("sparse", "operator"):
            raise InvalidProblem("b must be a dense vector or matrix; call .toarray() on it", argument="b")
        if b.shape[0] != self.A.shape[0]:
            raise InvalidProblem(
                f"b has {b.shape[0]} rows and A has {self.A.shape[0]}; they must agree",
                argument="b",
                found=str(tuple(b.shape)),
            )
        same_home(self.A, b)
        self._set(b=b)

    @property
    def right_hand_sides(self) -> int:
        """Number of columns of b (1 for a vector)."""
        return 1 if len(self.b.shape) == 1 else int(self.b.shape[1])


class LinearSystem(_WithRightHandSide):
    """Solve A x = b for a square A.

    Parameters
    ----------
    A : (n, n) array, sparse array or LinearOperator
    b : (n,) or (n, r) array
    assume : str, optional
        What you know of A: "general", "symmetric", "spd", "upper", "lower", "triangular", "banded", "diagonal".
        Declarations are checked by cheap probes. None: autonla looks for itself.
    metric : {"backward_error", "relative_residual", "forward_error"}
        "backward_error": ||b - Ax|| / (||A|| ||x|| + ||b||) (Rigal and Gaches 1967). "relative_residual":
        ||b - Ax|| / ||b||, which an ill-conditioned A may not allow to be small. "forward_error": ||x - x*|| / ||x*||;
        its certificate solves for the error once more. 2-norms, worst column.

    Raises
    ------
    InvalidProblem
        If the arguments do not state a linear system; it says which one and why.
    """

    kind = "linear_system"
    metrics = ("backward_error", "relative_residual", "forward_error")
    __slots__ = ("assume",)
    assume: str | None

    def __init__(self, A: Any, b: Any, *, assume: str | None = None, metric: str = "backward_error") -> None:
        self._set_matrix(A, metric, square=True)
        self._set_rhs(b)
        self._set(assume=None if assume is None else _choice("assume", assume, DECLARATIONS))


class LeastSquares(_WithRightHandSide):
    """Minimise ||b - A x||^2 + ridge ||x||^2; minimum norm where the minimiser is not unique.

    Parameters
    ----------
    A : (m, n) array, sparse array or LinearOperator
        Any shape.
    b : (m,) or (m, r) array
    ridge : float, default 0.0
        Weight of the squared norm of x.
    metric : {"prediction_error", "backward_error", "suboptimality"}
        "prediction_error": ||A (x - x*)|| / ||b||. "suboptimality": ||b - Ax|| / ||b - Ax*|| - 1. "backward_error": the
        least ||E||_F / ||A||_F such that x solves the problem with A + E (Walden, Karlson and Sun 1995), of those of
        minimum norm too. Worst column; with a ridge, of the augmented system.

    Raises
    ------
    InvalidProblem
    """

    kind = "least_squares"
    metrics = ("prediction_error", "backward_error", "suboptimality")
    __slots__ = ("ridge",)
    ridge: float

    def __init__(self, A: Any, b: Any, *, ridge: float = 0.0, metric: str = "prediction_error") -> None:
        self._set_matrix(A, metric)
        self._set_rhs(b)
        try:
            ridge = float(ridge)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidProblem(f"ridge = {ridge!r} is not a number", argument="ridge") from error
        if not 0.0 <= ridge < float("inf"):
            raise InvalidProblem(
                f"ridge = {ridge!r} must be zero or positive, and finite", argument="ridge", found=repr(ridge)
            )
        self._set(ridge=ridge)


class LowRank(Problem):
    """Approximate A by U diag(s) Vh of low rank.

    Parameters
    ----------
    A : (m, n) array, sparse array or LinearOperator
    rank : int, optional
        The rank wanted; the accuracy then says how far the error may be above that of the best approximation of that
        rank. None: the smallest rank that meets the accuracy.
    center : bool, default False
        Remove the column means first (principal component analysis).
    metric : {"relative_frobenius"}
        ||A - U diag(s) Vh||_F / ||A||_F; with `rank`: error / (error of the best rank-k approximation) - 1.

    Raises
    ------
    InvalidProblem
    """

    kind = "low_rank"
    metrics = ("relative_frobenius",)
    __slots__ = ("center", "rank")
    rank: int | None
    center: bool

    def __init__(
        self, A: Any, *, rank: int | None = None, center: bool = False, metric: str = "relative_frobenius"
    ) -> None:
        self._set_matrix(A, metric)
        if rank is not None:
            rank = _count("rank", rank, 1, max(1, min(self.shape)))
        self._set(rank=rank, center=_choice("center", center, (False, True)))


class Eigenpairs(Problem):
    """The k eigenpairs of a symmetric A at one end of its spectrum.

    The error is the largest ||A v - w v|| / ||A||. The solution is an Eigensystem (w, V), wanted end first: w descends
    for "LA", ascends for "SA", and goes by magnitude for "LM" and "SM".

    Parameters
    ----------
    A : (n, n) array, sparse array or LinearOperator
        Symmetric, to rounding; of an operator that has to be declared.
    k : int
        From 1 to n.
    which : {"LA", "SA", "LM", "SM"}
        Largest or smallest, algebraically or by magnitude.
    assume : str, optional
        As for LinearSystem.

    Raises
    ------
    InvalidProblem
    """

    kind = "eigenpairs"
    metrics = ("residual",)
    __slots__ = ("assume", "k", "which")

    def __init__(self, A: Any, k: int, *, which: str = "LA", assume: str | None = None) -> None:
        self._set_matrix(A, "residual", square=True)
        self._set(
            k=_count("k", k, 1, self.shape[0]),
            which=_choice("which", which, WHICH),
            assume=None if assume is None else _choice("assume", assume, DECLARATIONS),
        )


class Product(Problem):
    """The matrix product A B.

    Parameters
    ----------
    A : (m, k) array
    B : (k, n) array
    metric : {"relative_frobenius"}
        ||C - AB||_F / (||A||_F ||B||_F).
    """

    kind = "product"
    metrics = ("relative_frobenius",)
    __slots__ = ("B",)

    def __init__(self, A: Any, B: Any, *, metric: str = "relative_frobenius") -> None:
        self._set_matrix(A, metric)
        B = dense_or_linear("B", B, (2,))
        if B.shape[0] != self.A.shape[1]:
            raise InvalidProblem(
                f"B has {B.shape[0]} rows and A has {self.A.shape[1]} columns; they must agree", argument="B"
            )
        same_home(self.A, B, "B")
        self._set(B=B)


class MatrixFunction(Problem):
    """f(A) of a symmetric A, or f(A) applied to vectors.

    With B what f(A) is applied to, or the identity, and Y the answer, the error is the residual of the equation that
    defines Y: ||A^(1/p) Y - B|| / ||B|| for "inv" (p = 1), "inv_sqrt" (p = 2) and ("inv_root", p); ||Y - f(A) B|| /
    ||B|| for "log"; ||Y - f(A) B|| / ||f(A) B|| for all others. Frobenius norms.

    Parameters
    ----------
    A : (n, n) array, sparse array or LinearOperator ((m, n) for "polar")
        Symmetric, to rounding; positive definite for "inv_sqrt", "log" and roots, semidefinite for "sqrt".
    f : str, ("inv_root", p) or callable
        "inv", "sqrt", "inv_sqrt", "sign", "exp", "log"; ("inv_root", p) is A^(-1/p). A callable takes eigenvalues (k,)
        to values (k,). "polar", and matrices that are not symmetric, can be stated, and nothing solves them yet.
    apply_to : (n,) or (n, r) array, optional
        Compute f(A) apply_to instead of f(A), which is dense whatever A is.

    Raises
    ------
    InvalidProblem

    Examples
    --------
    >>> import autonla as nla, numpy as np
    >>> X = np.random.default_rng(0).standard_normal((200, 5)) @ np.diag([1.0, 2.0, 3.0, 4.0, 5.0])
    >>> W = nla.solve(nla.MatrixFunction(X.T @ X, "inv_sqrt"), nla.Budget(accuracy=1e-10)).value  # whitens X
    >>> bool(np.allclose((X @ W).T @ (X @ W), np.eye(5)))
    True
    """

    kind = "matrix_function"
    metrics = ("residual",)
    __slots__ = ("apply_to", "f")
    f: str | tuple[str, int] | Callable[..., Any]

    def __init__(self, A: Any, f: str | tuple[str, int] | Callable[..., Any], *, apply_to: Any = None) -> None:
        self._set_matrix(A, "residual", square=not (isinstance(f, str) and f == "polar"))
        if isinstance(f, tuple):
            if len(f) != 2 or f[0] != "inv_root":
                raise InvalidProblem(f"f = {f!r}: the only pair is ('inv_root', p)", argument="f", found=repr(f))
            f = ("inv_root", _count("p", f[1], 1, 64))
        elif not callable(f):
            _choice("f", f, FUNCTIONS)
        if apply_to is not None:
            apply_to = dense_or_linear("apply_to", apply_to, (1, 2))
            if apply_to.shape[0] != self.shape[1]:
                raise InvalidProblem(
                    f"apply_to has {apply_to.shape[0]} rows and A has {self.shape[1]} columns",
                    argument="apply_to",
                )
            same_home(self.A, apply_to, "apply_to")
        self._set(f=f, apply_to=apply_to)

    @property
    def b(self) -> Any:
        """`apply_to`, under the name that right-hand sides have; None where f(A) itself is wanted."""
        return self.apply_to

    @property
    def right_hand_sides(self) -> int:
        """Columns of what f(A) is applied to, or of f(A) itself."""
        if self.apply_to is None:
            return self.shape[1]
        return 1 if len(self.apply_to.shape) == 1 else int(self.apply_to.shape[1])


class Trace(Problem):
    """trace(f(A)) of a square A; f = "log" gives the log-determinant.

    Parameters
    ----------
    A : (n, n) array, sparse array or LinearOperator
    f : None, str or callable
        None for the trace of A itself.
    """

    kind = "trace"
    __slots__ = ("f",)

    def __init__(self, A: Any, f: str | Callable[..., Any] | None = None) -> None:
        self._set_matrix(A, None, square=True)
        if f is not None and not callable(f):
            _choice("f", f, tuple(name for name in FUNCTIONS if name != "polar"))
        self._set(f=f)


class SpectralDensity(Problem):
    """The density of the eigenvalues of a symmetric A.

    Parameters
    ----------
    A : (n, n) array, sparse array or LinearOperator
    """

    kind = "spectral_density"
    __slots__ = ()

    def __init__(self, A: Any) -> None:
        self._set_matrix(A, None, square=True)


class Hierarchical(Problem):
    """A hierarchical low-rank approximation of A from products with it.

    Parameters
    ----------
    A : (n, n) array or LinearOperator
    rank : int
        Rank of the off-diagonal blocks.
    structure : {"hodlr"}
    """

    kind = "hierarchical"
    __slots__ = ("rank", "structure")

    def __init__(self, A: Any, rank: int, *, structure: str = "hodlr") -> None:
        self._set_matrix(A, None, square=True)
        self._set(
            rank=_count("rank", rank, 1, max(1, self.shape[0])),
            structure=_choice("structure", structure, ("hodlr",)),
        )
