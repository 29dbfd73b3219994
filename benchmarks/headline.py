"""autonla beside the calls people make today: same process, interleaved, medians, equal accuracy or better.

    python benchmarks/headline.py [--repeats 5] [--json results/headline.json]

Everything autonla does is inside its time: probing, planning, running, certifying. Run `autonla profile` first. Ratios
are what to read; the seconds belong to one machine. Forecasts are those of `solution.plan.chosen`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import scipy.linalg

import autonla as nla


@dataclass(frozen=True)
class Case:
    """A problem, its budget, and the calls a user would make today."""

    name: str
    make: Callable[[], nla.LinearSystem | nla.LeastSquares | nla.LowRank]
    budget: nla.Budget
    rivals: dict[str, Callable[[Any], Any]]
    wanted: dict[str, float]  # speed-up aimed at, per rival


def least_squares(m: int, n: int, condition: float, residual: float = 0.1, ridge: float = 0.0) -> nla.LeastSquares:
    """Rows are Gaussian, singular values geometric; `residual` is ||b - Ax*|| / ||b||, about."""
    rng = np.random.default_rng(7)
    V, _ = np.linalg.qr(rng.standard_normal((n, n)))
    A = (rng.standard_normal((m, n)) * np.geomspace(1.0, 1.0 / condition, n)) @ V.T
    b = A @ rng.standard_normal(n)
    b /= np.linalg.norm(b)
    noise = rng.standard_normal(m)
    return nla.LeastSquares(A, b + residual * noise / np.linalg.norm(noise), ridge=ridge)


def linear_system(n: int, condition: float | None = None, spd: bool = False) -> nla.LinearSystem:
    """Gaussian entries, or geometric singular values."""
    rng = np.random.default_rng(8)
    if condition is None:
        A = rng.standard_normal((n, n))
        if spd:
            A = A @ A.T + n * np.eye(n)
    else:
        U, _ = np.linalg.qr(rng.standard_normal((n, n)))
        V, _ = np.linalg.qr(rng.standard_normal((n, n)))
        A = (U * np.geomspace(1.0, 1.0 / condition, n)) @ V.T
    return nla.LinearSystem(A, rng.standard_normal(n))


def low_rank(m: int, n: int, rank: int | None, power: float = 1.5, center: bool = False) -> nla.LowRank:
    """Singular values j^-power."""
    rng = np.random.default_rng(9)
    k = min(m, n)
    U, _ = np.linalg.qr(rng.standard_normal((m, k)))
    V, _ = np.linalg.qr(rng.standard_normal((n, k)))
    return nla.LowRank((U * np.arange(1.0, k + 1) ** -power) @ V.T, rank=rank, center=center)


def randomized_svd(problem: Any) -> Any:
    """As scikit-learn's documentation calls it."""
    from sklearn.utils.extmath import randomized_svd

    return randomized_svd(problem.A, problem.rank, random_state=0)


CASES = (
    Case(
        "least squares 100000x200, condition 1e4, accuracy 1e-8",
        lambda: least_squares(100_000, 200, 1e4),
        nla.Budget(accuracy=1e-8),
        {"numpy.linalg.lstsq": lambda p: np.linalg.lstsq(p.A, p.b)},
        {"numpy.linalg.lstsq": 3.0},
    ),
    Case(
        "low rank 50 of 2000x2000, singular values j^-1.5, within 5 % of the best",
        lambda: low_rank(2000, 2000, 50),
        nla.Budget(accuracy=0.05),
        {
            "numpy.linalg.svd": lambda p: np.linalg.svd(p.A, full_matrices=False),
            "sklearn randomized_svd": randomized_svd,
        },
        {"numpy.linalg.svd": 20.0, "sklearn randomized_svd": 3.0},
    ),
    Case(
        "linear system 4000x4000, Gaussian, backward error 1e-14",
        lambda: linear_system(4000),
        nla.Budget(accuracy=1e-14),
        {"numpy.linalg.solve": lambda p: np.linalg.solve(p.A, p.b)},
        {"numpy.linalg.solve": 1.4},
    ),
    Case(
        "linear system 4000x4000, condition 1e12, backward error 1e-13",
        lambda: linear_system(4000, 1e12),
        nla.Budget(accuracy=1e-13),
        {"numpy.linalg.solve": lambda p: np.linalg.solve(p.A, p.b)},
        {},
    ),
    Case(
        "SPD system 2000x2000, accuracy 1e-12",
        lambda: linear_system(2000, spd=True),
        nla.Budget(accuracy=1e-12),
        {"scipy.linalg.solve": lambda p: scipy.linalg.solve(p.A, p.b, assume_a="pos")},
        {},
    ),
    Case(
        "least squares 100000x200, condition 1e10, accuracy 1e-5",
        lambda: least_squares(100_000, 200, 1e10),
        nla.Budget(accuracy=1e-5),
        {"numpy.linalg.lstsq": lambda p: np.linalg.lstsq(p.A, p.b)},
        {},
    ),
    Case(
        "least squares 100000x200, accuracy 0.1",
        lambda: least_squares(100_000, 200, 1e4, residual=0.1),
        nla.Budget(accuracy=0.1),
        {"numpy.linalg.lstsq": lambda p: np.linalg.lstsq(p.A, p.b)},
        {},
    ),
    Case(
        "least squares 5000x300, condition 1e3, accuracy 1e-10",
        lambda: least_squares(5000, 300, 1e3),
        nla.Budget(accuracy=1e-10),
        {"numpy.linalg.lstsq": lambda p: np.linalg.lstsq(p.A, p.b)},
        {},
    ),
    Case(
        "low rank of 2000x1000 by accuracy 1e-2",
        lambda: low_rank(2000, 1000, None),
        nla.Budget(accuracy=1e-2),
        {"numpy.linalg.svd": lambda p: np.linalg.svd(p.A, full_matrices=False)},
        {},
    ),
    Case(
        "low rank 900 of 1000x1000 (nothing to gain)",
        lambda: low_rank(1000, 1000, 900),
        nla.Budget(accuracy=0.05),
        {"numpy.linalg.svd": lambda p: np.linalg.svd(p.A, full_matrices=False)},
        {},
    ),
    Case(
        "linear system 1000x1000, Gaussian, accuracy 1e-12",
        lambda: linear_system(1000),
        nla.Budget(accuracy=1e-12),
        {"numpy.linalg.solve": lambda p: np.linalg.solve(p.A, p.b)},
        {},
    ),
    Case(
        "ridge regression 50000x100, ridge 1, accuracy 1e-8",
        lambda: least_squares(50_000, 100, 1e4, ridge=1.0),
        nla.Budget(accuracy=1e-8),
        {"sklearn Ridge": lambda p: _ridge(p)},
        {},
    ),
)


