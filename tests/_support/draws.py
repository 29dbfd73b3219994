"""Reproducible streams of random problems: every family of ``matrices``, every size, condition and accuracy.

``random_problems(kind, count, seed)`` cycles through the families of a kind, so that a short stream has them
all, and draws the rest at random. ``draw(kind, index, seed)`` returns one of them again, without the others.
Most are small (120 in one dimension, 1500 in the other), so that the truth about them is cheap; LARGE_SHARE of
them are large enough (240 and 8000; 480 for square systems; 60000 by 30) to be planned in earnest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from . import matrices, spectra
from .matrices import LeastSquaresProblem, LinearSystemProblem, LowRankProblem, Matrix

KINDS = ("linear_system", "least_squares", "low_rank")
LARGE_SHARE = 0.3
SCALE = 499  # 2^499 is about 1.6e150


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """One problem of a stream, and what a failing test should print of it."""

    kind: str
    index: int
    seed: int
    family: str
    parameters: dict
    problem: Any  # LinearSystemProblem, LeastSquaresProblem or LowRankProblem, by kind
    accuracy: float

    def __str__(self) -> str:
        m, n = self.problem.A.shape
        words = " ".join(f"{k}={_short(v)}" for k, v in self.parameters.items() if v not in (None, 0, False))
        return (
            f"draw({self.kind!r}, {self.index}, {self.seed}): {self.family} {m}x{n}, "
            f"accuracy {self.accuracy:.1e}, {words}"
        )


def random_problems(kind: str, count: int, seed: int) -> Iterator[Draw]:
    for index in range(count):
        yield draw(kind, index, seed)


@threadpool_limits.wrap(limits=1, user_api="blas")
def draw(kind: str, index: int, seed: int) -> Draw:
    rng = np.random.default_rng([seed, KINDS.index(kind), index])
    families = {"linear_system": LINEAR, "least_squares": LEAST_SQUARES, "low_rank": LOW_RANK}[kind]
    name = list(families)[index % len(families)]
    parameters: dict = {"large": bool(rng.random() < LARGE_SHARE)}
    problem = families[name](rng, parameters)
    accuracy = 10.0 ** rng.uniform(-13.0, -2.0)
    if isinstance(problem, LeastSquaresProblem) and not problem.rank_is_exact:
        # Solutions of a rank known up to rounding differ in about the eleventh digit.
        accuracy = max(accuracy, 1e-9)
    return Draw(kind, index, seed, name, parameters, problem, accuracy)


def _short(value) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def _size(rng, parameters, low, high, large=(60, 240)) -> int:
    """Log-uniform or uniform, as often the one as the other."""
    if parameters["large"]:
        low, high = large
    if rng.random() < 0.5:
        return int(rng.integers(low, high + 1))
    return int(np.exp(rng.uniform(np.log(low), np.log(high + 1))))


def _shape(rng, parameters) -> tuple[int, int]:
    kind = rng.choice(["tall", "very tall", "square", "wide"], p=[0.4, 0.25, 0.15, 0.2])
    n = _size(rng, parameters, 2, 120)
    if kind == "square":
        return n, n
    most = 8000 if parameters["large"] else 1500
    m = min(most, int(n * rng.uniform(1.1, 5.0) if kind != "very tall" else n * rng.uniform(5.0, 60.0)) + 1)
    return (n, m) if kind == "wide" else (m, n)


def _condition(rng, parameters, most=14.0) -> float:
    parameters["cond"] = float(10.0 ** rng.uniform(0.0, most))
    return parameters["cond"]


def _spectrum(n, cond, rng, parameters) -> np.ndarray:
    """A random shape of spectrum between 1 and 1/cond."""
    shapes = {
        "flat": lambda: spectra.flat(n),
        "geometric": lambda: spectra.geometric(n, cond),
        "arithmetic": lambda: spectra.arithmetic(n, cond),
        "one small": lambda: spectra.one_small(n, cond),
        "one large": lambda: spectra.one_large(n, cond),
        "clustered": lambda: spectra.clustered(n, cond),
        "log-uniform": lambda: spectra.log_uniform(n, cond, rng),
        "polynomial": lambda: spectra.polynomial(n, np.log(cond) / np.log(max(n, 2))),
        "step": lambda: spectra.step(n, int(rng.integers(1, n + 1)), 1.0 / cond),
    }
    parameters["spectrum"] = str(rng.choice(list(shapes)))
    return shapes[parameters["spectrum"]]()


def _with_spectrum(rng, parameters, most=14.0, coherent=None) -> Matrix:
    m, n = _shape(rng, parameters)
    s = _spectrum(min(m, n), _condition(rng, parameters, most), rng, parameters)
    parameters["coherent"] = bool(rng.random() < 0.25) if coherent is None else coherent
    return matrices.with_spectrum(m, n, s, rng, parameters["coherent"])


def _power(rng, parameters, name, most) -> float:
    """A signed exponent of ten for grading."""
    parameters[name] = float(rng.choice([-1.0, 1.0]) * rng.uniform(2.0, most))
    return parameters[name]


# Least squares.


def _least_squares(make, ridge_allowed=True):
    """Turn a maker of matrices into a maker of problems: right-hand side, ridge, scale."""

    def build(rng, parameters) -> LeastSquaresProblem:
        matrix = make(rng, parameters)
        rho = float(rng.choice([0.0, 1e-10, 1e-5, 1e-2, 0.5, 0.99]))
        rough = bool(rng.random() < 0.3)
        columns = int(rng.integers(2, 5)) if rng.random() < 0.15 else None
        parameters.update(residual=rho, rough=rough, columns=columns, rank=matrix.rank)
        problem = matrices.least_squares(matrix, rho, rng, rough=rough, columns=columns)
        if rng.random() < 0.3:
            exponent = int(rng.choice([-SCALE, SCALE]))
            b_exponent = int(rng.choice([0, exponent]))
            parameters.update(scale_A=exponent, scale_b=b_exponent)
            problem = replace(problem, A=np.ldexp(problem.A, exponent), b=np.ldexp(problem.b, b_exponent))
        if ridge_allowed and rng.random() < 0.25:
            tau = float(10.0 ** rng.uniform(-6.0, -0.5))
            exponent = int(np.frexp(np.abs(problem.A).max())[1])
            ridge = (tau * np.linalg.norm(np.ldexp(problem.A, -exponent), 2)) ** 2
            # The square of 1e+-150 leaves little room before float64 ends.
            if abs(2 * exponent + np.log2(ridge)) < 1000:
                parameters["ridge"] = tau
                problem = replace(problem, ridge=float(np.ldexp(ridge, 2 * exponent)), rank=None)
        return problem

    return build


def _graded_columns(rng, parameters) -> Matrix:
    base = _with_spectrum(rng, parameters, most=4.0)
    return Matrix(matrices.graded(base.A, columns=_power(rng, parameters, "columns_graded", 10.0)))


def _graded_rows(rng, parameters) -> Matrix:
    base = _with_spectrum(rng, parameters, most=2.0)
    return Matrix(matrices.graded(base.A, rows=_power(rng, parameters, "rows_graded", 10.0)))


def _heavy_row(rng, parameters) -> Matrix:
    base = _with_spectrum(rng, parameters, most=6.0)
    parameters["factor"] = float(10.0 ** rng.uniform(2.0, 8.0))
    return Matrix(matrices.heavy_row(base.A, parameters["factor"], rng))


def _identity_block(rng, parameters) -> Matrix:
    n = _size(rng, parameters, 2, 120)
    parameters["small"] = float(10.0 ** rng.uniform(-6.0, 0.0))
    m = min(8000 if parameters["large"] else 1500, int(n * rng.uniform(2.0, 30.0)))
    return Matrix(matrices.identity_block(m, n, parameters["small"], rng))


def _exact_rank(rng, parameters) -> Matrix:
    m, n = _shape(rng, parameters)
    return matrices.exact_rank(m, n, int(rng.integers(1, min(m, n, 128) + 1)), rng, _condition(rng, parameters, 4.0))


def _repeated_columns(rng, parameters) -> Matrix:
    r = _size(rng, parameters, 2, 60, large=(40, 120))
    m = int(rng.integers(r + 1, 12 * r))
    base = matrices.with_spectrum(m, r, _spectrum(r, _condition(rng, parameters, 6.0), rng, parameters), rng)
    extra = int(rng.integers(1, r + 1))
    return matrices.repeated_columns(base, r + extra, rng, zeros=int(rng.integers(0, extra)))


def _dummy_variables(rng, parameters) -> Matrix:
    groups = tuple(int(g) for g in rng.integers(2, 16, 2))
    return matrices.dummy_variables(int(rng.integers(40, 600)) * (100 if parameters["large"] else 1), groups, rng)


def _numerical_rank(rng, parameters) -> Matrix:
    m, n = _shape(rng, parameters)
    r = int(rng.integers(1, min(m, n) + 1))
    s = np.zeros(min(m, n))
    s[:r] = spectra.geometric(r, _condition(rng, parameters, 3.0))
    return matrices.with_spectrum(m, n, s, rng)


def _vandermonde(rng, parameters) -> Matrix:
    n = int(rng.integers(3, 26))
    return matrices.vandermonde(int(rng.integers(2 * n, 20 * n)) * (15 if parameters["large"] else 1), n)


LEAST_SQUARES = {
    "spectrum": _least_squares(_with_spectrum),
    "exact rank": _least_squares(_exact_rank),
    "coherent": _least_squares(lambda rng, parameters: _with_spectrum(rng, parameters, coherent=True)),
    "graded columns": _least_squares(_graded_columns),
    "repeated columns": _least_squares(_repeated_columns),
    "graded rows": _least_squares(_graded_rows),
    "heavy row": _least_squares(_heavy_row),
    "identity block": _least_squares(_identity_block),
    "numerical rank": _least_squares(_numerical_rank, ridge_allowed=False),
    "vandermonde": _least_squares(_vandermonde),
    "dummy variables": _least_squares(_dummy_variables),
}


# Linear systems.


def _linear_system(make):
    """Turn a maker of square matrices into a maker of problems: right-hand side, scale, what is declared."""

    def build(rng, parameters) -> LinearSystemProblem:
        matrix = make(rng, parameters)
        n = matrix.A.shape[0]
        columns = int(rng.integers(2, 5)) if rng.random() < 0.15 else None
        b = rng.standard_normal(n if columns is None else (n, columns))
        parameters.update(columns=columns, smooth=bool(rng.random() < 0.5))
        if parameters["smooth"]:  # b = A x with x of moderate size: the answer is not dominated by small pivots
            b = matrix.A @ b
        A = matrix.A
        if rng.random() < 0.3:
            exponent = int(rng.choice([-SCALE, SCALE]))
            b_exponent = int(rng.choice([0, exponent]))
            parameters.update(scale_A=exponent, scale_b=b_exponent)
            A, b = np.ldexp(A, exponent), np.ldexp(b, b_exponent)
        declared = matrix.structure != "general" and rng.random() < 0.33
        parameters["assume"] = matrix.structure if declared else None
        return LinearSystemProblem(A, b, parameters["assume"])

    return build


def _square(make, most=14.0):
    """A maker of structured matrices with a random spectrum."""

    def build(rng, parameters) -> Matrix:
        n = _size(rng, parameters, 1, 120, large=(120, 480))
        return make(n, _spectrum(n, _condition(rng, parameters, most), rng, parameters), rng)

    return build


def _triangular(rng, parameters) -> Matrix:
    parameters["lower"] = bool(rng.random() < 0.5)
    return _square(lambda n, s, rng: matrices.triangular(n, s, rng, parameters["lower"]))(rng, parameters)


def _banded(rng, parameters) -> Matrix:
    n = _size(rng, parameters, 3, 120, large=(120, 480))
    below, above = (int(k) for k in rng.integers(0, min(6, n), 2))
    parameters.update(below=below, above=above, dominance=float(rng.choice([0.0, 1.0, 3.0 * (below + above)])))
    return matrices.banded(n, below, above, parameters["dominance"], rng)


def _graded(rng, parameters) -> Matrix:
    n = _size(rng, parameters, 2, 120, large=(120, 480))
    rows, columns = _power(rng, parameters, "rows", 12.0), _power(rng, parameters, "columns", 12.0)
    return Matrix(matrices.graded(rng.standard_normal((n, n)), rows, columns))


LINEAR = {
    "general": _linear_system(_square(lambda n, s, rng: matrices.with_spectrum(n, n, s, rng))),
    "spd": _linear_system(_square(matrices.spd, most=13.0)),
    "symmetric indefinite": _linear_system(_square(matrices.symmetric_indefinite)),
    "triangular": _linear_system(_triangular),
    "banded": _linear_system(_banded),
    "diagonal": _linear_system(_square(matrices.diagonal)),
    "graded": _linear_system(_graded),
    "wilkinson growth": _linear_system(lambda rng, _: matrices.wilkinson_growth(int(rng.integers(10, 121)))),
    "hilbert": _linear_system(lambda rng, _: matrices.hilbert(int(rng.integers(2, 12)))),
    "kahan": _linear_system(lambda rng, _: matrices.kahan(int(rng.integers(5, 91)))),
    "vandermonde": _linear_system(lambda rng, _: matrices.vandermonde(*[int(rng.integers(3, 31))] * 2)),
}


# Low rank.


def _low_rank(make):
    """Turn a maker of matrices into a maker of problems: a rank or none, scale."""

    def build(rng, parameters) -> LowRankProblem:
        matrix = make(rng, parameters)
        sigma = np.linalg.svd(matrix.A, compute_uv=False)
        tail = np.sqrt(np.cumsum(sigma[::-1] ** 2)[::-1])
        # A rank with something left above rounding: "within a factor of the best" then means something.
        most = int(np.count_nonzero(tail[1:] > 1e-6 * tail[0]))
        rank = int(rng.integers(1, most + 1)) if most and rng.random() < 0.4 else None
        parameters["rank_asked"] = rank
        if rng.random() < 0.3:
            parameters["scale_A"] = int(rng.choice([-SCALE, SCALE]))
            matrix = matrix.scaled(parameters["scale_A"])
        return LowRankProblem(matrix.A, rank, matrix.singular_values)

    return build


def _noisy(rng, parameters) -> Matrix:
    m, n = _shape(rng, parameters)
    parameters["noise"] = float(10.0 ** rng.uniform(-12.0, 0.0))
    return matrices.noisy_low_rank(m, n, int(rng.integers(1, min(m, n) // 2 + 2)), parameters["noise"], rng)


def _exponential(rng, parameters) -> Matrix:
    m, n = _shape(rng, parameters)
    parameters["rate"] = float(10.0 ** rng.uniform(-2.0, 0.5))
    return matrices.with_spectrum(m, n, spectra.exponential(min(m, n), parameters["rate"]), rng)


def _flat(rng, parameters) -> Matrix:
    m, n = _shape(rng, parameters)
    return matrices.with_spectrum(m, n, spectra.flat(min(m, n)), rng)


LOW_RANK = {
    "spectrum": _low_rank(_with_spectrum),
    "noisy": _low_rank(_noisy),
    "exponential": _low_rank(_exponential),
    "exact rank": _low_rank(_exact_rank),
    "flat": _low_rank(_flat),
    "one huge entry": _low_rank(lambda rng, parameters: Matrix(matrices.one_huge_entry(*_shape(rng, parameters), rng))),
    "graded columns": _low_rank(_graded_columns),
    "coherent": _low_rank(lambda rng, parameters: _with_spectrum(rng, parameters, coherent=True)),
    "vandermonde": _low_rank(_vandermonde),
}
