"""Rows of a benchmark that nobody measured, and an instance that takes no time."""

from __future__ import annotations

from typing import Any

import numpy as np

import autonla as nla
from autonla.planner.bench import Row, Timed
from autonla.planner.bench.spectra import with_singular_values
from autonla.planner.bench.suite import Instance


def timed(label: str, seconds: float | None, forecast: float = 1.0) -> Timed:
    """A candidate; its algorithm is what stands before the brackets of its label."""
    return Timed(label, label.split("(")[0].split("[")[0], forecast, seconds)


def row(seconds: float = 1.0, default: float = 2.0, family: str = "low_rank", **fields: Any) -> Row:
    """A row, certified at the first attempt.

    Parameters
    ----------
    fields
        Of the row. `candidates` and `unraced` may be a dict of name to seconds (of unraced ones: forecast seconds);
        the label is then "name[numpy float64]".
    """
    candidates, unraced = fields.pop("candidates", {"a": 0.8, "b": 1.6}), fields.pop("unraced", {})
    if isinstance(candidates, dict):
        candidates = tuple(timed(f"{name}[numpy float64]", value) for name, value in candidates.items())
    if isinstance(unraced, dict):
        unraced = tuple(timed(f"{name}[numpy float64]", None, value) for name, value in unraced.items())
    defaults = {
        "name": "made up", "family": family, "tags": {}, "chosen": "a[numpy float64]", "status": "certified",
        "default": "today", "stages": {"probe": 0.05, "plan": 0.05, "run": 0.6, "certify": 0.3},
        "forecast": (1.0, 0.5, 2.0), "bound": 1e-9, "target": 1e-8, "peak_bytes": 100.0, "forecast_bytes": 120.0,
    }  # fmt: skip
    return Row(seconds=seconds, default_seconds=default, candidates=candidates, unraced=unraced, **(defaults | fields))


def tiny(m: int = 900, n: int = 200, accuracy: float = 1e-8, memory: str | None = None) -> Instance:
    """A least-squares problem of condition 1e3; with a limit of memory it is planned whatever its size."""

    def make(rng: np.random.Generator) -> nla.LeastSquares:
        A = with_singular_values(m, n, np.geomspace(1.0, 1e-3, n), rng)
        return nla.LeastSquares(A, rng.standard_normal(m))

    budget = nla.Budget(accuracy, memory=memory)
    return Instance(f"tiny {m}x{n} to {accuracy:g}", "least_squares", {"m": m, "n": n}, make, budget)
