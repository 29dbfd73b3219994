"""What the kinds have in common whose A may be sparse, or an operator: targets, findings, probes, a part of A."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ...primitives.algorithm import Breakdown
from ...primitives.evidence import Evidence, Finding
from ...primitives.task import Task
from ...probes import ritz, sparse_structure
from ...profiles.errors import DeclarationMismatch, NonFiniteInput
from ..problems import Problem
from ._base import Kind


class MatrixFreeKind(Kind):
    """Certified in float64 by products with A, which tell whether it is finite."""

    def floor(self, task: Task, evidence: Evidence) -> float:
        return max(8.0 * 2.0**-53, task.unit_roundoff)

    def needs_norm(self, A: Any, value: Any, task: Task, metric: str) -> bool:
        return False

    def slice_problem(self, A: Any, b: Any, task: Task) -> tuple[Any, Any, Task]:
        if task.access == "operator":  # it has no parts
            return A, b, task
        n = max(1, task.n // 2)
        part = A[:n, :n]
        nnz = int(part.nnz) if task.access == "sparse" else 0
        rank = None if task.rank is None else min(task.rank, n)
        return part, None if b is None else b[:n], replace(task, m=n, n=n, nnz=nnz, rank=rank)


def direct_error(task: Task) -> float:
    """What a direct method leaves at most, as for dense systems of an order that is not large."""
    return (10.0 + 4.0 * math.sqrt(task.n)) * task.unit_roundoff


def stored(problem: Problem, A: Any) -> Mapping[str, Any]:
    """Fields of a task that say how its A, in working form, is held."""
    dense = problem.dense
    return {
        "library": problem.access if dense else "numpy", "device": problem.device,
        "order": problem.order() if dense else "C", "access": "dense" if dense else problem.access,
        "nnz": int(A.nnz) if problem.access == "sparse" else 0,
    }  # fmt: skip


def held(task: Task) -> str:
    """The same for a person."""
    return {"sparse": f"sparse with {task.nnz} entries", "operator": "an operator"}.get(task.access, task.library)


def told(evidence: Evidence, probe: str, sentence: str) -> Evidence:
    """The evidence with a finding."""
    return replace(evidence, findings=(*evidence.findings, Finding(probe, sentence)))


def looked(product: Callable[[np.ndarray], np.ndarray], start: np.ndarray, steps: int) -> ritz.RitzValues:
    """Ritz values without a basis; Breakdown where a product is not finite: planning does without."""
    try:
        return ritz.run(product, start, steps, keep=False)
    except NonFiniteInput as error:
        raise Breakdown(str(error)) from error


def even(condition: float) -> tuple[tuple[float, float, float], ...]:
    """`Evidence.ritz` of a spectrum uniform in the logarithm, which is neither easy nor hard."""
    return tuple((float(value), 1.0 / 40.0, 0.0) for value in np.geomspace(2.0 / condition, 2.0, 40))


def fill(A: Any, b: Any, task: Task, evidence: Evidence, backend: str) -> tuple[Task, Evidence, dict[str, Any]]:
    """The probe of the fill."""
    evidence, by_products = sparse_structure.fill(A, task, evidence)
    return task, evidence, by_products


def not_definite() -> DeclarationMismatch:
    """Of an A that was declared so, and is seen not to be."""
    return DeclarationMismatch(
        "A was declared spd, and a Rayleigh quotient of it is negative; declare it symmetric, or nothing",
        argument="assume",
        found="indefinite",
    )
