"""One candidate after the other: run, certify, and keep what each attempt has taught."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from ..primitives.algorithm import Breakdown, Outcome
from ..primitives.interval import Interval
from ..primitives.kernels import library
from ..primitives.kernels._library import Library
from ..primitives.norms import needs_no_scaling, norm
from .budget import Budget
from .candidates import Entry
from .certificate import Certificate
from .certify.products import is_double
from .kinds import Kind
from .prepare import Prepared, check
from .solution import Attempt

# The certificate draws from its own random stream, never from the algorithm's.
_CERTIFICATE_STREAM = 0x5EED_CE57
# Without an accuracy in the budget an answer this far from LAPACK's is not taken from a shortcut.
_FAR_FROM_LAPACK = 100.0
# By-products of an answer that was not good enough from which the next candidate may go on (a range: by power steps).
_CONTINUED = ("range", "factor")


def certificate_seed(seed: int) -> int:
    """Key of the certificate's random stream."""
    return (seed ^ _CERTIFICATE_STREAM) & (2**63 - 1)


def run_and_certify(
    kind: Kind, prepared: Prepared, entry: Entry, metric: str, accuracy: float | None, confidence: float
) -> tuple[Outcome, Certificate, float, float]:
    """One candidate: its outcome, certificate, and the seconds of both. Raises Breakdown."""
    started = time.perf_counter()
    if not entry.algorithm.unchecked:
        check(prepared, library(entry.options.backend))
    task = prepared.task
    with nullcontext() if prepared.checked else np.errstate(all="ignore"):
        outcome = entry.algorithm.solve(
            prepared.A, prepared.b, entry.task(task), entry.options, prepared.evidence, prepared.by_products
        )
    ran = time.perf_counter()
    _check_shapes(outcome.value, prepared)
    lib = library(entry.options.backend)
    value = tuple(map(lib.asarray, outcome.value)) if isinstance(outcome.value, tuple) else lib.asarray(outcome.value)
    if prepared.evidence.norm_fro is None and kind.needs_norm(lib.asarray(prepared.A), value, task, metric):
        prepared.evidence = replace(prepared.evidence, norm_fro=_norm_afterwards(lib, prepared, outcome))
    certified = outcome if value is outcome.value else replace(outcome, value=value)
    with np.errstate(all="ignore"):  # an answer may be anything; what overflows is not certified
        certificate = kind.certify(
            lib,
            lib.asarray(prepared.A),
            None if prepared.b is None else lib.asarray(prepared.b),
            certified,
            task,
            prepared.evidence,
            metric=metric,
            target=accuracy,
            reuse={
                **outcome.by_products,
                **{k: v for k, v in prepared.by_products.items() if k == "sketch"},
                "sketch_used": entry.algorithm.randomized,
            },
            seed=certificate_seed(task.seed),
            confidence=confidence,
        )
    return outcome, certificate, ran - started, time.perf_counter() - ran


def _norm_afterwards(lib: Library, prepared: Prepared, outcome: Outcome) -> float:
    """||A||_F once an algorithm has run: it may have come by it, and else its library's threads are awake.

    Raises Breakdown where A is not finite, or has to be scaled.
    """
    size = outcome.by_products.get("norm_fro")
    if size is None:
        A = lib.asarray(prepared.A)
        with np.errstate(all="ignore"):
            size = math.sqrt(lib.sum_of_squares(A)) if is_double(A) else norm(A)
    if not needs_no_scaling(size * size, prepared.task.dtype):
        raise Breakdown("A is not finite, or far from unit size")
    return size


def _check_shapes(value: Any, prepared: Prepared) -> None:
    """Raise Breakdown where an algorithm (of another package, perhaps) returned something of another shape."""
    task, b = prepared.task, prepared.b
    if b is not None:
        found, expected = [tuple(value.shape)], [(task.n, *b.shape[1:])]
    else:
        found, rank = [tuple(part.shape) for part in value], int(value[1].shape[0])
        expected = [(task.m, rank), (rank,), (rank, task.n)]
    if found != expected:
        raise Breakdown(f"its answer has shape {found}, not {expected}")


def _rank(certificate: Certificate) -> tuple[bool, float, float]:
    """Order of answers: satisfied before not, then by bound, then by estimate; NaN is the worst of all."""
    bound, estimate = certificate.bound, certificate.estimate
    return (
        not certificate.satisfied,
        math.inf if math.isnan(bound) else bound,
        math.inf if math.isnan(estimate) else estimate,
    )


