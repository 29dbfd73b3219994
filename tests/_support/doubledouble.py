"""Double-double arithmetic on numpy arrays: a number is the unevaluated sum hi + lo of two float64.

Built from error-free transformations (Knuth's TwoSum; Dekker's TwoProduct with Veltkamp's split), so it needs
only round-to-nearest float64 and is the same on every machine, which np.longdouble is not. One sum or product
is off by a few units of 2^-104. Numbers must keep clear of the ends of the float64 range (about 1e+-290 for a
product): scale by powers of two first, see ``truth``.

Reference: Ogita, Rump and Oishi, Accurate sum and dot product, SIAM J. Sci. Comput. 26 (2005), sec. 2 and 3;
Joldes, Muller and Popescu, Tight and rigorous error bounds for basic building blocks of double-word
arithmetic, ACM TOMS 44 (2017), algorithms 6 and 12.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNIT = 2.0**-104


def two_sum(a, b):
    """Return (s, e) with s = fl(a + b) and s + e = a + b exactly."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def split(a):
    """Return (high, low) with high + low = a exactly, each with at most 26 significant bits."""
    c = 134217729.0 * a  # 2^27 + 1
    high = c - (c - a)
    return high, a - high


def two_product(a, b):
    """Return (p, e) with p = fl(a b) and p + e = a b exactly."""
    p = a * b
    a_high, a_low = split(a)
    b_high, b_low = split(b)
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


@dataclass(frozen=True, slots=True, eq=False)
class DoubleDouble:
    """An array of double-doubles, with just the operations that ``truth`` needs."""

    hi: np.ndarray
    lo: np.ndarray

    # Keeps numpy from taking over in ``array - DoubleDouble``.
    __array_ufunc__ = None

    @classmethod
    def of(cls, a) -> DoubleDouble:
        """Take over a float64 array (exact), or pass a DoubleDouble through."""
        if isinstance(a, DoubleDouble):
            return a
        a = np.asarray(a, dtype=np.float64)
        return cls(a, np.zeros_like(a))

    @classmethod
    def sqrt(cls, a: float) -> DoubleDouble:
        """Square root of a non-negative float64 number, by one Newton step."""
        root = np.sqrt(np.float64(a))
        if root == 0.0:
            return cls.of(0.0)
        p, e = two_product(root, root)
        hi, lo = two_sum(root, ((a - p) - e) / (2.0 * root))
        return cls(hi, lo)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.hi.shape

    @property
    def T(self) -> DoubleDouble:
        return DoubleDouble(self.hi.T, self.lo.T)

    def __getitem__(self, index) -> DoubleDouble:
        return DoubleDouble(self.hi[index], self.lo[index])

    def __neg__(self) -> DoubleDouble:
        return DoubleDouble(-self.hi, -self.lo)

    def __add__(self, other) -> DoubleDouble:
        other = DoubleDouble.of(other)
        s, e = two_sum(self.hi, other.hi)
        t, f = two_sum(self.lo, other.lo)
        s, e = _renormalise(s, e + t)
        return DoubleDouble(*_renormalise(s, e + f))

    def __sub__(self, other) -> DoubleDouble:
        return self + (-DoubleDouble.of(other))

    def __mul__(self, other) -> DoubleDouble:
        other = DoubleDouble.of(other)
        p, e = two_product(self.hi, other.hi)
        return DoubleDouble(*_renormalise(p, e + (self.hi * other.lo + self.lo * other.hi)))

    def __matmul__(self, other) -> DoubleDouble:
        other = DoubleDouble.of(other)
        if len(other.shape) == 1:
            return (self @ other[:, None])[:, 0]
        product = exact_product(self.hi, other.hi)
        for a, b in ((self.hi, other.lo), (self.lo, other.hi)):
            if a.any() and b.any():
                product = product + exact_product(a, b)
        return product

    def sum(self, axis: int = 0) -> DoubleDouble:
        """Sum along an axis, pairwise."""
        terms = DoubleDouble(np.moveaxis(self.hi, axis, 0), np.moveaxis(self.lo, axis, 0))
        if terms.shape[0] == 0:
            return DoubleDouble.of(np.zeros(terms.shape[1:]))
        while (count := terms.shape[0]) > 1:
            half = count // 2
            pairs = terms[:half] + terms[half : 2 * half]
            terms = concatenate([pairs, terms[2 * half :]]) if count % 2 else pairs
        return terms[0]

    def ldexp(self, exponent) -> DoubleDouble:
        """Multiply by 2^exponent, exactly."""
        return DoubleDouble(np.ldexp(self.hi, exponent), np.ldexp(self.lo, exponent))

    def norm_squared(self) -> DoubleDouble:
        flat = DoubleDouble(self.hi.ravel(), self.lo.ravel())
        return (flat * flat).sum()

    def norm(self) -> float:
        """Frobenius norm, as a float64 that does not under- or overflow on the way."""
        largest = np.max(np.abs(self.hi), initial=0.0)
        if largest == 0.0 or not np.isfinite(largest):
            return float(largest)
        exponent = np.frexp(largest)[1]
        return float(np.ldexp(np.linalg.norm(np.ldexp(self.hi, -exponent)), exponent))


