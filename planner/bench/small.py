"""Random small problems, solved and judged by `truth`: is what is called certified true, and is little refused?

Each is made from (seed, index) alone and can be made again. Half are solved as a user would, which for such sizes is
the fast path; half by the full planner, one in two of them by a candidate drawn from all that it priced, whether it
would have chosen it or not: the certificate must then catch an algorithm that is out of its depth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy.linalg
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from ...primitives.task import UNIT_ROUNDOFF
from ...profiles.errors import AutonlaError, CertificationFailed
from .. import plan, solve
from ..budget import Budget
from ..planning import machine_of
from ..problems import LeastSquares, LinearSystem, LowRank, Problem
from ..solution import Solution
from .metrics import percentile
from .spectra import SPECTRA, with_singular_values
from .truth import Measured, true_error

linalg: Any = scipy.linalg  # inferred types are wrong where outputs are optional
# Making and judging gain nothing from BLAS threads, and lose much where others compete for the cores. What is judged is
# left as it is.
_one_thread = threadpool_limits.wrap(limits=1, user_api="blas")
_true_error = _one_thread(true_error)

KINDS = ("linear_system", "least_squares", "low_rank")
OUTCOMES = ("certified", "best_effort", "refused", "uncertified", "failed")
WAYS = ("solve", "planned", "solve", "candidate")  # in turn
LARGEST = 150
TALL, TALL_SHARE = 3000, 0.15  # rows of some of the tall ones: sketches need room
STRUCTURES = {"general": 0.4, "spd": 0.2, "indefinite": 0.1, "triangular": 0.1, "banded": 0.1, "singular": 0.1}
FAR = {"float64": 498, "float32": 40}  # exponents of two by which some operands are off: 2^498 is about 1e150
NEAR = 1e-2  # a bound that is loose decides nothing where the error is below this share of what was asked for
VISIBLE = 1e-15  # true errors below this say nothing of how sharp a bound is


@dataclass(frozen=True, slots=True)
class SmallProblem:
    """One problem of the stream.

    Attributes
    ----------
    seed, index : int
        `small_problem(seed, index)` makes it again.
    kind, way : str
        One of `KINDS`, one of `WAYS`.
    recipe : dict
        How it was made.
    problem : Problem
    budget : Budget
    rank : int or None
        The exact rank of A, where the recipe makes it lower than min(m, n).
    """

    seed: int
    index: int
    kind: str
    way: str
    recipe: dict[str, Any]
    problem: Problem = field(repr=False)
    budget: Budget
    rank: int | None

    def __str__(self) -> str:
        m, n = self.problem.shape
        words = ", ".join(f"{k} {_short(v)}" for k, v in self.recipe.items() if v not in (None, 0, False, ""))
        return f"small_problem({self.seed}, {self.index}), {self.kind} {m}x{n} by {self.way}, {self.budget}: {words}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a problem.

    Attributes
    ----------
    seed, index, kind
        Of the problem.
    described : str
        The problem and its recipe.
    outcome : str
        "certified", "best_effort", "refused", "uncertified" (a candidate that was drawn may fail) or "failed" (an
        exception that is not one of autonla's).
    note : str
        Why.
    bound : float
        The certificate's; nan where there is no answer.
    true : Measured or None
        None where it is not known.
    claim : float
        What the error must not exceed: the accuracy asked for, or the bound where none was.
    chosen : str
        Label of the candidate that ran first.
    lapack : Measured or None
        Where the problem was refused or answered by best effort: what LAPACK's answer has.
    false_reject : bool
        It was refused, and LAPACK's answer is good enough.
    """

    seed: int
    index: int
    kind: str
    described: str
    outcome: str
    note: str = ""
    bound: float = math.nan
    true: Measured | None = None
    claim: float = math.nan
    chosen: str = ""
    lapack: Measured | None = None
    false_reject: bool = False

    @property
    def miss(self) -> bool:
        """Called certified, and the error is above what was asked for."""
        return self.outcome == "certified" and self.true is not None and self.true.low > self.claim

    @property
    def broken_bound(self) -> bool:
        """The error is above the bound, whether or not it is below what was asked for."""
        return self.outcome == "certified" and self.true is not None and self.true.low > self.bound

    def __str__(self) -> str:
        true = "unknown" if self.true is None else f"{self.true.error:.3e}"
        lapack = "" if self.lapack is None else f", LAPACK's {self.lapack.error:.3e}"
        said = f"{self.outcome} {self.chosen}, error {true}{lapack}, bound {self.bound:.3e}, claim {self.claim:.3e}"
        return f"{self.described}\n    {said}" + (f"\n    {self.note}" if self.note else "")


