"""The synthetic studies of arXiv:2602.09530, appendix F, as tables: engines on spectra that they have not seen.

python benchmarks/synthetic.py [--samples 100]

Linear systems (F.2): log r over that of Richardson's iteration, r = max |1 - P(x) x / max P x| over the spectrum
(equation 20), by the condition number and by the steps of the Lanczos probe; a gain of 10 is a convergence ten times as
fast. Our engine is trained for iterations, and leaves small eigenvalues to conjugate gradients: r near one is no flaw
of it. Residuals set to zero show what they are good for (figure 13). Inverse square roots (F.3): natural log of the
largest relative error of the Neumann series over that of the polynomial. Eigenproblems (F.1): the logarithm of the gap
between the k-th and the l-th value over that of the power of the same degree, by subspace iterations of the probe.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from autonla.planner.autospec.paper import neumann_error, subspace
from autonla.planner.autospec.paper_spectra import spectra
from autonla.primitives.autospec import PaperEngine, functions, linear_systems
from autonla.primitives.polynomials import Recurrence, chebyshev
from autonla.primitives.polynomials.functions import function, minimax
from autonla.probes import ritz

SIZE = 500
DECADES = ((1e2, 1e3), (1e3, 1e4), (1e4, 1e5))


def probes(rows: np.ndarray, steps: int) -> list[ritz.RitzValues]:
    """Lanczos of each diagonal matrix."""
    return [
        ritz.run(lambda v, row=row: row * v, np.random.default_rng(i).standard_normal(len(row)), steps)
        for i, row in enumerate(rows)
    ]


def shown(label: str, columns: list[np.ndarray]) -> None:
    """Median and the fifth percentile of each column."""
    cells = "  ".join(f"{np.median(c):7.2f} ({np.quantile(c, 0.05):6.2f})" for c in columns)
    print(f"  {label:42s} {cells}", flush=True)


def convergence(p: Recurrence, row: np.ndarray) -> float:
    """Of the linear system; 0 where p is not positive on the spectrum."""
    y = p(row) * row
    if y.min() <= 0.0:
        return 0.0
    return float(np.log(max(1.0 - y.min() / y.max(), 1e-16)))


def systems(samples: int) -> None:
    """F.2 and figure 13."""
    paper, own = PaperEngine.load("linear_system"), linear_systems.engine()
    print(f"linear systems, degree 11, condition in {DECADES}: median (and fifth percentile) of the gain")

    def ours(seen: ritz.RitzValues) -> Recurrence:
        said = own(seen.values, seen.residuals, seen.weights)
        return said.recurrence if said is not None else chebyshev(seen.values[0], seen.high, 11)

    engines: dict[str, Callable[[ritz.RitzValues], Recurrence]] = {
        "paper's engine": lambda seen: paper(seen.values, seen.residuals),
        "the same, residuals zero": lambda seen: paper(seen.values, np.zeros_like(seen.residuals)),
        "ours (trained for iterations)": ours,
        "Chebyshev": lambda seen: chebyshev(float(seen.values[0]), seen.high, 11),
    }
    data = [spectra(samples, SIZE, task="linear_system", seed=40 + i, condition=d) for i, d in enumerate(DECADES)]
    for steps in (20, 50, 100):
        seen = [probes(rows, steps) for rows in data]
        for label, engine in engines.items():
            columns = []
            for rows, some in zip(data, seen, strict=True):
                richardson = np.log1p(-rows[:, -1] / rows[:, 0])
                found = np.array([convergence(engine(one), row) for one, row in zip(some, rows, strict=True)])
                columns.append(found / richardson)
            shown(f"{steps} Lanczos steps, {label}", columns)


def roots(samples: int) -> None:
    """F.3."""
    paper, own, f = PaperEngine.load("inverse_square_root"), functions.engine(), function("inv_sqrt")
    conditions = (10.0, 30.0, 100.0, 300.0, 1000.0)
    print(f"inverse square roots, degree 21, condition {conditions}: log(error) - log(error of Neumann), negated")

    def ours(seen: ritz.RitzValues) -> Recurrence:
        return minimax(f, *own(seen.values, seen.residuals, seen.weights, f), 21)

    engines: dict[str, Callable[[ritz.RitzValues], Any]] = {
        "paper's engine": lambda seen: paper(seen.values, seen.residuals),
        "ours": ours,
    }
    data = [
        spectra(samples, SIZE, task="inverse_square_root", seed=60 + i, condition=(0.99 * c, 1.01 * c))
        for i, c in enumerate(conditions)
    ]
    for steps in (25, 50):
        seen = [probes(rows, steps) for rows in data]
        for label, engine in [*engines.items(), ("best on the true interval", None)]:
            columns = []
            for rows, some in zip(data, seen, strict=True):
                gains = []
                for one, row in zip(some, rows, strict=True):
                    p = minimax(f, float(row[-1]), float(row[0]), 21) if engine is None else engine(one)
                    error = float(np.abs(f.error(p, row)).max())
                    gains.append(neumann_error(row[None] / one.high, 21)[0, -1] - np.log(error))
                columns.append(np.array(gains))
            shown(f"{steps} Lanczos steps, {label}", columns)


def gaps(samples: int) -> None:
    """F.1."""
    paper = PaperEngine.load("eigenproblem")
    sizes = ((10, 15), (10, 40), (20, 80))
    print(f"eigenproblems, degree 21, (k, l) in {sizes}: median (and fifth percentile) of the gain over the power")
    for iterations in (5, 20, 100):
        columns: dict[str, list[np.ndarray]] = {"paper's engine": [], "Chebyshev on [0, l-th Ritz value]": []}
        for k, l in sizes:
            found: dict[str, list[float]] = {label: [] for label in columns}
            for i, row in enumerate(spectra(samples, 400, task="eigenproblem", seed=500 + k + l)):
                theta, residuals = subspace(row, l, iterations, np.random.default_rng(i))
                power = 21.0 * np.log(row[k - 1] / row[l - 1])
                filters = (
                    paper(theta, residuals, k=k, l=l)(row),
                    np.polynomial.chebyshev.chebval(2.0 * row / max(theta[l - 1], 1e-12) - 1.0, [0.0] * 21 + [1.0]),
                )
                for label, values in zip(columns, filters, strict=True):
                    size = np.abs(values)
                    found[label].append(float(np.log(size[:k].min() / np.sort(size)[-l]) / power))
            for label in columns:
                columns[label].append(np.array(found[label]))
        for label, of in columns.items():
            shown(f"{iterations} subspace iterations, {label}", of)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100)
    samples = parser.parse_args().samples
    systems(samples)
    roots(samples)
    gaps(samples)


if __name__ == "__main__":
    main()
