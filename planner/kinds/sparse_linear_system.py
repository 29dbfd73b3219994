"""Square systems whose A is sparse, or an operator."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...primitives import algorithms_for
from ...primitives.algorithm import Algorithm, Breakdown, Outcome
from ...primitives.evidence import Evidence, Finding
from ...primitives.interval import Interval
from ...primitives.kernels._library import Library
from ...primitives.sparse_linear_system import _iterations as iterations
from ...primitives.sparse_linear_system._common import Product, product_bytes, reading, vectors
from ...primitives.task import Task
from ...primitives.work import Work
from ...probes import ritz, sparse_structure
from ...profiles.errors import DeclarationMismatch, NoAlgorithm, NonFiniteInput
from ..certificate import Certificate
from ..certify import sparse_linear_system as certificate
from ..plans import Candidate
from ..problems import LinearSystem, Problem
from ._base import Kind, ProbeStep, times_power_of_two

_SMALL = 2000  # order up to which, with so few entries, a direct factorization takes about as long as planning
_SMALL_ENTRIES = 30_000
_STEPS = 50  # of the Lanczos probe
_STREAM = 0x9217  # of the random part of its start
_MIXED = 0.1  # of that part, beside b: what b has nothing of is seen too
_WORTH_A_DIAGNOSIS = 1000
# What the probe of the spectrum may find: (chance, condition number). And that of the fill, over what is guessed.
_SPECTRA = (0.4, 3e2), (0.4, 3e4), (0.15, 3e6)
_FILLS = (0.3, 0.2), (0.4, 1.0), (0.3, 5.0)


def _structure(A: Any, b: Any, task: Task, evidence: Evidence, backend: str) -> tuple[Task, Evidence, dict[str, Any]]:
    task, evidence, mismatch = sparse_structure.run(A, task, evidence)
    if mismatch:
        raise DeclarationMismatch(mismatch, argument="assume", found=mismatch)
    return task, evidence, {}


def _spectrum(A: Any, b: Any, task: Task, evidence: Evidence, backend: str) -> tuple[Task, Evidence, dict[str, Any]]:
    """Lanczos from b, so that the weights are those which the iterations on b meet, and a little of a random vector."""
    product, scale = Product(A, task), np.ones(task.n)
    if task.access == "sparse":
        scale = 1.0 / np.sqrt(product.A.diagonal())
    column = np.asarray(b, dtype=np.float64) if np.ndim(b) == 1 else np.asarray(b[:, 0], dtype=np.float64)
    start = _unit(scale * column) + _MIXED * _unit(
        np.random.default_rng(np.random.Philox(key=task.seed ^ _STREAM)).standard_normal(task.n)
    )
    try:
        found = ritz.run(lambda v: scale * product(scale * v), start, _STEPS, keep=False)
    except NonFiniteInput as error:  # beyond the range of numbers on the way: other ways are left
        raise Breakdown(str(error)) from error
    low, high = float(found.values[0]), float(found.values[-1])
    rounding = 1e-12 if str(A.dtype) != "float32" else 1e-5
    if low < -rounding * max(abs(low), abs(high)):
        if task.structure == "spd":
            raise DeclarationMismatch(
                "A was declared spd, and a Rayleigh quotient of it is negative; declare it symmetric, or nothing",
                argument="assume",
                found="indefinite",
            )
        sentence = f"it has a Ritz value of {low:.2g} beside one of {high:.2g}: not positive definite"
        return replace(task, structure="indefinite"), _told(evidence, sentence), {}
    if not low > 0.0:
        return task, _told(evidence, "its smallest Ritz value is zero to working accuracy"), {}
    evidence = replace(evidence, ritz=found.triples)
    count = iterations.plain(task if task.target else replace(task, target=_default_target(task)), evidence)
    scaled = "scaled to a unit diagonal " if task.access == "sparse" else ""
    sentence = (
        f"{scaled}its Ritz values go from {low:.2g} to {high:.2g} in {found.steps} Lanczos steps: about"
        f" {count.median:.0f} ({count.low:.0f} to {count.high:.0f}) iterations of conjugate gradients"
    )
    return task, _told(evidence, sentence), {}


def _default_target(task: Task) -> float:
    """What a direct factorization leaves at most, as for dense systems of an order that is not large."""
    return min(0.5, (10.0 + 4.0 * math.sqrt(task.n)) * task.unit_roundoff)


def _unit(v: np.ndarray) -> np.ndarray:
    size = float(np.linalg.norm(v))
    return v / size if size > 0.0 else v


def _told(evidence: Evidence, sentence: str) -> Evidence:
    return replace(evidence, findings=(*evidence.findings, Finding("spectrum", sentence)))


def _spectra(task: Task, evidence: Evidence) -> Sequence[tuple[float, Evidence]]:
    """Uniform in the logarithm, which is neither easy nor hard."""
    found = []
    for chance, condition in _SPECTRA:
        values = np.geomspace(2.0 / condition, 2.0, 40)
        found.append((chance, replace(evidence, ritz=tuple((float(value), 1.0 / 40.0, 0.0) for value in values))))
    return found


def _fill(A: Any, b: Any, task: Task, evidence: Evidence, backend: str) -> tuple[Task, Evidence, dict[str, Any]]:
    evidence, by_products = sparse_structure.fill(A, task, evidence)
    return task, evidence, by_products


def _fills(task: Task, evidence: Evidence) -> Sequence[tuple[float, Evidence]]:
    from ...primitives.sparse_linear_system import superlu

    known = superlu.fill(task, evidence)
    found = []
    for chance, factor in _FILLS:
        size = min(factor * known.median, float(task.n) ** 2)
        operations = 1.5 * size * size / max(1, task.n)
        found.append((chance, replace(evidence, fill=Interval.exact(size), fill_flops=Interval.exact(operations))))
    return found


class SparseLinearSystemKind(Kind):
    """A x = b with a sparse A, or products with A alone."""

    name = "sparse_linear_system"
    defaults = frozenset({"superlu", "cg_jacobi"})

    @property
    def algorithms(self) -> tuple[Algorithm, ...]:
        return algorithms_for(self.name)

    @property
    def probes(self) -> tuple[ProbeStep, ...]:
        return (
            ProbeStep(
                "structure", lambda t, e: True, lambda t, e, backend: sparse_structure.work(t), _structure, always=True
            ),
            ProbeStep(
                "spectrum",
                lambda t, e: t.structure in ("symmetric", "spd") and not e.ritz and t.n > 1,
                lambda t, e, backend: Work(
                    (reading(product_bytes(t, e), _STEPS), vectors(t.n, 12.0 * _STEPS)), 8.0 * 8.0 * t.n
                ),
                _spectrum,
                _spectra,
                thin_calls=6.0 * _STEPS,
            ),
            ProbeStep(
                "fill",
                lambda t, e: t.access == "sparse" and e.fill is None,
                lambda t, e, backend: sparse_structure.fill_work(t),
                _fill,
                _fills,
                thin_calls=50.0,
            ),
        )

    def task(self, problem: Problem, target: float, seed: int) -> Task:
        assert isinstance(problem, LinearSystem)
        if problem.metric == "forward_error":
            raise NoAlgorithm(
                "no algorithm registered yet that certifies the forward error of a linear system whose A is not dense;"
                " ask for the backward_error",
                kind=problem.kind,
            )
        A, _, dtype = problem.working()
        return Task(
            kind=self.name, m=A.shape[0], n=A.shape[1], nrhs=problem.right_hand_sides, dtype=dtype, target=target,
            metric=problem.metric, structure=problem.assume or "general", seed=seed, access=problem.access,
            nnz=int(A.nnz) if problem.access == "sparse" else 0,
        )  # fmt: skip

    def describe(self, task: Task) -> str:
        columns = "" if task.nrhs == 1 else f", {task.nrhs} right-hand sides"
        what = f"sparse with {task.nnz} entries" if task.access == "sparse" else "an operator"
        return f"linear system {task.n} x {task.n}{columns}, {task.dtype} ({what})"

    def small(self, task: Task) -> bool:
        return task.access == "sparse" and task.n <= _SMALL and task.nnz <= _SMALL_ENTRIES

    def at_once(self, task: Task, A: Any) -> Iterable[tuple[Algorithm, Any]]:
        return (self.setting("superlu", task),) if self.small(task) else ()

    def floor(self, task: Task, evidence: Evidence) -> float:
        return max(8.0 * 2.0**-53, task.unit_roundoff)

    def lapack_target(self, task: Task, evidence: Evidence) -> float:
        return _default_target(task)

    def certify_work(
        self, task: Task, evidence: Evidence, algorithm: Algorithm, options: Any, ready: frozenset[str]
    ) -> Work:
        return certificate.work(task, evidence)

    def certify(
        self, lib: Library, A: Any, b: Any, outcome: Outcome, task: Task, evidence: Evidence, *,
        metric: str, target: float | None, reuse: Mapping[str, Any], seed: int, confidence: float,
    ) -> Certificate:  # fmt: skip
        return certificate.certify(A, b, outcome.value, task, metric, target)

    def needs_norm(self, A: Any, value: Any, task: Task, metric: str) -> bool:
        return False

    def remarks(self, task: Task, evidence: Evidence, chosen: Candidate) -> list[str]:
        if not evidence.ritz or not chosen.algorithm.startswith("cg"):
            return []
        plain, fewer = (f(task, evidence).median for f in (iterations.plain, iterations.with_polynomial))
        products = (iterations.DEGREE + 1) * fewer
        name, _ = iterations.polynomial(task, evidence)
        if chosen.algorithm == "cg_polynomial":
            return [
                f"a polynomial of degree {iterations.DEGREE} ({name}) takes {fewer:.0f} iterations instead of"
                f" {plain:.0f}, which saves operations on vectors that take longer than products here"
            ]
        return [
            f"a polynomial of degree {iterations.DEGREE} ({name}) would take {fewer:.0f} iterations instead of"
            f" {plain:.0f}, but {products:.0f} products: on one processor little is gained by that"
        ]

    def diagnosis(self, A: Any, task: Task) -> str:
        if task.access != "sparse" or task.n > _WORTH_A_DIAGNOSIS:
            return ""
        rank = int(np.linalg.matrix_rank(A.toarray()))
        if rank == task.n:
            return ""
        return f"A is singular to working precision (rank {rank} of {task.n})"

    def slice_problem(self, A: Any, b: Any, task: Task) -> tuple[Any, Any, Task]:
        if task.access != "sparse":  # it has no parts
            return A, b, task
        n = max(1, task.n // 2)
        part = A[:n, :n]
        return part, b[:n], replace(task, m=n, n=n, nnz=int(part.nnz))

    def unscale(self, value: Any, exponent_A: int, exponent_b: int) -> Any:
        return times_power_of_two(value, exponent_b - exponent_A)
