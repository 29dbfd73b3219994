"""How fast the singular values fall, from one randomized range finder without power steps (stage 2).

Y = A Omega with a few more Gaussian columns than the rank asked for, Q = orth(Y), B = Q'A: two products. The singular
values of B are lower bounds; the theory of the range finder corrects them and models the tail such that the energy and
the expected capture come out (`range_finder_theory.correct_ritz_values`). The by-product "range" is the randomized SVD
without power steps; the algorithms continue from it, so that the probe costs nothing where one of them is chosen.

Cost: 4 m n l flops. For a LowRank problem with `center` everything is said of the centred matrix.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np

from ..primitives.backends import home_backend
from ..primitives.evidence import Evidence, Finding
from ..primitives.interval import Interval
from ..primitives.kernels import library
from ..primitives.low_rank import _shared as shared
from ..primitives.low_rank import range_basis
from ..primitives.range_finder_theory import Spectrum, correct_ritz_values
from ..primitives.task import UNIT_ROUNDOFF, Task
from ..primitives.work import Calls, KernelCall, Work

Array = Any

SMALL_RANK = 0.15  # of min(m, n): up to here the sketch covers the rank asked for
SHARE = 0.025  # of min(m, n), otherwise


def columns(task: Task) -> int:
    """l, the number of Gaussian columns."""
    size = min(task.m, task.n)
    if task.rank is not None and task.rank + task.tuning.oversampling <= SMALL_RANK * size:
        return task.rank + task.tuning.oversampling
    return min(size, max(10, math.ceil(SHARE * size)))


def work(task: Task, backend: str | None = None) -> Work:
    """Two products with l columns, two orthonormalizations, the singular values of a small matrix."""
    m, n = shared.shape(task)
    l = columns(task)
    k = Calls(backend or home_backend(task), task.dtype)
    calls = (
        *shared.means_calls(k, task),
        k("stream", task.m, task.n),
        KernelCall("randn", (n, l), task.dtype, "numpy"),
        k("gemm", m, l, n),
        *shared.orthonormalize_calls(k, m, l),
        k("gemm", n, l, m),
        *shared.orthonormalize_calls(k, n, l),
        k("svdvals", l, l),
    )
    return Work(calls, shared.range_bytes(task, Evidence(), k.backend, l, 0, 0))


def run(
    A: Array, b: Array, task: Task, evidence: Evidence, *, backend: str | None = None
) -> tuple[Evidence, dict[str, Any]]:
    """Sketch the range of A, or of A minus its column means.

    Parameters
    ----------
    A : (m, n) array, finite
    b : ignored
        There to give all probes one signature.
    backend : str, optional
        Library of the products; by default the first that suits the operands.

    Returns
    -------
    evidence : Evidence
        With `singular_values` (l of them), `tail_energy`, `norm_2` and, unless centred, `norm_fro`.
    by_products : dict
        "range": a `Range`.
    """
    start = time.perf_counter()
    P = range_basis.products(A, backend or home_backend(task), task.center, transposed=task.m < task.n)
    norm_fro = P.norm_fro(evidence.norm_fro)
    evidence = evidence if task.center else replace(evidence, norm_fro=norm_fro)
    if not norm_fro > 0.0:
        finding = _finding("every entry is zero" if not task.center else "every row is the same", start)
        return replace(evidence, findings=(*evidence.findings, finding)), {}
    found = range_basis.find(P, columns(task), task.seed, norm_fro)
    values = _ritz_values(found)
    spectrum = correct_ritz_values(values, found.residual_energy, min(task.m, task.n))
    leading = tuple(spectrum.value(j) for j in range(1, found.columns + 1))
    tail = max(spectrum.total - sum(s * s for s in leading), 0.0)
    if found.columns < min(task.m, task.n):
        tail = max(tail, 1e-3 * found.residual_energy)
    rounding = 1.0 - 50.0 * UNIT_ROUNDOFF[task.dtype]
    ceiling = math.sqrt(values[0] ** 2 + found.residual_energy)
    norm_2 = Interval(leading[0], rounding * values[0], max(ceiling, leading[0]))
    return replace(
        evidence,
        singular_values=leading,
        tail_energy=tail,
        norm_2=norm_2,
        findings=(*evidence.findings, _finding(sentence(spectrum, found.columns, task.rank), start)),
    ), {"range": found}


def learned(found: range_basis.Range, evidence: Evidence) -> Evidence:
    """The evidence with the singular values that a range shows which an algorithm has left; it captures them better
    than the probe's does, and they are taken as they are."""
    values = tuple(float(s) for s in _ritz_values(found))
    return replace(evidence, singular_values=values, tail_energy=max(found.residual_energy, 0.0))


def _ritz_values(found: range_basis.Range) -> np.ndarray:
    lib = library(found.backend)
    return np.asarray(lib.to_numpy(lib.svdvals(found.R)), dtype=float)


def sentence(spectrum: Spectrum, l: int, rank: int | None) -> str:
    """The decay profile in words: "singular values fall like j^-1.0; the first 20 carry 93 % of the energy"."""
    total = spectrum.total
    k = min(rank, l) if rank is not None else min(max(1, spectrum.smallest_rank(0.1 * total)), l)
    share = 100.0 * (1.0 - spectrum.tail(k) / total)
    digits = 0 if share < 99.0 else 1 if share < 99.9 else 3
    carried = f"{share:.{digits}f} %" if share < 99.999 else "practically all"
    first = "the first carries" if k == 1 else f"the first {k} carry"
    return f"{_decay(spectrum, l)}; {first} {carried} of the energy"


def _decay(spectrum: Spectrum, l: int) -> str:
    """Which of a power law and an exponential fits log s_j better for j <= l, and its rate."""
    j = np.unique(np.geomspace(1, l, 24).astype(int))
    s = np.array([spectrum.value(int(i)) for i in j])
    s = s / s[0]
    if s[-1] < 1e-12:
        numerical_rank = int(j[np.argmax(s < 1e-12)]) - 1
        return f"singular values are at rounding level after about {numerical_rank}"
    if s[-1] > 0.7:
        return f"singular values hardly fall (the {_ordinal(l)} is {s[-1]:.2f} of the first)"
    logs = np.log(s)
    fits = []
    for x in (np.log(j), j.astype(float)):
        slope, offset = np.polyfit(x, logs, 1)
        fits.append((float(np.sum((logs - slope * x - offset) ** 2)), -float(slope)))
    (power_misfit, power), (exponential_misfit, rate) = fits
    if power_misfit <= exponential_misfit:
        return f"singular values fall like j^-{max(power, 0.0):.1f}"
    return f"singular values halve every {max(math.log(2.0) / max(rate, 1e-9), 0.1):.1f}"


def _ordinal(k: int) -> str:
    suffix = "th" if 10 <= k % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(k % 10, "th")
    return f"{k}{suffix}"


def _finding(text: str, start: float) -> Finding:
    return Finding("range_sketch", text, time.perf_counter() - start)