def _ridge(problem: Any) -> Any:
    from sklearn.linear_model import Ridge

    return Ridge(alpha=problem.ridge, fit_intercept=False).fit(problem.A, problem.b).coef_


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    time.sleep(0.1)  # let the idle threads of the previous call's BLAS stop spinning
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def run(case: Case, repeats: int) -> dict[str, Any]:
    """Interleaved medians of one case; the first round warms up and is not counted."""
    problem = case.make()
    ours: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in case.rivals}
    factors, memory = [], []
    solution = None
    for i in range(repeats + 1):
        seconds, solution = _timed(lambda i=i: nla.solve(problem, case.budget, rng=i))
        others = {name: _timed(lambda call=call: call(problem))[0] for name, call in case.rivals.items()}
        if i == 0:
            continue
        ours.append(seconds)
        for name, value in others.items():
            theirs[name].append(value)
        forecast, record = solution.plan.chosen.forecast, solution.record
        if forecast is not None and len(record.attempts) == 1:
            factors.append((record.seconds["run"] + record.seconds["certify"]) / forecast.seconds.median)
            if record.peak_bytes is not None:
                memory.append((record.peak_bytes, forecast.bytes.high))
    assert solution is not None
    return {
        "case": case.name,
        "chosen": solution.plan.chosen.label,
        "status": solution.status,
        "bound": solution.certificate.bound,
        "attempts": len(solution.record.attempts),
        "seconds": median(ours),
        "rivals": {name: median(values) for name, values in theirs.items()},
        "speedup": {name: median(values) / median(ours) for name, values in theirs.items()},
        "wanted": case.wanted,
        "measured_over_forecast": median(factors) if factors else None,
        "memory": max(memory, key=lambda pair: pair[0] / max(pair[1], 1.0)) if memory else None,
        "stages": {k: v for k, v in solution.record.seconds.items() if k != "total"},
    }


def main() -> None:
    """Run the cases and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="run the cases whose name contains this")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = []
    for case in CASES:
        if arguments.only not in case.name:
            continue
        row = run(case, arguments.repeats)
        rows.append(row)
        print(
            f"{row['case']}\n    {row['chosen']}, {row['status']}, bound {row['bound']:.1e},"
            f" {row['seconds'] * 1e3:.1f} ms"
        )
        for name, speedup in row["speedup"].items():
            wanted = row["wanted"].get(name)
            verdict = "" if wanted is None else f"  (aim {wanted:g}x: {'met' if speedup >= wanted else 'MISSED'})"
            print(f"    {speedup:5.2f}x against {name}{verdict}")
        stages = ", ".join(f"{k} {v * 1e3:.1f}" for k, v in row["stages"].items())
        off = row["measured_over_forecast"]
        print(f"    stages [ms] {stages}; measured / forecast {'-' if off is None else format(off, '.2f')}")
        if row["memory"]:
            peak, forecast = row["memory"]
            print(f"    peak memory {peak / 2**20:.1f} MiB, forecast at most {forecast / 2**20:.1f} MiB", flush=True)
    known = [r["measured_over_forecast"] for r in rows if r["measured_over_forecast"]]
    if known:
        within = sum(1 / 1.5 <= f <= 1.5 for f in known)
        print(f"forecast within a factor 1.5 of measured: {within} of {len(known)}")
    over = [r for r in rows if r["memory"] and r["memory"][0] > 1.05 * r["memory"][1]]
    print(f"peak memory more than 5 % above its forecast: {len(over)} of {len(rows)}")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
