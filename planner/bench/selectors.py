"""The rules of other systems, deciding among what was measured of ours: selection told apart from implementation.

A rule maps what is known of a problem for free (shape, right-hand sides, rank, ridge) to an ordered list of our
algorithms. What it takes on a row:

- the fastest measured variant (backend and options) of the first algorithm on its list that was certified: a rule is
  given the best variant for nothing, and pays for no planning;
- before it, for each algorithm on its list that ran and was not certified, the least forecast of its variants;
- what was not raced because it is hopelessly slow counts as certified in its forecast time; what the planner rejected
  or does not have for this problem is passed over at no cost;
- where nothing on its list was certified, the safe default's time is added to what the failures took.

Regret is that time over the virtual best of the row. Beside it stand autonla's regret on the same rows: of `solve` as
a whole, and of its choice alone, by the same reckoning (its candidates in the order in which it would try them).

Where there are several calls of SciPy's that one might make today, each stands there as well, in SciPy's own
implementation: its time, and the safe default's after it where its true error misses the target, or it was given up
(then it would have taken longer than is counted). "SciPy's best call" is the one that hindsight shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from . import metrics
from .measuring import HOPELESS, Row

Order = tuple[str, ...]
"""Algorithms (or labels of candidates) in the order in which they would be tried."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a problem before anything is computed.

    Attributes
    ----------
    m, n, nrhs : int
    rank : int or None
        Of a low-rank approximation; None: as small as the accuracy allows.
    ridge : float
    center : bool
    dtype, library : str
    target : float
        Accuracy; 0 where none was asked for.
    nnz : int
        Entries of a sparse matrix.
    which : str
        Of eigenpairs: the end of the spectrum.
    """

    family: str
    m: int
    n: int
    nrhs: int
    rank: int | None
    ridge: float
    center: bool
    dtype: str
    library: str
    target: float
    nnz: int = 0
    which: str = ""


def facts(row: Row) -> Facts | None:
    """The facts of a row; None where an older file does not hold the shape."""
    known = {**row.tags, **row.features}
    if "m" not in known or "n" not in known:
        return None
    return Facts(
        row.family, known["m"], known["n"], known.get("nrhs", 1), known.get("rank"), known.get("ridge", 0.0),
        known.get("center", False), known.get("dtype", "float64"), known.get("library", "numpy"), row.target,
        known.get("nnz", 0), known.get("which", ""),
    )  # fmt: skip


def scikit_learn(problem: Facts) -> Order | None:
    """PCA(svd_solver="auto"), Ridge(solver="auto") and LinearRegression of scikit-learn 1.5 to 1.9.

    PCA: the eigenvectors of the covariance where n <= 1000 and m >= 10 n; else a full SVD up to 500 rows and columns;
    else the randomized one for a rank below 0.8 min(m, n); else full. An accuracy in place of a rank is a fraction of
    the variance, as n_components in (0, 1), and never randomized. Ridge: Cholesky, and the SVD where that breaks down.
    LinearRegression: xGELSD.
    """
    m, n = problem.m, problem.n
    if problem.family == "least_squares":
        return ("normal_equations", "svd") if problem.ridge else ("svd",)
    if problem.family != "low_rank":
        return None
    if n <= 1000 and m >= 10 * n:
        return "gram", "svd"
    if max(m, n) > 500 and problem.rank is not None and problem.rank < 0.8 * min(m, n):
        return "randomized_svd", "svd"
    return ("svd",)


def linear_solve(problem: Facts) -> Order | None:
    """The defaults of LinearSolve.jl for a matrix of which nothing is declared.

    Sparse: LU, for which SuperLU stands here (there KLU or UMFPACK). Dense and square: LU, and QR where LU fails. Tall:
    QR, pivoted where it meets a deficient rank; wide: pivoted. Its size bins choose between implementations of LU, of
    which every rule is given the fastest.
    """
    if problem.family == "linear_system":
        return "lu", "qr"
    if problem.family == "sparse_linear_system" and problem.library == "sparse":
        return ("superlu",)
    if problem.family == "least_squares":
        return ("householder_qr", "pivoted_qr") if problem.m >= problem.n else ("pivoted_qr",)
    return None


def cola(problem: Facts) -> Order | None:
    """The rule of CoLA: dense and direct up to 1e6 entries, iterative above.

    Iterative means preconditioned iterations for least squares and Lanczos (ours, block Krylov, then a randomized SVD)
    for singular triplets and eigenpairs. We have no Krylov method for dense linear systems: above 1e6 entries it has
    no say there. For sparse ones it takes CG where A is annotated as definite, which nobody does here, else GMRES.
    """
    dense = problem.m * problem.n <= 10**6
    if problem.family == "linear_system":
        return ("lu",) if dense else None
    if problem.family == "least_squares":
        return ("svd",) if dense else ("spir",)
    if problem.family == "low_rank":
        return ("svd",) if dense else ("lanczos", "block_krylov", "randomized_svd")
    if problem.family == "sparse_linear_system":
        return ("dense_lu",) if dense else ("gmres",)
    if problem.family == "eigenpairs":
        return ("lapack",) if dense else ("krylov_schur", "arpack")
    return None


RULES: dict[str, Callable[[Facts], Order | None]] = {
    "scikit-learn": scikit_learn, "LinearSolve.jl": linear_solve, "CoLA": cola,
}  # fmt: skip
SIZE_BINS = (20, 100, 300, 1000)  # largest order of LinearSolve.jl's bins "tiny" to "large"; above them is "big"


def size_bin(n: int) -> int:
    """Number of the bin that LinearSolve.jl tunes together with order n."""
    return sum(n > largest for largest in SIZE_BINS)


def tuned_linear_solve(rows: Sequence[Row]) -> list[Order | None]:
    """LinearSolve.jl after `autotune_setup`: in each size bin the LU with the highest mean GFLOP/s, then QR.

    It is tuned on the very rows it is judged by, which flatters it.
    """
    rates: dict[int, dict[str, list[float]]] = {}
    for row in rows:
        problem = facts(row)
        if problem is not None and problem.family == "linear_system":
            for c in row.candidates:
                if c.algorithm == "lu" and c.seconds is not None:
                    rates.setdefault(size_bin(problem.n), {}).setdefault(c.label, []).append(problem.n**3 / c.seconds)
    table = {
        number: max(by_label, key=lambda label, r=by_label: (sum(r[label]) / len(r[label]), label))
        for number, by_label in rates.items()
    }

    def order(problem: Facts | None) -> Order | None:
        if problem is None or problem.family != "linear_system":
            return None
        label = table.get(size_bin(problem.n))
        return None if label is None else (label, "qr")

    return [order(facts(row)) for row in rows]


def seconds(row: Row, order: Iterable[str]) -> float:
    """What trying the algorithms (or labels) of `order` takes on a row [s]; the module says how it is reckoned."""
    spent = 0.0
    for name in order:
        raced = [c for c in row.candidates if name in (c.algorithm, c.label)]
        certified = [c.seconds for c in raced if c.seconds is not None]
        if certified:
            return spent + min(certified)
        slow = [
            c.forecast for c in row.unraced if name in (c.algorithm, c.label) and c.forecast >= HOPELESS * row.seconds
        ]
        if slow:
            return spent + min(slow)
        spent += min((c.forecast for c in raced), default=0.0)
    return spent + row.default_seconds


def choice_alone(row: Row) -> float:
    """Seconds of what autonla chose, without its search [s]."""
    if not any(c.label == row.chosen for c in row.candidates):
        return metrics.measured(row)
    return seconds(row, [row.chosen, *(c.label for c in row.candidates if c.label != row.chosen)])


@dataclass(frozen=True, slots=True)
class Contest:
    """Regrets of a selector, with autonla's on the same rows.

    Attributes
    ----------
    name : str
    sort : str
        "rule", "learned" or "fixed".
    regrets, ours, choice : tuple of float
        Of the selector, of `solve`, and of autonla's choice alone.
    """

    name: str
    sort: str
    regrets: tuple[float, ...]
    ours: tuple[float, ...]
    choice: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Mean (geometric), 95th percentile and maximum of each, for JSON."""
        return {
            "name": self.name, "sort": self.sort, "rows": len(self.regrets), "regret": metrics.spread(self.regrets),
            "autonla": metrics.spread(self.ours), "autonla_choice": metrics.spread(self.choice),
        }  # fmt: skip


