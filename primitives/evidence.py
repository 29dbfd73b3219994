"""What is known of an operand. Probes fill it in; algorithms read it. Pure data: no arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .interval import Interval


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence a person reads, the probe that found it and what the probe cost [s]."""

    probe: str
    sentence: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the probes found of A (and b). A field that no probe has touched says "unknown".

    Attributes
    ----------
    norm_fro : float or None
        Frobenius norm of A, to working accuracy.
    norm_2 : Interval or None
        Spectral norm; `low` is a true lower bound.
    condition : Interval
        2-norm condition number of A (least squares with ridge: of the augmented matrix); unknown is
        (1e3, 1, inf). `numerical_rank` < n means that it is beyond what the dtype resolves.
    scaled_condition : Interval
        The same after the columns are scaled to unit norm: what Gram-based algorithms see.
    numerical_rank : int or None
        Rank at the LAPACK threshold max(m, n) * eps * sigma_1, when known to be below min(m, n); else None.
    residual : Interval or None
        Least squares: ||b - A x*|| / ||b||, worst right-hand side.
    solution : Interval or None
        Least squares: ||A||_2 ||x*|| / ||b||, worst right-hand side.
    coherence : Interval or None
        Largest leverage score times m / n: 1 is incoherent, m / n the most coherent.
    singular_values : tuple of float
        Low rank: estimates of the leading singular values, descending.
    tail_energy : float or None
        Low rank: ||A||_F^2 minus the energy of `singular_values`.
    small_fraction : float or None
        Linear systems: fraction of the singular-value distribution found below 1e-6 sigma_1 (stochastic
        Golub-Kahan quadrature).
    effective_rank : float or None
        Linear systems: ||A||_F^4 / (n ||A'A||_F^2), about; ||A||_F^2 / (n ||A||_2^2) is at most that.
    ritz : tuple of (float, float, float)
        Sparse systems: Ritz values of the symmetric matrix of unit diagonal D^-1/2 A D^-1/2 (of an operator: of A),
        ascending, their weights in the spectral measure of b, of sum one, and their residual norms: where that of the
        smallest is not small, the spectrum goes on below. Eigenpairs: of A itself, from a random
        start. Empty: not probed.
    cg_steps : int
        Sparse systems: iterations of conjugate gradients that have seen `ritz`, on one right-hand side; they are at
        hand for an algorithm to go on from.
    cg_converged : bool
        Whether they were enough for that right-hand side.
    cg_likely : float or None
        How many there would be if the residual went on falling as in the last of them.
    diagonal_pivots : bool or None
        Sparse systems: whether entries of the diagonal are likely to do as pivots, so that the order and the fill of a
        factorization follow from the pattern of A + A'.
    product_entries : float or None
        Operators: nonzeros of a sparse matrix with which a product takes as long.
    fill : Interval or None
        Sparse systems: nonzeros of L + U of a direct factorization.
    fill_flops : Interval or None
        Operations of that factorization.
    repeated : bool
        Eigenpairs: whether an iteration with one vector at a time has missed a pair, so that some eigenvalues are
        likely to be equal.
    underflows : bool
        Linear systems: whether elimination in float32 is likely to meet subnormal numbers.
    findings : tuple of Finding
        The same in sentences, with the price of each probe.
    """

    norm_fro: float | None = None
    norm_2: Interval | None = None
    condition: Interval = Interval(1e3, 1.0, math.inf)
    scaled_condition: Interval = Interval(1e3, 1.0, math.inf)
    numerical_rank: int | None = None
    residual: Interval | None = None
    solution: Interval | None = None
    coherence: Interval | None = None
    singular_values: tuple[float, ...] = ()
    tail_energy: float | None = None
    small_fraction: float | None = None
    effective_rank: float | None = None
    ritz: tuple[tuple[float, float, float], ...] = ()
    cg_steps: int = 0
    cg_converged: bool = False
    cg_likely: float | None = None
    diagonal_pivots: bool | None = None
    product_entries: float | None = None
    fill: Interval | None = None
    fill_flops: Interval | None = None
    repeated: bool = False
    underflows: bool = False
    findings: tuple[Finding, ...] = ()

    def without_by_products(self) -> Evidence:
        """What still holds where nothing that probes have computed is at hand to go on from."""
        return replace(self, cg_steps=0, cg_converged=False)
