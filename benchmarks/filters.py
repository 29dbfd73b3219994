"""Outer iterations of Krylov-Schur with spectral filters of degree 21, to the k-th smallest eigenvalue.

python benchmarks/filters.py FOLDER [--only nos5 Si2] [--k 10 20] [--seeds 3] [--most 200] [--largest 10000]
    [--minimax-gap]

FOLDER holds sparse symmetric matrices (.mtx, .mtx.gz), of which the positive definite ones are taken, and those named
by --only whatever they are. As in table 3b of arXiv:2602.09530: subspaces of dimension 4 k, k + 5 Ritz vectors kept,
filters chosen from 20 outer iterations, the k-th eigenvalue of the filtered matrix to a relative error of 1e-10. That
measure is easy where the filter is flat, so the second figure of each pair is of A itself: the k-th Ritz value of A on
the same k vectors, to 1e-10 relative, or what rounding leaves (4e-16 of the largest). The true eigenvalues are those
of LAPACK up to order 3000, beyond those of ARPACK with the factors of A.

With --minimax-gap, instead, how near each filter is to a Chebyshev polynomial: the measure of appendix G there, least
over windows of the line of max |p| on the window over what t^d is multiplied with in it, t from -1 to 1. It is 2^(1-d)
for a Chebyshev polynomial, 9.537e-7 for degree 21, and more for every other. The last columns are of random
coefficients, of a recurrence and of a series of Chebyshev polynomials.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import folder
import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla

import autonla as nla
from autonla.planner.spectral_filter import KINDS
from autonla.primitives.eigenpairs import Cycle, krylov_schur
from autonla.primitives.polynomials import Recurrence, from_chebyshev

ERROR = 1e-10
LEAST, DENSE = 400, 3000  # orders
OTHERS = tuple(kind for kind in KINDS if kind not in ("power", "auto"))
SHOWN = ("power", *OTHERS, "auto")
GAPS = (*OTHERS, "power")


def smallest(A: Any, count: int) -> np.ndarray:
    """The smallest eigenvalues, ascending."""
    if A.shape[0] <= DENSE:
        return np.linalg.eigvalsh(A.toarray())[:count]
    return np.sort(spla.eigsh(sp.csc_array(A), count, sigma=0.0, which="LM")[0])


def iterations(A: Any, p: Any, k: int, truth: np.ndarray, norm: float, seed: int, most: int) -> tuple[int, int]:
    """Outer ones until the k-th eigenvalue is there, of p(A) and of A; `most` + 1 where it is not."""
    target = float(np.sort(p(truth))[-k])
    rounding = 4e-16 * norm
    reached: dict[str, int] = {}

    def seen(cycle: Cycle) -> bool:
        if abs(cycle.values[k - 1] - target) <= ERROR * abs(target):
            reached.setdefault("p(A)", cycle.iteration)
        if "A" not in reached:
            X = cycle.vectors(k)
            value = float(np.linalg.eigvalsh(X.T @ (A @ X))[k - 1])
            if abs(value - truth[k - 1]) <= max(ERROR * abs(truth[k - 1]), rounding):
                reached["A"] = cycle.iteration
        return len(reached) == 2

    start = np.random.default_rng(100 + seed).standard_normal(A.shape[0])
    krylov_schur(lambda v: A @ v, start, k, 4 * k, polynomial=p, tolerance=0.0, most=most, seen=seen)
    return reached.get("p(A)", most + 1), reached.get("A", most + 1)


def minimax_gap(p: Any) -> float:
    """Equation 26 of the paper for a recurrence p, by a grid of windows and Nelder and Mead's search from the best."""
    from scipy.optimize import minimize

    degree = p.degree
    t = np.cos(np.linspace(0.0, np.pi, 40 * degree + 1))
    nodes = np.cos((np.arange(degree + 1) + 0.5) * np.pi / (degree + 1))
    # the coefficient of T_d of the interpolant, times 2^(d-1), is that of t^d
    weights = np.cos(degree * np.arccos(nodes)) * (2.0 / (degree + 1)) * 2.0 ** (degree - 1)
    zeros = np.real(p.roots())
    center, half = 0.5 * (zeros.max() + zeros.min()), 0.5 * (zeros.max() - zeros.min())

    def measure(window: np.ndarray) -> float:  # its log half width and its center, over those of the zeros
        with np.errstate(all="ignore"):  # random ones overflow
            values = p(center + half * (window[1] + np.exp(window[0]) * np.concatenate([t, nodes])))
            found = float(np.log(np.abs(values[: len(t)]).max() / abs(weights @ values[len(t) :])))
        return found if np.isfinite(found) else np.inf

    grid = [np.array([a, b]) for a in np.linspace(-0.5, 2.0, 41) for b in np.linspace(-0.5, 0.5, 21)]
    best = min(grid, key=measure)
    return float(np.exp(minimize(measure, best, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-7}).fun))


