"""The problems: family x shape x spectrum x condition x accuracy, made by stated recipes; budgets with limits, other
dtypes, libraries and numbers of right-hand sides; and real data.

Each instance is made afresh from its own seed when it is measured, and dropped afterwards. `daily` marks the subset
that takes about five minutes. A new kind of problem adds a generator of instances and one line in `suite`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..budget import Budget
from ..problems import LeastSquares, LinearSystem, LowRank, Problem
from .instance import Instance, Maker
from .real import real_instances
from .sparse import eigenpairs, sparse_systems
from .spectra import SPECTRA, with_singular_values


def suite() -> list[Instance]:
    """Every instance, each name once."""
    found = [
        *_least_squares(), *_linear_systems(), *_low_rank(), *_limited(), *_other_operands(), *sparse_systems(),
        *eigenpairs(), *real_instances(),
    ]  # fmt: skip
    assert len({instance.name for instance in found}) == len(found)
    return found


# --- least squares


def _regression(
    m: int, n: int, spectrum: str, condition: float, residual: float, ridge: float, coherent: bool, columns: int = 0
) -> Maker:
    """`columns` right-hand sides; 0 for a vector."""

    def make(rng: np.random.Generator) -> Problem:
        A = with_singular_values(m, n, SPECTRA[spectrum](min(m, n), condition), rng, coherent)
        b = A @ rng.standard_normal((n, columns) if columns else n)
        b /= np.linalg.norm(b)
        noise = rng.standard_normal(b.shape)
        return LeastSquares(A, b + residual * noise / np.linalg.norm(noise), ridge=ridge)

    return make


def _least_squares() -> Iterator[Instance]:
    shapes = (
        (1000, 20), (3000, 100), (20_000, 20), (20_000, 100), (100_000, 50), (100_000, 200), (5000, 500), (2000, 1000),
        (800, 800), (200, 3000),
    )  # fmt: skip
    accuracies = {10.0: 1e-10, 1e4: 1e-8, 1e8: 1e-6, 1e12: 1e-3}
    for m, n in shapes:
        for condition, accuracy in accuracies.items():
            daily = (m, n) in ((3000, 100), (100_000, 50), (2000, 1000)) and condition in (1e4, 1e12)
            yield _least_squares_instance(m, n, "exponential", condition, accuracy, daily=daily)
    for spectrum in ("flat", "polynomial", "step", "one small", "clustered"):
        yield _least_squares_instance(20_000, 100, spectrum, 1e6, 1e-8)
    for m, n in ((20_000, 100), (100_000, 200)):
        yield _least_squares_instance(m, n, "exponential", 1e4, 0.1, daily=n == 100)
        yield _least_squares_instance(m, n, "exponential", 1e4, 1e-8, coherent=True)
        yield _least_squares_instance(m, n, "exponential", 1e8, 1e-8, ridge=1e-4, daily=n == 100)


def _least_squares_instance(
    m: int, n: int, spectrum: str, condition: float, accuracy: float, *, ridge: float = 0.0, coherent: bool = False,
    daily: bool = False,
) -> Instance:  # fmt: skip
    extra = (f", ridge {ridge:g}" if ridge else "") + (", coherent" if coherent else "")
    return Instance(
        f"least squares {m}x{n}, {spectrum}, condition {condition:.0e}{extra}, to {accuracy:g}",
        "least_squares",
        {"m": m, "n": n, "spectrum": spectrum, "condition": condition, "ridge": ridge, "coherent": coherent},
        _regression(m, n, spectrum, condition, 0.1 if m > n else 0.0, ridge, coherent),
        Budget(accuracy=accuracy),
        daily,
    )


# --- linear systems


def _square(n: int, structure: str, spectrum: str, condition: float, columns: int = 0) -> Maker:
    def make(rng: np.random.Generator) -> Problem:
        if structure == "banded":
            A = np.diag(4.0 + rng.random(n))
            for d in range(1, 4):
                A += np.diag(rng.standard_normal(n - d), d) + np.diag(rng.standard_normal(n - d), -d)
        elif structure == "triangular":
            A = np.triu(rng.standard_normal((n, n)) / np.sqrt(n)) + 2.0 * np.eye(n)
        else:
            s = SPECTRA[spectrum](n, condition)
            Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
            if structure == "general":
                A = (Q * s) @ np.linalg.qr(rng.standard_normal((n, n)))[0].T
            else:
                signs = np.where(np.arange(n) % 3 == 1, -1.0, 1.0) if structure == "indefinite" else 1.0
                A = (Q * (s * signs)) @ Q.T
                A = 0.5 * (A + A.T)
        return LinearSystem(A, rng.standard_normal((n, columns) if columns else n))

    return make


def _linear_systems() -> Iterator[Instance]:
    for n in (300, 700, 1000, 2000, 4000):
        for condition, accuracy in ((10.0, 1e-12), (1e4, 1e-14), (1e8, 1e-12), (1e13, 1e-12)):
            daily = n in (700, 2000) and condition in (1e4, 1e13)
            yield _linear_instance(n, "general", "exponential", condition, accuracy, daily)
    for n in (700, 2000):
        for structure in ("spd", "indefinite"):
            for condition in (1e2, 1e10):
                yield _linear_instance(n, structure, "exponential", condition, 1e-12, n == 700 and condition == 1e2)
        yield _linear_instance(n, "general", "one small", 1e8, 1e-12)
        yield _linear_instance(n, "general", "flat", 2.0, 1e-5)
    for structure in ("banded", "triangular"):
        yield _linear_instance(2000, structure, "", 0.0, 1e-12, structure == "banded")


def _linear_instance(
    n: int, structure: str, spectrum: str, condition: float, accuracy: float, daily: bool = False
) -> Instance:
    of = f", {spectrum}, condition {condition:.0e}" if spectrum else ""
    return Instance(
        f"linear system {n}, {structure}{of}, to {accuracy:g}",
        "linear_system",
        {"m": n, "n": n, "structure": structure, "spectrum": spectrum, "condition": condition},
        _square(n, structure, spectrum, condition),
        Budget(accuracy=accuracy),
        daily,
    )


# --- low rank


def _approximable(m: int, n: int, spectrum: str, rank: int | None) -> Maker:
    def make(rng: np.random.Generator) -> Problem:
        s = SPECTRA[spectrum](min(m, n), 1e6)
        return LowRank(with_singular_values(m, n, s, rng), rank=rank)

    return make


def _low_rank() -> Iterator[Instance]:
    shapes = ((500, 500), (1000, 1000), (2000, 2000), (20_000, 300), (2000, 200), (300, 3000))
    for m, n in shapes:
        k = min(m, n)
        for rank in (10, k // 10, int(0.9 * k)):
            daily = (m, n) in ((1000, 1000), (20_000, 300)) and rank != 10
            yield _low_rank_instance(m, n, "polynomial", rank, 0.05, daily)
        for accuracy in (0.1, 1e-3):
            yield _low_rank_instance(m, n, "polynomial", None, accuracy, (m, n) == (1000, 1000))
    for spectrum in ("flat", "exponential", "step", "clustered"):
        yield _low_rank_instance(1000, 1000, spectrum, 50, 0.05)
        yield _low_rank_instance(1000, 1000, spectrum, None, 1e-2)


def _low_rank_instance(
    m: int, n: int, spectrum: str, rank: int | None, accuracy: float, daily: bool = False
) -> Instance:
    what = "by accuracy" if rank is None else f"rank {rank}"
    return Instance(
        f"low rank {m}x{n}, {spectrum}, {what}, to {accuracy:g}",
        "low_rank",
        {"m": m, "n": n, "spectrum": spectrum, "rank": rank},
        _approximable(m, n, spectrum, rank),
        Budget(accuracy=accuracy),
        daily,
    )


# --- budgets with limits

# What LAPACK needs: lstsq of 100000 x 50 some 500 ms and twice the memory of A, the SVD of 2000 x 2000 some 5 s, LU of
# order 2000 some 200 ms, on two or four cores of a laptop.


def _limited() -> Iterator[Instance]:
    easy = _regression(100_000, 50, "exponential", 1e4, 0.1, 0.0, False)
    short = _regression(20_000, 100, "exponential", 1e4, 0.1, 0.0, False)
    noisy, decaying = _approximable(2000, 2000, "polynomial", 50), _approximable(2000, 2000, "exponential", 20)
    by_accuracy = _approximable(1000, 1000, "polynomial", None)
    general, spd = _square(2000, "general", "exponential", 1e4), _square(2000, "spd", "exponential", 1e4)
    single = 4.0 * 2000**2  # bytes of A in float32: with half as much again there is no room for float64
    for name, family, make, budget in (
        ("least squares 100000x50", "least_squares", easy, Budget(accuracy=1e-8, latency=0.1)),
        ("least squares 100000x50", "least_squares", easy, Budget(accuracy=1e-8, memory="12 MB")),
        ("least squares 20000x100", "least_squares", short, Budget(latency=0.02)),
        ("least squares 20000x100", "least_squares", short, Budget(accuracy=1e-8, latency=0.05, memory="12 MB")),
        ("low rank 2000x2000, rank 50", "low_rank", noisy, Budget(latency=0.05)),
        ("low rank 2000x2000, rank 50", "low_rank", noisy, Budget(latency=0.5)),
        ("low rank 2000x2000, rank 20", "low_rank", decaying, Budget(accuracy=0.05, memory="12 MB")),
        ("low rank 1000x1000, by accuracy", "low_rank", by_accuracy, Budget(accuracy=0.1, latency=0.1)),
        ("linear system 2000, general", "linear_system", general, Budget(accuracy=1e-12, latency=0.5)),
        ("linear system 2000, general", "linear_system", general, Budget(accuracy=1e-12, memory=1.5 * single)),
        ("linear system 2000, spd", "linear_system", spd, Budget(accuracy=1e-12, memory=1.5 * single)),
    ):
        limits = ", ".join(
            part
            for part in (
                "" if budget.accuracy is None else f"to {budget.accuracy:g}",
                "" if budget.latency is None else f"in {1e3 * budget.latency:g} ms",
                "" if budget.memory is None else f"within {1e-6 * budget.memory:g} MB",
            )
            if part
        )
        yield Instance(f"{name}, {limits}", family, {"limited": True}, make, budget)


# --- float32, torch, several right-hand sides


def _other_operands() -> Iterator[Instance]:
    mild = _regression(20_000, 100, "exponential", 100.0, 0.1, 0.0, False)
    ridge = _regression(5000, 500, "exponential", 1e4, 0.1, 1e-4, False)
    square, low = _square(2000, "general", "exponential", 100.0), _approximable(2000, 2000, "polynomial", 50)
    loose = _approximable(1000, 1000, "polynomial", None)
    for dtype, library, name, make, accuracy in (
        ("float32", "numpy", "least squares 20000x100", mild, 1e-4),
        ("float32", "numpy", "least squares 5000x500, ridge", ridge, 1e-4),
        ("float32", "numpy", "linear system 2000", square, 1e-5),
        ("float32", "numpy", "low rank 2000x2000, rank 50", low, 0.05),
        ("float32", "numpy", "low rank 1000x1000, by accuracy", loose, 0.1),
        ("float64", "torch", "least squares 20000x100", mild, 1e-8),
        ("float64", "torch", "linear system 2000", square, 1e-12),
        ("float32", "torch", "low rank 2000x2000, rank 50", low, 0.05),
    ):
        what = name if library == "numpy" else f"{name}, torch"
        yield Instance(
            f"{what}, {dtype}, to {accuracy:g}",
            "_".join(name.split()[:2]),
            {"dtype": dtype, "library": library},
            _with(make, dtype, library),
            Budget(accuracy=accuracy),
        )
    for m, n, columns in ((20_000, 100, 50), (2000, 1000, 100)):
        yield Instance(
            f"least squares {m}x{n}, {columns} right-hand sides, to 1e-08",
            "least_squares",
            {"m": m, "n": n, "right-hand sides": columns},
            _regression(m, n, "exponential", 1e4, 0.1, 0.0, False, columns),
            Budget(accuracy=1e-8),
        )
    for n, structure, columns in ((1000, "general", 200), (1000, "spd", 1000)):
        yield Instance(
            f"linear system {n}, {structure}, {columns} right-hand sides, to 1e-12",
            "linear_system",
            {"m": n, "n": n, "structure": structure, "right-hand sides": columns},
            _square(n, structure, "exponential", 1e4, columns),
            Budget(accuracy=1e-12),
        )


def _with(make: Maker, dtype: str, library: str) -> Maker:
    """The same problem in another dtype, its operands of another library."""

    def operand(x: np.ndarray) -> Any:
        x = x.astype(dtype)
        if library == "torch":
            import torch

            return torch.from_numpy(x)
        return x

    def made(rng: np.random.Generator) -> Problem:
        problem = make(rng)
        A = operand(problem.A)
        if isinstance(problem, LowRank):
            return LowRank(A, rank=problem.rank)
        if isinstance(problem, LeastSquares):
            return LeastSquares(A, operand(problem.b), ridge=problem.ridge)
        assert isinstance(problem, LinearSystem)
        return LinearSystem(A, operand(problem.b))

    return made
