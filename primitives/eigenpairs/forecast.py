"""How many outer iterations Krylov-Schur will take, with a polynomial or without.

After D steps the error of the k-th Ritz value, with the vectors of the first K eigenvalues in the basis, is below

    4 n spread exp(-2 D acosh(1 + 2 (p_k - p_K) / spread)),      spread = p_K - min p,

relative to the spread (Saad, Numerical Methods for Large Eigenvalue Problems, 2011, section 6.6, of a random start).
Eigenvalues far from all others do not count in the spread: each costs a step of every outer iteration instead. An outer
iteration has m = dimension - K steps. The K vectors are in the basis only as far as they have converged themselves,
which makes it slower by a factor that varies little: `_RESTARTED` is the middle of what was measured (from 2.5 to 4.4,
filters of 494_bus and 1138_bus of degree 21, 10 and 20 eigenvalues).
"""

from __future__ import annotations

import math

import numpy as np

_RESTARTED = 3.4


def outer_iterations(
    target: float, others: np.ndarray, single: np.ndarray, n: int, steps: int, tolerance: float = 1e-10
) -> float:
    """Until the k-th eigenvalue is known to the tolerance, with a fraction: of two filters that need one iteration
    one is seen to be better. Infinite without a gap.

    Parameters
    ----------
    target : float
        The k-th largest eigenvalue of the operator.
    others : (m,) array
        Those beyond the ones that are kept, all but `single`; one or more.
    single : (j,) array
        Those of them that are known to stand alone.
    n : int
        Its order.
    steps : int
        Of an outer iteration after the first.
    """
    beyond = np.concatenate([others, single])
    largest = float(beyond.max())
    if not target > largest:
        return math.inf
    counts: list[float] = []
    # without those of the single ones that are furthest below, one after the other
    floors = np.sort(single[single < others.min()])
    for j, least in enumerate([*floors.tolist(), float(others.min())][:steps]):
        spread = max(largest - least, 1e-16 * abs(target))
        rate = max(math.acosh(1.0 + 2.0 * (target - largest) / spread), 1e-16)
        counts.append(_RESTARTED * math.log(4.0 * n / tolerance) / (2.0 * rate * (steps - j)))
    return min(counts)
