"""Low-rank approximation: one algorithm a file."""

from __future__ import annotations

from . import block_krylov, gram, lanczos, randomized_svd, svd

ALGORITHMS = (
    svd.ALGORITHM,
    gram.ALGORITHM,
    randomized_svd.ALGORITHM,
    block_krylov.ALGORITHM,
    lanczos.ALGORITHM,
)
