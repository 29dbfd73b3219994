"""Iterations of conjugate gradients with polynomial preconditioners of degree 11, over the least that there can be.

python benchmarks/polynomials.py FOLDER [--only nos5 wathen100] [--jacobi | --ichol] [--seeds 5]

FOLDER holds sparse positive definite matrices (.mtx, .mtx.gz). The limit is a twelfth of the iterations without: with
twelve products each no polynomial of degree 11 can need fewer. The paper's figures are those of table 3 of
arXiv:2602.09530 (50-step probe, residual 1e-10, mean over right-hand sides): of the matrices as they are, or with
incomplete Cholesky. `--ichol` is the operator L^-1 A L'^-1 of the factor of zero fill in the given order; residuals are
those of its system.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import folder
import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla

import autonla as nla
from autonla.planner.polynomial_preconditioner import KINDS
from autonla.primitives.algorithm import Breakdown
from autonla.primitives.sparse import incomplete_cholesky
from autonla.profiles.errors import AutonlaError, AutonlaWarning

PAPER = {"nos5": (654, 77), "wathen100": (363, 35)}  # without and with the polynomial
PAPER_ICHOL = {"G2_circuit": (734, 70), "gyro_m": (150, 27)}
LEAST = 400  # order
MOST = 20_000  # iterations without a polynomial


def iterations(A: Any, b: np.ndarray, M: Any, most: int) -> int:
    """Of SciPy's cg to 1e-10; `most` where it does not get there."""
    counted: list[int] = []
    spla.cg(A, b, M=M, rtol=1e-10, maxiter=most, callback=lambda _: counted.append(1))
    return len(counted)


def with_ichol(A: Any) -> spla.LinearOperator:
    """L^-1 A L'^-1."""
    L = incomplete_cholesky(A)
    if L.shift:
        print(f"  factors of A + {L.shift:g} diag(A)")

    def product(x: np.ndarray) -> np.ndarray:
        return L.solve_lower(A @ L.solve_upper(x))

    return spla.LinearOperator(A.shape, matvec=product, matmat=product, dtype=np.float64)  # type: ignore[call-arg]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    first = parser.add_mutually_exclusive_group()
    first.add_argument("--jacobi", action="store_true", help="scale to a unit diagonal first")
    first.add_argument("--ichol", action="store_true", help="precondition with incomplete Cholesky first")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", AutonlaWarning)
    ratios: dict[str, list[float]] = {kind: [] for kind in KINDS}
    print(f"{'matrix':36s} {'n':>7s} {'plain':>7s} {'limit':>7s} " + " ".join(f"{kind:>12s}" for kind in KINDS))
    A: Any
    for name, A in folder.matrices(arguments.folder, arguments.only, LEAST):
        if not (A.diagonal() > 0.0).all() or not folder.symmetric(A):
            continue
        if arguments.jacobi:
            scale = sp.diags_array(1.0 / np.sqrt(A.diagonal()))
            A = sp.csr_array(scale @ A @ scale)
        if arguments.ichol:
            try:
                A = with_ichol(sp.csr_array(A))
            except Breakdown as error:
                print(f"{name:36s} {A.shape[0]:7d} {error}")
                continue
        counts: dict[str, list[int]] = {kind: [] for kind in ("plain", *KINDS)}
        try:
            for seed in range(arguments.seeds):
                b = np.random.default_rng(100 + seed).standard_normal(A.shape[0])
                counts["plain"].append(iterations(A, b, None, MOST))
                if counts["plain"][-1] >= MOST:
                    raise Breakdown(f"not solved in {MOST} iterations")
                for kind in KINDS:
                    M = nla.polynomial_preconditioner(A, kind, rng=seed)
                    counts[kind].append(iterations(A, b, M, max(300, counts["plain"][-1])))
        except (AutonlaError, Breakdown) as error:  # not positive definite, or next to singular
            print(f"{name:36s} {A.shape[0]:7d} {error}")
            continue
        plain = float(np.mean(counts["plain"]))
        for kind in KINDS:
            ratios[kind].append(12.0 * float(np.mean(counts[kind])) / plain)
        row = " ".join(f"{np.mean(counts[kind]):12.1f}" for kind in KINDS)
        known = {} if arguments.jacobi else PAPER_ICHOL if arguments.ichol else PAPER
        paper = "   the paper's engine: {1}, plain: {0}".format(*known[name]) if name in known else ""
        print(f"{name:36s} {A.shape[0]:7d} {plain:7.1f} {plain / 12.0:7.1f} {row}{paper}", flush=True)
    if ratios["auto"]:
        means = " ".join(f"{np.exp(np.mean(np.log(ratios[kind]))):12.3f}" for kind in KINDS)
        print(f"{'over the limit, geometric mean':60s} {means}")


if __name__ == "__main__":
    main()