def _renormalise(a, b):
    """Return TwoSum(a, b), given |a| >= |b| or a = 0 (Dekker's FastTwoSum)."""
    s = a + b
    return s, b - (s - a)


def slices(a, axis, bits) -> list[np.ndarray]:
    """Cut float64 numbers into slices of ``bits`` bits, counted from the largest along the axis.

    The slices add up to a, but for what is below 2^-120 of that largest. Each is an integer of at most
    ``bits`` bits times a power of two (Rump, Ogita and Oishi, SIAM J. Sci. Comput. 31 (2008), ExtractVector).
    """
    exponent = np.frexp(np.max(np.abs(a), axis=axis, keepdims=True, initial=0.0))[1]
    parts = []
    for i in range(1, 120 // bits + 2):
        # Adding this anchor and taking it away rounds to a multiple of 2^(exponent - i bits).
        anchor = np.ldexp(1.5, exponent + 52 - i * bits)
        part = (a + anchor) - anchor
        parts.append(part)
        a = a - part
        if not a.any():
            break
    return parts


def exact_product(A, B) -> DoubleDouble:
    """A B for float64 matrices, to about 2^-104 of the largest in the row times the largest in the column.

    Slices are so thin that their products add up without rounding, in whatever order BLAS takes them (Ozaki,
    Ogita, Oishi and Rump, Numer. Algorithms 59 (2012)): BLAS then does the work, at its speed.
    """
    (m, k), n = A.shape, B.shape[1]
    total = DoubleDouble.of(np.zeros((m, n)))
    if 0 in (m, k, n):
        return total
    bits = (53 - int(np.ceil(np.log2(k)))) // 2
    right = slices(B, 0, bits)
    wide = np.hstack(right)
    for i, part in enumerate(slices(A, 1, bits)):
        # Those further right are below 2^-120.
        count = min(len(right), 120 // bits + 1 - i)
        products = part @ wide[:, : count * n]
        for j in range(count):
            total = total + products[:, j * n : (j + 1) * n]
    return total


def concatenate(parts, axis: int = 0) -> DoubleDouble:
    return DoubleDouble(np.concatenate([p.hi for p in parts], axis), np.concatenate([p.lo for p in parts], axis))


def orthonormal_basis(A) -> DoubleDouble:
    """Orthonormalise the columns of A : (m, n) of full column rank, by Gram-Schmidt done twice.

    Columnwise backward stable in double-double: the basis spans a matrix within about n 2^-104 of A, column
    by column (Giraud, Langou, Rozloznik and van den Eshof, Numer. Math. 101 (2005)).
    """
    A = DoubleDouble.of(A)
    m, n = A.shape
    hi, lo = np.zeros((n, m)), np.zeros((n, m))  # one basis vector a row, so that rows are contiguous
    for j in range(n):
        v = A[:, j]
        for _ in range(2):
            done = DoubleDouble(hi[:j], lo[:j])
            v = v - done.T @ (done @ v)
        q = v * _inverse_sqrt(v.norm_squared())
        hi[j], lo[j] = q.hi, q.lo
    return DoubleDouble(hi, lo).T


def _inverse_sqrt(a: DoubleDouble) -> DoubleDouble:
    """1 / sqrt(a) for a scalar: two Newton steps y += y (1 - a y^2) / 2 from float64."""
    y = DoubleDouble.of(1.0 / np.sqrt(a.hi))
    for _ in range(2):
        y = y + (y * (DoubleDouble.of(1.0) - a * y * y)).ldexp(-1)
    return y