def contests(rows: Sequence[Row], *, learned: bool = True) -> list[Contest]:
    """Every selector on the rows that it has something to say of, and that have a virtual best.

    Parameters
    ----------
    learned : bool
        Whether to train the learned ones, which takes some seconds.
    """
    rows = [row for row in rows if row.status != "refused" and row.best is not None]
    orders: dict[str, tuple[str, Sequence[Order | None]]] = {
        name: ("rule", [None if (f := facts(row)) is None else rule(f) for row in rows]) for name, rule in RULES.items()
    }
    orders["LinearSolve.jl, tuned"] = "rule", tuned_linear_solve(rows)
    if learned:
        from .learned import MODELS, learned_orders

        for name in MODELS:
            orders[name] = "learned", learned_orders(rows, name)
    times: dict[str, tuple[str, list[float | None]]] = {
        "safe default": ("fixed", [row.default_seconds for row in rows]),
        "single best": ("fixed", _single_best(rows)),
    }
    times |= {name: ("fixed", taken) for name, taken in _todays_calls(rows).items()}
    for name, (sort, chosen) in orders.items():
        times[name] = sort, [None if o is None else seconds(row, o) for row, o in zip(rows, chosen, strict=True)]
    return [found for name, (sort, taken) in times.items() if (found := _contest(name, sort, rows, taken)).regrets]


def _single_best(rows: Sequence[Row]) -> list[float | None]:
    """Of each family the one algorithm that would have done best throughout."""
    by_row: dict[int, float] = {}
    for family in sorted({row.family for row in rows}):
        own = [i for i, row in enumerate(rows) if row.family == family]
        by_row |= dict(zip(own, metrics.single_best([rows[i] for i in own])[1], strict=True))
    return [by_row[i] for i in range(len(rows))]


def _todays_calls(rows: Sequence[Row]) -> dict[str, list[float | None]]:
    """What each call that one might make today takes, by its name, and the best of them."""
    names = sorted({call.name for row in rows for call in row.calls})
    found: dict[str, list[float | None]] = {name: [_called(row, (name,)) for row in rows] for name in names}
    if found:
        found["SciPy's best call"] = [_called(row, names) for row in rows]
    return found


def _called(row: Row, names: Sequence[str]) -> float | None:
    """Seconds of the fastest of some calls [s], as the module says; None where a row has none, or sets limits."""
    if not metrics.beside_default(row):
        return None
    return min(
        (c.seconds + (0.0 if c.reached else row.default_seconds) for c in row.calls if c.name in names), default=None
    )


def _contest(name: str, sort: str, rows: Sequence[Row], taken: Sequence[float | None]) -> Contest:
    regrets, ours, choice = [], [], []
    for row, time in zip(rows, taken, strict=True):
        if time is not None and row.best is not None:
            regrets.append(time / row.best)
            ours.append(metrics.regret(row))
            choice.append(choice_alone(row) / row.best)
    return Contest(name, sort, tuple(regrets), tuple(ours), tuple(choice))
