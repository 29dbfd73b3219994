"""The problems of the demo: data that ships with scikit-learn, and larger ones made by stated recipes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from ..budget import Budget
from ..problems import LeastSquares, LinearSystem, LowRank, Problem
from .yardsticks import Error, backward_error, best_error, prediction_error, relative_frobenius, truncated


def _same(result: Any) -> Any:
    return result


@dataclass(frozen=True, slots=True)
class Today:
    """A call that a person would make today; `value` (not timed) brings its result into autonla's form."""

    label: str
    call: Callable[[], Any]
    value: Callable[[Any], Any] = _same


@dataclass(frozen=True, slots=True)
class Case:
    """One problem under one budget.

    Attributes
    ----------
    title : str
    data : str
        Where the data comes from, or the recipe: one line.
    problem, budget
    error : callable (value) -> float
        The demo's own yardstick.
    today : tuple of Today
    relaxed : Budget or None
        The budget without its point, to show what that changes.
    rounds : int
        How often every candidate is raced for the picture; 0: not at all.
    """

    title: str
    data: str
    problem: Problem
    budget: Budget
    error: Error
    today: tuple[Today, ...]
    relaxed: Budget | None = None
    rounds: int = 0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large the made problems are."""

    tall: tuple[int, int] = (100_000, 200)
    square: int = 4000
    low_rank: int = 2000
    rank: int = 50
    digits: int = 1797
    latency: str = "200 ms"
    memory: str = "48 MiB"

    @classmethod
    def quick(cls) -> Sizes:
        """Seconds instead of minutes."""
        return cls((4000, 40), 300, 300, 20, 400, "500 ms", "6 MiB")


@dataclass(frozen=True, slots=True)
class Entry:
    """A case before its data exists."""

    title: str
    build: Callable[[], Case] = field(repr=False)


def entries(sizes: Sizes) -> Iterator[Entry]:
    """Every case of the demo, in the order in which it is shown."""
    yield Entry("regression to 1e-8", lambda: _regression(sizes))
    yield Entry(f"regression in {sizes.memory}", lambda: _hard_regression(sizes, 1e-6, sizes.memory))
    yield Entry("regression to 10 %", lambda: _hard_regression(sizes, 0.1))
    yield Entry("diabetes, cubic", _diabetes)
    yield Entry("breast cancer, ridge", _ridge)
    yield Entry("easy system", lambda: _linear_system(sizes, 0))
    yield Entry("hard system", lambda: _linear_system(sizes, 12))
    yield Entry("kernel ridge, digits", lambda: _kernel_ridge(sizes))
    yield Entry(f"rank {sizes.rank} of {sizes.low_rank}", lambda: _low_rank(sizes))
    yield Entry(f"the same in {sizes.latency}", lambda: _latency(sizes))
    yield Entry("photograph to 5 %", _photograph)
    yield Entry("digits, components", lambda: _digits_pca(sizes))


# --- least squares


@lru_cache(maxsize=1)
def _tall(m: int, n: int, decades: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A = Q diag(s) V' with s from 1 to 10^-decades, b = A x + noise of a tenth of its size; Q, A, b."""
    rng = np.random.default_rng(1)
    Q = np.linalg.qr(rng.standard_normal((m, n)))[0]
    V = np.linalg.qr(rng.standard_normal((n, n)))[0]
    A = (Q * np.logspace(0, -decades, n)) @ V.T
    signal = Q @ rng.standard_normal(n)
    noise = rng.standard_normal(m)
    b = signal / np.linalg.norm(signal) + 0.1 * noise / np.linalg.norm(noise)
    return Q, A, b


def _lstsq(A: np.ndarray, b: np.ndarray) -> Today:
    return Today("numpy.linalg.lstsq", lambda: np.linalg.lstsq(A, b)[0])


def _recipe(m: int, n: int, decades: int) -> str:
    return f"A = Q diag(s) V', {m} x {n}, s from 1 down to 1e-{decades}; b = A x + noise a tenth as large (seed 1)"


def _regression(sizes: Sizes) -> Case:
    m, n = sizes.tall
    Q, A, b = _tall(m, n, 4)
    return Case(
        title=f"Least squares {m} x {n}, condition 1e4, to 1e-8",
        data=_recipe(m, n, 4),
        problem=LeastSquares(A, b),
        budget=Budget(accuracy=1e-8),
        error=prediction_error(A, b, Q),
        today=(_lstsq(A, b),),
        rounds=3,
    )


