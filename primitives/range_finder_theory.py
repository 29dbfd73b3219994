"""What a randomized range finder will achieve on a given spectrum: sharp predictions, not bounds.

For Y = A Omega with l Gaussian columns the expected projector onto range(Y) is close to

    E P  ~  diag(p_i),   p_i = g x_i / (1 + g x_i),   with g fixed by  sum_i p_i = l,

in the basis of the left singular vectors, where x_i = s_i^2 (Derezinski, Liang, Liao, Mahoney, "Precise expressions
for random projections", NeurIPS 2020). With q power steps the same holds with x_i = s_i^(4 q + 2), and with a
polynomial phi(A A') A in place of A with x_i = phi(s_i^2)^2 s_i^2. Hence

    E ||A - Q Q'A||_F^2  ~  sum_i s_i^2 (1 - p_i),

within about 1 % for l >= 20, where the textbook bound is high by up to 180 %.

Truncating to rank k < l adds the energy of the singular values k+1..l of Q'A. What the truncation loses beyond the
best rank-k approximation, the deficit, is the geometric mean of two estimates, one high and one low:

* "outlier": each leading Ritz value t near s_i^2 solves 1 + x_i (s_i^2 - t) g(t) = 0, with g from the fixed point of
  the weights x_j (t - s_j^2) over the values that are not wanted (the rank-one perturbation argument);
* "compression": Rayleigh-Ritz on P u_1..P u_k alone, with the second-order equivalent
  E[P S P] ~ p S p + kappa p (1 - p), kappa = sum s^2 p (1-p) / sum p (1-p).

Block Krylov spaces contain phi(A A') A Omega for every polynomial phi; the prediction takes the best of scaled
Chebyshev polynomials and of splittings of the steps between a larger starting block and a higher degree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_TINY = 1e-280  # weights below this are zero for every purpose; keeps logarithms finite


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A singular spectrum as bins of equal values; compares by identity, so that predictions can be cached.

    Attributes
    ----------
    energy : (bins,) array
        Squared singular values, descending.
    count : (bins,) array
        How many singular values each bin stands for.
    """

    energy: np.ndarray
    count: np.ndarray

    @property
    def size(self) -> float:
        """Number of singular values."""
        return float(self.count.sum())

    @property
    def total(self) -> float:
        """||A||_F^2."""
        return float(self.energy @ self.count)

    def head(self, k: float) -> np.ndarray:
        """(bins,) how many of the k largest values lie in each bin."""
        before = np.cumsum(self.count) - self.count
        return np.clip(k - before, 0.0, self.count)

    def tail(self, k: float) -> float:
        """Energy of all but the k largest values: the squared error of the best rank-k approximation."""
        return float(self.energy @ (self.count - self.head(k)))

    def value(self, j: int) -> float:
        """The j-th largest singular value, j = 1, 2, ...; 0 beyond the last."""
        index = int(np.searchsorted(np.cumsum(self.count), j - 1e-9))
        return math.sqrt(self.energy[index]) if index < len(self.energy) else 0.0

    def smallest_rank(self, tail_energy: float) -> int:
        """Smallest k whose best rank-k approximation leaves at most `tail_energy`."""
        energies = self.energy * self.count
        after = np.maximum(energies.sum() - np.cumsum(energies), 0.0)  # left behind once a bin is taken whole
        index = int(np.argmax(after <= max(tail_energy, 0.0) + 1e-15 * energies.sum()))
        start = float(self.count[:index].sum())
        excess = float(after[index] + energies[index]) - max(tail_energy, 0.0)
        if excess <= 0 or self.energy[index] <= 0:
            return int(start)
        return int(min(self.size, start + math.ceil(min(excess / self.energy[index], self.count[index]))))

    @classmethod
    def from_values(cls, values: np.ndarray) -> Spectrum:
        """All singular values, as they are."""
        s = np.sort(np.asarray(values, dtype=float))[::-1]
        return cls(s * s, np.ones(len(s)))

    @classmethod
    def from_leading(cls, leading: tuple[float, ...], tail_energy: float, size: int) -> Spectrum:
        """The leading values as given and a modelled tail of `size - len(leading)` values with `tail_energy`.

        The tail is s_j = s_l exp(-b ((j/l)^c - 1) / c): a power law for c -> 0, an exponential for c = 1. The slope
        b at l is that of the leading values and c is what gives the tail its energy; where no c does, the slope
        yields (the energy is measured, the slope read off a few values).
        """
        lead = np.maximum(np.sort(np.asarray(leading, dtype=float))[::-1], 0.0)
        l, remaining = len(lead), size - len(lead)
        if remaining <= 0:
            return cls.from_values(lead)
        if l == 0 or lead[0] == 0 or tail_energy <= remaining * _TINY:
            flat = np.append(lead**2, max(tail_energy, 0.0) / remaining)
            return cls(flat, np.append(np.ones(l), remaining))
        offset, count = _bins(remaining)
        mean = tail_energy / remaining
        if lead[-1] ** 2 <= mean:  # not even a flat tail would hold the energy: the last values were low
            energy = np.full(len(count), mean)
            return cls(np.append(np.maximum(lead**2, mean), energy), np.append(np.ones(l), count))
        shape = _tail_shape(1.0 + offset / l, count, tail_energy / lead[-1] ** 2, _slope(lead), None)
        energy = lead[-1] ** 2 * np.minimum(shape, 1.0)
        return cls(np.append(lead**2, energy), np.append(np.ones(l), count))


