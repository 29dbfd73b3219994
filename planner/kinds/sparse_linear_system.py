"""Square systems whose A is sparse, or an operator."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...primitives.algorithm import Algorithm, Outcome
from ...primitives.evidence import Evidence
from ...primitives.interval import Interval
from ...primitives.kernels._library import Library
from ...primitives.sparse_linear_system import _cg
from ...primitives.sparse_linear_system import _iterations as iterations
from ...primitives.sparse_linear_system._common import product_bytes, reading, vectors
from ...primitives.sparse_linear_system.cg_jacobi import VECTORS
from ...primitives.task import Task
from ...primitives.work import Work
from ...probes import conjugate_gradients, sparse_structure
from ...profiles.errors import DeclarationMismatch, NoAlgorithm
from ..certificate import Certificate
from ..certify import sparse_linear_system as certificate
from ..plans import Candidate
from ..problems import LinearSystem, Problem
from ._base import ProbeStep, times_power_of_two
from ._matrix_free import MatrixFreeKind, direct_error, even, fill, held, not_definite, told

_SMALL = 2000  # order up to which, with so few entries, a direct factorization takes about as long as planning
_SMALL_ENTRIES = 30_000
_LONG_ROWS = 12.0  # entries of one, in the mean
_FEW = 40  # iterations, of a small system
_STEPS = 50  # of conjugate gradients, as a probe
_FIRST, _FEW_ENOUGH = 18, 100  # of them, which tell whether so many are likely to be enough
_WORTH_A_DIAGNOSIS = 1000
# What the first iterations may find: that A is easy, or indefinite. What the probe of the spectrum may find: (chance,
# condition number). And that of the fill, over what is guessed.
_EASY, _INDEFINITE = 0.4, 0.1
_SPECTRA = (0.4, 3e2), (0.4, 3e4), (0.15, 3e6)
_FILLS = (0.4, 0.2), (0.35, 0.6), (0.25, 3.0)


def _structure(A: Any, b: Any, task: Task, evidence: Evidence, backend: str) -> tuple[Task, Evidence, dict[str, Any]]:
    task, evidence, mismatch = sparse_structure.run(A, task, evidence)
    if mismatch:
        raise DeclarationMismatch(mismatch, argument="assume", found=mismatch)
    return task, evidence, {}


def _first(
    A: Any, b: Any, task: Task, evidence: Evidence, backend: str = "", *, most: int = _FEW_ENOUGH
) -> tuple[Task, Evidence, dict[str, Any]]:
    """A few iterations of conjugate gradients, and the rest of them where they are likely to be few."""
    aim = _aim(task)
    seen = conjugate_gradients.run(A, b, aim, _FIRST)
    state = seen.state
    if state is not None and not state.converged:
        likely = conjugate_gradients.likely_total(state, 0.5 * aim.target)
        if likely > 1.2 * most:  # it is often less
            left = float(np.linalg.norm(state.r)) / state.norm_b
            sentence = f"{state.done} iterations of conjugate gradients leave a residual of {left:.1g}"
            evidence = replace(told(evidence, "spectrum", sentence), cg_steps=state.done, cg_likely=_finite(likely))
            return task, evidence, {_cg.STARTED: state}
        seen = conjugate_gradients.run(A, b, aim, most, started=state)
    return _found(task, evidence, seen, A)


def _spectrum(
    A: Any, b: Any, task: Task, evidence: Evidence, backend: str, *, by_products: Mapping[str, Any]
) -> tuple[Task, Evidence, dict[str, Any]]:
    """More iterations of conjugate gradients, for what they see of the spectrum."""
    started = by_products.get(_cg.STARTED)
    return _found(task, evidence, conjugate_gradients.run(A, b, _aim(task), _STEPS, started=started), A)


def _found(
    task: Task, evidence: Evidence, seen: conjugate_gradients.Seen, A: Any
) -> tuple[Task, Evidence, dict[str, Any]]:
    rounding = 1e-12 if str(A.dtype) != "float32" else 1e-5
    if seen.state is None:
        if seen.curvature >= -rounding * seen.size:
            return task, told(evidence, "spectrum", "its smallest Ritz value is zero to working accuracy"), {}
        if task.structure == "spd":
            raise not_definite()
        sentence = f"it has a Rayleigh quotient of {seen.curvature:.2g}: not positive definite"
        return replace(task, structure="indefinite"), told(evidence, "spectrum", sentence), {}
    ritz = () if seen.ritz is None else seen.ritz.triples
    evidence = replace(evidence, ritz=ritz, cg_steps=seen.state.done, cg_converged=seen.state.converged)
    steps, left = f"{seen.state.done} iterations of conjugate gradients", {_cg.STARTED: seen.state}
    if seen.ritz is None:
        return task, told(evidence, "spectrum", "b is zero"), left
    scaled = "scaled to a unit diagonal " if task.access == "sparse" else ""
    low, high = float(seen.ritz.values[0]), float(seen.ritz.values[-1])
    sentence = f"{scaled}its Ritz values go from {low:.2g} to {high:.2g} in {steps}, "
    if seen.state.converged:
        return task, told(evidence, "spectrum", sentence + "which are enough"), left
    likely = conjugate_gradients.likely_total(seen.state, 0.5 * _aim(task).target)
    evidence = replace(evidence, cg_likely=_finite(likely))
    count = iterations.plain(_aim(task), evidence)
    sentence += f"which will take about {count.median:.0f} ({count.low:.0f} to {count.high:.0f})"
    return task, told(evidence, "spectrum", sentence), left


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _aim(task: Task) -> Task:
    """The task with the target that it will have."""
    return task if task.target else replace(task, target=min(0.5, direct_error(task)))


def _easy_or_not(task: Task, evidence: Evidence) -> Sequence[tuple[float, Evidence]]:
    """So easy that the probe is the solution; or indefinite."""
    found = [(_EASY, replace(evidence, ritz=even(10.0), cg_steps=2 * _FIRST, cg_converged=True))]
    if task.structure != "spd":
        found.append((_INDEFINITE, replace(evidence, ritz=((-1.0, 1.0, 0.0),))))
    return found


def _spectra(task: Task, evidence: Evidence) -> Sequence[tuple[float, Evidence]]:
    return [
        (chance, replace(evidence, ritz=even(condition), cg_steps=_STEPS, cg_likely=None))
        for chance, condition in _SPECTRA
    ]


def _iterating(task: Task, evidence: Evidence, steps: float) -> Work:
    return Work((reading(product_bytes(task, evidence), steps), vectors(task.n, VECTORS * steps)), 8.0 * 8.0 * task.n)


def _fills(task: Task, evidence: Evidence) -> Sequence[tuple[float, Evidence]]:
    from ...primitives.sparse_linear_system import superlu

    known = superlu.fill(task, evidence)
    found = []
    for chance, factor in _FILLS:
        size = min(factor * known.median, float(task.n) ** 2)
        operations = 1.5 * size * size / max(1, task.n)
        found.append((chance, replace(evidence, fill=Interval.exact(size), fill_flops=Interval.exact(operations))))
    return found


class SparseLinearSystemKind(MatrixFreeKind):
    """A x = b with a sparse A, or products with A alone."""

    name = "sparse_linear_system"
    defaults = frozenset({"superlu", "cg_jacobi"})

    @property
    def probes(self) -> tuple[ProbeStep, ...]:
        return (
            ProbeStep(
                "structure", lambda t, e: True, lambda t, e, backend: sparse_structure.work(t), _structure, always=True
            ),
            ProbeStep(
                "iterations",
                lambda t, e: t.structure in ("symmetric", "spd") and not e.cg_steps and not e.ritz and t.n > 1,
                lambda t, e, backend: _iterating(t, e, 1.5 * _FIRST),
                _first,
                _easy_or_not,
                thin_calls=6.0 * _FIRST,
            ),
            ProbeStep(
                "spectrum",
                lambda t, e: t.structure in ("symmetric", "spd") and not (e.ritz or e.cg_converged) and t.n > 1,
                lambda t, e, backend: _iterating(t, e, _STEPS - e.cg_steps),
                _spectrum,
                _spectra,
                thin_calls=6.0 * _STEPS,
                goes_on=True,
            ),
            ProbeStep(
                "fill",
                lambda t, e: t.access == "sparse" and e.fill is None and not (e.cg_converged and t.nrhs == 1),
                lambda t, e, backend: sparse_structure.fill_work(t),
                fill,
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
        return f"linear system {task.n} x {task.n}{columns}, {task.dtype} ({held(task)})"

    def small(self, task: Task) -> bool:
        return task.access == "sparse" and task.n <= _SMALL and task.nnz <= _SMALL_ENTRIES

    def at_once(self, task: Task, A: Any) -> Iterable[tuple[Algorithm, Any]]:
        if not self.small(task):
            return ()
        # where rows are short a factorization takes no longer than planning, and where they are long it may fill in
        return (self.setting("cg_jacobi" if task.target and self._long_rows(task) else "superlu", task),)

    def _long_rows(self, task: Task) -> bool:
        return task.nnz >= _LONG_ROWS * task.n and task.n >= _FEW

    def glance(
        self, A: Any, b: Any, task: Task, evidence: Evidence, algorithm: Algorithm, options: Any
    ) -> tuple[bool, Evidence, dict[str, Any]]:
        if algorithm.name != "cg_jacobi":
            return True, sparse_structure.pivots(A, evidence), {}
        task, evidence, _ = _structure(A, b, task, evidence, "")
        if task.structure not in ("symmetric", "spd"):
            return False, evidence, {}
        _, seen, by_products = _first(A, b, task, evidence, most=_FEW)
        return (True, seen, by_products) if seen.cg_converged else (False, evidence, {})

    def lapack_target(self, task: Task, evidence: Evidence) -> float:
        return min(0.5, direct_error(task))

    def certify_work(
        self, task: Task, evidence: Evidence, algorithm: Algorithm, options: Any, ready: frozenset[str]
    ) -> Work:
        return certificate.work(task, evidence)

    def certify(
        self, lib: Library, A: Any, b: Any, outcome: Outcome, task: Task, evidence: Evidence, *,
        metric: str, target: float | None, reuse: Mapping[str, Any], seed: int, confidence: float,
    ) -> Certificate:  # fmt: skip
        return certificate.certify(A, b, outcome.value, task, metric, target)

    def remarks(self, task: Task, evidence: Evidence, chosen: Candidate) -> list[str]:
        if evidence.cg_converged and task.nrhs == 1:
            return ["conjugate gradients had solved it while they looked at the spectrum: nothing can be faster now"]
        if not evidence.cg_steps or evidence.cg_converged or not chosen.algorithm.startswith("cg"):
            return []
        plain, fewer = (f(task, evidence).median for f in (iterations.plain, iterations.with_polynomial))
        products = (iterations.DEGREE + 1) * fewer
        made = chosen.algorithm == "cg_polynomial" or iterations.worth_making(task, evidence)
        ritz = evidence.ritz
        name = f" ({iterations.polynomial(ritz, iterations.tolerance(task, ritz))[0]})" if made else ""
        if chosen.algorithm == "cg_polynomial":
            return [
                f"a polynomial of degree {iterations.DEGREE}{name} takes {fewer:.0f} iterations instead of"
                f" {plain:.0f}, which saves operations on vectors, and inner products to wait for, that take longer"
                f" than {products:.0f} products here"
            ]
        return [
            f"a polynomial of degree {iterations.DEGREE}{name} would take {fewer:.0f} iterations instead of"
            f" {plain:.0f}, but {products:.0f} products: on one processor little is gained by that"
        ]

    def diagnosis(self, A: Any, task: Task) -> str:
        if task.access != "sparse" or task.n > _WORTH_A_DIAGNOSIS:
            return ""
        rank = int(np.linalg.matrix_rank(A.toarray()))
        if rank == task.n:
            return ""
        return f"A is singular to working precision (rank {rank} of {task.n})"

    def unscale(self, value: Any, task: Task, exponent_A: int, exponent_b: int) -> Any:
        return times_power_of_two(value, exponent_b - exponent_A)