def _hard_regression(sizes: Sizes, accuracy: float, memory: str | None = None) -> Case:
    m, n = sizes.tall
    Q, A, b = _tall(m, n, 10)
    limit = f" in {memory} beyond the data" if memory else ""
    return Case(
        title=f"Least squares {m} x {n}, condition 1e10, to {accuracy:g}{limit}",
        data=_recipe(m, n, 10),
        problem=LeastSquares(A, b),
        budget=Budget(accuracy=accuracy, memory=memory),
        error=prediction_error(A, b, Q),
        today=(_lstsq(A, b),),
        relaxed=Budget(accuracy=1e-6),
    )


def _diabetes() -> Case:
    from sklearn.datasets import load_diabetes
    from sklearn.preprocessing import PolynomialFeatures

    data: Any = load_diabetes()
    X, y = data.data, data.target
    A = PolynomialFeatures(3).fit_transform(X)
    U, s, _ = np.linalg.svd(A, full_matrices=False)
    Q = U[:, s > 4.0 * np.sqrt(A.shape[1]) * 2.0**-53 * s[0]]  # what is below is rounding of the entries
    return Case(
        title=f"Least squares {A.shape[0]} x {A.shape[1]}, rank-deficient, to 1e-8",
        data="scikit-learn's diabetes, all products of up to three of its ten variables",
        problem=LeastSquares(A, y),
        budget=Budget(accuracy=1e-8),
        error=prediction_error(A, y, Q),
        today=(_lstsq(A, y),),
    )


def _ridge() -> Case:
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    data: Any = load_breast_cancer()
    X, y = data.data, data.target
    A = PolynomialFeatures(2).fit_transform(StandardScaler().fit_transform(X))
    y = y.astype(float)
    ridge = 1.0
    Q = np.linalg.qr(np.vstack([A, np.sqrt(ridge) * np.eye(A.shape[1])]))[0]
    return Case(
        title=f"Ridge regression {A.shape[0]} x {A.shape[1]}, to 1e-8",
        data="scikit-learn's breast cancer, standardized, squares and products of its thirty variables",
        problem=LeastSquares(A, y, ridge=ridge),
        budget=Budget(accuracy=1e-8),
        error=prediction_error(A, y, Q, ridge),
        today=(
            Today("sklearn Ridge", lambda: Ridge(alpha=ridge, fit_intercept=False).fit(A, y).coef_),
            Today(
                "sklearn Ridge(svd)",
                lambda: Ridge(alpha=ridge, fit_intercept=False, solver="svd").fit(A, y).coef_,
            ),
        ),
    )


# --- linear systems


def _reflected(A: np.ndarray, rng: np.random.Generator, count: int = 8) -> np.ndarray:
    """A times `count` random Householder reflections from either side, in place: singular values stay."""
    n = A.shape[0]
    for _ in range(count):
        u, v = (w / np.linalg.norm(w) for w in rng.standard_normal((2, n)))
        A -= np.outer(2.0 * u, u @ A)
        A -= np.outer(A @ v, 2.0 * v)
    return A


def _linear_system(sizes: Sizes, decades: int) -> Case:
    import scipy.linalg

    n, rng = sizes.square, np.random.default_rng(2)
    if decades:
        A = _reflected(np.diag(np.logspace(0, -decades, n)), rng)
        data = (
            f"singular values from 1 down to 1e-{decades}, mixed by eight random reflections from either side (seed 2)"
        )
        name = f"condition 1e{decades}"
    else:
        A = rng.standard_normal((n, n)) / np.sqrt(n)
        A.flat[:: n + 1] += 2.0
        data, name = f"{n} x {n} Gaussian / sqrt(n) + 2 I (seed 2)", "well-conditioned"
    b = A @ rng.standard_normal(n)
    return Case(
        title=f"Linear system {n} x {n}, {name}, backward error 1e-14",
        data=data,
        problem=LinearSystem(A, b),
        budget=Budget(accuracy=1e-14),
        error=backward_error(A, b),
        today=(
            Today("numpy.linalg.solve", lambda: np.linalg.solve(A, b)),
            Today("scipy.linalg.solve", lambda: scipy.linalg.solve(A, b)),
        ),
    )