def _bins(remaining: int) -> tuple[np.ndarray, np.ndarray]:
    """Offsets beyond the last known value (1, 2, 3, ... then 15 % apart) and the number of values in each bin."""
    edges = [0]
    while edges[-1] < remaining:
        edges.append(min(remaining, edges[-1] + max(1, int(0.15 * edges[-1]))))
    edge = np.array(edges, dtype=float)
    return (edge[1:] + edge[:-1] + 1.0) / 2.0, np.diff(edge)


# The tail family s_j = s_l exp(-b ((j/l)^c - 1) / c): exponential for c = 1, a power law for c = 0, a drop to a plateau
# for c << 0.
_CURVATURES = np.append(np.array([-16.0, -8.0, -4.0, -2.0, -1.4]), np.linspace(-1.0, 2.0, 16))
_SLOPES = np.append(0.0, np.geomspace(0.03, 300.0, 30))


def _family(ratio: np.ndarray) -> np.ndarray:
    """(curvatures, slopes, bins) squared tail values relative to the last leading one, at ratio = j / l."""
    log_ratio = np.log(ratio)
    growth = np.stack([np.expm1(c * log_ratio) / c if c else log_ratio for c in _CURVATURES])
    return np.exp(-2.0 * np.minimum(_SLOPES[:, None] * growth[:, None, :], 150.0))


def _slopes_for_energy(family: np.ndarray, count: np.ndarray, energy: float) -> tuple[np.ndarray, np.ndarray]:
    """Per curvature: the (fractional) index of the slope whose tail has `energy`, and whether there is one."""
    energies = family @ count  # decreasing along the slopes
    reachable = (energies[:, 0] >= energy) & (energies[:, -1] <= energy)
    below = np.clip(np.argmax(energies <= energy, axis=1), 1, len(_SLOPES) - 1)
    rows = np.arange(len(_CURVATURES))
    high, low = energies[rows, below - 1], energies[rows, below]
    part = np.log(np.maximum(high / energy, 1.0)) / np.maximum(np.log(np.maximum(high / low, 1.0)), 1e-300)
    return below - 1 + np.clip(part, 0.0, 1.0), reachable


