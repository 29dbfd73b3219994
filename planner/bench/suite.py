"""The problems: family x shape x spectrum x condition x accuracy, made by stated recipes, and real data.

Each instance is made afresh from its own seed when it is measured, and dropped afterwards. `daily` marks the subset
that takes about two minutes. A new kind of problem adds a generator of instances and one line in `suite`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..budget import Budget
from ..problems import LeastSquares, LinearSystem, LowRank, Problem
from .spectra import SPECTRA, with_singular_values


@dataclass(frozen=True, slots=True)
class Instance:
    """One problem under one budget.

    Attributes
    ----------
    name : str
        Unique; it also seeds the data.
    family : str
        Kind of problem, for the tables.
    tags : dict
        Shape, spectrum, condition, ...: what made it.
    make : callable (rng) -> Problem
    budget : Budget
    daily : bool
    """

    name: str
    family: str
    tags: dict[str, Any]
    make: Callable[[np.random.Generator], Problem] = field(repr=False)
    budget: Budget
    daily: bool = False

    def problem(self) -> Problem:
        """The problem, the same every time."""
        return self.make(np.random.default_rng(zlib.crc32(self.name.encode())))


def suite() -> list[Instance]:
    """Every instance, each name once."""
    found = [*_least_squares(), *_linear_systems(), *_low_rank(), *_real()]
    assert len({instance.name for instance in found}) == len(found)
    return found


# --- least squares


def _regression(
    m: int, n: int, spectrum: str, condition: float, residual: float, ridge: float, coherent: bool
) -> Callable[[np.random.Generator], Problem]:
    def make(rng: np.random.Generator) -> Problem:
        A = with_singular_values(m, n, SPECTRA[spectrum](min(m, n), condition), rng, coherent)
        b = A @ rng.standard_normal(n)
        b /= np.linalg.norm(b)
        noise = rng.standard_normal(m)
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


def _square(n: int, structure: str, spectrum: str, condition: float) -> Callable[[np.random.Generator], Problem]:
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
        return LinearSystem(A, rng.standard_normal(n))

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


def _approximable(m: int, n: int, spectrum: str, rank: int | None) -> Callable[[np.random.Generator], Problem]:
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


# --- real data that ships with scikit-learn


def _real() -> Iterator[Instance]:
    def polynomial(loader: str, degree: int) -> tuple[np.ndarray, np.ndarray]:
        from sklearn import datasets
        from sklearn.preprocessing import PolynomialFeatures, StandardScaler

        data: Any = getattr(datasets, loader)()
        X = StandardScaler().fit_transform(data.data)
        return PolynomialFeatures(degree).fit_transform(X), np.asarray(data.target, dtype=float)

    def regression(loader: str, degree: int, ridge: float) -> Callable[[np.random.Generator], Problem]:
        return lambda rng: LeastSquares(*polynomial(loader, degree), ridge=ridge)

    def digits(rng: np.random.Generator) -> Problem:
        from sklearn.datasets import load_digits

        data: Any = load_digits()
        return LowRank(data.data, rank=10, center=True)

    def kernel(rng: np.random.Generator) -> Problem:
        from sklearn.datasets import load_digits
        from sklearn.metrics.pairwise import rbf_kernel

        data: Any = load_digits()
        K = rbf_kernel(data.data / 16.0)
        return LinearSystem(K + 0.1 * np.eye(len(K)), np.eye(10)[data.target])

    def photograph(name: str) -> Callable[[np.random.Generator], Problem]:
        def make(rng: np.random.Generator) -> Problem:
            from sklearn.datasets import load_sample_image

            return LowRank(load_sample_image(name).mean(axis=2))

        return make

    for loader, degree, ridge, accuracy in (
        ("load_diabetes", 2, 0.0, 1e-8), ("load_diabetes", 3, 1.0, 1e-8), ("load_breast_cancer", 2, 1.0, 1e-8),
        ("load_wine", 2, 0.1, 1e-8), ("load_iris", 3, 0.0, 1e-6),
    ):  # fmt: skip
        short = loader.removeprefix("load_").replace("_", " ")
        yield Instance(
            f"{short}, degree {degree}, ridge {ridge:g}, to {accuracy:g}", "least_squares", {"real": short},
            regression(loader, degree, ridge), Budget(accuracy=accuracy), loader == "load_breast_cancer",
        )  # fmt: skip
    yield Instance("digits, ten components, to 1e-4", "low_rank", {"real": "digits"}, digits, Budget(accuracy=1e-4))
    yield Instance("digits, kernel ridge, to 1e-12", "linear_system", {"real": "digits"}, kernel,
                   Budget(accuracy=1e-12), True)  # fmt: skip
    for name in ("china.jpg", "flower.jpg"):
        yield Instance(f"{name} in grey, to 0.05", "low_rank", {"real": name}, photograph(name), Budget(accuracy=0.05))