@dataclass(frozen=True, slots=True)
class SmallReport:
    """All verdicts of a sweep."""

    verdicts: tuple[Verdict, ...]

    def count(self, outcome: str) -> int:
        """Problems that ended so."""
        return sum(v.outcome == outcome for v in self.verdicts)

    @property
    def misses(self) -> tuple[Verdict, ...]:
        """Silently wrong: there must be none."""
        return tuple(v for v in self.verdicts if v.miss)

    @property
    def broken_bounds(self) -> tuple[Verdict, ...]:
        """Certificates whose bound does not hold; randomized ones may fail with 1 - confidence."""
        return tuple(v for v in self.verdicts if v.broken_bound)

    @property
    def false_rejects(self) -> tuple[Verdict, ...]:
        """Refused although LAPACK's own answer is good enough."""
        return tuple(v for v in self.verdicts if v.false_reject)

    @property
    def failures(self) -> tuple[Verdict, ...]:
        """Exceptions that are not autonla's."""
        return tuple(v for v in self.verdicts if v.outcome == "failed")

    @property
    def unknown(self) -> int:
        """Certified answers whose true error could not be had."""
        return sum(v.outcome == "certified" and v.true is None for v in self.verdicts)

    def effectivities(self, near: float = 0.0) -> list[float]:
        """Bound over true error of certified answers, where that is above rounding and above `near` of the claim."""
        return [
            v.bound / v.true.error
            for v in self.verdicts
            if v.outcome == "certified"
            and v.true is not None
            and max(VISIBLE, near * v.claim) < v.true.error < math.inf
        ]

    def to_dict(self) -> dict[str, Any]:
        """Counts and medians as plain data; the problems at fault by their numbers."""

        def which(verdicts: Sequence[Verdict]) -> list[list[int]]:
            return [[v.seed, v.index] for v in verdicts]

        sharp, near = self.effectivities(), self.effectivities(NEAR)
        return {
            "count": len(self.verdicts),
            **{outcome: self.count(outcome) for outcome in OUTCOMES},
            "misses": which(self.misses), "broken_bounds": which(self.broken_bounds),
            "false_rejects": which(self.false_rejects), "failures": which(self.failures), "unknown": self.unknown,
            "effectivity_median": percentile(sharp, 0.5) if sharp else None,
            "effectivity_p95": percentile(sharp, 0.95) if sharp else None,
            "effectivity_near_p95": percentile(near, 0.95) if near else None,
        }  # fmt: skip


def run_small(out: Console, count: int = 2000, seed: int = 0) -> SmallReport:
    """Solve and judge `count` problems of a stream; print a table and every problem at fault.

    Raises
    ------
    AutonlaError
        If `count` or `seed` make no sense.
    """
    if count < 1 or seed < 0:
        raise AutonlaError(f"{count} problems of stream {seed}: the count must be positive, the seed not negative")
    with out.status(f"{count} small problems"):
        report = SmallReport(tuple(verdicts(count, seed)))
    out.print(table(report))
    for title, found in (
        ("silent miss", report.misses), ("bound does not hold", report.broken_bounds), ("failed", report.failures),
        ("refused, and LAPACK solves it", report.false_rejects),
    ):  # fmt: skip
        for verdict in found:
            out.print(f"{title}: {verdict}", markup=False, highlight=False, soft_wrap=True)
    return report


def verdicts(count: int, seed: int) -> Iterator[Verdict]:
    """Verdicts on the first problems of a stream."""
    for index in range(count):
        yield judge(small_problem(seed, index))


