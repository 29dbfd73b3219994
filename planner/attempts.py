"""One candidate after the other: run, certify, and keep what each attempt has taught."""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from ..primitives.algorithm import Breakdown, Outcome
from ..primitives.interval import Interval
from ..primitives.kernels import library
from ..primitives.kernels._library import Library
from ..primitives.norms import is_finite, needs_no_scaling, norm
from ..primitives.stopping import stopped_by
from .budget import Budget
from .candidates import Entry
from .certificate import Certificate
from .certify.products import is_double
from .kinds import Kind
from .prepare import Prepared, check, nbytes
from .solution import Attempt

# The certificate draws from its own random stream, never from the algorithm's.
_CERTIFICATE_STREAM = 0x5EED_CE57
# Without an accuracy in the budget an answer this far from LAPACK's is not taken from a shortcut.
_FAR_FROM_LAPACK = 100.0
# Of the failure probability that the budget allows: what a first answer may take, and what is left for those after it.
_FIRST = 0.9
# By-products of an answer that was not good enough from which the next candidate may go on (a range: by power steps;
# eigenvectors: by a search for those that they lack).
_CONTINUED = ("range", "factor", "eigenvectors")
# By-products of probes that certificates may use.
_FOR_CERTIFICATES = ("sketch", "elimination_order")
# A certificate is computed in spite of the hour where it takes so little [s], or adds so little to what has passed.
_SHORT, _WORTH_WAITING = 1.0, 0.25
_SLOWER = 10.0  # a run that took longer than this times its forecast met a cold start, not a slow machine
_OVERRUN = 1.1  # of the latency an answer may take: what the system adds to a clock is no failure
_NO_TIME = "no time was left to certify it"
_NO_MEMORY = ("out of memory", "allocate", "not enough memory", "ALLOC_FAILED", "can't start new thread")


@contextmanager
def library_errors() -> Iterator[None]:
    """Errors that a library raises for want of memory become MemoryError, those of its routines Breakdown.

    numpy raises MemoryError, torch and the driver of a GPU RuntimeError, and the routines of LAPACK, wherever they are
    called, a LinAlgError. Any other error is one in the code that runs, and stays what it is.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        text = str(error)
        memory = isinstance(error, RuntimeError) and any(words in text for words in _NO_MEMORY)
        if memory or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            raise MemoryError(text) from error
        if any(cls.__name__ in ("LinAlgError", "_LinAlgError") for cls in type(error).__mro__):
            raise Breakdown(text) from error
        raise


def certificate_seed(seed: int) -> int:
    """Key of the certificate's random stream."""
    return (seed ^ _CERTIFICATE_STREAM) & (2**63 - 1)


def run_and_certify(
    kind: Kind,
    prepared: Prepared,
    entry: Entry,
    metric: str,
    accuracy: float | None,
    confidence: float,
    *,
    stop: Callable[[], bool] | None = None,
    worth_certifying: Callable[[float], bool] | None = None,
) -> tuple[Outcome, Certificate, float, float]:
    """One candidate: its outcome, certificate, and the seconds of both.

    Parameters
    ----------
    stop : callable () -> bool, optional
        Whether iterations are to end with what they have.
    worth_certifying : callable (seconds that it ran) -> bool, optional
        Whether there is time for a certificate; without one, nothing is promised of the answer.

    Raises
    ------
    Breakdown
        If there is no answer.
    MemoryError
        Of whatever library.
    """
    started = time.perf_counter()
    with library_errors(), np.errstate(all="ignore"):  # whatever becomes of the numbers, the certificate tells
        if not entry.algorithm.unchecked:
            check(prepared, library(entry.options.backend))
        with nullcontext() if stop is None else stopped_by(stop):
            outcome = entry.algorithm.solve(
                prepared.A,
                prepared.b,
                entry.task(prepared.task),
                entry.options,
                prepared.evidence,
                prepared.by_products,
            )
        ran = time.perf_counter()
        _check_shapes(kind, outcome.value, prepared)
        if worth_certifying is None or worth_certifying(ran - started):
            certificate = _certified(kind, prepared, entry, outcome, metric, accuracy, confidence)
        else:
            certificate = _uncertified(outcome, metric, accuracy)
    return outcome, certificate, ran - started, time.perf_counter() - ran


