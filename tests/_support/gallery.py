"""The adversarial gallery: problems that break linear algebra, each made from two numbers, and a judge of the answers.

A *family* is a matrix with a reputation: LAPACK's own test types and DLATMS spectra, matrices on which Gaussian
elimination grows, textbook matrices that are nearly singular, spectra without a gap, entries far apart. `case(kind,
index)` walks through all families, with LAPACK's sizes; right-hand sides that are rough, smooth, inconsistent,
orthogonal to the range, zero, or have a huge solution; true and false declarations; ridges, ranks and centering;
float64 and float32, either memory order, numpy and torch, several accuracies and none; by `solve` as a user would, by
the full planner, and by a candidate drawn from all that it priced.

`judge` compares with what double-double arithmetic says (`truth`), and with LAPACK's test ratios (`bars`):

- a *false certificate* is an answer called certified whose true error is above the bound, or above what was asked for,
  even at the least that the error can be;
- *effectivity* is bound over true error, the error taken to be at least `rounding_floor`;
- a *false rejection* is a refusal although LAPACK's own answer has an error of at most a fifth of what was asked for,
  and so has rounding.

Sources: LAPACK 3.12, TESTING/LIN and TESTING/MATGEN (types of DLATB4 and DQRT15, modes of DLATMS, sizes of dstest.in);
Higham, The Test Matrix Toolbox (1995), and Accuracy and Stability of Numerical Algorithms (2002), chapters 9 and 28;
Foster, SIAM J. Matrix Anal. Appl. 15 (1994), and Wright, SIAM J. Sci. Comput. 14 (1993): problems of practice on which
partial pivoting fails; Golub, Klema and Stewart, Rank degeneracy and least squares problems (1976); Stewart, SIAM J.
Sci. Comput. 20 (1999), for the devil's stairs; Varah, Linear Algebra Appl. 187 (1993), for the prolate matrix.
"""

from __future__ import annotations

import math
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np
import scipy.linalg
from threadpoolctl import threadpool_limits

import autonla as nla

from . import bars, matrices, spectra, truth
from .doubledouble import DoubleDouble, orthonormal_basis
from .machine import synthetic_profile
from .matrices import Matrix
from .truth import Measured

linalg: Any = scipy.linalg  # inferred types are wrong where outputs are optional

# Making and judging gain nothing from BLAS threads, and lose much where others compete for the cores. What is judged is
# left as it is.
_one_thread = threadpool_limits.wrap(limits=1, user_api="blas")

KINDS = ("linear_system", "least_squares", "low_rank")
SEED = 1992
UNIT = 2.0**-53  # of float64, in which every certificate is computed
EPS = {"float64": 2.0**-52, "float32": 2.0**-23}

