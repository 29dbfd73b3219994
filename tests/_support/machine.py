"""A machine that is the same everywhere: what planning decides on it can be asserted.

Times follow a roofline: a call, its flops at a fraction of the peak that is typical of the kernel, and its traffic.
Rates are those of two cores of a server of 2024; where a library is known to be slow (numpy factors in float64
whatever the dtype, and has no triangular solver) this one is too.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from autonla.primitives.kernels.catalogue import ITEMSIZE, KERNELS, Kernel
from autonla.profiles import EnergyModel, Fingerprint, HardwareProfile, KernelPoint, KernelTable

PEAK = 1e11  # float64 flops per second of a large matrix product
BANDWIDTH = 4e10  # bytes per second; there is no cache, so that times are exactly of the form that is fitted to them
CALL = 2e-6  # seconds of a call that does nothing
SPEEDUP = {"float64": 1.0, "float32": 2.0, "bfloat16": 4.0}
BACKENDS = {"scipy": 1.0, "numpy": 1.0, "torch": 0.7, "numba": 1.0}

EFFICIENCY = {
    "gemm": 1.0, "gemv": 0.2, "gemv_t": 0.2, "syrk": 0.9, "potrf": 0.6, "trsm": 0.4, "trsm_right": 0.7,
    "getrf": 0.85, "getrs": 0.2, "sytrf": 0.25, "sytrs": 0.05, "gecon": 0.1, "gbsv": 0.02, "geqrf": 0.25, "qr": 0.35,
    "gels": 0.25, "gelsd": 0.3, "gelsy": 0.1, "gesdd": 0.8, "svdvals": 0.08, "syevd": 0.8, "cast": 1.0, "copy": 1.0,
    "stream": 0.1, "symmetry": 0.02, "randn": 0.022, "sparse_sign": 0.1, "srtt": 0.02,
}  # fmt: skip

# numpy.linalg converts float32 to float64 and back.
_NUMPY_DOUBLE = {
    "potrf", "trsm", "trsm_right", "getrs", "geqrf", "qr", "gels", "gelsd", "gesdd", "svdvals", "syevd",
}  # fmt: skip


def seconds(
    kernel: Kernel, backend: str, dtype: str, dims: tuple[int, ...], efficiency: Mapping[str, float] = EFFICIENCY
) -> float:
    """Time of one call."""
    doubled = backend == "numpy" and kernel.name in _NUMPY_DOUBLE
    peak = PEAK * BACKENDS[backend] * (1.0 if doubled else SPEEDUP[dtype])
    work = kernel.flops(*dims) / efficiency[kernel.name]
    if backend == "numpy" and kernel.name in ("trsm", "getrs", "trsm_right"):  # each solve factors the matrix
        n = dims[1] if kernel.name == "trsm_right" else dims[0]
        work += 2 * n**3 / 3 / efficiency["getrf"]
    elif backend == "numpy" and kernel.name == "getrf":
        work = 0.0
    moved = ITEMSIZE[dtype] * kernel.elements(*dims)
    return CALL + work / peak + moved / BANDWIDTH


def synthetic_profile(
    *, efficiency: Mapping[str, float] | None = None, without: tuple[tuple[str, str], ...] = (), **fields: Any
) -> HardwareProfile:
    """The profile that measuring this machine would give.

    Parameters
    ----------
    efficiency : mapping of kernel to fraction of peak, optional
        Changes to `EFFICIENCY`.
    without : tuple of (kernel, backend)
        Tables to leave out.
    fields
        Any field of the profile: kernels, scale, corrections, energy, name, ...
    """
    if efficiency or without:
        fields = {"kernels": _tables({**EFFICIENCY, **(efficiency or {})}, without), **fields}
    return HardwareProfile(**(dict(_default()) | fields)) if fields else _default()


def _tables(efficiency: Mapping[str, float], without: tuple[tuple[str, str], ...]) -> tuple[KernelTable, ...]:
    tables = []
    for name, kernel in KERNELS.items():
        for backend in BACKENDS:
            for dtype in kernel.dtypes:
                if not kernel.supports(backend, dtype) or (name, backend) in without:
                    continue
                points = tuple(
                    KernelPoint(
                        dims=dims, seconds=seconds(kernel, backend, dtype, dims, efficiency), spread=0.05, repeats=5
                    )
                    for dims in kernel.grid("standard")
                )
                tables.append(KernelTable(kernel=name, backend=backend, dtype=dtype, threads=2, points=points))
    return tuple(tables)


@lru_cache(maxsize=1)
def _default() -> HardwareProfile:
    return HardwareProfile(
        name="synthetic",
        created="2026-01-01T00:00:00Z",
        rigor="standard",
        seconds_spent=1.0,
        complete=True,
        fingerprint=Fingerprint(
            processor="synthetic",
            architecture="x86_64",
            logical_cores=2,
            physical_cores=2,
            usable_cores=2,
            memory_bytes=16 * 2**30,
            operating_system="Linux",
            python="3.12.0",
            threads={},
            blas=(),
            libraries={},
            environment={},
        ),
        kernels=_tables(EFFICIENCY, ()),
        energy=EnergyModel(
            source="tdp-model",
            idle_watts=20.0,
            joules_per_flop={"float64": 1e-10, "float32": 5e-11},
            joules_per_byte=1e-10,
            relative_uncertainty=0.5,
        ),
        python_overhead_seconds=1e-6,
    )
