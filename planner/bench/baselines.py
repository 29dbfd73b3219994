"""The safe default of each kind, the call one makes today as its documentation says to; and other such calls."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
import scipy.sparse as sp

from ..problems import Eigenpairs, LeastSquares, LinearSystem, LowRank, Problem

_BELOW = 1e-4  # of ||A||_inf: how far below Gershgorin's discs is the shift that the lowest are sought beside


def baseline(problem: Problem, target: float = 0.0) -> tuple[str, Callable[[], Any]]:
    """Its name and the call, in the library and working dtype of the operands; not certified.

    Parameters
    ----------
    problem : Problem
        A LinearSystem, LeastSquares, LowRank or Eigenpairs of dense numpy arrays or torch tensors; a LinearSystem or
        Eigenpairs of a sparse matrix; a LinearSystem of an operator.
    target : float
        Accuracy that is asked of iterations; the other calls are not asked how accurate.

    Returns
    -------
    name : str
    call : callable () -> Any
        What `Solution.value` would be for a LinearSystem and for Eigenpairs (then None where it failed).
    """
    A, b, _ = problem.working()
    library, linalg = _library(problem.access)
    if isinstance(problem, LinearSystem):
        if problem.dense:
            return f"{library}.linalg.solve", lambda: linalg.solve(A, b)
        return next(iter(_sparse_solvers(problem, A, b, target).items()))
    if isinstance(problem, LeastSquares):
        ridge = problem.ridge
        if ridge != 0.0:
            return "sklearn Ridge", lambda: _ridge(np.asarray(A), np.asarray(b), ridge)
        if library == "torch":  # takes matrices only
            return "torch.linalg.lstsq", lambda: linalg.lstsq(A, b if b.ndim == 2 else b[:, None])
        return "numpy.linalg.lstsq", lambda: linalg.lstsq(A, b)
    if isinstance(problem, Eigenpairs):
        return next(iter(_eigensolvers(problem, A, target).items()))
    assert isinstance(problem, LowRank)
    center = problem.center
    return f"{library}.linalg.svd", lambda: linalg.svd(A - A.mean(0) if center else A, full_matrices=False)


class GivenUp(Exception):
    """A call took too long."""


def alternatives(problem: Problem, target: float, deadline: float) -> dict[str, Callable[[], Any]]:
    """All calls that one might make, by name, the safe default first; empty for the kinds that have one way only.

    Parameters
    ----------
    deadline : float
        Seconds after which an iteration is given up.

    Returns
    -------
    dict of str to callable () -> Any
        As of `baseline`; None where it failed or was given up.
    """
    A, b, _ = problem.working()
    if isinstance(problem, LinearSystem) and not problem.dense:
        return _sparse_solvers(problem, A, b, target, deadline)
    return _eigensolvers(problem, A, target, deadline) if isinstance(problem, Eigenpairs) else {}


def _library(access: str) -> tuple[str, Any]:
    """Name of a library and its linear algebra."""
    if access == "torch":
        import torch

        return "torch", torch.linalg
    return "numpy", np.linalg


def _ridge(A: np.ndarray, b: np.ndarray, ridge: float) -> np.ndarray:
    from sklearn.linear_model import Ridge

    return Ridge(alpha=ridge, fit_intercept=False).fit(A, b).coef_


def _tried(call: Callable[[], Any]) -> Any:
    """What a call returns, without its warnings; None where it fails, as some libraries say by an exception."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return call()
        except (GivenUp, ArithmeticError, RuntimeError, ValueError, np.linalg.LinAlgError, MemoryError):
            return None


# --- sparse linear systems


def _sparse_solvers(
    problem: LinearSystem, A: Any, b: np.ndarray, target: float, deadline: float = math.inf
) -> dict[str, Callable[[], Any]]:
    """SciPy's; the safe default first: the direct one where there are entries."""
    from scipy.sparse import linalg

    solvers: Any = linalg
    found: dict[str, Callable[[], Any]] = {}
    iterate = partial(_iterate, A, b, target, deadline)
    if problem.access != "sparse":
        name = {"spd": "cg", "symmetric": "minres"}.get(problem.assume or "", "gmres")
        return {f"scipy {name}": partial(_tried, lambda: iterate(getattr(solvers, name)))}
    found["scipy spsolve"] = partial(_tried, lambda: solvers.spsolve(A, b))
    if abs(A - A.T).max() > 0.0:
        found["scipy gmres, spilu"] = partial(_tried, lambda: iterate(solvers.gmres, _incomplete_lu))
    else:
        found["scipy minres"] = partial(_tried, lambda: iterate(solvers.minres))
        if A.diagonal().min() > 0.0:
            found["scipy cg, Jacobi"] = partial(_tried, lambda: iterate(solvers.cg, _jacobi))
    return found


