"""Spectral norm, condition number and the share of tiny singular values, from a few products (stage 2).

Golub-Kahan bidiagonalization from a random start v, fully reorthogonalized: A V = U B. The singular values of B are
Ritz values, and their squares with the squared first components of B's right singular vectors are the k-point Gauss
rule of the distribution of the singular values (Golub and Meurant, Matrices, Moments and Quadrature (2010), ch. 6;
a random start weighs each about 1/n). Three things are read off it:

- sigma_max(B) <= ||A||_2, and sigma_max(B) / sigma_min(B) <= cond(A), both up to rounding.
- The largest mass that any distribution with these moments can have at zero, the weight of the Gauss-Radau node
  there: Lambda = 1 / sum_{j<=k} p_j(0)^2. With singular values spread evenly over L decades, k steps resolve about
  log10(2k) of them, and 1 - Lambda is log10(2k) / L within a few per cent for k = 3 .. 12; hence
  L = log10(2k) / (1 - Lambda), which separates cond 1e4 from 1e10.
- A distribution that is resolved (Lambda small) is taken to end in a hard edge, as that of a random matrix does: about
  n Lambda singular values below the smallest Ritz value, spaced evenly.

What it cannot see is one tiny singular value, or a few: they carry a mass of 1/n each. The float32 factorization meets
those (its corrections do not shrink).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import array_api_compat
import numpy as np

from ..primitives.backends import home_backend
from ..primitives.evidence import Evidence, Finding
from ..primitives.interval import Interval
from ..primitives.kernels import library
from ..primitives.norms import norm
from ..primitives.task import Task
from ..primitives.work import Calls, Work

Array = Any

STEPS = 3
MOST_STEPS = 12  # while every Ritz value but the last is an outlier of mass about 1/n
SMALL = 1e-6  # singular values below this share of the largest count as tiny
_IN_RANGE = {"float64": 1e140, "float32": 1e30}  # norms up to this, and down to one over it: their squares are safe


@dataclass(frozen=True, slots=True)
class Quadrature:
    """The Gauss rule of the singular-value distribution.

    Attributes
    ----------
    nodes : (k,) array
        Ritz values, descending.
    weights : (k,) array
        Their shares; they add to 1.
    mass_at_zero : float
        The most that could be at zero.
    """

    nodes: np.ndarray
    weights: np.ndarray
    mass_at_zero: float

    @property
    def decades(self) -> float:
        """Over how many decades the singular values reach, if spread evenly."""
        rest = max(1.0 - self.mass_at_zero, 1e-3)
        return math.log10(2 * self.nodes.size) / rest


def work(task: Task, steps: int = STEPS, backend: str | None = None) -> Work:
    """Two products a step, and one pass for the norm."""
    k = Calls(backend or home_backend(task), task.dtype)
    n = task.n
    calls = (k("gemv", n, n, count=steps), k("gemv_t", n, n, count=steps), k("stream", n, n))
    return Work(calls, task.itemsize * n * (2 * MOST_STEPS + 6))


def run(
    A: Array, task: Task, evidence: Evidence, *, steps: int = STEPS, backend: str | None = None
) -> tuple[Evidence, dict[str, Any]]:
    """Estimate the norm and the condition of square A.

    Parameters
    ----------
    A : (n, n) array, float64 or float32
    steps : int
        Steps of the bidiagonalization; it goes on to `MOST_STEPS` while only outliers were met.
    backend : str, optional
        Library of the products; by default the first that suits the operands.

    Returns
    -------
    evidence : Evidence
        With `norm_2`, `condition` and `small_fraction`, and `norm_fro` where it was not known.
    by_products : dict
        "indefinite": True where a Ritz value proves that a symmetric A is not positive definite.
    """
    start = time.perf_counter()
    lib = library(backend or home_backend(task))
    B, unit, largest = lib.asarray(A), task.unit_roundoff, _IN_RANGE[task.dtype]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # A may be of any size
        alphas, betas, indefinite = _bidiagonalize(lib, B, task, min(steps, task.n))
    by_products = {"indefinite": True} if indefinite else {}
    if not 1.0 / largest < max(alphas, default=0.0) < largest:
        finding = _finding("A is zero, not finite, or too large or small to look at: nothing was seen of it", start)
        return replace(evidence, findings=(*evidence.findings, finding)), {}
    if evidence.norm_fro is None:  # forecasts of growth in elimination compare it with ||A||_2
        evidence = replace(evidence, norm_fro=math.sqrt(lib.sum_of_squares(B)) if task.dtype == "float64" else norm(A))
    rule = quadrature(alphas, betas)
    sigma = float(rule.nodes[0])
    highest = evidence.norm_fro if evidence.norm_fro is not None else math.inf
    norm_2 = Interval(1.06 * sigma, (1.0 - 64 * unit) * sigma, 1.2 * sigma).at_most(max(sigma, highest))
    condition = condition_interval(rule, task.n, unit)
    small = small_fraction(rule)
    sentence = (
        f"norm about {norm_2.median:.3g}, condition number {_about(condition.median)} "
        f"(at least {condition.low:.1g}), {small:.0%} of the singular values below 1e-6 of the largest"
        + (", indefinite" if indefinite else "")
    )
    return (
        replace(
            evidence,
            norm_2=norm_2,
            condition=condition,
            small_fraction=small,
            findings=(*evidence.findings, _finding(sentence, start)),
        ),
        by_products,
    )


def quadrature(alphas: list[float], betas: list[float]) -> Quadrature:
    """Gauss rule from the bidiagonal B: `alphas` (k,) on its diagonal, `betas` (k,) beside it and beyond."""
    B = np.diag(np.asarray(alphas)) + np.diag(np.asarray(betas[:-1]), 1)
    _, nodes, Wt = np.linalg.svd(B)
    # p_{j+1}(0) = -p_j(0) alpha_j / beta_j for the orthonormal polynomials of B'B
    total, p = 1.0, 1.0
    for alpha, beta in zip(alphas, betas, strict=True):
        if beta == 0.0:
            total = math.inf if alpha > 0.0 else total
            break
        p *= alpha / beta
        total += p * p
    return Quadrature(nodes, Wt[:, 0] ** 2, 1.0 / total)


def condition_interval(rule: Quadrature, n: int, unit: float) -> Interval:
    """Condition number: a lower bound, and the median by continuing the distribution below the last Ritz value.

    `unit` is the unit roundoff that the Ritz values were computed with: they carry as much of the largest.
    """
    low = max(1.0, (1.0 - 1e-5) * float(rule.nodes[0] / (rule.nodes[-1] + 16 * unit * rule.nodes[0])))
    mass = rule.mass_at_zero
    edge = math.log10(low * max(1.0, 3.0 * n * mass))  # 3: the median of square Gaussian matrices, about 4 n
    spread = min(rule.decades, 300.0)
    share = min(1.0, max(0.0, (0.5 - mass) / 0.3))  # 1: resolved; 0: it goes on below
    median = max(low, 10.0 ** (share * edge + (1.0 - share) * spread))
    if rule.nodes[-1] < 16 * unit * rule.nodes[0]:  # as small as rounding: how small it is not seen
        median = max(median, 10.0 / unit)
    return Interval(median, low, math.inf)


def small_fraction(rule: Quadrature) -> float:
    """Share of the singular values below 1e-6 of the largest: what is there, and what the spread implies."""
    seen = float(np.sum(rule.weights[rule.nodes < SMALL * rule.nodes[0]]))
    if rule.mass_at_zero < 0.2:
        return seen
    return max(seen, 1.0 + math.log10(SMALL) / max(rule.decades, -math.log10(SMALL)))


def _bidiagonalize(lib: Any, A: Array, task: Task, steps: int) -> tuple[list[float], list[float], bool]:
    """Diagonals of B, and whether a symmetric A has a negative Rayleigh quotient on the basis V."""
    n, negligible = task.n, 4.0 * task.unit_roundoff
    rng = np.random.Generator(np.random.Philox(key=task.seed))
    v = rng.standard_normal(n).astype(task.dtype)
    most = min(MOST_STEPS, n)
    U, V = np.zeros((most, n), task.dtype), np.zeros((most + 1, n), task.dtype)
    V[0] = v / norm(v)
    alphas: list[float] = []
    betas: list[float] = []
    k = 0
    while k < most:
        u = _orthogonalized(lib.to_numpy(lib.matmul(A, _as(lib, A, V[k]))), U[:k])
        alpha = norm(u)
        if not math.isfinite(alpha):
            return [], [], False
        if alpha == 0.0 or alpha <= negligible * max(alphas, default=0.0):  # exhausted: A is singular on it
            if alphas:
                alphas.append(alpha)
                betas.append(0.0)
            break
        U[k] = u / alpha
        w = _orthogonalized(lib.to_numpy(lib.rmatmul(A, _as(lib, A, U[k]))), V[: k + 1])
        beta = norm(w)
        if not math.isfinite(beta):
            return [], [], False
        alphas.append(alpha)
        if beta <= negligible * max(alphas):
            betas.append(0.0)
            k += 1
            break
        betas.append(beta)
        V[k + 1] = w / beta
        k += 1
        if k >= steps and not _only_outliers(alphas, betas, n):
            break
    k = len(alphas)
    symmetric = task.structure in ("symmetric", "spd")
    return alphas, betas, symmetric and k > 0 and _indefinite(U[:k], V[: k + 1], alphas, betas)


def _indefinite(U: np.ndarray, V: np.ndarray, alphas: list[float], betas: list[float]) -> bool:
    """Whether a symmetric A has a clearly negative Ritz value on the span of U and V.

    A V = U B and A U = V B' + beta_k v_{k+1} e_k' are at hand, so no product with A is needed. Rows are vectors.
    """
    k = len(alphas)
    B = np.diag(np.asarray(alphas)) + np.diag(np.asarray(betas[:-1]), 1)
    Z = np.vstack([V[:k], U]).astype(np.float64)
    AU = np.einsum("ij,jn->in", B, V[:k])  # einsum, as below: matmul may wake another pool of BLAS threads
    AU[-1] += betas[-1] * V[k]
    AZ = np.vstack([np.einsum("ji,jn->in", B, U), AU])
    G = np.einsum("in,jn->ij", Z, Z)
    H = np.einsum("in,jn->ij", Z, AZ)
    w, Q = np.linalg.eigh(G)
    Q = Q[:, w > 1e-3] / np.sqrt(w[w > 1e-3])  # what U adds to V beyond rounding
    ritz = np.linalg.eigvalsh(Q.T @ (H + H.T) @ Q / 2)
    return bool(ritz[0] < -1e-3 * np.max(np.abs(ritz)))


def _only_outliers(alphas: list[float], betas: list[float], n: int) -> bool:
    """Whether all Ritz values but the last carry no more than a few singular values each."""
    rule = quadrature(alphas, betas)
    return bool(rule.mass_at_zero > 0.5 and 1.0 - rule.weights[-1] < 4.0 * len(alphas) / n)


def _orthogonalized(v: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """v without its components along the rows of `basis`, twice for full accuracy."""
    for _ in range(2):  # einsum, not matmul: a product this small is not worth waking another pool of BLAS threads
        v = v - np.einsum("k,kn->n", np.einsum("kn,n->k", basis, v), basis)
    return v


def _as(lib: Any, A: Array, v: np.ndarray) -> Array:
    """A host vector where A lives."""
    return array_api_compat.to_device(lib.asarray(v), array_api_compat.device(A))


def _about(condition: float) -> str:
    return f"about {condition:.1g}" if condition < 1e16 else "beyond 1e16"


def _finding(sentence: str, start: float) -> Finding:
    return Finding("conditioning", sentence, time.perf_counter() - start)
