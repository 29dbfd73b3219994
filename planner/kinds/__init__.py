"""What the planner must know of each solvable kind of problem: its algorithms, probes, floors and certificates."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from ...profiles.errors import NoAlgorithm
from ._base import Kind, ProbeStep

if TYPE_CHECKING:
    from ..problems import Problem

# kinds that are solved from products alone, or sparse, and what solves them
_NOT_DENSE = {
    "linear_system": "sparse_linear_system", "eigenpairs": "eigenpairs", "matrix_function": "matrix_function"
}  # fmt: skip


@cache
def kind_of(name: str) -> Kind:
    """The kind called `name`.

    Raises
    ------
    NoAlgorithm
        If nothing can solve problems of this kind yet.
    """
    if name == "linear_system":
        from .linear_system import LinearSystemKind

        return LinearSystemKind()
    if name == "sparse_linear_system":
        from .sparse_linear_system import SparseLinearSystemKind

        return SparseLinearSystemKind()
    if name == "least_squares":
        from .least_squares import LeastSquaresKind

        return LeastSquaresKind()
    if name == "low_rank":
        from .low_rank import LowRankKind

        return LowRankKind()
    if name == "eigenpairs":
        from .eigenpairs import EigenpairsKind

        return EigenpairsKind()
    if name == "matrix_function":
        from .matrix_function import MatrixFunctionKind

        return MatrixFunctionKind()
    raise NoAlgorithm(
        f"no algorithm registered yet for {name.replace('_', ' ')} problems;"
        " linear_system, least_squares, low_rank, eigenpairs and matrix_function can be solved",
        kind=name,
    )


def kind_for(problem: Problem) -> Kind:
    """What solves a problem, by its kind and by what can be done with its operands.

    Raises
    ------
    NoAlgorithm
        If no algorithm is registered for the kind, or for operands of this sort.
    """
    kind = kind_of(problem.kind)
    if problem.dense:
        return kind
    access, on_host = problem.access, problem.library_of_values == "numpy"
    if access in ("sparse", "operator") and on_host and problem.kind in _NOT_DENSE:
        return kind_of(_NOT_DENSE[problem.kind])
    what = "an operator" if access == "operator" else f"a {access}"
    where = "" if on_host else " on a GPU"
    raise NoAlgorithm(
        f"no algorithm registered yet for a {problem.kind.replace('_', ' ')} problem whose A is {what} operand{where};"
        " pass a dense array (for scipy.sparse: A.toarray(), if it fits in memory)",
        kind=problem.kind,
    )


__all__ = ["Kind", "ProbeStep", "kind_for", "kind_of"]
