"""Selectors that learn run times from the rows themselves: the plain baselines of the algorithm-selection literature.

One regressor per family predicts, for every algorithm, the logarithm of what choosing it costs, from what is known for
free; algorithms are tried in the order of the predictions (selection by runtime regression: Kotthoff 2014, AI Magazine
35(3), doi:10.1609/aimag.v35i3.2460). What choosing an algorithm costs is reckoned as for the rules: where it fails, its
forecast and the safe default. Rows are judged by models that have seen none of the same shape, so that near copies do
not leak.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .measuring import Row
from .selectors import Facts, Order, facts, seconds

NEIGHBOURS = 5
TREES = 60
MODELS = ("k nearest neighbours", "random forest")


def features(problem: Facts) -> list[float]:
    """What a model is given: logarithms of shape, entries, right-hand sides, rank, target; whether ridge, rank, ..."""
    rank = problem.rank or 0
    return [
        math.log(problem.m),
        math.log(problem.n),
        math.log(min(problem.m, problem.n)),
        math.log(problem.nrhs),
        math.log1p(rank),
        rank / min(problem.m, problem.n),
        float(problem.rank is None),
        float(problem.ridge > 0.0),
        float(problem.center),
        math.log10(problem.target) if problem.target > 0.0 else -16.0,
        float(problem.dtype == "float32"),
        float(problem.library == "torch"),
        math.log1p(problem.nnz),
        *(float(problem.which == end) for end in ("LA", "SA", "LM")),
    ]


def model(name: str) -> Any:
    """An untrained regressor with several outputs."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if name == "random forest":
        return RandomForestRegressor(n_estimators=TREES, random_state=0)
    return make_pipeline(StandardScaler(), KNeighborsRegressor(NEIGHBOURS, weights="distance"))


def learned_orders(rows: Sequence[Row], name: str) -> list[Order | None]:
    """For each row the algorithms in the order that a model trained on the other shapes predicts.

    Parameters
    ----------
    rows : sequence of Row
        Each with a virtual best.
    name : str
        One of `MODELS`.

    Returns
    -------
    list of tuple of str
        None for a row whose shape is unknown, or whose family has too few rows of other shapes.
    """
    found: list[Order | None] = [None] * len(rows)
    known = [(i, row, problem) for i, row in enumerate(rows) if (problem := facts(row)) is not None]
    for family in sorted({row.family for row in rows}):
        own = [(i, row, problem) for i, row, problem in known if row.family == family]
        algorithms = sorted({c.algorithm for _, row, _ in own for c in row.candidates})
        X = np.array([features(problem) for _, _, problem in own])
        y = np.log([[seconds(row, (algorithm,)) for algorithm in algorithms] for _, row, _ in own])
        shapes = [(problem.m, problem.n) for _, _, problem in own]
        for shape in sorted(set(shapes)):
            apart = np.array([other != shape for other in shapes])
            if apart.sum() < NEIGHBOURS:
                continue
            # one output comes back without its axis
            predicted = model(name).fit(X[apart], y[apart]).predict(X[~apart]).reshape(-1, len(algorithms))
            for (i, _, _), costs in zip((own[j] for j in np.flatnonzero(~apart)), predicted, strict=True):
                found[i] = tuple(algorithms[k] for k in np.argsort(costs, kind="stable"))
    return found