class Attempts:
    """What was tried of one problem, the best answer so far, what was learned, and what is left of the budget.

    Attributes
    ----------
    prepared : Prepared
        Operands; its evidence and by-products grow with the attempts.
    tried : list of Entry
    attempts : list of Attempt
        The same, for the record.
    failed : list of Entry
    best : (Outcome, Certificate) or None
    seconds : dict
        "run" and "certify", of all attempts [s].
    learned : bool
        Whether a failure has added to the evidence since this was last set to False.
    started : float
        On the clock of `time.perf_counter`.
    """

    def __init__(self, kind: Kind, prepared: Prepared, budget: Budget, metric: str, started: float) -> None:
        self.kind, self.budget, self.metric, self.started = kind, budget, metric, started
        # a copy: what attempts leave behind is for the next attempt of this run only
        self.prepared = replace(prepared, by_products=dict(prepared.by_products))
        self.tried: list[Entry] = []
        self.attempts: list[Attempt] = []
        self.failed: list[Entry] = []
        self.best: tuple[Outcome, Certificate] | None = None
        self.seconds = {"run": 0.0, "certify": 0.0}
        self.out_of_memory = False
        self.learned = False
        self.joules = 0.0  # forecast for what has been tried
        self.too_narrow = 0  # columns of a range that were too few for the certificate

    def attempt(self, entry: Entry) -> bool:
        """Run one candidate; True when its answer satisfies the budget."""
        label = entry.candidate.label
        begun = time.perf_counter()
        self.tried.append(entry)
        if entry.candidate.forecast is not None:
            self.joules += entry.candidate.forecast.joules.median
        try:
            outcome, certificate, ran, certified = self._run(entry)
        except Breakdown as breakdown:
            self._failed(entry, begun, f"broke down: {breakdown}")
            self.prepared.by_products |= breakdown.by_products
            if breakdown.condition is not None:
                self._learn_condition(breakdown.condition)
            return False
        except (MemoryError, RuntimeError) as error:
            if not (isinstance(error, MemoryError) or "allocate" in str(error) or "out of memory" in str(error)):
                raise
            self.out_of_memory = True
            self._failed(entry, begun, f"ran out of memory: {error}")
            return False
        self.seconds["run"] += ran
        self.seconds["certify"] += certified
        if self.best is None or _rank(certificate) < _rank(self.best[1]):
            self.best = outcome, certificate
        seen = outcome.by_products.get("condition")
        if seen is not None:
            found = Interval.around(seen, 3.0).at_least(1.0)
            self.prepared.evidence = replace(self.prepared.evidence, condition=found, scaled_condition=found)
        good = certificate.satisfied
        unlimited = not self.budget.limited or entry.candidate.forecast is None  # what runs at once was not weighed
        if good and self.budget.accuracy is None and unlimited and not entry.algorithm.safe:
            good = certificate.bound <= _FAR_FROM_LAPACK * self.kind.lapack_target(
                self.prepared.task, self.prepared.evidence
            )
        sentence = "certified" if good else f"its certificate allows only {certificate.bound:.1e}"
        self.attempts.append(Attempt(label, ran + certified, sentence, certificate.bound, dict(outcome.details)))
        if not good:
            self.failed.append(entry)
            self.too_narrow = max(self.too_narrow, certificate.columns or 0)
            self.prepared.by_products |= {k: v for k, v in outcome.by_products.items() if k in _CONTINUED}
            known = self.kind.learned(self.prepared.task, self.prepared.evidence, outcome)
            if certificate.numerical_rank is not None:
                known = replace(known, numerical_rank=certificate.numerical_rank)
            self.learned |= known is not self.prepared.evidence
            self.prepared.evidence = known
        return good

    def _run(self, entry: Entry) -> tuple[Outcome, Certificate, float, float]:
        """`run_and_certify`; once more where it broke down on an A that nobody had looked at, and that was scaled."""
        how = self.metric, self.budget.accuracy, self.budget.confidence
        try:
            return run_and_certify(self.kind, self.prepared, entry, *how)
        except Breakdown:
            if self.prepared.checked:
                raise
            check(self.prepared)
            if not self.prepared.exponent_A:
                raise
            return run_and_certify(self.kind, self.prepared, entry, *how)

    def _failed(self, entry: Entry, begun: float, sentence: str) -> None:
        seconds = time.perf_counter() - begun
        self.seconds["run"] += seconds
        self.failed.append(entry)
        self.attempts.append(Attempt(entry.candidate.label, seconds, sentence, None))

    def _learn_condition(self, found: Interval) -> None:
        evidence = self.prepared.evidence
        if found.low > min(evidence.condition.low, evidence.scaled_condition.low):
            self.learned = True
            self.prepared.evidence = replace(evidence, condition=found, scaled_condition=found)

    def left(self) -> float:
        """Seconds left of the latency budget."""
        return math.inf if self.budget.latency is None else self.budget.latency - (time.perf_counter() - self.started)

    def may_follow(self, entry: Entry) -> bool:
        """Whether it is worth trying `entry` after what has failed, and whether it fits what is left."""
        forecast = entry.candidate.forecast
        if forecast is None:
            return False
        if self.budget.memory is not None and forecast.bytes.high > self.budget.memory - self.prepared.held_bytes:
            return False
        if forecast.seconds.median > self.left():
            return False
        if self.budget.energy is not None and forecast.joules.median > self.budget.energy - self.joules:
            return False
        return not self.has_failed(entry)

    def has_failed(self, entry: Entry) -> bool:
        """Whether `entry` was tried, or would fail for the reason another one did."""
        columns = self.kind.range_columns(self.prepared.task, entry.algorithm, entry.options)
        if columns is not None and self.too_narrow > 0:
            return columns <= self.too_narrow
        return any(_same_method(entry, other) for other in self.failed)


def _same_method(entry: Entry, failed: Entry) -> bool:
    """Whether `entry` would fail for the reason `failed` did: the same algorithm, not forecast to be more accurate."""
    if entry.algorithm.name != failed.algorithm.name:
        return False
    a, b = entry.candidate.forecast, failed.candidate.forecast
    return a is None or b is None or a.error.median > 0.5 * b.error.median