def _uncertified(outcome: Outcome, metric: str, accuracy: float | None) -> Certificate:
    """What is promised of an answer that there was no time to look at: nothing, but that it is finite."""
    if not is_sound(outcome.value):
        raise Breakdown("its answer is not finite")
    return Certificate(metric, math.inf, math.inf, 1.0, _NO_TIME, accuracy, False)


def _certified(
    kind: Kind,
    prepared: Prepared,
    entry: Entry,
    outcome: Outcome,
    metric: str,
    accuracy: float | None,
    confidence: float,
) -> Certificate:
    task, lib = prepared.task, library(entry.options.backend)
    value = tuple(map(lib.asarray, outcome.value)) if isinstance(outcome.value, tuple) else lib.asarray(outcome.value)
    A = lib.asarray(prepared.A) if task.access == "dense" else prepared.A
    if prepared.evidence.norm_fro is None and kind.needs_norm(A, value, task, metric):
        prepared.evidence = replace(prepared.evidence, norm_fro=_norm_afterwards(lib, prepared, outcome))
    return kind.certify(
        lib,
        A,
        None if prepared.b is None else lib.asarray(prepared.b),
        outcome if value is outcome.value else replace(outcome, value=value),
        task,
        prepared.evidence,
        metric=metric,
        target=accuracy,
        reuse={
            **outcome.by_products,
            **{k: v for k, v in prepared.by_products.items() if k in _FOR_CERTIFICATES},
            "sketch_used": entry.algorithm.randomized,
            "again": lambda B: _again(prepared, entry, outcome, B),
        },
        seed=certificate_seed(task.seed),
        confidence=confidence,
    )


def _again(prepared: Prepared, entry: Entry, outcome: Outcome, B: Any) -> Any:
    """Solutions for other right-hand sides B (m, k), with what the algorithm has left. Raises Breakdown."""
    task = replace(entry.task(prepared.task), nrhs=B.shape[1])
    return entry.algorithm.solve(
        prepared.A, B, task, entry.options, prepared.evidence, {**prepared.by_products, **outcome.by_products}
    ).value


def _norm_afterwards(lib: Library, prepared: Prepared, outcome: Outcome) -> float:
    """||A||_F once an algorithm has run: it may have come by it, and else its library's threads are awake.

    Raises Breakdown where A is not finite, or has to be scaled.
    """
    size = outcome.by_products.get("norm_fro")
    if size is None:
        A = lib.asarray(prepared.A)
        size = math.sqrt(lib.sum_of_squares(A)) if is_double(A) else norm(A)
    if not needs_no_scaling(size * size, prepared.task.dtype):
        raise Breakdown("A is not finite, or far from unit size")
    return size


def _check_shapes(kind: Kind, value: Any, prepared: Prepared) -> None:
    """Raise Breakdown where an algorithm (of another package, perhaps) returned something of another shape."""
    found = [tuple(part.shape) for part in (value if isinstance(value, tuple) else (value,))]
    expected = kind.shapes(prepared.task, prepared.b, value)
    if found != expected:
        raise Breakdown(f"its answer has shape {found}, not {expected}")


