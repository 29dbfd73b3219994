"""Square sparse matrices of a folder, for the other benchmarks."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import scipy.sparse as sp

from autonla.planner.files import read_array
from autonla.profiles.errors import AutonlaError


def matrices(folder: Path, only: Collection[str], least: int, dtypes: str = "f") -> Iterator[tuple[str, Any]]:
    """(name, matrix) of the .mtx and .mtx.gz files that can be read, of an order from `least` on; all without `only`.

    `dtypes` are the kinds of numbers that are taken, as numpy names them.
    """
    for path in sorted([*folder.glob("*.mtx"), *folder.glob("*.mtx.gz")]):
        name = path.name.split(".")[0]
        if only and name not in only:
            continue
        try:
            A: Any = read_array(path)
        except AutonlaError:
            continue
        if sp.issparse(A) and A.shape[0] == A.shape[1] >= least and A.dtype.kind in dtypes:
            yield name, A


def symmetric(A: Any) -> bool:
    """Whether A is, to rounding."""
    return bool(abs(A - A.T).max() <= 1e-12 * abs(A).max())
