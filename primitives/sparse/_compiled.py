"""Compiled kernels of incomplete Cholesky, its triangular solves, and of an ordering by minimum degree.

Imported where used, never by `import autonla`. L is in compressed columns with the diagonal first in each. All kernels
are serial and release the interpreter lock.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import float64, int32, int64, types

from ..kernels._numba import _compile

Array = np.ndarray

_START = types.Array(int64, 1, "C", readonly=True)
_ROW = types.Array(int32, 1, "C", readonly=True)
_VALUE = types.Array(float64, 1, "C", readonly=True)


def _factor(
    n: Any, a_start: Any, a_row: Any, a_value: Any, shift: Any, zero_fill: Any, drop: Any, extra: Any,
    start: Any, row: Any, value: Any, failed: Any,
) -> None:  # fmt: skip
    """L (start, row, value) of the lower triangle of A with its diagonal times 1 + shift, columns sorted by row.

    With `zero_fill` on the pattern of A; else entries below `drop` times the 1-norm of their column of A's lower
    triangle are dropped, and of the rest the largest are kept, `extra` more than A has there. failed[0] is
    the column whose pivot is not positive, or -1; failed[1] says whether it ran out of the room of `row`.
    """
    work, marked = np.zeros(n), np.full(n, -1, dtype=np.int64)
    found = np.empty(n, dtype=np.int32)
    next_entry = np.zeros(n, dtype=np.int64)  # of a finished column: where its first row that is still to come stands
    head = np.full(n, -1, dtype=np.int64)  # columns whose next row is this one, as a linked list
    link = np.full(n, -1, dtype=np.int64)
    failed[0], failed[1] = -1, 0
    start[0] = 0
    for k in range(n):
        count, norm = 0, 0.0
        for t in range(a_start[k], a_start[k + 1]):
            i = a_row[t]
            work[i] = a_value[t]
            norm += abs(a_value[t])
            marked[i] = k
            found[count] = i
            count += 1
        in_A = count
        work[k] *= 1.0 + shift
        pivot_before = work[k]
        j = head[k]
        while j >= 0:
            following = link[j]
            at = next_entry[j]
            factor = value[at]
            if zero_fill:
                for t in range(at, start[j + 1]):
                    i = row[t]
                    if marked[i] == k:
                        work[i] -= factor * value[t]
            else:
                for t in range(at, start[j + 1]):
                    i = row[t]
                    if marked[i] != k:
                        marked[i] = k
                        work[i] = 0.0
                        found[count] = i
                        count += 1
                    work[i] -= factor * value[t]
            at += 1
            next_entry[j] = at
            if at < start[j + 1]:
                i = row[at]
                link[j] = head[i]
                head[i] = j
            j = following
        pivot = work[k]
        if not pivot > 2.0**-40 * pivot_before or pivot == np.inf:
            failed[0] = k
            return
        root = math.sqrt(pivot)
        kept = count
        if not zero_fill:
            # the diagonal is found[0]: A has it first
            kept = 1
            limit = drop * norm
            for t in range(1, count):
                i = found[t]
                if abs(work[i]) > limit:
                    found[kept] = i
                    kept += 1
            most = in_A + extra
            if kept > most:
                sizes = np.empty(kept - 1)
                for t in range(1, kept):
                    sizes[t - 1] = abs(work[found[t]])
                least = np.partition(sizes, kept - most)[kept - most]  # most - 1 are at least as large
                chosen = 1
                for t in range(1, kept):
                    if abs(work[found[t]]) >= least and chosen < most:
                        found[chosen] = found[t]
                        chosen += 1
                kept = chosen
            found[1:kept].sort()
        begin = start[k]
        if begin + kept > len(row):
            failed[0], failed[1] = k, 1
            return
        row[begin], value[begin] = k, root
        for t in range(1, kept):
            row[begin + t] = found[t]
            value[begin + t] = work[found[t]] / root
        start[k + 1] = begin + kept
        if kept > 1:
            next_entry[k] = begin + 1
            i = row[begin + 1]
            link[k] = head[i]
            head[i] = k


def _lower(n: Any, start: Any, row: Any, value: Any, x: Any) -> None:
    """x becomes L^-1 x."""
    for j in range(n):
        y = x[j] / value[start[j]]
        x[j] = y
        for t in range(start[j] + 1, start[j + 1]):
            x[row[t]] -= value[t] * y


def _upper(n: Any, start: Any, row: Any, value: Any, x: Any) -> None:
    """x becomes L^-T x."""
    for j in range(n - 1, -1, -1):
        y = x[j]
        for t in range(start[j] + 1, start[j + 1]):
            y -= value[t] * x[row[t]]
        x[j] = y / value[start[j]]


def _lower_block(n: Any, start: Any, row: Any, value: Any, X: Any) -> None:
    """The same of the columns of X : (n, r), rows contiguous."""
    r = X.shape[1]
    for j in range(n):
        pivot = value[start[j]]
        for c in range(r):
            X[j, c] /= pivot
        for t in range(start[j] + 1, start[j + 1]):
            i, entry = row[t], value[t]
            for c in range(r):
                X[i, c] -= entry * X[j, c]


def _upper_block(n: Any, start: Any, row: Any, value: Any, X: Any) -> None:
    r = X.shape[1]
    for j in range(n - 1, -1, -1):
        for t in range(start[j] + 1, start[j + 1]):
            i, entry = row[t], value[t]
            for c in range(r):
                X[j, c] -= entry * X[i, c]
        pivot = value[start[j]]
        for c in range(r):
            X[j, c] /= pivot


def _minimum_degree(n: Any, start: Any, adjacent: Any, order: Any, counts: Any) -> None:
    """An elimination order of a symmetric pattern and what it fills; see `minimum_degree`.

    start (n + 1,), adjacent : the pattern in compressed form, without its diagonal. order[k] is the k-th pivot,
    counts[k] the entries below the diagonal of column k of its factor.

    The quotient graph: what was eliminated are elements, each with the list of its variables. A variable i has elements
    (the first `elements[i]` of its slot in `own`) and other variables (`length[i]` in all), so few that the slot in
    which they began holds them. An element that a new one covers is absorbed.
    """
    own = adjacent.copy()
    length, elements = np.empty(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    degree = np.empty(n, dtype=np.int64)
    pool = np.empty(2 * len(adjacent) + 2 * n + 16, dtype=np.int32)  # variables of elements
    pool_end = 0
    begin, size = np.full(n, -1, dtype=np.int64), np.zeros(n, dtype=np.int64)  # of element e in the pool
    alive = np.ones(n, dtype=np.bool_)  # a variable that is still to come
    head = np.full(n, -1, dtype=np.int64)  # lists of variables by degree
    after, before = np.full(n, -1, dtype=np.int64), np.full(n, -1, dtype=np.int64)
    outside, stamp = np.full(n, -1, dtype=np.int64), np.full(n, -1, dtype=np.int64)
    member = np.full(n, -1, dtype=np.int64)
    made = np.empty(n, dtype=np.int64)  # elements in the order in which they were made
    count_made = 0
    for i in range(n):
        length[i] = start[i + 1] - start[i]
        degree[i] = length[i]
        d = degree[i]
        after[i] = head[d]
        if head[d] >= 0:
            before[head[d]] = i
        head[d] = i
    least, k = 0, 0
    while k < n:
        while head[least] < 0:
            least += 1
        p = head[least]
        head[least] = after[p]
        if after[p] >= 0:
            before[after[p]] = -1
        alive[p] = False
        order[k] = p
        # room for the variables of the new element: at most as many as are left
        if pool_end + (n - k) > len(pool):
            end, kept = 0, 0
            for t in range(count_made):
                e = made[t]
                if size[e] > 0:
                    at = begin[e]
                    begin[e] = end
                    for u in range(size[e]):
                        pool[end + u] = pool[at + u]
                    end += size[e]
                    made[kept] = e
                    kept += 1
            pool_end, count_made = end, kept
        first = pool_end
        member[p] = k
        for t in range(start[p], start[p] + elements[p]):
            e = own[t]
            if size[e] > 0:
                for u in range(begin[e], begin[e] + size[e]):
                    i = pool[u]
                    if alive[i] and member[i] != k:
                        member[i] = k
                        pool[pool_end] = i
                        pool_end += 1
                size[e] = 0  # absorbed
        for t in range(start[p] + elements[p], start[p] + length[p]):
            i = own[t]
            if alive[i] and member[i] != k:
                member[i] = k
                pool[pool_end] = i
                pool_end += 1
        found = pool_end - first
        counts[k] = found
        begin[p], size[p] = first, found
        made[count_made] = p
        count_made += 1
        k += 1
        if found == n - k:  # what is left is one clique
            for u in range(first, pool_end):
                order[k] = pool[u]
                counts[k] = n - k - 1
                k += 1
            return
        # of every element that shares variables with the new one: how many it has beyond them
        for u in range(first, pool_end):
            i = pool[u]
            for t in range(start[i], start[i] + elements[i]):
                e = own[t]
                if size[e] > 0:
                    if stamp[e] != k:
                        stamp[e] = k
                        outside[e] = size[e]
                    outside[e] -= 1
        for u in range(first, pool_end):
            i = pool[u]
            at = start[i]
            old_elements, old_length = elements[i], length[i]
            # variables that the new element does not cover, moved to the end of what is kept
            beyond, kept = 0, 0
            for t in range(at, at + old_elements):
                e = own[t]
                if size[e] > 0:
                    if outside[e] == 0:  # covered by the new one, and so for the others too
                        size[e] = 0
                        continue
                    own[at + kept] = e
                    kept += 1
                    beyond += outside[e]
            new_elements = kept
            variables = 0
            for t in range(at + old_elements, at + old_length):
                j = own[t]
                if alive[j] and member[j] != k - 1:
                    own[at + new_elements + variables] = j
                    variables += 1
            # p takes the place after the elements; the first variable moves to the end
            if variables > 0:
                own[at + new_elements + variables] = own[at + new_elements]
            own[at + new_elements] = p
            elements[i] = new_elements + 1
            length[i] = new_elements + 1 + variables
            old = degree[i]
            d = min(n - k - 1, old + found - 1, variables + beyond + found - 1)
            if before[i] >= 0:
                after[before[i]] = after[i]
            else:
                head[old] = after[i]
            if after[i] >= 0:
                before[after[i]] = before[i]
            degree[i] = d
            before[i] = -1
            after[i] = head[d]
            if head[d] >= 0:
                before[head[d]] = i
            head[d] = i
            least = min(least, d)


_L = _START, _ROW, _VALUE
factor = _compile(
    _factor, int64, *_L, float64, types.boolean, float64, int64, int64[::1], int32[::1], float64[::1], int64[::1]
)
lower = _compile(_lower, int64, *_L, float64[::1])
upper = _compile(_upper, int64, *_L, float64[::1])
lower_block = _compile(_lower_block, int64, *_L, float64[:, ::1])
upper_block = _compile(_upper_block, int64, *_L, float64[:, ::1])
minimum_degree = _compile(_minimum_degree, int64, _START, _ROW, int32[::1], int64[::1])