def table(report: SmallReport) -> Table:
    """Counts by kind and in all."""
    parts = [SmallReport(tuple(v for v in report.verdicts if v.kind == kind)) for kind in KINDS]
    result = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("", *(kind.replace("_", " ") for kind in KINDS), "all", "aim"):
        result.add_column(name, justify="left" if name == "" else "right")

    def row(name: str, value: Callable[[SmallReport], int | float], aim: str = "", good: bool = True) -> None:
        shown = [_short(value(part)) for part in (*parts, report)]
        if aim:
            shown[-1] = f"[{'green' if good else 'red'}]{shown[-1]}[/]"
        result.add_row(name, *shown, aim)

    row("problems", lambda r: len(r.verdicts))
    for outcome in ("certified", "best_effort", "refused", "uncertified"):
        row(outcome.replace("_", " "), lambda r, outcome=outcome: r.count(outcome))
    row("true error unknown", lambda r: r.unknown)
    row("silent misses", lambda r: len(r.misses), "0", not report.misses)
    row("bounds that do not hold", lambda r: len(r.broken_bounds))
    row("other exceptions", lambda r: len(r.failures), "0", not report.failures)
    share = 0.02 * len(report.verdicts)
    row("false rejects", lambda r: len(r.false_rejects), f"<= {share:g}", len(report.false_rejects) <= share)
    row("bound / error, median", lambda r: percentile(r.effectivities(), 0.5))
    row("bound / error, 95 %", lambda r: percentile(r.effectivities(), 0.95))
    row("the same for errors near the claim", lambda r: percentile(r.effectivities(NEAR), 0.95))
    return result


# --- the problems


