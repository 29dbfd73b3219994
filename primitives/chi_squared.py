"""The quantile by which standard normal test vectors bound norms.

For a matrix E and a standard normal X with r columns, ||E X||_F^2 is a sum of chi-squared variables with r degrees of
freedom, weighted by the squared singular values of E. Of all weights with the same sum a single one is the most likely
to fall far below its mean (Roosta-Khorasani and Szekely, Metrika 78, 2015), so that ||E||_F^2 <= ||E X||_F^2 / q except
with probability p, q the p-quantile of one such variable.
"""

from __future__ import annotations

from scipy.special import gammaincinv


def quantile(degrees: int, probability: float) -> float:
    """What a chi-squared variable with so many degrees of freedom falls below with a probability in (0, 1)."""
    return 2.0 * float(gammaincinv(0.5 * degrees, probability))