SIZES = (1, 2, 13, 17, 45, 78, 91, 101, 120, 132)  # of LAPACK's dstest.in; 0 is a family of its own
TALL = (300, 700, 2500)  # rows of some: sketches need room
RIGHT_HAND_SIDES = (None, None, None, 1, 2, 15, 16)  # None: a vector
ACCURACIES = {"float64": (None, None, 1e-2, 1e-4, 1e-7, 1e-10, 1e-13), "float32": (None, None, 1e-2, 1e-4, 3e-6)}
WAYS = ("solve", "planned", "solve", "candidate")
FAR = {"float64": 498, "float32": 40}  # exponents of two: 2^498 is about 1e150
LAPACK_FAR = {"float64": 971, "float32": 104}  # 0.25 safmin / eps is 2 to the power of minus this
BACKENDS = ("numpy", "torch") if find_spec("torch") else ("numpy",)
ALLOWANCE = 8.0  # see `_allowed`
MISSED = "LAPACK's ratio: "  # how faults of that kind begin
MINIMUM_NORM = 1e-2  # of x outside the row space, besides what rounding explains
WELL_BELOW = 0.2  # an answer of LAPACK's with an error below this share of the target is a good one


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One problem, as plain numpy arrays, and how it is to be solved."""

    kind: str
    index: int
    family: str
    A: np.ndarray
    b: np.ndarray | None
    backend: str
    way: str
    budget: nla.Budget
    ridge: float = 0.0
    assume: str | None = None
    asked: int | None = None  # LowRank: the rank asked for
    center: bool = False
    rank: int | None = None  # LeastSquares: the exact rank, where the recipe makes it low
    recipe: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        m, n = self.A.shape
        said = {"ridge": self.ridge, "assume": self.assume, "rank": self.asked, "center": self.center, **self.recipe}
        words = ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in said.items() if v)
        columns = "" if self.b is None or self.b.ndim == 1 else f", {self.b.shape[1]} right-hand sides"
        return (
            f"case({self.kind!r}, {self.index}): {self.family} {m}x{n} {self.A.dtype.name} {self.backend}{columns}"
            f" by {self.way}, {self.budget!r}; {words}"
        )


# --- matrices of any shape: (m, n, rng) -> Matrix


def _with(values: Callable[[int], Any], coherent: bool = False) -> Callable[..., Matrix]:
    """Given singular values, Haar singular vectors; coherent: few rows hold most of the left ones."""

    def make(m, n, rng):
        s = values(min(m, n))
        return Matrix(matrices.with_spectrum(m, n, s, rng, coherent).A)

    return make


def _mode(mode: int, cond: float) -> Callable[..., Matrix]:
    """DLATMS; a negative mode reverses the order, which shows in columns that keep it."""

    def make(m, n, rng):
        k = min(m, n)
        s = {
            1: spectra.one_large, 2: spectra.one_small, 3: spectra.geometric, 4: spectra.arithmetic,
            5: lambda k, cond: spectra.log_uniform(k, cond, rng),
        }[abs(mode)](k, cond)  # fmt: skip
        if mode > 0:
            return Matrix(matrices.with_spectrum(m, n, s, rng).A)
        A = np.zeros((m, n))
        A[:, :k] = matrices.orthonormal(m, k, rng) * s[::-1]
        return Matrix(A, rank=k if k < n < m else None)

    return make


def _zero_columns(which: str) -> Callable[..., Matrix]:
    def make(m, n, rng):
        A = rng.standard_normal((m, n))
        start, stop = {"first": (0, 1), "last": (n - 1, n), "last half": (n - n // 2 - n % 2, n)}[which]
        A[:, start:stop] = 0.0
        return Matrix(A, rank=min(m, n - (stop - start)))

    return make


def _triangular(lower: bool) -> Callable[..., Matrix]:
    def make(m, n, rng):
        G = rng.standard_normal((m, n))
        A = np.tril(G) if lower else np.triu(G)
        np.fill_diagonal(A, np.copysign(1.0 + np.abs(np.diag(A)), np.diag(A)))
        return Matrix(A, structure="lower" if lower else "upper")

    return make


def _diagonal(m, n, rng) -> Matrix:
    A = np.zeros((m, n))
    np.fill_diagonal(A, rng.choice([-1.0, 1.0], min(m, n)) * 10.0 ** rng.uniform(-6, 0, min(m, n)))
    return Matrix(A, structure="diagonal")


def _graded(rows: float = 0.0, columns: float = 0.0) -> Callable[..., Matrix]:
    return lambda m, n, rng: Matrix(matrices.graded(rng.standard_normal((m, n)), rows, columns))


def _huge_row(m, n, rng) -> Matrix:
    return Matrix(matrices.heavy_row(rng.standard_normal((m, n)), 1e12, rng))


def _huge_column(m, n, rng) -> Matrix:
    return Matrix(matrices.heavy_row(rng.standard_normal((n, m)), 1e12, rng).T.copy())


def _huge_entry(size: float) -> Callable[..., Matrix]:
    def make(m, n, rng):
        A = rng.standard_normal((m, n))
        A[rng.integers(m), rng.integers(n)] = size
        return Matrix(A)

    return make


def _duplicates(m, n, rng) -> Matrix:
    if n == 1:
        return Matrix(rng.standard_normal((m, 1)))
    r = max(1, (2 * n) // 3)
    found = matrices.repeated_columns(Matrix(rng.standard_normal((m, r))), n, rng)
    return Matrix(found.A, rank=min(m, r))


def _near_duplicates(m, n, rng) -> Matrix:
    """Pairs of columns that differ in the tenth digit."""
    A = rng.standard_normal((m, n))
    A[:, n // 2 : 2 * (n // 2)] = A[:, : n // 2] * (1.0 + 1e-10 * rng.standard_normal((m, n // 2)))
    return Matrix(A)


def _exactly_low(m, n, rng) -> Matrix:
    r = max(1, min(m, n) // 3)
    return matrices.exact_rank(m, n, r, rng, cond=1e3)


def _near_low(gap: float) -> Callable[..., Matrix]:
    """Half of the singular values at `gap`: rank-deficient, or nearly so."""
    return _with(lambda k: spectra.step(k, -(-k // 2), gap))


def _rank_one_and_noise(m, n, rng) -> Matrix:
    return Matrix(np.outer(rng.standard_normal(m), rng.standard_normal(n)) + 1e-9 * rng.standard_normal((m, n)))


def _stairs(k: int) -> np.ndarray:
    """Devil's stairs: five flat steps, a factor of twenty apart."""
    return 20.0 ** -(np.arange(k) * 5 // max(k, 1)).astype(float)


def _plateau(k: int) -> np.ndarray:
    """Flat, with a slope of one in ten thousand: no gap anywhere."""
    return 1.0 - 1e-4 * np.arange(k) / max(k, 1)


def _heavy_tails(m, n, rng) -> Matrix:
    return Matrix(rng.standard_cauchy((m, n)) ** 3)


def _vandermonde(m, n, rng) -> Matrix:
    return matrices.vandermonde(m, n)


def _chebyshev_vandermonde(m, n, rng) -> Matrix:
    """Chebyshev polynomials on equispaced points: fine while n is below 2 sqrt(m), as bad as monomials beyond."""
    return Matrix(np.polynomial.chebyshev.chebvander(np.linspace(-1.0, 1.0, m), n - 1))


def _chebyshev_points(m, n, rng) -> Matrix:
    """Monomials on Chebyshev points."""
    return Matrix(np.vander(np.cos(np.pi * (np.arange(m) + 0.5) / m), n, increasing=True))


def _smooth_kernel(m, n, rng) -> Matrix:
    """A Gaussian kernel between points of a line: singular values fall faster than geometrically."""
    return Matrix(np.exp(-4.0 * np.subtract.outer(np.linspace(0, 1, m), np.linspace(0, 1, n)) ** 2))


def _cauchy(m, n, rng) -> Matrix:
    """A Cauchy matrix, of which the Hilbert matrix is one."""
    return Matrix(1.0 / np.add.outer(np.arange(1.0, m + 1), np.arange(0.0, n)))


def _lauchli(m, n, rng) -> Matrix:
    """A row of ones above a small multiple of the identity: A'A is singular to working precision (Lauchli 1961)."""
    A = np.zeros((m, n))
    np.fill_diagonal(A[1:], 2.0**-30)
    A[0] = 1.0
    return Matrix(A)


def _huge_offset(size: float) -> Callable[..., Matrix]:
    """Columns far from zero: what centering leaves is a small difference."""
    return lambda m, n, rng: Matrix(rng.standard_normal((m, n)) + size * (1.0 + rng.random(n)))


def _constant_columns(m, n, rng) -> Matrix:
    return Matrix(np.tile(rng.integers(1, 9, n) / 10.0, (m, 1)), rank=1)


def _ones(m, n, rng) -> Matrix:
    return Matrix(np.ones((m, n)), rank=1)


def _zero(m, n, rng) -> Matrix:
    return Matrix(np.zeros((m, n)), rank=0)


def _integers(m, n, rng) -> Matrix:
    return Matrix(rng.integers(-9, 10, (m, n)).astype(float))


def _steep(m, n, rng) -> Matrix:
    """Singular values over all of float64's range, past every threshold of rank."""
    return Matrix(matrices.with_spectrum(m, n, np.maximum(spectra.exponential(min(m, n), 2.0), 1e-40), rng).A)


def _empty(m, n, rng) -> Matrix:
    return Matrix(np.zeros(((0, n), (m, 0), (0, 0))[int(rng.integers(3))]))


# --- matrices that are square by nature; of other shapes, the leading part of one of order max(m, n)


def _wilkinson(k, rng) -> np.ndarray:
    return matrices.wilkinson_growth(k).A


def _gfpp(k, rng) -> np.ndarray:
    """Higham's generalization: multipliers of -0.8, a given triangle, and a last column that grows by 1.8 a step."""
    T = np.triu(rng.uniform(0.5, 1.0, (k, k)))
    A = (np.eye(k) - 0.8 * np.tril(np.ones((k, k)), -1)) @ T
    A[:, -1] = np.abs(A).max()
    return A


def _foster(k, rng) -> np.ndarray:
    """Quadrature of a Volterra integral equation (Foster 1994); with k h = 2 / 3 the growth is about 2^(n - 1)."""
    kh = 2.0 / 3.0
    A = (1.0 - kh / 2.0) * np.eye(k) - kh * np.tril(np.ones((k, k)), -1)
    A[1:, 0], A[0, 0] = -kh / 2.0, 1.0
    A[:, -1] = -1.0
    A[-1, -1] = -kh / 2.0
    return A


def _wright(k, rng) -> np.ndarray:
    """Multiple shooting for a two-point boundary value problem (Wright 1993)."""
    step = linalg.expm(0.3 * np.array([[-1.0 / 6.0, 1.0], [1.0, -1.0 / 6.0]]))
    A = np.eye(k)
    last = k - k % 2  # an odd order has one equation more, x = b
    for i in range(2, last, 2):
        A[i : i + 2, i - 2 : i] = -step
    if last > 2:
        A[:2, last - 2 : last] = np.eye(2)
    return A


def _hilbert(k, rng) -> np.ndarray:
    return linalg.hilbert(k)


def _pascal(k, rng) -> np.ndarray:
    return linalg.pascal(k, exact=False)


def _moler(k, rng) -> np.ndarray:
    """U'U with U unit upper triangular and -1 above the diagonal: positive definite with one tiny eigenvalue."""
    U = np.eye(k) - np.triu(np.ones((k, k)), 1)
    return U.T @ U


def _frank(k, rng) -> np.ndarray:
    """Upper Hessenberg with determinant 1 and ill-conditioned small eigenvalues."""
    i, j = np.indices((k, k))
    return np.where(j >= i - 1, k - np.maximum(i, j), 0).astype(float)


def _companion(k, rng) -> np.ndarray:
    """Of a polynomial with roots 1, 2, ... as far as 20 (Wilkinson's), else with random coefficients."""
    coefficients = np.poly(np.arange(1.0, k + 1.0)) if k <= 20 else np.r_[1.0, rng.standard_normal(k)]
    return linalg.companion(coefficients) if k > 1 else np.array([[-coefficients[1]]])


def _prolate(k, rng) -> np.ndarray:
    """Symmetric Toeplitz, eigenvalues in (0, 1) that cluster at both ends (Varah 1993)."""
    j = np.arange(1, k)
    return linalg.toeplitz(np.r_[0.5, np.sin(0.5 * np.pi * j) / (np.pi * j)])


def _golub_klema_stewart(k, rng) -> np.ndarray:
    """Triangular and nearly singular although no diagonal entry is small."""
    A = np.triu(-np.ones((k, k)), 1) / np.sqrt(np.arange(1.0, k + 1.0))
    return A + np.diag(1.0 / np.sqrt(np.arange(1.0, k + 1.0)))


def _kahan(k, rng) -> np.ndarray:
    return matrices.kahan(k).A


def _jordan(k, rng) -> np.ndarray:
    """One Jordan block with eigenvalue 0.01: one singular value of about 0.01^n."""
    return 0.01 * np.eye(k) + np.diag(np.ones(k - 1), 1)


def _spd(values: Callable[[int], np.ndarray]) -> Callable[..., np.ndarray]:
    return lambda k, rng: matrices.spd(k, values(k), rng).A


def _indefinite(k, rng) -> np.ndarray:
    return matrices.symmetric_indefinite(k, spectra.geometric(k, 1e6), rng).A


def _zero_diagonal(k, rng) -> np.ndarray:
    """Symmetric, nothing on the diagonal: elimination without pivots stops at once."""
    G = rng.standard_normal((k, k))
    return (G + G.T) * (1.0 - np.eye(k)) if k > 1 else np.ones((1, 1))


def _banded(k, rng) -> np.ndarray:
    return matrices.banded(k, min(2, k - 1), min(1, k - 1), 0.0, rng).A


@dataclass(frozen=True, slots=True)
class Family:
    """How a matrix is made, and in which kinds it appears.

    `square` ones are made from an order alone. `structure` is a true declaration where A is square, `false` a wrong
    one that is made. `far` says what A is scaled by: "far" by about 1e+-150, "lapack" to the ends of the range.
    """

    make: Callable[..., Any]
    square: bool = False
    structure: str | None = None
    false: str | None = None
    far: str | None = None
    kinds: tuple[str, ...] = KINDS


def _off_by_one_entry(make: Callable[..., np.ndarray], size: float) -> Callable[..., np.ndarray]:
    """One entry below the diagonal is off: of a triangular, diagonal or symmetric matrix that is no longer one."""

    def made(k, rng):
        A = make(k, rng).copy()
        if k > 1:
            A[k - 1, int(rng.integers(k - 1))] += size
        return A

    return made


_LINEAR = ("linear_system",)
_RECTANGULAR = ("least_squares", "low_rank")


def _gaussian(m, n, rng) -> Matrix:
    return Matrix(rng.standard_normal((m, n)))


FAMILIES: dict[str, Family] = {
    # LAPACK's types
    "diagonal": Family(_diagonal, structure="diagonal"),
    "upper triangular": Family(_triangular(lower=False), structure="upper"),
    "lower triangular": Family(_triangular(lower=True), structure="lower"),
    "condition 2": Family(_with(lambda k: spectra.arithmetic(k, 2.0))),
    "condition sqrt(0.1/eps)": Family(_with(lambda k: spectra.geometric(k, math.sqrt(0.1 / EPS["float64"])))),
    "condition 0.1/eps": Family(_with(lambda k: spectra.geometric(k, 0.1 / EPS["float64"]))),
    "one small singular value": Family(_with(lambda k: spectra.one_small(k, 0.1 / EPS["float64"]))),
    "first column zero": Family(_zero_columns("first")),
    "last column zero": Family(_zero_columns("last")),
    "last half of the columns zero": Family(_zero_columns("last half")),
    "near under- or overflow": Family(_gaussian, far="lapack"),
    "ill-conditioned near under- or overflow": Family(_with(lambda k: spectra.geometric(k, 1e8)), far="lapack"),
    **{f"DLATMS mode {mode}": Family(_mode(mode, 1e6)) for mode in (1, 2, 3, 4, 5)},
    **{f"DLATMS mode {mode} reversed": Family(_mode(-mode, 1e6)) for mode in (1, 2, 3, 4, 5)},
    "empty": Family(_empty),
    # growth in Gaussian elimination
    "Wilkinson growth": Family(_wilkinson, square=True),
    "gfpp": Family(_gfpp, square=True),
    "Foster": Family(_foster, square=True),
    "Wright": Family(_wright, square=True),
    # nearly singular by nature
    "Hilbert": Family(_hilbert, square=True, structure="spd"),
    "Kahan": Family(_kahan, square=True, structure="upper"),
    "Golub-Klema-Stewart": Family(_golub_klema_stewart, square=True, structure="upper"),
    "Pascal": Family(_pascal, square=True, structure="symmetric"),
    "Moler": Family(_moler, square=True, structure="symmetric"),
    "Frank": Family(_frank, square=True),
    "companion": Family(_companion, square=True),
    "prolate": Family(_prolate, square=True, structure="symmetric"),
    "Jordan block": Family(_jordan, square=True, structure="upper"),
    "Vandermonde": Family(_vandermonde),
    "Chebyshev-Vandermonde": Family(_chebyshev_vandermonde),
    "Vandermonde on Chebyshev points": Family(_chebyshev_points),
    "Cauchy": Family(_cauchy),
    "Gaussian kernel": Family(_smooth_kernel),
    "Lauchli": Family(_lauchli),
    "near-duplicate columns": Family(_near_duplicates),
    "near rank-deficient, 1e-7": Family(_near_low(1e-7)),
    "near rank-deficient, 1e-12": Family(_near_low(1e-12)),
    "near rank-deficient, 1e-15": Family(_near_low(1e-15)),
    "near rank-deficient, 1e-17": Family(_near_low(1e-17)),
    "steep": Family(_steep),
    # singular
    "duplicate columns": Family(_duplicates),
    "exact low rank": Family(_exactly_low),
    "ones": Family(_ones),
    "constant columns": Family(_constant_columns),
    "zero": Family(_zero),
    # uneven
    "rows graded to 1e30": Family(_graded(rows=30.0)),
    "rows graded to 1e-30": Family(_graded(rows=-30.0)),
    "columns graded to 1e30": Family(_graded(columns=30.0)),
    "columns graded to 1e-30": Family(_graded(columns=-30.0)),
    "rows up, columns down": Family(_graded(rows=15.0, columns=-30.0)),
    "scaled 1e+-150": Family(_gaussian, far="far"),
    "ill-conditioned, scaled 1e+-150": Family(_with(lambda k: spectra.geometric(k, 1e10)), far="far"),
    "one huge row": Family(_huge_row),
    "one huge column": Family(_huge_column),
    "one huge entry": Family(_huge_entry(1e8)),
    "one absurd entry": Family(_huge_entry(1e200)),
    "coherent rows": Family(_with(lambda k: spectra.geometric(k, 1e4), coherent=True)),
    "heavy tails": Family(_heavy_tails),
    # spectra
    "devil's stairs": Family(_with(_stairs)),
    "flat plateau": Family(_with(_plateau)),
    "orthonormal": Family(_with(spectra.flat)),
    "rank one and noise": Family(_rank_one_and_noise),
    "small integers": Family(_integers),
    "offset 1e4": Family(_huge_offset(1e4), kinds=_RECTANGULAR),
    "offset 1e9": Family(_huge_offset(1e9), kinds=_RECTANGULAR),
    # structured
    "positive definite, condition 1e8": Family(
        _spd(lambda k: spectra.geometric(k, 1e8)), square=True, structure="spd", kinds=_LINEAR
    ),
    "positive definite, condition 1e15": Family(
        _spd(lambda k: spectra.geometric(k, 1e15)), square=True, structure="symmetric", kinds=_LINEAR
    ),
    "symmetric indefinite": Family(_indefinite, square=True, structure="symmetric", kinds=_LINEAR),
    "symmetric with zero diagonal": Family(_zero_diagonal, square=True, structure="symmetric", kinds=_LINEAR),
    "banded": Family(_banded, square=True, structure="banded", kinds=_LINEAR),
    # declarations that contradict the matrix
    "declared spd, indefinite": Family(_indefinite, square=True, false="spd", kinds=_LINEAR),
    "declared spd, one entry off": Family(
        _off_by_one_entry(_spd(lambda k: spectra.geometric(k, 10.0)), 1e-3), square=True, false="spd", kinds=_LINEAR
    ),
    "declared symmetric, one entry off": Family(
        _off_by_one_entry(_indefinite, 1e-8), square=True, false="symmetric", kinds=_LINEAR
    ),
    "declared symmetric, general": Family(_gaussian, false="symmetric", kinds=_LINEAR),
    "declared upper, one entry off": Family(
        _off_by_one_entry(lambda k, rng: _triangular(lower=False)(k, k, rng).A, 1e-2),
        square=True, false="upper", kinds=_LINEAR,
    ),
    "declared lower, general": Family(_gaussian, false="lower", kinds=_LINEAR),
    "declared triangular, general": Family(_gaussian, false="triangular", kinds=_LINEAR),
    "declared diagonal, one entry off": Family(
        _off_by_one_entry(lambda k, rng: _diagonal(k, k, rng).A, 1e-3), square=True, false="diagonal", kinds=_LINEAR
    ),
    "declared banded, general": Family(_gaussian, false="banded", kinds=_LINEAR),
}  # fmt: skip


def families(kind: str) -> list[str]:
    """Names of those that appear in a kind."""
    return [name for name, family in FAMILIES.items() if kind in family.kinds]


# --- right-hand sides


RHS = ("rough", "smooth", "inconsistent", "orthogonal", "huge x", "heavy tails", "one entry", "zero", "zero column")
_RHS_ODDS = (0.2, 0.25, 0.17, 0.1, 0.1, 0.04, 0.05, 0.03, 0.06)


def _right_hand_side(A: np.ndarray, rank: int | None, how: str, columns: int | None, rng) -> np.ndarray:
    """b : (m,) or (m, columns) of moderate size."""
    m, n = A.shape
    shape = () if columns is None else (columns,)
    noise = rng.standard_normal((m, *shape))
    if 0 in (m, n) or not A.any() or how == "rough":
        return noise
    if how == "zero":
        return np.zeros((m, *shape))
    if how == "one entry":
        b = np.zeros((m, *shape))
        b[rng.integers(m)] = 1.0
        return b
    if how == "heavy tails":
        return rng.standard_cauchy((m, *shape))
    # columns of one size: the range is the same, and its basis safe
    exponents = np.frexp(np.abs(A).max(axis=0))[1]
    even = np.ldexp(A, -np.where(A.any(axis=0), exponents, 0))
    if how in ("orthogonal", "huge x"):
        U, s, _ = linalg.svd(even)
        r = int(np.count_nonzero(s > 4.0 * np.sqrt(min(m, n)) * UNIT * s[0])) if rank is None else rank
        if how == "huge x":
            return U[:, r - 1] if columns is None else np.outer(U[:, r - 1], rng.standard_normal(columns))
        if r == m:
            return noise
        return U[:, r:] @ rng.standard_normal((m - r, *shape))
    smooth = np.ldexp(A, -np.frexp(np.abs(A).max())[1]) @ rng.standard_normal((n, *shape))
    size = np.linalg.norm(smooth)
    b = smooth / size if size > 0.0 else smooth
    if how == "inconsistent":
        b = b + 0.5 * noise / np.linalg.norm(noise)
    if how == "zero column" and columns is not None:
        b[:, 0] = 0.0
    return b


# --- cases


def _shape(kind: str, square: bool, rng) -> tuple[int, int]:
    n = int(rng.choice(SIZES))
    if kind == "linear_system":
        return n, n
    m = int(rng.choice(SIZES))
    draw = rng.random()
    if draw < 0.15 and not square:
        return int(rng.choice(TALL)), int(rng.choice(SIZES[:5]))
    if draw < 0.3:
        return n, n
    return (max(m, n), min(m, n)) if draw < 0.75 else (min(m, n), max(m, n))


@_one_thread
def case(kind: str, index: int, seed: int = SEED) -> Case:
    """Number `index` of a kind; every family once in each round of len(families(kind))."""
    names = families(kind)
    name, round_ = names[index % len(names)], index // len(names)
    family = FAMILIES[name]
    rng = np.random.default_rng([seed, KINDS.index(kind), index])
    m, n = _shape(kind, family.square, rng)
    recipe: dict[str, Any] = {}
    if family.square:
        k = max(m, n)
        matrix = Matrix(np.ascontiguousarray(family.make(k, rng)[:m, :n]))
    else:
        matrix = family.make(m, n, rng)
    A, rank = matrix.A, matrix.rank
    if kind == "linear_system" and A.shape[0] != A.shape[1]:
        A = np.zeros((0, 0))
    m, n = A.shape
    if rank is not None and rank >= min(m, n):
        rank = None
    # float32, unless that loses an entry
    dtype = "float64"
    with np.errstate(all="ignore"):
        single = A.astype(np.float32)
    exact = (single == A).all()
    if rng.random() < 0.25 and np.isfinite(single).all() and not (A[single == 0.0]).any():
        dtype, A = "float32", single.astype(np.float64)
        if not exact and name == "exact low rank":  # rounding of its entries makes the rank full
            rank = None

    b, ridge = None, 0.0
    if kind != "low_rank":
        how = str(rng.choice(RHS, p=_RHS_ODDS))
        columns = RIGHT_HAND_SIDES[int(rng.integers(len(RIGHT_HAND_SIDES)))]
        recipe["b"] = how
        b = _right_hand_side(A, rank, how, columns, rng)
    if kind == "least_squares" and A.any() and rng.random() < 0.25:
        recipe["weight"] = float(10.0 ** rng.uniform(-7.0, 0.0))
        exponent = int(np.frexp(np.abs(A).max())[1])
        square = (recipe["weight"] * float(np.linalg.norm(np.ldexp(A, -exponent), 2))) ** 2
        if abs(2 * exponent) < 900:
            ridge, rank = math.ldexp(square, 2 * exponent), None
    if family.far is not None:
        most = (FAR if family.far == "far" else LAPACK_FAR)[dtype]
        e = int(rng.choice([-1, 1])) * most
        recipe["exponent"] = e
        A = np.ldexp(A, e)
        ridge = math.ldexp(ridge, 2 * e) if ridge and abs(2 * e + math.log2(ridge)) < 1000 else 0.0
        if b is not None and rng.random() < 0.6:
            b = np.ldexp(b, e)
            recipe["b is scaled too"] = True
    if dtype == "float32":
        A, b = A.astype(np.float32), None if b is None else b.astype(np.float32)

    asked, center, assume = None, False, None
    if kind == "low_rank" and min(m, n) > 0:
        choices = (1, 1 + min(m, n) // 4, 1 + min(m, n) // 2, max(1, min(m, n) - 1), min(m, n))
        asked = int(rng.choice(choices)) if rng.random() < 0.45 else None
        center = bool(rng.random() < (0.6 if "offset" in name or "constant" in name else 0.2))
    if kind == "linear_system":
        assume = family.false or (family.structure if rng.random() < 0.4 else None)
    accuracies = ACCURACIES[dtype]
    accuracy = accuracies[int(rng.integers(len(accuracies)))]
    on_infeasible = "best_effort" if rng.random() < 0.08 else "raise"
    if rng.random() < 0.2:
        recipe["order"], A = "F", np.asfortranarray(A)
    return Case(
        kind, index, name, A, b, BACKENDS[(index % len(names) + round_) % len(BACKENDS)],
        WAYS[(index // 2 + round_) % len(WAYS)], nla.Budget(accuracy=accuracy, on_infeasible=on_infeasible),
        ridge, assume, asked, center, rank, recipe,
    )  # fmt: skip


def cases(kind: str, rounds: int, start: int = 0) -> Iterator[Case]:
    """Every family `rounds` times."""
    count = len(families(kind))
    for index in range(start * count, (start + rounds) * count):
        yield case(kind, index)


def stated(found: Case) -> tuple[nla.Problem, list[Any]]:
    """The problem, in the case's library, and its operands."""
    A, b = found.A.copy(order="K"), None if found.b is None else found.b.copy()
    if found.backend == "torch":
        import torch

        A, b = torch.from_numpy(A), None if b is None else torch.from_numpy(b)
    operands = [A] if b is None else [A, b]
    if found.kind == "linear_system":
        return nla.LinearSystem(A, b, assume=found.assume), operands
    if found.kind == "least_squares":
        return nla.LeastSquares(A, b, ridge=found.ridge), operands
    return nla.LowRank(A, rank=found.asked, center=found.center), operands


def solve(found: Case, problem: nla.Problem) -> nla.Solution:
    """The case's own way."""
    if found.way == "solve":
        return nla.solve(problem, found.budget, rng=found.index)
    if found.way == "planned" or 0 in found.A.shape:  # a profile that is passed leaves the fast path out
        return nla.solve(problem, found.budget, rng=found.index, profile=synthetic_profile())
    plan = nla.plan(problem, found.budget, rng=found.index, profile=synthetic_profile())
    priced = [c.label for c in plan.candidates if c.forecast is not None]
    return plan.run(candidate=priced[int(np.random.default_rng(found.index).integers(len(priced)))])


# --- the judge


@dataclass(slots=True)
class Verdict:
    """What became of a case.

    Attributes
    ----------
    described : str
    kind, family, way : str
        Of the case.
    outcome : str
        "certified", "best_effort", the name of an error of autonla's, or "raised ..." for any other.
    bound, target : float
        Of the certificate; nan where there is none.
    error : Measured or None
        The true one, of an answer that is called certified; None where it cannot be had.
    effectivity : float
        Bound over error, the error at least `rounding_floor`; nan where the answer is not certified.
    faults : list of str
        A false certificate, an input that was changed, a ratio of LAPACK's that was missed, another exception.
    good : bool
        Certified, or refused although LAPACK's answer is good. Answers of a drawn candidate do not count.
    rejected : bool
        The latter.
    seconds : float
        Of solving.
    """

    described: str
    kind: str
    family: str
    way: str
    outcome: str = ""
    method: str = ""
    bound: float = math.nan
    target: float = math.nan
    error: Measured | None = None
    effectivity: float = math.nan
    faults: list[str] = field(default_factory=list)
    good: bool = False
    rejected: bool = False
    seconds: float = 0.0

    def __str__(self) -> str:
        error = "unknown" if self.error is None else f"{float(self.error):.3e} +- {self.error.uncertainty:.0e}"
        lines = [
            self.described,
            f"    {self.outcome}: bound {self.bound:.3e}, error {error}, {self.seconds:.2f} s; {self.method}",
        ]
        return "\n".join(lines + [f"    FAULT: {fault}" for fault in self.faults])


def judge(found: Case) -> Verdict:
    """Solve a case and hold the answer against the truth."""
    verdict = Verdict(str(found), found.kind, found.family, found.way)
    problem, operands = stated(found)
    before = [_bytes(a) for a in operands]
    started = time.perf_counter()
    solution = None
    try:
        solution = solve(found, problem)
        verdict.outcome = solution.status
    except nla.AutonlaError as error:
        verdict.outcome, verdict.method = type(error).__name__, f"{error}"[:400]
    except Exception as error:
        verdict.outcome = f"raised {type(error).__name__}"
        verdict.faults.append("".join(traceback.format_exception(error)[-4:]))
    verdict.seconds = time.perf_counter() - started
    for name, a, was in zip("Ab", operands, before, strict=False):
        if _bytes(a) != was:
            verdict.faults.append(f"{name} was changed")
    if solution is not None:
        verdict.method, verdict.bound = solution.certificate.method, solution.certificate.bound
    verdict.target = math.nan if found.budget.accuracy is None else found.budget.accuracy
    if solution is not None and solution.status == "certified":
        verdict.good = found.way != "candidate"
        _judge_certified(verdict, found, solution)
    elif found.way != "candidate" and verdict.outcome in ("best_effort", "CertificationFailed", "InfeasibleBudget"):
        verdict.rejected = verdict.good = _lapack_is_good(found)
    return verdict


def _bytes(a: Any) -> bytes:
    return (a if isinstance(a, np.ndarray) else a.numpy()).tobytes(order="A")


def _host(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_host(part) for part in value)
    return value if isinstance(value, np.ndarray) else value.numpy()


def _parts(value: Any) -> tuple[np.ndarray, ...]:
    return value if isinstance(value, tuple) else (value,)


@_one_thread
def _judge_certified(verdict: Verdict, found: Case, solution: nla.Solution) -> None:
    value, certificate = _host(solution.value), solution.certificate
    if not (certificate.satisfied and certificate.bound < math.inf):
        verdict.faults.append("called certified by a certificate that is not satisfied")
    if certificate.target is not None and certificate.bound > certificate.target:
        verdict.faults.append(f"the bound is above the {certificate.target:.1e} asked for")
    form = _wrong_form(found, value)
    if form:
        verdict.faults.append(form)
        return
    exact = "exact up to rounding" in certificate.method
    verdict.error = error = true_error(found, value, certificate.numerical_rank, exact)
    if error is None:
        return
    if error.low > _allowed(found, certificate.bound):
        times = error.low / certificate.bound if certificate.bound else math.inf
        verdict.faults.append(f"the true error is {times:.9g} times the bound, at least")
    if certificate.target is not None and error.low > _allowed(found, certificate.target):
        verdict.faults.append(f"the true error is {error.low / certificate.target:.9g} times what was asked for")
    verdict.effectivity = certificate.bound / max(float(error), rounding_floor(found, exact))
    if found.budget.accuracy is None and found.way != "candidate":
        ours, lapack = ratios(found, value), None
        for name, ratio in ours.items():
            if not ratio < _BARS.get(name, bars.BAR):
                lapack = lapack_ratios(found) if lapack is None else lapack
                if lapack[name] < _BARS.get(name, bars.BAR):
                    verdict.faults.append(f"{MISSED}{name} is {ratio:.3g}, by LAPACK {lapack[name]:.3g}")


def _allowed(found: Case, bound: float) -> float:
    """A bound with what rounding may hide of an error.

    A bound is itself computed, from norms in the dtype of the problem: relative to it, a few of their units. And
    certificates count with roundings that behave like a random walk. Sums of one number again and again, or of one
    large number and many small ones of one sign, round in one direction: by a quarter of the length of the sum, at
    worst, in units of float64's u (`rounding_of_sum` in planner/certify/products.py).
    """
    relative = 1.0 + ALLOWANCE * bars.unit_roundoff(found.A.dtype)
    return relative * bound + 0.25 * max(found.A.shape) * UNIT


def _wrong_form(found: Case, value: Any) -> str:
    """What the error alone does not see."""
    m, n = found.A.shape
    parts = _parts(value)
    if any(part.dtype != found.A.dtype for part in parts):
        return f"the answer is {parts[0].dtype}"
    if found.kind != "low_rank":
        assert found.b is not None
        expected = (n, *found.b.shape[1:])
        if value.shape != expected:
            return f"x has shape {value.shape}, not {expected}"
        return _not_of_minimum_norm(found, value)
    U, s, Vh = value
    if (U.shape, Vh.shape) != ((m, len(s)), (len(s), n)):
        return f"factors of shapes {U.shape}, {s.shape}, {Vh.shape}"
    if found.asked is not None and len(s) != found.asked:
        return f"rank {len(s)} instead of {found.asked}"
    if (s < 0).any() or (np.diff(s) > 0).any():
        return "singular values negative or not in descending order"
    loss = max((np.linalg.norm(Q.T.astype(float) @ Q - np.eye(len(s))) for Q in (U, Vh.T)), default=0.0)
    if loss > 1e3 * EPS[found.A.dtype.name] * max(m, n):
        return f"singular vectors orthonormal only to {loss:.1e}"
    return ""


def _not_of_minimum_norm(found: Case, x: np.ndarray) -> str:
    """A sentence where x is not the smallest solution; "" too where the rank of A is not certain."""
    if found.kind != "least_squares" or found.ridge or 0 in found.A.shape:
        return ""
    try:
        excess = truth.minimum_norm_excess(found.A, x, found.rank)
    except (ArithmeticError, ValueError):
        return ""
    s = linalg.svdvals(np.ldexp(found.A.astype(float), -truth.exponent_of(found.A)))[: found.rank]
    spread = 0.0 if len(s) == 0 else s[0] / s[-1] if s[-1] > 0.0 else math.inf
    allowed = MINIMUM_NORM + 10.0 * bars.unit_roundoff(found.A.dtype) * spread
    return f"{excess:.1e} of x is outside the row space of A" if excess.low > allowed else ""


# --- the truth


def rounding_floor(found: Case, exact: bool = False) -> float:
    """The size of errors that cannot be told from rounding: effectivity takes no error to be smaller.

    2 sqrt(p) u relative to the operands, p = max(m, n) the length of the sums that an error is read off and u the unit
    roundoff of the dtype of the problem, in which the answer is stored. What is measured relative to something smaller,
    the centred matrix or the best error of a rank, has a larger one; the quotient of two errors has one of 1e-14.
    """
    floor = 2.0 * math.sqrt(max(1, *found.A.shape)) * bars.unit_roundoff(found.A.dtype)
    if found.kind != "low_rank" or not (found.center or found.asked):
        return floor
    A = np.ldexp(found.A.astype(float), -truth.exponent_of(found.A))
    s = linalg.svdvals(A - A.mean(axis=0) if found.center else A)
    least = float(np.linalg.norm(s if found.asked is None or exact else s[found.asked :]))
    return max(1e-14, floor * float(np.linalg.norm(A)) / least) if least else math.inf


def true_error(found: Case, value: Any, numerical_rank: int | None = None, exact: bool = False) -> Measured | None:
    """The error in the metric of the kind; None where it cannot be had.

    Parameters
    ----------
    numerical_rank : int or None
        LeastSquares: the rank that the certificate speaks of, None for full rank.
    exact : bool
        LowRank with a rank asked for: the certificate says that the answer is exact up to rounding, which is an error
        relative to A.
    """
    A = found.A.astype(np.float64)
    if 0 in A.shape or (found.b is not None and 0 in found.b.shape):
        return Measured(0.0)
    if not all(np.isfinite(part).all() for part in _parts(value)):
        return Measured(math.inf)
    with np.errstate(all="ignore"):
        if found.kind == "linear_system":
            return truth.backward_error(A, value, found.b)
        if found.kind == "least_squares":
            return _prediction_error(found, A, value, numerical_rank)
        return _approximation_error(found, A, value, exact)


def _prediction_error(found: Case, A: np.ndarray, x: np.ndarray, numerical_rank: int | None) -> Measured | None:
    if found.rank == 0 and not x.any():
        return Measured(0.0)
    if numerical_rank is None or found.ridge or found.rank is not None:
        try:
            return truth.prediction_error(A, x, found.b, found.ridge, found.rank)
        except (ArithmeticError, ValueError):  # ValueError: refinement diverged past the largest number
            if found.ridge or found.rank is not None:
                return None
    # The certificate speaks of the directions of the largest singular values, as many as its numerical rank, or of all
    # of A's where it has full rank.
    x, b = np.asarray(x, dtype=float).reshape(A.shape[1], -1), np.asarray(found.b, dtype=float).reshape(len(A), -1)
    r, e = truth.residual(A, x, b)
    most = min(A.shape)
    k = most if numerical_rank is None else numerical_rank
    if k == len(A):
        fitted, off = r, 0.0
    elif k == most:
        largest = np.frexp(np.abs(A).max(axis=0))[1]
        fitted, off = orthonormal_basis(np.ldexp(A, -largest)).T @ r, 1e-12
    else:
        scaled = np.ldexp(A, -truth.exponent_of(A))
        s = linalg.svdvals(scaled)
        if s[k] > 64.0 * math.sqrt(max(A.shape)) * UNIT * s[0]:
            return Measured(math.inf)  # what it leaves out is not negligible
        fitted, off = _on_dominant_directions(scaled, k, r)
    worst = Measured(0.0)
    for j, size in enumerate(np.linalg.norm(np.ldexp(b, -e), axis=0)):
        error = fitted[:, j].norm()
        if error > 0.0:
            worst = max(worst, Measured(error / size, off * error / size) if size else Measured(math.inf))
    return worst if off < 0.1 else None


def _on_dominant_directions(A: np.ndarray, k: int, r: DoubleDouble) -> tuple[DoubleDouble, float]:
    """U'r, U the k leading left singular vectors of A, and by how much its columns may be off, relative.

    Float64 knows U only to its rounding over the gap that follows. Orthogonal iteration in double-double, from there,
    takes the square of the quotient of the two singular values off the error in each step.
    """
    matrix = DoubleDouble.of(A)
    Vh = linalg.svd(A, full_matrices=False)[2]
    V, last = DoubleDouble.of(Vh[:k].T), math.inf
    fitted = r
    for step in range(40):
        U = orthonormal_basis(matrix @ V)
        fitted = U.T @ r
        sizes = np.array([fitted[:, j].norm() for j in range(r.shape[1])])
        change = float(np.max(np.abs(sizes - last) / np.maximum(sizes, 1e-300)))
        if step and change < 1e-3:
            return fitted, 20.0 * change
        last = sizes
        V = orthonormal_basis(matrix.T @ U)
    return fitted, math.inf


def centred(A: np.ndarray) -> DoubleDouble:
    """m times (A without its column means) : (m, n), exact to double-double. Times m: nothing has to be divided."""
    return DoubleDouble.of(A) * float(len(A)) - DoubleDouble.of(A).sum()


def _approximation_error(found: Case, A: np.ndarray, factors: Any, exact: bool) -> Measured | None:
    """As `truth.low_rank_error` and `low_rank_excess`, for a matrix with centred columns too."""
    U, s, Vh = (np.asarray(part, dtype=float) for part in factors)
    exponent = truth.exponent_of(A)
    A, s = np.ldexp(A, -exponent), DoubleDouble.of(np.ldexp(s, -exponent))
    matrix = DoubleDouble.of(A)
    if found.center:
        matrix, s = centred(A), s * float(len(A))
    norm = matrix.norm()
    residual = (matrix - (DoubleDouble.of(U) * s) @ Vh).norm()
    if norm == 0.0:
        return Measured(0.0 if residual == 0.0 else math.inf)
    error = residual / norm
    if found.asked is None or exact:
        return Measured(error, truth.RELATIVE * error)
    if found.asked >= min(len(A) - found.center, A.shape[1]):  # nothing is left, by that rank
        return Measured(0.0 if residual == 0.0 else math.inf)
    if not found.center:
        return truth.low_rank_excess(A, U, s.hi, Vh, found.asked)
    # The singular values of the centred matrix rounded to float64, which moves them by its rounding.
    best = truth.best_rank_error(matrix.hi, found.asked)
    if not best > 0.0:
        return None
    excess = error / best - 1.0
    off = (1.0 + excess) * (best.uncertainty + 2.0 * UNIT) / best
    return Measured(excess, off) if off <= 0.1 * max(excess, 1e-4) else None


# --- LAPACK


_BARS = {"factors": bars.SVD_BAR, "orthogonality": bars.SVD_BAR}


def ratios(found: Case, value: Any) -> dict[str, float]:
    """LAPACK's test ratios of an answer."""
    A = found.A
    if 0 in A.shape:
        return {}
    u = bars.unit_roundoff(A.dtype)
    with np.errstate(all="ignore"):
        if found.kind == "linear_system":
            return {"backward error": bars.linear_solve_ratio(A, value, found.b, u)}
        if found.kind == "least_squares":
            # LAPACK measures the residual where it is rounding, else its product with A'.
            A, b = _augmented(found)
            result = {"residual": min(bars.lstsq_ratio(A, value, b, u), bars.lstsq_residual_ratio(A, value, b, u))}
            if not found.ridge:
                result["row space"] = bars.minimum_norm_ratio(A, value, u)
            return result
        U, s, Vh = value
        result = {"orthogonality": max(bars.orthogonality_ratio(U, u), bars.orthogonality_ratio(Vh.T, u))}
        if not found.center:
            true = linalg.svdvals(np.ldexp(A.astype(float), -truth.exponent_of(A)))
            scaled = np.zeros_like(true)
            scaled[: len(s)] = np.ldexp(s.astype(float), -truth.exponent_of(A))
            if found.asked is None:
                result["factors"] = bars.svd_ratio(A, U, s, Vh, u)
            else:
                true[len(s) :] = 0.0
            result["singular values"] = bars.singular_value_ratio(scaled, true, A.shape, u)
        return result


def lapack(found: Case) -> Any:
    """What a plain call makes of the case, in the dtype of the case; None where it raises."""
    A, b = found.A, found.b
    try:
        # scipy: numpy computes in float64 what is stored in float32
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", linalg.LinAlgWarning)
            if found.kind == "linear_system":
                return linalg.solve(A, b, assume_a="gen")
            if found.kind == "least_squares":
                A, b = _augmented(found)
                rcond = np.finfo(A.dtype).eps * max(A.shape)  # numpy's, whose call it is that people make
                return linalg.lstsq(A, b, cond=rcond)[0]
            U, s, Vh = linalg.svd(A - A.mean(axis=0) if found.center else A, full_matrices=False)
            return U[:, : found.asked], s[: found.asked], Vh[: found.asked]
    except (np.linalg.LinAlgError, ValueError):  # ValueError: it overflows on the way
        return None


def lapack_ratios(found: Case) -> dict[str, float]:
    """Of LAPACK's answer; infinite where there is none."""
    value = lapack(found)
    return dict.fromkeys(_ALL_RATIOS, math.inf) if value is None else ratios(found, value)


_ALL_RATIOS = ("backward error", "residual", "row space", "orthogonality", "factors", "singular values")


@_one_thread
def _lapack_is_good(found: Case) -> bool:
    """Whether a plain call answers a refused case well: without an accuracy, all ratios are below their bars."""
    value = lapack(found)
    if value is None:
        return False
    target = found.budget.accuracy
    if target is None:
        within = all(ratio < _BARS.get(name, bars.BAR) for name, ratio in ratios(found, value).items())
        if found.kind != "low_rank" or not within:
            return within
        target = 1e-6 if found.A.dtype == np.float64 else 1e-3
    error = true_error(found, value)
    return error is not None and max(error.high, rounding_floor(found)) <= WELL_BELOW * target


def _augmented(found: Case) -> tuple[np.ndarray, Any]:
    A, b = found.A, found.b
    assert b is not None
    if found.ridge:
        n = A.shape[1]
        A = np.vstack([A, (math.sqrt(found.ridge) * np.eye(n)).astype(A.dtype)])
        b = np.concatenate([b, np.zeros((n, *b.shape[1:]), dtype=b.dtype)])
    return A, b


# --- the report


def table(verdicts: Iterable[Verdict]) -> str:
    """Outcomes by family, and how sharp the bounds were."""
    verdicts = list(verdicts)
    outcomes = sorted({v.outcome for v in verdicts}, key=lambda o: (o != "certified", o != "best_effort", o))
    lines = [f"{'family':42}" + "".join(f"{o:>22}" for o in outcomes)]
    for family in dict.fromkeys(v.family for v in verdicts):
        counts = [sum(v.family == family and v.outcome == o for v in verdicts) for o in outcomes]
        lines.append(f"{family:42}" + "".join(f"{c or '':>22}" for c in counts))
    lines.append(f"{'all':42}" + "".join(f"{sum(v.outcome == o for v in verdicts):>22}" for o in outcomes))
    return "\n".join([*lines, summary(verdicts)])


def summary(verdicts: Iterable[Verdict]) -> str:
    verdicts = list(verdicts)
    sharp = effectivities(verdicts)
    good = sum(v.good for v in verdicts)
    rejected = sum(v.rejected for v in verdicts)
    unknown = sum(v.outcome == "certified" and v.error is None for v in verdicts)
    quotients = ", ".join(f"{np.quantile(sharp, q):.3g} ({name})" for name, q in _QUANTILES.items()) if sharp else "-"
    return (
        f"{len(verdicts)} solves, {sum(v.outcome == 'certified' for v in verdicts)} certified ({unknown} of them with"
        f" an unknown error), {sum(bool(v.faults) for v in verdicts)} with faults; {rejected} of {good} good answers"
        f" rejected; bound / error: {quotients}; {sum(v.seconds for v in verdicts):.0f} s, the slowest"
        f" {max(v.seconds for v in verdicts):.2f} s"
    )


_QUANTILES = {"median": 0.5, "95 %": 0.95, "largest": 1.0}


def effectivities(verdicts: Iterable[Verdict]) -> list[float]:
    """Bound over error of certified answers."""
    return [v.effectivity for v in verdicts if not math.isnan(v.effectivity)]
