"""Synthetic spectra of positive definite matrices to train coefficient engines on, as AutoSpec describes them.

Appendix C.1 of Liu, Balabanov, Yang and Mahoney, "Learning to Discover Iterative Spectral Algorithms"
(arXiv:2602.09530): a few shape parameters are taken from a Sobol sequence; a spectrum is a blend of a flat, an
exponential and a power-law profile, bent by a concavity, with small multiplicative irregularities and a disturbed tail.
For linear systems and functions of matrices its condition number is set; for eigenproblems spectra whose leading
eigenvalues are well separated are rejected. The paper gives few ranges; the others are ours.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import qmc

TASKS = ("linear_system", "eigenproblem", "inverse_square_root")
CONDITION = {"linear_system": (1e2, 1e5), "inverse_square_root": (1e1, 1e4)}
"""Ranges of condition numbers (appendix D.1; of functions there is said only that more are small)."""
SEPARATION = 0.95
"""What the second eigenvalue of an eigenproblem is over the first, at least."""
SCALE = 0.2
"""By which spectra are scaled up or down at most (appendix C.1)."""

_SHAPES = 10  # parameters of a spectrum that come from the Sobol sequence
_RATE = (1.0, 12.0)  # of the exponential profile, over the whole spectrum
_POWER = (0.2, 2.0)  # of the power law, over the index
_CONCAVITY = (1.0 / 3.0, 3.0)  # exponent of the relative index
_ROUGH = 0.05  # largest standard deviation of the logarithm of an irregularity
_TAIL = (0.05, 0.3)  # share of the eigenvalues that the tail may take
_TAIL_FACTOR = (0.2, 1.0)  # by which the tail is multiplied
_SKEW = 2.0  # of the uniform number that becomes the logarithm of the condition number of functions


def spectra(count: int, size: int, *, task: str, seed: int, condition: tuple[float, float] | None = None) -> np.ndarray:
    """Spectra of spectral norm one.

    Parameters
    ----------
    count, size : int
        How many, and of matrices of which order (at least 8).
    task : {"linear_system", "eigenproblem", "inverse_square_root"}
    seed : int
        The same seed gives the same spectra.
    condition : (low, high), optional
        Range of the condition numbers, in which logarithms are spread evenly ("linear_system") or towards the small
        ones ("inverse_square_root"). `CONDITION` by default; of no use to eigenproblems.

    Returns
    -------
    (count, size) array of float64
        Positive; each row descends from 1.

    Raises
    ------
    ValueError
        If the task is not one of these, a number makes no sense.
    """
    if task not in TASKS:
        raise ValueError(f"task = {task!r} is not one of {', '.join(TASKS)}")
    low, high = condition or CONDITION.get(task, (1.0, 2.0))
    if count < 1 or size < 8 or not 1.0 < high < math.inf or not 1.0 <= low <= high:
        raise ValueError(f"no {count} spectra of {size} eigenvalues with condition numbers from {low} to {high}")
    generator = np.random.default_rng(np.random.Philox(key=seed))
    sobol = qmc.Sobol(_SHAPES, scramble=False)
    shift = generator.random(_SHAPES)  # randomizes the sequence, and keeps it evenly spread
    if task != "eigenproblem":
        u = _shapes(sobol, count, shift)
        return _conditioned(_blend(u, size, generator), u, low, high, _SKEW if task == "inverse_square_root" else 1.0)
    accepted: list[np.ndarray] = []
    found = 0
    while found < count:
        values = _blend(_shapes(sobol, count, shift), size, generator)
        accepted.append(values[values[:, 1] >= SEPARATION])
        found += len(accepted[-1])
    return np.concatenate(accepted)[:count]


def rescaled(values: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(spectra, factors) multiplied at random by up to 1 +- SCALE, since norms are known roughly only.

    Parameters
    ----------
    values : (count, size) array

    Returns
    -------
    values : (count, size) array
    factors : (count, 1) array
    """
    generator = np.random.default_rng(np.random.Philox(key=seed))
    factors = generator.uniform(1.0 - SCALE, 1.0 + SCALE, (len(values), 1))
    return values * factors, factors


def _shapes(sobol: qmc.Sobol, count: int, shift: np.ndarray) -> np.ndarray:
    """(count, _SHAPES) numbers in [0, 1): the next points of the sequence."""
    # a power of two at a time, which is where the sequence is balanced
    return (sobol.random(2 ** math.ceil(math.log2(count)))[:count] + shift) % 1.0


def _blend(u: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """Positive spectra (count, size), descending from 1, of the shapes u : (count, _SHAPES)."""
    count = len(u)
    column = u.T[:, :, None]

    def between(j: int, ends: tuple[float, float]) -> np.ndarray:
        return ends[0] * (ends[1] / ends[0]) ** column[j]

    bent = np.linspace(0.0, 1.0, size) ** between(5, _CONCAVITY)
    shares = -np.log(1.0 - column[:3])  # of independent exponentials: evenly spread over the simplex
    values = (
        shares[0]
        + shares[1] * np.exp(-between(3, _RATE) * bent)
        + shares[2] * (1.0 + (size - 1) * bent) ** -between(4, _POWER)
    )
    values = values * np.exp(_ROUGH * column[6] * generator.standard_normal((count, size)))
    tail = np.arange(size) >= size * (1.0 - between(7, _TAIL))
    disturbed = between(8, _TAIL_FACTOR) * generator.uniform(0.5, 1.5, (count, size))
    values = np.sort(np.where(tail, disturbed, 1.0) * values, axis=1)[:, ::-1]
    return values / values[:, :1]


def _conditioned(values: np.ndarray, u: np.ndarray, low: float, high: float, skew: float) -> np.ndarray:
    """With condition numbers between low and high: moved linearly, or in their logarithms, or between the two.

    Moved linearly the smallest eigenvalue stands far apart from the others in its logarithm, as of many discretized
    operators; in logarithms the eigenvalues spread over all magnitudes.
    """
    smallest = 1.0 / (low * (high / low) ** (u[:, -1:] ** skew))
    least = values[:, -1:]
    linear = smallest + (1.0 - smallest) * (values - least) / (1.0 - least)
    geometric = smallest ** (np.log(values) / np.log(least))
    # the share of each in the geometric mean; the second of the blend's weights says nothing of the condition number
    share = (u[:, 1:2] + u[:, 8:9]) % 1.0
    moved = np.sort(linear ** (1.0 - share) * geometric**share, axis=1)[:, ::-1]
    moved[:, 0], moved[:, -1:] = 1.0, smallest  # what rounding left of it
    return moved
