"""Whitening by products alone: how far p(X) X p(X) is from the identity, for polynomials p of degree 21 near X^(-1/2).

python benchmarks/whitening.py [COUNTS.npz] [--probe 50] [--degree 21]

Of a Gram matrix X = A A' / ||A A'|| + lambda I of counts of nine-mers in fragments of a genome (COUNTS.npz: data,
indices, indptr, shape of a CSR array, as arXiv:2602.09530, section 5.4 has it for E. coli), and of random matrices of
known condition. "best" is the best polynomial on the true interval, which nobody knows beforehand.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

import autonla as nla
from autonla.planner.function_polynomial import KINDS
from autonla.primitives.polynomials.functions import function, minimax
from autonla.profiles.errors import AutonlaWarning


def whitened(p: Any, eigenvalues: np.ndarray) -> float:
    """||p(X) X p(X) - I||_2."""
    return float(np.abs(p(eigenvalues) ** 2 * eigenvalues - 1.0).max())


def row(label: str, X: Any, eigenvalues: np.ndarray, arguments: argparse.Namespace) -> None:
    """Print the errors of all kinds, means over the seeds of the probe."""
    errors = {
        kind: np.mean([
            whitened(
                nla.function_polynomial(
                    X, "inv_sqrt", kind, degree=arguments.degree, probe=arguments.probe, rng=seed
                ).recurrence,
                eigenvalues,
            )
            for seed in range(5)
        ])
        for kind in KINDS
    }  # fmt: skip
    best = whitened(minimax(function("inv_sqrt"), eigenvalues[0], eigenvalues[-1], arguments.degree), eigenvalues)
    cells = " ".join(f"{errors[kind]:12.3e}" for kind in KINDS)
    print(f"{label:34s} {eigenvalues[-1] / eigenvalues[0]:10.3g} {cells} {best:12.3e}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("counts", type=Path, nargs="?")
    parser.add_argument("--probe", type=int, default=50)
    parser.add_argument("--degree", type=int, default=21)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", AutonlaWarning)
    print(f"{'matrix':34s} {'condition':>10s} " + " ".join(f"{kind:>12s}" for kind in KINDS) + f" {'best':>12s}")
    for condition in (10.0, 30.0, 100.0, 300.0, 1000.0):
        values = np.sort(np.exp(np.random.default_rng(0).uniform(-np.log(condition), 0.0, 2000)))
        values[[0, -1]] = 1.0 / condition, 1.0
        row("2000 eigenvalues, log-uniform", sp.csr_array(sp.diags_array(values)), values, arguments)
    if arguments.counts is not None:
        with np.load(arguments.counts) as kept:
            A = sp.csr_array((kept["data"].astype(float), kept["indices"], kept["indptr"]), shape=tuple(kept["shape"]))
        gram = (A @ A.T).toarray()
        gram /= np.linalg.norm(gram, 2)
        for regularization in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1):
            X = gram + regularization * np.eye(len(gram))
            row(f"nine-mers, lambda = {regularization:.0e}", X, np.linalg.eigvalsh(X), arguments)


if __name__ == "__main__":
    main()