def gaps(name: str, A: Any, k: int) -> str:
    """A line with the measure of each kind's filter."""
    found = [minimax_gap(nla.spectral_filter(A, k, "SA", kind, rng=0).recurrence) for kind in GAPS]
    rng = np.random.default_rng(k)
    found.append(minimax_gap(Recurrence(rng.standard_normal(20), *rng.standard_normal((4, 21)))))  # type: ignore[arg-type]
    found.append(minimax_gap(from_chebyshev(rng.standard_normal(22), -1.0, 1.0)))
    return f"{name:36s} {A.shape[0]:7d} {k:3d} " + " ".join(f"{value:15.3e}" for value in found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--k", nargs="*", type=int, default=[10, 20])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--most", type=int, default=200)
    parser.add_argument("--largest", type=int, default=10_000, help="order")
    parser.add_argument("--minimax-gap", action="store_true", help="how near filters are to Chebyshev polynomials")
    arguments = parser.parse_args()
    rows: list[np.ndarray] = []  # (kinds, measures)
    columns = (*GAPS, "random", "random series") if arguments.minimax_gap else (*SHOWN, "  chosen")
    print(f"{'matrix':36s} {'n':>7s} {'k':>3s} " + " ".join(f"{kind:>15s}" for kind in columns), flush=True)
    for name, A in folder.matrices(arguments.folder, arguments.only, LEAST):
        n = A.shape[0]
        definite = (A.diagonal() > 0.0).all()
        if n > arguments.largest or not folder.symmetric(A) or not (arguments.only or definite):
            continue
        if arguments.minimax_gap:
            for k in arguments.k:
                print(gaps(name, A, k), flush=True)
            continue
        try:
            truth = smallest(A, 5 * max(arguments.k))
        except RuntimeError as error:  # SuperLU's, of a singular matrix
            print(f"{name:36s} {n:7d} {error}", flush=True)
            continue
        if truth[0] <= 0.0 and not arguments.only:
            continue
        norm = float(spla.norm(A, 1))
        for k in arguments.k:
            counts = np.zeros((len(SHOWN), 2))
            chosen = []
            for seed in range(arguments.seeds):
                for i, kind in enumerate(SHOWN):
                    found: Any = nla.spectral_filter(A, k, "SA", kind, rng=seed)
                    counts[i] += iterations(A, found.recurrence, k, truth, norm, seed, arguments.most)
                chosen.append(found.kind)
            counts /= arguments.seeds
            rows.append(counts)
            figures = " ".join(f"{of_p:7.1f}/{of_A:7.1f}" for of_p, of_A in counts)
            print(f"{name:36s} {n:7d} {k:3d} {figures}   {', '.join(sorted(set(chosen)))}", flush=True)
    if not rows:
        return
    table = np.array(rows)
    chebyshev = table[:, SHOWN.index("chebyshev"), 0]
    found = table[:, :, 0].min(axis=1) <= arguments.most
    for label, among in (("found", found), ("found, three or more of Chebyshev's", found & (chebyshev >= 3.0))):
        if not among.any():
            continue
        part = np.log(table[among])
        for what in ("power", "chebyshev"):
            means = np.exp((part - part[:, [SHOWN.index(what)]]).mean(axis=0))
            figures = " ".join(f"{of_p:7.2f}/{of_A:7.2f}" for of_p, of_A in means)
            print(f"{f'over {what} ({label})':48s} {figures}")
        better = (part <= part[:, [SHOWN.index("chebyshev")]] + 1e-9).mean(axis=0)
        print(f"{'share not above chebyshev':48s} " + " ".join(f"{a:7.2f}/{b:7.2f}" for a, b in better))


if __name__ == "__main__":
    main()
