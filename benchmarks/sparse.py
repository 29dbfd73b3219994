"""Sparse systems: nla.solve beside SciPy's spsolve and its conjugate gradients with Jacobi's preconditioner.

python benchmarks/sparse.py FOLDER [--only nos5 wathen100] [--repeats 5] [--least 400] [--grids] [--limit 60]

FOLDER holds square matrices (.mtx, .mtx.gz). Medians of interleaved runs in seconds, the first of each left out; b is
random. Every answer has to have a backward error below 1e-10, or the time is put in brackets; "-" is no answer, or more
than `--limit` seconds once. `--grids` adds Poisson's equation on squares and cubes.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import folder
import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla

import autonla as nla
from autonla.planner.bench.sparse import poisson
from autonla.profiles.errors import AutonlaError

ACCURACY = 1e-10
GRIDS = (100, 100), (300, 300), (20, 20, 20), (40, 40, 40)


def matrices(arguments: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """Name and matrix, of the folder and of grids."""
    for name, A in folder.matrices(arguments.folder, arguments.only, arguments.least, "fiu"):
        yield name, sp.csr_array(A.astype(np.float64))
    for sides in GRIDS if arguments.grids else ():
        yield "Poisson " + "x".join(map(str, sides)), poisson(*sides)


def with_jacobi(A: Any, b: np.ndarray) -> np.ndarray | None:
    """SciPy's conjugate gradients; None where they do not apply."""
    diagonal = A.diagonal()
    if not (diagonal > 0.0).all() or not folder.symmetric(A):
        return None
    M = spla.LinearOperator(A.shape, matvec=lambda r: r / diagonal, dtype=float)  # type: ignore[call-arg]
    x, info = spla.cg(A, b, rtol=1e-10, maxiter=20_000, M=M)
    return x if info == 0 else None


def error(A: Any, b: np.ndarray, x: np.ndarray) -> float:
    """Backward error with the longest row for the norm of A: at least that with the 2-norm."""
    size = np.sqrt(A.multiply(A).sum(axis=1).max())
    return float(np.linalg.norm(b - A @ x) / (size * np.linalg.norm(x) + np.linalg.norm(b)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--least", type=int, default=400, help="order")
    parser.add_argument("--grids", action="store_true")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds of a run, after which there is no other")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    chosen = ""
    ratios: list[float] = []

    def ours(A: Any, b: np.ndarray) -> np.ndarray | None:
        nonlocal chosen
        try:
            solution = nla.solve(nla.LinearSystem(A, b), nla.Budget(accuracy=ACCURACY), rng=0)
        except AutonlaError as failed:
            chosen = type(failed).__name__
            return None
        chosen = solution.record.attempts[-1].label.partition("[")[0]
        return solution.value

    ways: dict[str, Callable[[Any, np.ndarray], Any]] = {
        "nla.solve": ours, "spsolve": lambda A, b: spla.spsolve(sp.csc_array(A), b), "cg+jacobi": with_jacobi,
    }  # fmt: skip
    print(f"{'matrix':36s} {'n':>7s} {'nnz':>9s} " + " ".join(f"{way:>11s}" for way in ways) + "  chosen")
    for name, A in matrices(arguments):
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        errors = dict.fromkeys(ways, 0.0)
        over: set[str] = set()
        for repeat in range(arguments.repeats + 1):
            b = np.random.default_rng(repeat).standard_normal(A.shape[0])
            for way, run in ways.items():
                if way in over:
                    continue
                started = time.perf_counter()
                try:
                    x = run(A, b)
                except (RuntimeError, MemoryError):
                    x = None
                taken = time.perf_counter() - started
                if taken > arguments.limit or x is None or not np.isfinite(x).all():
                    over.add(way)
                    continue
                errors[way] = max(errors[way], error(A, b, x))
                if repeat or not arguments.repeats:
                    seconds[way].append(taken)
        shown = []
        for way in ways:
            middle = float(np.median(seconds[way])) if seconds[way] and way not in over else float("nan")
            text = "-" if middle != middle else f"{middle:.2e}"
            shown.append(f"({text})" if errors[way] > ACCURACY and text != "-" else text)
        good = [float(np.median(seconds[w])) for w in ways if seconds[w] and w not in over and errors[w] <= ACCURACY]
        if len(good) > 1 and seconds["nla.solve"]:
            ratios.append(float(np.median(seconds["nla.solve"])) / min(good))
        row = " ".join(f"{text:>11s}" for text in shown)
        print(f"{name:36s} {A.shape[0]:7d} {A.nnz:9d} {row}  {chosen}", flush=True)
    if ratios:
        mean = float(np.exp(np.mean(np.log(ratios))))
        print(f"nla.solve over the best of the three, geometric mean of {len(ratios)}: {mean:.2f}")


if __name__ == "__main__":
    main()
