"""Problems: what can be stated, what is refused, and by which words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.linalg import aslinearoperator

from autonla.planner.problems import (
    Eigenpairs,
    Hierarchical,
    LeastSquares,
    LinearSystem,
    LowRank,
    MatrixFunction,
    Product,
    SpectralDensity,
    Trace,
)
from autonla.profiles.errors import InvalidProblem, UnsupportedDtype

torch = pytest.importorskip("torch")

A3, b3 = np.eye(3), np.ones(3)
TALL = np.ones((5, 3))

REFUSED = [
    (lambda: LinearSystem(TALL, np.ones(5)), "square"),
    (lambda: LinearSystem(A3, np.ones(4)), "rows"),
    (lambda: LinearSystem(np.ones(3), b3), "2-dimensional"),
    (lambda: LinearSystem(A3, np.ones((3, 1, 1))), "1-dimensional or 2-dimensional"),
    (lambda: LinearSystem(A3, b3, assume="posdef"), "assume"),
    (lambda: LinearSystem(A3, b3, metric="fun"), "metric"),
    (lambda: LinearSystem("A", b3), "must be an array"),
    (lambda: LinearSystem([[1.0, 2.0], [3.0]], [1.0, 2.0]), "A "),
    (lambda: LinearSystem(A3, torch.ones(3, dtype=torch.float64)), "torch"),
    (lambda: LinearSystem(A3, scipy.sparse.eye_array(3)), "dense"),
    (lambda: LinearSystem(np.ma.masked_array(A3), b3), "masked"),
    (lambda: LeastSquares(TALL, np.ones(5), ridge=-1.0), "ridge"),
    (lambda: LeastSquares(TALL, np.ones(5), ridge=float("nan")), "ridge"),
    (lambda: LeastSquares(TALL, np.ones(5), ridge="much"), "ridge"),  # pyright: ignore[reportArgumentType]
    (lambda: LowRank(TALL, rank=0), "rank"),
    (lambda: LowRank(TALL, rank=4), "rank"),
    (lambda: LowRank(TALL, rank=2.0), "rank"),  # pyright: ignore[reportArgumentType]
    (lambda: LowRank(TALL, rank=True), "rank"),
    (lambda: LowRank(TALL, center="yes"), "center"),  # pyright: ignore[reportArgumentType]
    (lambda: LowRank(TALL, rank=np.array([2])), "rank"),  # pyright: ignore[reportArgumentType]
    (lambda: LowRank(TALL, rank=np.arange(2)), "rank"),  # pyright: ignore[reportArgumentType]
    (lambda: LowRank(TALL, center=np.ones(2)), "center"),  # pyright: ignore[reportArgumentType]
    (lambda: LowRank(TALL, center=1), "center"),  # pyright: ignore[reportArgumentType]
    (lambda: LinearSystem(A3, b3, assume=np.array(["spd", "upper"])), "assume"),  # pyright: ignore[reportArgumentType]
    (lambda: LinearSystem(A3, b3, assume=True), "assume"),  # pyright: ignore[reportArgumentType]
    (lambda: LinearSystem(A3, b3, metric=None), "metric"),  # pyright: ignore[reportArgumentType]
    (lambda: LinearSystem(A3, b3, metric=np.ones(2)), "metric"),  # pyright: ignore[reportArgumentType]
    (lambda: LeastSquares(TALL, np.ones(5), ridge=10**400), "ridge"),
    (lambda: LeastSquares(TALL, np.ones(5), ridge=np.ones(2)), "ridge"),  # pyright: ignore[reportArgumentType]
    (lambda: LeastSquares(TALL, np.ones(5), ridge=1j), "ridge"),  # pyright: ignore[reportArgumentType]
    (lambda: MatrixFunction(A3, np.ones(3)), "f"),  # pyright: ignore[reportArgumentType]
    (lambda: MatrixFunction(A3, "exp", apply_to=torch.ones(3, dtype=torch.float64)), "apply_to is a torch array"),
    (lambda: Product(A3, torch.ones(3, 3, dtype=torch.float64)), "B is a torch array"),
    (lambda: Eigenpairs(A3, 0), "k"),
    (lambda: Eigenpairs(A3, 2, which="XX"), "which"),
    (lambda: Product(TALL, TALL), "rows"),
    (lambda: MatrixFunction(A3, "cosine"), "f"),
    (lambda: MatrixFunction(A3, ("inv_root", 0)), "p"),
    (lambda: MatrixFunction(TALL, "sqrt"), "square"),
    (lambda: MatrixFunction(A3, "exp", apply_to=np.ones(4)), "apply_to"),
    (lambda: Trace(TALL), "square"),
    (lambda: Trace(A3, "polar"), "f"),
    (lambda: SpectralDensity(TALL), "square"),
    (lambda: Hierarchical(A3, 0), "rank"),
    (lambda: Hierarchical(A3, 1, structure="h3"), "structure"),
]


@pytest.mark.parametrize(("make", "word"), REFUSED)
def test_refusals_name_the_argument(make, word):
    with pytest.raises(InvalidProblem, match=word):
        make()


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "longdouble", "object"])
def test_dtypes_that_nothing_computes_with(dtype):
    with pytest.raises(UnsupportedDtype, match=f"A has dtype {dtype}") as caught:
        LowRank(np.ones((3, 3)).astype(dtype))
    assert caught.value.found == dtype  # long double too, whatever its length here


@pytest.mark.parametrize(
    ("dtype", "working"),
    [("float64", "float64"), ("float32", "float32"), ("float16", "float32"), ("int32", "float64"), ("bool", "float64")],
)
def test_working_dtypes(dtype, working):
    assert LowRank(np.ones((3, 2), dtype=dtype)).working()[2] == working


def test_the_wider_operand_decides():
    problem = LeastSquares(TALL.astype("float32"), np.ones(5))
    A, b, dtype = problem.working()
    assert (A.dtype, b.dtype, dtype) == (np.float64, np.float64, "float64")


def test_bfloat16_is_computed_in_float32():
    A = torch.ones(4, 2, dtype=torch.bfloat16)
    assert LowRank(A).working()[0].dtype == torch.float32


def test_big_endian_and_strided_input():
    A = np.arange(24.0).reshape(4, 6).astype(">f8")[:, ::-2]
    working, _, _ = LowRank(A).working()
    assert working.dtype.isnative
    assert working.flags.c_contiguous
    np.testing.assert_array_equal(working, A)


@pytest.mark.parametrize("order", ["C", "F"])
def test_working_shares_memory_where_it_can(order):
    A = np.asarray(TALL, order=order)
    working, _, _ = LowRank(A).working()
    assert np.shares_memory(working, A)
    assert LowRank(A).order() == order


def test_gradients_are_not_lost_silently():
    A = torch.ones(3, 3, dtype=torch.float64, requires_grad=True)
    with pytest.raises(InvalidProblem, match="detach"):
        LowRank(A).working()


@pytest.mark.parametrize("A", [scipy.sparse.csr_array(A3), aslinearoperator(A3)])
def test_sparse_and_operators_can_be_stated(A):
    problem = LinearSystem(A, b3)
    assert problem.access in ("sparse", "operator")
    assert not problem.dense


def test_lists_and_matrices_become_arrays():
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.matrix([[1.0, 2.0]])
    assert type(LowRank(matrix).A) is np.ndarray
    assert LowRank([[1, 2], [3, 4]]).working()[2] == "float64"


def test_problems_are_immutable():
    problem = LeastSquares(TALL, np.ones((5, 2)), ridge=1)
    assert problem.right_hand_sides == 2
    assert problem.ridge == 1.0
    with pytest.raises(AttributeError, match="immutable"):
        problem.ridge = 2.0
    assert "5x3" in repr(problem)


@pytest.mark.parametrize("f", [("inv_root",), ("inv_root", 2, 3), ("root", 2), ()])
def test_the_only_pair_that_is_a_function(f):
    with pytest.raises(InvalidProblem, match=r"the only pair is \('inv_root', p\)") as caught:
        MatrixFunction(A3, f)
    assert caught.value.argument == "f"
    assert caught.value.found == repr(f)


def test_functions_by_name_by_root_and_by_what_they_do():
    def f(x):
        return x**3

    assert MatrixFunction(A3, f).f is f
    root: Any = ("inv_root", np.int64(3))
    assert MatrixFunction(A3, root).f == ("inv_root", 3)
    assert MatrixFunction(TALL, "polar", apply_to=np.ones(3)).f == "polar"
    assert Trace(A3, f).f is f
