"""Singular values of every shape: n numbers in descending order, the largest 1.

The names follow LAPACK's DLATMS (modes 1 to 5) and RandLAPACK's test spectra.
"""

from __future__ import annotations

import numpy as np


def flat(n):
    return np.ones(n)


def geometric(n, cond):
    """From 1 to 1/cond in equal ratios (mode 3)."""
    return cond ** -np.linspace(0.0, 1.0, n) if n > 1 else np.ones(n)


def arithmetic(n, cond):
    """From 1 to 1/cond in equal steps (mode 4)."""
    return np.linspace(1.0, 1.0 / cond, n) if n > 1 else np.ones(n)


def one_small(n, cond):
    """All 1 but the last (mode 2)."""
    s = np.ones(n)
    s[1:][-1:] = 1.0 / cond
    return s


def one_large(n, cond):
    """All 1/cond but the first (mode 1)."""
    s = np.full(n, 1.0 / cond)
    s[:1] = 1.0
    return s


def clustered(n, cond, clusters=3):
    """``clusters`` groups of equal values, from 1 to 1/cond."""
    return geometric(clusters, cond)[np.arange(n) * clusters // max(n, 1)]


def log_uniform(n, cond, rng):
    """Random, log-uniform between 1/cond and 1, both ends included (mode 5)."""
    s = np.sort(cond ** -rng.random(n))[::-1]
    s[1:][-1:] = 1.0 / cond
    s[:1] = 1.0
    return s


def polynomial(n, power):
    """1, 2^-p, 3^-p, ..."""
    return np.arange(1.0, n + 1.0) ** -power


def exponential(n, rate):
    """exp(-rate j), not below 1e-300."""
    return np.maximum(np.exp(-rate * np.arange(n)), 1e-300)


def step(n, k, gap):
    """k values at 1, the rest at gap."""
    s = np.full(n, float(gap))
    s[:k] = 1.0
    return s
