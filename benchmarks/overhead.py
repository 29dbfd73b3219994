"""What autonla adds to LAPACK on tiny problems: microseconds per call, interleaved medians.

python benchmarks/overhead.py [--size 50] [--repeats 2000]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

import autonla as nla


def interleaved(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each call, all in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - started)
    return {name: median(values) for name, values in times.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=2000)
    arguments = parser.parse_args()
    n = arguments.size
    rng = np.random.default_rng(0)
    A, b = rng.standard_normal((n, n)), rng.standard_normal(n)
    problem, budget = nla.LinearSystem(A, b), nla.Budget(accuracy=1e-12)
    plan = nla.solve(problem, budget, rng=0).plan
    seconds = interleaved(
        {
            "numpy.linalg.solve(A, b)": lambda: np.linalg.solve(A, b),
            "solve(LinearSystem(A, b), budget)": lambda: nla.solve(nla.LinearSystem(A, b), budget, rng=0),
            "plan.run()": plan.run,
            "plan.run(problem)": lambda: plan.run(problem),
            "plan.run(LinearSystem(A, b))": lambda: plan.run(nla.LinearSystem(A, b)),
        },
        arguments.repeats,
    )
    lapack = seconds["numpy.linalg.solve(A, b)"]
    for name, value in seconds.items():
        added = "" if value == lapack else f", {1e6 * (value - lapack):6.1f} µs more than LAPACK"
        print(f"{name:36s} {1e6 * value:7.1f} µs{added}")


if __name__ == "__main__":
    main()