def _kernel_ridge(sizes: Sizes) -> Case:
    from sklearn.datasets import load_digits
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.metrics.pairwise import rbf_kernel

    digits: Any = load_digits()
    X, labels = digits.data[: sizes.digits] / 16.0, digits.target[: sizes.digits]
    K, Y, ridge = rbf_kernel(X), np.eye(10)[labels], 0.1
    A = K + ridge * np.eye(len(K))
    return Case(
        title=f"Kernel ridge regression, {len(K)} points, ten classes, to 1e-12",
        data="scikit-learn's digits: K = exp(-|x - y|^2 / 64), solve (K + 0.1 I) X = Y",
        problem=LinearSystem(A, Y),
        budget=Budget(accuracy=1e-12),
        error=backward_error(A, Y),
        today=(
            Today(
                "sklearn KernelRidge",
                lambda: KernelRidge(alpha=0.1, kernel="precomputed").fit(K, Y).dual_coef_,  # pyright: ignore[reportArgumentType]
            ),
            Today("numpy.linalg.solve", lambda: np.linalg.solve(A, Y)),
        ),
    )


# --- low rank


@lru_cache(maxsize=1)
def _decaying(n: int) -> tuple[np.ndarray, np.ndarray]:
    """An n x n matrix with singular values i^-1, mixed by random orthogonal matrices; A and s."""
    rng = np.random.default_rng(3)
    Q, V = (np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(2))
    s = np.arange(1.0, n + 1.0) ** -1.0
    return (Q * s) @ V.T, s


def _svd(A: np.ndarray, cut: Callable[[Any], Any]) -> Today:
    return Today("numpy.linalg.svd", lambda: np.linalg.svd(A, full_matrices=False), cut)


def _randomized_svd(A: np.ndarray, rank: int) -> Today:
    from sklearn.utils.extmath import randomized_svd

    return Today("sklearn randomized_svd", lambda: randomized_svd(A, rank, random_state=0))


def _low_rank(sizes: Sizes) -> Case:
    n, k = sizes.low_rank, sizes.rank
    A, s = _decaying(n)
    return Case(
        title=f"Rank {k} of {n} x {n}, at most 5 % worse than the best",
        data="singular values 1, 1/2, 1/3, ..., random orthogonal factors (seed 3)",
        problem=LowRank(A, rank=k),
        budget=Budget(accuracy=0.05),
        error=relative_frobenius(A, best_error(s, k)),
        today=(_svd(A, lambda f: (f[0][:, :k], f[1][:k], f[2][:k])), _randomized_svd(A, k)),
        rounds=1,
    )


def _latency(sizes: Sizes) -> Case:
    n, k = sizes.low_rank, sizes.rank
    A, s = _decaying(n)
    return Case(
        title=f"Rank {k} of {n} x {n}, the best that {sizes.latency} allow",
        data="the same matrix",
        problem=LowRank(A, rank=k),
        budget=Budget(latency=sizes.latency, on_infeasible="best_effort"),
        error=relative_frobenius(A, best_error(s, k)),
        today=(_randomized_svd(A, k),),
        relaxed=Budget(),
    )


def _photograph() -> Case:
    from sklearn.datasets import load_sample_image

    A = load_sample_image("china.jpg").mean(axis=2)
    return Case(
        title=f"Photograph {A.shape[0]} x {A.shape[1]}, the smallest rank with 5 % error",
        data="scikit-learn's china.jpg in grey",
        problem=LowRank(A),
        budget=Budget(accuracy=0.05),
        error=relative_frobenius(A),
        today=(_svd(A, lambda f: truncated(f, 0.05)),),
    )


def _digits_pca(sizes: Sizes) -> Case:
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA

    digits: Any = load_digits()
    X, k = digits.data[: sizes.digits], 10
    centred = X - X.mean(axis=0)
    s = np.linalg.svd(centred, compute_uv=False)

    def factors(pca: Any) -> Any:
        scores = centred @ pca.components_.T
        size = np.linalg.norm(scores, axis=0)
        return scores / size, size, pca.components_

    return Case(
        title=f"Ten principal components of {X.shape[0]} x {X.shape[1]}, to 1e-4 of the best",
        data="scikit-learn's digits",
        problem=LowRank(X, rank=k, center=True),
        budget=Budget(accuracy=1e-4),
        error=relative_frobenius(centred, best_error(s, k)),
        today=(Today("sklearn PCA", lambda: PCA(k).fit(X), factors),),
    )