def _interpolated(table: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Row i of `table` (rows, slopes, ...) at the fractional slope index[i], geometrically."""
    rows, j = np.arange(len(table)), np.minimum(index.astype(int), len(_SLOPES) - 2)
    part = (index - j).reshape(-1, *[1] * (table.ndim - 2))
    return table[rows, j] ** (1.0 - part) * table[rows, j + 1] ** part


def _slope(values: np.ndarray) -> float | None:
    """-d log s / d log j over the second half of the leading values; None for fewer than six."""
    start = len(values) // 2
    if len(values) < 6:
        return None
    x = np.log(np.arange(start + 1, len(values) + 1))
    x -= x.mean()
    return max(0.0, -float(x @ np.log(np.maximum(values[start:], 1e-150))) / float(x @ x))


def _tail_shape(
    ratio: np.ndarray, count: np.ndarray, energy: float, slope: float | None, capture: tuple[float, float, float] | None
) -> np.ndarray:
    """Squared tail values relative to the last leading one, with `energy` in all.

    Of the curvatures whose tail can have that energy, the one that agrees best with the `slope` at the start (to
    about 50 %) and with `capture` = (g, p, spread): sum_j g s_j^2 / (1 + g s_j^2) = p +- spread.
    """
    family = _family(ratio)
    index, reachable = _slopes_for_energy(family, count, energy)
    if not reachable.any():
        return np.full(len(count), energy / float(count.sum()))
    misfit = np.where(reachable, 1e-6 * _CURVATURES**2, np.inf)
    if slope is not None:
        slopes = np.interp(index, np.arange(len(_SLOPES)), _SLOPES)
        misfit += (np.log((slopes + 0.1) / (slope + 0.1)) / 0.5) ** 2
    shapes = _interpolated(family, index)
    if capture is not None:
        g, captured, spread = capture
        y = g * shapes
        misfit += (((y / (1.0 + y)) @ count - captured) / spread) ** 2
    shape = shapes[int(np.argmin(misfit))]
    return shape * (energy / float(shape @ count))


@lru_cache(maxsize=64)
def spectrum_from_leading(leading: tuple[float, ...], tail_energy: float, size: int) -> Spectrum:
    """`Spectrum.from_leading`, the same object for the same numbers."""
    return Spectrum.from_leading(leading, tail_energy, size)


def fixed_point(weights: np.ndarray, count: np.ndarray, l: float | np.ndarray) -> np.ndarray:
    """g with sum_i count_i g w_i / (1 + g w_i) = l, for each row of weights; inf where fewer than l are non-zero.

    Parameters
    ----------
    weights : (rows, bins) array, non-negative
    count : (bins,) array
    l : float or (rows,) array

    Returns
    -------
    (rows,) array

    Notes
    -----
    Newton's method in log g inside a bracket that bisection shrinks: the left side is monotone, but has plateaus
    where the spectrum has steps. It starts where the l-th weight is half captured.
    """
    rows = np.arange(len(weights))
    positive = weights > _TINY
    mask = positive * count
    seen = np.cumsum(mask, axis=1)
    active = seen[:, -1] > l * (1.0 + 1e-12)
    log_w = np.log(np.where(positive, weights, _TINY))
    u = -log_w[rows, np.argmax(seen >= np.reshape(l, (-1, 1)), axis=1)]
    low, high = np.full(len(rows), -700.0), np.full(len(rows), 1400.0)
    for _ in range(100):
        p = 0.5 + 0.5 * np.tanh(0.5 * (u[:, None] + log_w))
        captured = mask * p
        excess = captured.sum(axis=1) - l
        slope = (captured * (1.0 - p)).sum(axis=1)
        low, high = np.where(excess < 0, u, low), np.where(excess > 0, u, high)
        newton = u - excess / np.maximum(slope, 1e-300)
        step = np.where((newton > low) & (newton < high), newton, 0.5 * (low + high))
        if ((np.abs(step - u) < 1e-5) | ~active).all():
            u = step
            break
        u = step
    return np.where(active, np.exp(np.minimum(u, 700.0)), np.inf)


def _projection(weights: np.ndarray, count: np.ndarray, l: float | np.ndarray) -> np.ndarray:
    """(rows, bins) p_i, the expected share of each left singular vector that the range captures."""
    y = np.minimum(fixed_point(weights, count, l), 1e300)[:, None] * weights
    return y / (1.0 + y)


def _compression(s2: np.ndarray, count: np.ndarray, p: np.ndarray, head: np.ndarray) -> np.ndarray:
    """(rows,) the "compression" estimate of the deficit."""
    spread = p * (1.0 - p) * count
    kappa = spread @ s2 / np.maximum(spread.sum(axis=1), 1e-300)
    return np.maximum(np.sum((1.0 - p) * (s2 - kappa[:, None]) * head, axis=1), 0.0)


def _truncated(spectrum: Spectrum, weights: np.ndarray, l: float, rank: float) -> float:
    """Expected squared error after truncation to `rank`, for a range of l columns with the given weights."""
    s2, count = spectrum.energy / spectrum.energy[0], spectrum.count
    best = spectrum.tail(rank) / spectrum.energy[0]
    p = _projection(weights[None, :], count, l)
    full = float((1.0 - p[0]) @ (s2 * count))
    if rank >= l:
        return full * spectrum.energy[0]
    head = spectrum.head(rank)
    compression = float(_compression(s2, count, p, head)[0])
    # Outliers: g(t) at a few t = s_i^2, interpolated in log t, because it varies slowly.
    inside = np.flatnonzero(head)
    nodes = np.unique(inside[np.linspace(0, len(inside) - 1, 6).astype(int)])
    t = s2[nodes]
    e = weights * np.maximum(t[:, None] - s2, 0.0)
    g = fixed_point(e * (head == 0), count * (head == 0), max(l - rank + 1.0, 1.0))
    log_t, log_g = np.log(np.maximum(t[::-1], _TINY)), np.log(np.minimum(g[::-1], 1e280))
    h = np.exp(np.interp(np.log(np.maximum(s2[inside], _TINY)), log_t, log_g))
    x = weights[inside]
    outlier = float(head[inside] @ (1.0 / (1.0 / np.maximum(s2[inside], _TINY) + x * h)))
    both = compression > 0 and outlier > 0
    deficit = math.sqrt(compression * outlier) if both else max(compression, outlier)
    return max(best + deficit, full) * spectrum.energy[0]


def _power_weights(spectrum: Spectrum, power_steps: int) -> np.ndarray:
    return (spectrum.energy / spectrum.energy[0]) ** (2 * power_steps + 1)


@lru_cache(maxsize=512)
def range_error(spectrum: Spectrum, l: int, power_steps: int = 0, rank: int | None = None) -> float:
    """Expected squared Frobenius error of a randomized range finder, truncated to `rank` if given.

    Parameters
    ----------
    spectrum : Spectrum
    l : int
        Gaussian columns.
    power_steps : int
        q: Y = (A A')^q A Omega, orthonormalized at every step.
    rank : int, optional
        Keep the best rank-k approximation within the range.

    Returns
    -------
    float
        E ||A - (Q Q'A)_k||_F^2, in the units of the spectrum's energy.
    """
    if spectrum.energy[0] <= 0 or l >= spectrum.size:
        return spectrum.tail(spectrum.size if rank is None else rank)
    weights = _power_weights(spectrum, power_steps)
    if rank is None:
        return float((1.0 - _projection(weights[None, :], spectrum.count, l)[0]) @ (spectrum.energy * spectrum.count))
    return _truncated(spectrum, weights, l, rank)


def _chebyshev_weights(spectrum: Spectrum, cut: float, degree: int) -> np.ndarray:
    """T_degree(s / cut)^2 beyond the cut, its mean 1/2 (and the odd polynomial's root at 0) below it."""
    y = np.sqrt(spectrum.energy) / cut
    exponent = np.minimum(degree * np.arccosh(np.maximum(y, 1.0)), 300.0)
    weights = np.where(y > 1.0, np.cosh(exponent) ** 2, np.minimum(0.5, (degree * y) ** 2))
    return weights / weights.max()


@lru_cache(maxsize=512)
def krylov_error(spectrum: Spectrum, block: int, steps: int, rank: int | None = None) -> float:
    """Expected squared Frobenius error of Rayleigh-Ritz on span[A Omega, A A' A Omega, ..., (A A')^steps A Omega].

    Parameters
    ----------
    spectrum : Spectrum
    block : int
        Gaussian columns.
    steps : int
        Further blocks; the space has block * (steps + 1) dimensions.
    rank : int, optional
        Keep the best rank-k approximation within the space.

    Returns
    -------
    float
        As `range_error`. Upper-leaning where the spectrum decays fast: a space is better than any one polynomial.
    """
    if steps == 0:
        return range_error(spectrum, block, 0, rank)
    best = spectrum.tail(min(spectrum.size, block * (steps + 1)) if rank is None else rank)
    if spectrum.energy[0] <= 0 or block * (steps + 1) >= spectrum.size:
        return best
    weights, columns = [], []
    for start in range(1, steps + 2):  # `start` blocks of the space serve as the starting block
        l, degree = block * start, 2 * (steps + 1 - start) + 1
        if l <= (rank or 0) or l >= spectrum.size:
            continue
        weights.append(_power_weights(spectrum, steps + 1 - start))
        cuts = {spectrum.value(max(1, int(l * f))) for f in (0.9, 1.3)} | {spectrum.value((rank or l) + 1)}
        if degree > 1:
            weights += [_chebyshev_weights(spectrum, cut, degree) for cut in cuts if cut > 0]
        columns += [l] * (len(weights) - len(columns))
    if not weights:  # fewer dimensions than the rank asked for
        return range_error(spectrum, block * (steps + 1), 0, rank)
    p = _projection(np.stack(weights), spectrum.count, np.array(columns, dtype=float))
    if rank is None:
        return max(float(np.min((1.0 - p) @ (spectrum.energy * spectrum.count))), best)
    choice = int(np.argmin(_compression(spectrum.energy, spectrum.count, p, spectrum.head(rank))))
    return _truncated(spectrum, weights[choice], columns[choice], rank)


def correct_ritz_values(values: np.ndarray, residual_energy: float, size: int) -> Spectrum:
    """The spectrum behind the singular values of B = Q'A of a range finder without power steps.

    Parameters
    ----------
    values : (l,) array
        Singular values of B, descending: lower bounds on those of A.
    residual_energy : float
        ||A||_F^2 - ||B||_F^2.
    size : int
        min(m, n).

    Returns
    -------
    Spectrum
        With len(values) leading values and a modelled tail, of the same total energy.

    Notes
    -----
    The fixed point gives E||A - QQ'A||_F^2 = l / g, so g is measured. For each leading value, y = g s^2 is then close
    to Y + Y^0.6 / (Y^0.6 + 0.87) with Y = g theta: an empirical law, but the same one within 0.05 for spectra falling
    like j^-0.5 to exp(-j/15), at l = 40 and 120, wherever Y > 0.5 (the simple equivalent theta = p s^2 has the same
    limits and is 0.1 higher between). Beyond, the Ritz values mix and say nothing of single singular values: there
    the tail is modelled, such that its energy and sum_i p_i = l come out.
    """
    theta = np.maximum(np.sort(np.asarray(values, dtype=float))[::-1], 0.0) ** 2
    l = len(theta)
    total = float(theta.sum()) + max(residual_energy, 0.0)
    if l == 0 or l >= size or residual_energy <= 1e-14 * total:
        return spectrum_from_leading(tuple(np.sqrt(theta)), max(residual_energy, 0.0), size)
    g = l / residual_energy
    y = g * theta
    reliable = (y > 0.5) & (np.arange(l) < 0.96 * l)
    kept = max(1, l if reliable.all() else int(np.argmin(reliable)))
    power = np.maximum(y[:kept], 1e-12) ** 0.6
    energy = (y[:kept] + power / (power + 0.87) * np.minimum(1.0, 2.0 * y[:kept])) / g
    floor = float(theta[kept:].sum()) + 0.1 * residual_energy  # what the tail holds at least
    energy *= min(1.0, (total - floor) / float(energy.sum()))
    captured = l - float(np.sum(g * energy / (1.0 + g * energy)))
    offset, count = _bins(size - kept)
    capture = (g * energy[-1], captured, 0.02 * l + 0.5)
    tail = (total - float(energy.sum())) / energy[-1]
    shape = _tail_shape(1.0 + offset / kept, count, tail, _slope(np.sqrt(energy)), capture)
    spectrum = Spectrum(np.append(energy, energy[-1] * np.minimum(shape, 1.0)), np.append(np.ones(kept), count))
    leading = np.array([spectrum.value(j) for j in range(1, l + 1)])
    return spectrum_from_leading(tuple(leading.tolist()), max(total - float(leading @ leading), 0.0), size)