@_one_thread
def small_problem(seed: int, index: int) -> SmallProblem:
    """Problem number `index` of a stream."""
    rng = np.random.default_rng([seed, index])
    kind, way = KINDS[index % len(KINDS)], WAYS[index // len(KINDS) % len(WAYS)]
    dtype = "float32" if rng.random() < 0.25 else "float64"
    recipe: dict[str, Any] = {"dtype": dtype}
    problem, rank = _MAKERS[kind](rng, recipe, dtype)
    accuracy = None if rng.random() < 0.1 else float(10.0 ** rng.uniform(-6.5 if dtype == "float32" else -13.0, -2.0))
    budget = Budget(accuracy=accuracy, on_infeasible="best_effort" if rng.random() < 0.1 else "raise")
    return SmallProblem(seed, index, kind, way, recipe, problem, budget, rank)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _size(rng: np.random.Generator, largest: int = LARGEST) -> int:
    """Log-uniform or uniform, as often the one as the other."""
    if rng.random() < 0.5:
        return int(rng.integers(1, largest + 1))
    return int(math.exp(rng.uniform(0.0, math.log(largest + 1))))


def _shape(rng: np.random.Generator) -> tuple[int, int]:
    if rng.random() < TALL_SHARE:
        n = _size(rng, 40)
        return int(rng.integers(2 * n, TALL)), n
    return _size(rng), _size(rng)


def _spectrum(k: int, rng: np.random.Generator, recipe: dict[str, Any]) -> np.ndarray:
    recipe["condition"] = float(10.0 ** rng.uniform(0.0, 15.0))
    recipe["spectrum"] = str(rng.choice(list(SPECTRA)))
    return SPECTRA[recipe["spectrum"]](k, recipe["condition"])


def _matrix(rng: np.random.Generator, recipe: dict[str, Any], dtype: str) -> tuple[np.ndarray, int | None]:
    """A matrix of any shape with any spectrum; with some, exact copies of columns, and then its rank."""
    m, n = _shape(rng)
    copies = int(rng.integers(1, n)) if n > 1 and rng.random() < 0.2 else 0
    recipe["coherent"] = bool(rng.random() < 0.25)
    s = _spectrum(min(m, n - copies), rng, recipe)
    A = with_singular_values(m, n - copies, s, rng, recipe["coherent"]).astype(dtype)
    if not copies:
        return A, None
    recipe["copied columns"] = copies
    # times powers of two, so that the rank is exact
    twice = A[:, rng.integers(n - copies, size=copies)] * np.exp2(rng.integers(-3, 4, size=copies)).astype(dtype)
    A = np.hstack([A, twice])[:, rng.permutation(n)]
    return np.ascontiguousarray(A), min(m, n - copies) if min(m, n - copies) < min(m, n) else None


def _far(rng: np.random.Generator, recipe: dict[str, Any], dtype: str) -> tuple[int, int]:
    """Exponents by which A and b are scaled, mostly none."""
    if rng.random() >= 0.2:
        return 0, 0
    recipe["scale of A"] = int(rng.choice([-1, 1])) * FAR[dtype]
    recipe["scale of b"] = int(rng.choice([0, recipe["scale of A"]]))
    return recipe["scale of A"], recipe["scale of b"]


def _columns(rng: np.random.Generator, recipe: dict[str, Any]) -> tuple[int, ...]:
    """Trailing shape of right-hand sides."""
    recipe["right-hand sides"] = int(rng.integers(2, 5)) if rng.random() < 0.2 else None
    return () if recipe["right-hand sides"] is None else (recipe["right-hand sides"],)


def _least_squares(rng: np.random.Generator, recipe: dict[str, Any], dtype: str) -> tuple[Problem, int | None]:
    A, rank = _matrix(rng, recipe, dtype)
    (m, n), columns = A.shape, _columns(rng, recipe)
    recipe["residual"] = float(rng.choice([0.0, 1e-10, 1e-5, 1e-2, 0.5, 0.99]))
    fitted, noise = A @ rng.standard_normal((n, *columns)), rng.standard_normal((m, *columns))
    b = fitted / np.linalg.norm(fitted) + recipe["residual"] * noise / np.linalg.norm(noise)
    ridge = 0.0
    if rng.random() < 0.25:
        recipe["ridge"] = float(10.0 ** rng.uniform(-6.0, -0.5))
        ridge, rank = (recipe["ridge"] * float(np.linalg.norm(A, 2))) ** 2, None
    far_A, far_b = _far(rng, recipe, dtype)
    if ridge and abs(2 * far_A + math.log2(ridge)) > 1000.0:
        ridge = 0.0  # its square is beyond float64
    A, b = np.ldexp(A, far_A), np.ldexp(b.astype(dtype), far_b)
    return LeastSquares(A, b, ridge=math.ldexp(ridge, 2 * far_A)), rank


def _linear_system(rng: np.random.Generator, recipe: dict[str, Any], dtype: str) -> tuple[Problem, int | None]:
    n, columns = _size(rng), _columns(rng, recipe)
    structure = recipe["structure"] = str(rng.choice(list(STRUCTURES), p=list(STRUCTURES.values())))
    assume: str | None = None
    if structure == "banded":
        A = np.triu(np.tril(rng.standard_normal((n, n)), int(rng.integers(0, 5))), -int(rng.integers(0, 5)))
        A += rng.choice([0.0, 1.0, 10.0]) * np.eye(n)
        assume = "banded"
    else:
        s = _spectrum(n, rng, recipe)
        A = with_singular_values(n, n, s, rng)
        if structure in ("spd", "indefinite"):
            Q = linalg.qr(A)[0]
            signs = rng.choice([-1.0, 1.0], n) if structure == "indefinite" else 1.0
            A = (Q * (s * signs)) @ Q.T
            A = 0.5 * (A + A.T)
            assume = "symmetric"
        elif structure == "triangular":
            A, assume = linalg.qr(A, mode="r")[0], "upper"
        elif structure == "singular" and n > 1:
            A[:, rng.integers(n)] = 2.0 * A[:, rng.integers(n)] if rng.random() < 0.5 else 0.0
    recipe["declared"] = bool(assume is not None and rng.random() < 0.4)
    b = rng.standard_normal((n, *columns))
    recipe["smooth"] = bool(rng.random() < 0.5)
    if recipe["smooth"]:  # b = A x, x of moderate size
        b = A @ b
    far_A, far_b = _far(rng, recipe, dtype)
    A, b = np.ldexp(A.astype(dtype), far_A), np.ldexp(b.astype(dtype), far_b)
    return LinearSystem(A, b, assume=assume if recipe["declared"] else None), None


def _low_rank(rng: np.random.Generator, recipe: dict[str, Any], dtype: str) -> tuple[Problem, int | None]:
    A, rank = _matrix(rng, recipe, dtype)
    recipe["rank asked"] = int(rng.integers(1, min(A.shape) + 1)) if rng.random() < 0.4 else None
    recipe["centered"] = bool(rng.random() < 0.15)
    far_A, _ = _far(rng, recipe, dtype)
    return LowRank(np.ldexp(A, far_A), rank=recipe["rank asked"], center=recipe["centered"]), rank


_MAKERS = {"linear_system": _linear_system, "least_squares": _least_squares, "low_rank": _low_rank}


# --- the judge


def judge(case: SmallProblem) -> Verdict:
    """Solve a problem its way and measure what came out."""
    try:
        solution = _solved(case)
    except AutonlaError as refusal:
        if case.way == "candidate" and isinstance(refusal, CertificationFailed):
            return _verdict(case, "uncertified", note=f"{refusal}"[:300])
        return _rejected(case, "refused", f"{type(refusal).__name__}: {refusal}"[:300])
    except Exception as error:
        return _verdict(case, "failed", note=f"{type(error).__name__}: {error}"[:300])
    bound, certified = solution.certificate.bound, solution.status == "certified"
    claim = case.budget.accuracy or bound
    true = _true_error(case.problem, solution.value, claim, rank=case.rank)
    outcome = "uncertified" if case.way == "candidate" and not certified else solution.status
    method, chosen = solution.certificate.method, _label(solution)
    verdict = _verdict(case, outcome, note=method, bound=bound, true=true, claim=claim, chosen=chosen)
    if outcome != "best_effort":
        return verdict
    rejected = _rejected(case, outcome, "")
    return replace(verdict, lapack=rejected.lapack, false_reject=rejected.false_reject)


def _verdict(case: SmallProblem, outcome: str, **found: Any) -> Verdict:
    """The operands are not kept: thousands of them would be."""
    return Verdict(case.seed, case.index, case.kind, str(case), outcome, **found)


def _label(solution: Solution) -> str:
    return "by the fast path" if callable(solution._plan) else solution._plan.chosen.label


def _solved(case: SmallProblem) -> Solution:
    if case.way == "solve":
        return solve(case.problem, case.budget, rng=case.index)
    profile = machine_of(None).profile  # one that is passed leaves the fast path out
    if case.way == "planned":
        return solve(case.problem, case.budget, rng=case.index, profile=profile)
    made = plan(case.problem, case.budget, rng=case.index, profile=profile)
    priced = [c.label for c in made.candidates if c.forecast is not None]
    return made.run(candidate=priced[int(np.random.default_rng([case.seed, case.index, 1]).integers(len(priced)))])


def _rejected(case: SmallProblem, outcome: str, note: str) -> Verdict:
    """What LAPACK makes of a problem that autonla did not vouch for."""
    accuracy = case.budget.accuracy
    lapack = _lapack_error(case, math.inf if accuracy is None else accuracy)
    false = accuracy is not None and lapack is not None and max(lapack.high, _floor(case)) <= accuracy
    return _verdict(case, outcome, note=note, claim=accuracy or math.nan, lapack=lapack, false_reject=false)


def _floor(case: SmallProblem) -> float:
    """What nobody can vouch for: the best error of a given rank is known only to rounding of A."""
    problem = case.problem
    if not isinstance(problem, LowRank) or problem.rank is None:
        return 0.0
    A = np.ldexp(problem.A, -math.frexp(float(np.abs(problem.A).max()))[1]).astype(np.float64)
    s = linalg.svdvals(A - A.mean(axis=0) if problem.center else A)
    best = float(np.linalg.norm(s[problem.rank :]))
    return 100.0 * UNIT_ROUNDOFF[problem.A.dtype.name] * float(np.linalg.norm(s)) / best if best else 0.0


def _lapack_error(case: SmallProblem, claim: float) -> Measured | None:
    """Error of the answer of a plain call; None where there is none."""
    problem = case.problem
    try:
        with np.errstate(all="ignore"):
            if isinstance(problem, LinearSystem):
                value = np.linalg.solve(problem.A, problem.b)
            elif isinstance(problem, LeastSquares):
                value = np.linalg.lstsq(*_augmented(problem))[0]
            else:
                assert isinstance(problem, LowRank)
                A = problem.A - problem.A.mean(axis=0) if problem.center else problem.A
                U, s, Vh = np.linalg.svd(A, full_matrices=False)
                value = U[:, : problem.rank], s[: problem.rank], Vh[: problem.rank]
    except np.linalg.LinAlgError:
        return None
    return _true_error(problem, value, claim, rank=case.rank)


def _augmented(problem: LeastSquares) -> tuple[np.ndarray, np.ndarray]:
    A, b = problem.A, problem.b
    if problem.ridge:
        n = A.shape[1]
        A = np.vstack([A, (math.sqrt(problem.ridge) * np.eye(n)).astype(A.dtype)])
        b = np.concatenate([b, np.zeros((n, *b.shape[1:]), dtype=b.dtype)])
    return A, b