def _iterate(
    A: Any, b: np.ndarray, target: float, deadline: float, solver: Any, precondition: Any = None
) -> np.ndarray:
    """x by a Krylov method, one right-hand side after the other; the target in ||b - Ax|| / ||b||, as SciPy has it."""
    end = time.perf_counter() + deadline

    def watch(_: Any) -> None:
        if time.perf_counter() > end:
            raise GivenUp

    options: dict[str, Any] = {"rtol": target, "callback": watch}
    if precondition is not None:
        options["M"] = precondition(A)
    if solver.__name__ == "gmres":
        options["callback_type"] = "pr_norm"
    columns = [solver(A, column, **options)[0] for column in (b[None, :] if b.ndim == 1 else b.T)]
    return columns[0] if b.ndim == 1 else np.stack(columns, axis=1)


def _jacobi(A: Any) -> Any:
    return sp.diags_array(1.0 / A.diagonal())


def _incomplete_lu(A: Any) -> Any:
    from scipy.sparse import linalg

    solvers: Any = linalg
    return solvers.LinearOperator(A.shape, matvec=solvers.spilu(sp.csc_array(A)).solve, dtype=A.dtype)


# --- eigenpairs


def _eigensolvers(
    problem: Eigenpairs, A: Any, target: float, deadline: float = math.inf
) -> dict[str, Callable[[], Any]]:
    """The safe default first: of a dense matrix LAPACK's; of a sparse one ARPACK's.

    For the lowest eigenvalues and for those inside of the spectrum that is shift-invert mode, as SciPy's tutorial on
    ARPACK has it, with a shift at zero or a little below all eigenvalues.
    """
    from scipy.sparse import linalg

    sparse: Any = linalg
    k, which, n = problem.k, problem.which, problem.shape[0]
    if problem.access == "torch":
        import torch

        def eigh() -> tuple[Any, Any]:
            w, V = torch.linalg.eigh(A)
            return _in_order(w, V, which, k)

        return {"torch.linalg.eigh": eigh}

    start = np.random.default_rng(0).standard_normal(n).astype(A.dtype)  # SciPy's own is another one every time

    def arpack(matrix: Any, **how: Any) -> tuple[Any, Any]:
        w, V = sparse.eigsh(matrix, k, tol=target, v0=start, **how)
        return _in_order(w, V, which)

    def plain() -> tuple[Any, Any]:
        end = time.perf_counter() + deadline

        def product(v: np.ndarray) -> np.ndarray:
            if time.perf_counter() > end:
                raise GivenUp
            return A @ v

        return arpack(sparse.LinearOperator(A.shape, matvec=product, dtype=A.dtype), which=which)

    if problem.access == "numpy":
        full = {"scipy eigh": partial(_eigh, A, k, which)}
        return full if k >= n else {**full, "scipy eigsh": partial(_tried, plain)}
    if which in ("LA", "LM"):
        return {"scipy eigsh": partial(_tried, plain)}
    sigma = 0.0 if which == "SM" else _below_all(A)
    return {
        "scipy eigsh, shift-invert": partial(_tried, partial(arpack, A, sigma=sigma, which="LM")),
        "scipy eigsh": partial(_tried, plain),
    }


def _eigh(A: np.ndarray, k: int, which: str) -> tuple[Any, Any]:
    """By LAPACK; of an end no more pairs than are wanted."""
    import scipy.linalg

    n, eigh = len(A), cast(Any, scipy.linalg.eigh)
    w, V = eigh(A, subset_by_index={"LA": (n - k, n - 1), "SA": (0, k - 1)}.get(which))
    return _in_order(w, V, which, k)


def _below_all(A: Any) -> float:
    """A shift a little below Gershgorin's discs."""
    main = A.diagonal()
    rows = np.asarray(abs(A).sum(axis=1)).ravel()
    return float((main - (rows - abs(main))).min()) - _BELOW * float(rows.max())


def _in_order(w: Any, V: Any, which: str, k: int | None = None) -> tuple[Any, Any]:
    """The first k pairs (all, without k), wanted end first."""
    keys = {"LA": -w, "SA": w, "LM": -abs(w), "SM": abs(w)}[which]
    first = keys.argsort()[:k]
    return w[first], V[:, first]