def is_sound(value: Any) -> bool:
    """Whether all floating-point arrays in an answer or a by-product are finite."""
    if is_dataclass(value):
        return all(is_sound(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, (tuple, list)):
        return all(map(is_sound, value))
    return "float" not in str(getattr(value, "dtype", "")) or is_finite(value)


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
        The answer alone, by-products are not kept with it; never one that is not finite.
    best_exponents : (int, int)
        Of two, by which A and b were scaled when it was computed.
    out_of_memory : bool
        Whether an attempt ran out of it.
    too_large : float
        Least memory that was forecast for one that did [B].
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
        self.best_exponents = 0, 0
        self.seconds = {"run": 0.0, "certify": 0.0}
        self.out_of_memory, self.too_large = False, math.inf
        self.stopped = False  # whether the attempt that is under way was asked to stop
        self.learned = False
        self.joules = 0.0  # forecast for what has been tried
        self.too_narrow = 0  # columns of a range that were too few for the certificate
        self.certified = 0  # attempts that came as far as a certificate
        self.spent = 0.0  # probability that one of them has been wrong

    def attempt(self, entry: Entry) -> bool:
        """Run one candidate; True when its answer satisfies the budget."""
        label = entry.candidate.label
        begun = time.perf_counter()
        self.stopped = False
        self.tried.append(entry)
        if entry.candidate.forecast is not None:
            self.joules += entry.candidate.forecast.joules.median
        try:
            outcome, certificate, ran, certified = self._run(entry)
        except Breakdown as breakdown:
            self._failed(entry, begun, f"broke down: {breakdown}")
            self._keep(breakdown.by_products)
            if breakdown.condition is not None:
                self._learn_condition(breakdown.condition)
            if breakdown.structure is not None and breakdown.structure != self.prepared.task.structure:
                self.learned = True
                self.prepared.task = replace(self.prepared.task, structure=breakdown.structure)
            return False
        except MemoryError as error:
            self.out_of_memory = True
            if entry.candidate.forecast is not None:
                self.too_large = min(self.too_large, entry.candidate.forecast.bytes.median)
            self._failed(entry, begun, f"ran out of memory: {error}")
            return False
        self.seconds["run"] += ran
        self.seconds["certify"] += certified
        if self.spent and certificate.confidence < 1.0:  # the answer that is returned was chosen among all of them
            certificate = replace(certificate, confidence=certificate.confidence - self.spent)
        self.spent += 1.0 - self._confidence()
        self.certified += 1
        numbers = math.isfinite(certificate.bound) or is_sound(outcome.value)
        if numbers and (self.best is None or _rank(certificate) < _rank(self.best[1])):
            self.best = replace(outcome, by_products={}), certificate
            self.best_exponents = self.prepared.exponent_A, self.prepared.exponent_b
        condition = outcome.by_products.get("condition")
        found = certificate.condition
        if condition is not None and math.isfinite(condition):
            found = Interval.around(condition, 3.0).at_least(1.0)
        if found is not None:
            self.prepared.evidence = replace(self.prepared.evidence, condition=found, scaled_condition=found)
        good = certificate.satisfied
        unlimited = not self.budget.limited or entry.candidate.forecast is None  # what runs at once was not weighed
        if good and self.budget.accuracy is None and unlimited and not entry.algorithm.safe:
            seen = self.prepared.evidence
            if certificate.residual is not None and seen.residual is None:
                seen = replace(seen, residual=Interval(certificate.residual, 0.0, certificate.residual))
            good = certificate.bound <= _FAR_FROM_LAPACK * self.kind.lapack_target(self.prepared.task, seen)
        sentence = "certified" if good else f"its certificate allows only {certificate.bound:.1e}"
        if certificate.method == _NO_TIME:
            sentence = _NO_TIME
        if self.stopped:
            sentence = f"stopped when its time was over; {sentence}"
        self.attempts.append(Attempt(label, ran + certified, sentence, certificate.bound, dict(outcome.details)))
        if not good:
            self.failed.append(entry)
            self.too_narrow = max(self.too_narrow, certificate.columns or 0)
            self._keep({k: v for k, v in outcome.by_products.items() if k in _CONTINUED})
            self.learned |= certificate.condition is not None
            known = self.kind.learned(self.prepared.task, self.prepared.evidence, outcome)
            if certificate.numerical_rank is not None:
                known = replace(known, numerical_rank=certificate.numerical_rank)
            self.learned |= known is not self.prepared.evidence
            self.prepared.evidence = known
        return good

    def _run(self, entry: Entry) -> tuple[Outcome, Certificate, float, float]:
        """`run_and_certify`; once more where it broke down on an A that nobody had looked at, and that was scaled."""
        how = self.metric, self.budget.accuracy, self._confidence()
        watch: dict[str, Any] = {}
        if self.budget.latency is not None:
            watch = {"stop": self._stop, "worth_certifying": lambda ran: self._worth_certifying(entry, ran)}
        try:
            return run_and_certify(self.kind, self.prepared, entry, *how, **watch)
        except Breakdown:
            if self.prepared.checked:
                raise
            with library_errors():
                check(self.prepared)
            if not self.prepared.exponent_A:
                raise
        return run_and_certify(self.kind, self.prepared, entry, *how, **watch)

    def _confidence(self) -> float:
        """Of the next certificate: whatever their number, all of them hold with the budget's.

        The first leaves a tenth of the failure probability, of which the k-th after it has 1 / (k (k + 1)).
        """
        k = self.certified
        share = _FIRST if k == 0 else (1.0 - _FIRST) / (k * (k + 1))
        return 1.0 - share * (1.0 - self.budget.confidence)

    def _stop(self) -> bool:
        """Whether the latency is over: what iterates then ends with what it has."""
        self.stopped = self.stopped or self.left() <= 0.0
        return self.stopped

    def _worth_certifying(self, entry: Entry, ran: float) -> bool:
        """Whether a certificate fits what is left, is short, or is cheap beside the time that has passed anyway."""
        if entry.candidate.forecast is None:  # what runs at once is small
            return True
        stages = dict(entry.candidate.forecast.stages)
        slower = min(max(1.0, ran / max(stages["run"], 1e-9)), _SLOWER)
        spent = time.perf_counter() - self.started
        return slower * stages["certify"] <= max(self.left(), _SHORT, _WORTH_WAITING * spent)

    def _failed(self, entry: Entry, begun: float, sentence: str) -> None:
        seconds = time.perf_counter() - begun
        self.seconds["run"] += seconds
        self.failed.append(entry)
        self.attempts.append(Attempt(entry.candidate.label, seconds, sentence, None))

    def _keep(self, by_products: dict[str, Any]) -> None:
        """Hand on what a failed attempt has left, where it is not the very reason why it failed."""
        self.prepared.by_products |= {name: value for name, value in by_products.items() if is_sound(value)}

    def _learn_condition(self, found: Interval) -> None:
        evidence = self.prepared.evidence
        if found.low > min(evidence.condition.low, evidence.scaled_condition.low):
            self.learned = True
            self.prepared.evidence = replace(evidence, condition=found, scaled_condition=found)

    def left(self) -> float:
        """Seconds left of the latency budget."""
        return math.inf if self.budget.latency is None else self.budget.latency - (time.perf_counter() - self.started)

    @property
    def late(self) -> bool:
        """Whether more time has passed than the latency allows, beyond what the system adds to a clock."""
        return self.budget.latency is not None and -self.left() > (_OVERRUN - 1.0) * self.budget.latency

    @property
    def held_bytes(self) -> float:
        """Memory held beyond the operands while a candidate runs: scaled copies, by-products, the best answer [B]."""
        return self.prepared.held_bytes + (0.0 if self.best is None else nbytes(self.best[0].value))

    def may_follow(self, entry: Entry) -> bool:
        """Whether it is worth trying `entry` after what has failed, and whether it fits what is left."""
        forecast = entry.candidate.forecast
        if forecast is None:
            return False
        if self.budget.memory is not None and forecast.bytes.high > self.budget.memory - self.held_bytes:
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
