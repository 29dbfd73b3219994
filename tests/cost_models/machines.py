"""Synthetic machines."""

from __future__ import annotations

from collections.abc import Callable

from autonla.primitives.kernels.catalogue import KERNELS
from autonla.profiles import EnergyModel, Fingerprint, HardwareProfile, KernelPoint, KernelTable

FINGERPRINT = Fingerprint(
    processor="synthetic",
    architecture="x86_64",
    logical_cores=2,
    physical_cores=2,
    usable_cores=2,
    memory_bytes=8 * 2**30,
    operating_system="Linux",
    python="3.12.0",
    threads={},
    blas=(),
    libraries={},
    environment={},
)
ENERGY = EnergyModel(
    source="tdp-model",
    idle_watts=20.0,
    joules_per_flop={"float64": 1e-10},
    joules_per_byte=1e-10,
    relative_uncertainty=1.0,
)


def table_of(
    name: str, seconds: Callable[..., float], *, spread: float = 0.05, threads: int = 2, rigor: str = "quick"
) -> KernelTable:
    """The table that measuring a machine with these times would give."""
    points = tuple(
        KernelPoint(dims=dims, seconds=seconds(*dims), spread=spread, repeats=5) for dims in KERNELS[name].grid(rigor)
    )
    return KernelTable(kernel=name, backend="scipy", dtype="float64", threads=threads, points=points)


def profile_of(*tables: KernelTable, energy: EnergyModel = ENERGY) -> HardwareProfile:
    """A profile of a synthetic machine."""
    return HardwareProfile(
        name="synthetic",
        created="2026-01-01T00:00:00Z",
        rigor="quick",
        seconds_spent=1.0,
        complete=True,
        fingerprint=FINGERPRINT,
        kernels=tables,
        energy=energy,
        python_overhead_seconds=1e-6,
    )
