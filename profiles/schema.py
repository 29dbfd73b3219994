"""The data that describes a machine: what its kernels cost, what it draws, which machine it is.

Pydantic models because a profile crosses a boundary: it is a file that another program, another
version or a bad disk may have written. Nothing here measures anything and nothing here knows an
algorithm. Units are seconds, bytes, flops, joules and watts throughout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION = 1

Rigor = Literal["quick", "standard", "thorough", "generic"]
TableKey = tuple[str, str, str, str, int]
"""(kernel, backend, device, dtype, threads)"""

_Name = Annotated[str, Field(min_length=1, max_length=200)]
_NonNegative = Annotated[float, Field(ge=0)]
_Count = Annotated[int, Field(ge=1, lt=2**63)]
# Far beyond what any machine will measure, and near enough to one that products and quotients of them are numbers.
SHORTEST, LONGEST = 1e-12, 1e9
_Seconds = Annotated[float, Field(ge=SHORTEST, le=LONGEST)]
_Share = Annotated[float, Field(ge=0, le=1e9)]
_Joules = Annotated[float, Field(ge=0, le=1e3)]
_Log = Annotated[float, Field(ge=-100, le=100)]


def _at_least_the_shortest(value: float) -> float:
    if 0.0 < value < SHORTEST:
        raise ValueError(f"is shorter than {SHORTEST:g} s")
    return value


_Duration = Annotated[float, Field(ge=0, le=LONGEST), AfterValidator(_at_least_the_shortest)]
"""[s]; 0 is nothing at all."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class KernelPoint(_Record):
    """What one kernel call of one shape costs.

    Attributes
    ----------
    dims : tuple of int
        Dimensions in the order in which the kernel declares them.
    seconds : float
        Median of one call [s].
    spread : float
        Relative spread of the calls, (p90 - p10) / median.
    repeats : int
        How many calls were timed.
    """

    dims: Annotated[tuple[_Count, ...], Field(min_length=1)]
    seconds: _Seconds
    spread: _Share
    repeats: _Count


class KernelTable(_Record):
    """The points of one kernel on one backend, device, dtype and number of threads.

    Attributes
    ----------
    enabled : bool
        False if the kernel must not be planned with on this machine.
    reason : str or None
        Why it is disabled: it failed its correctness gate, or is absurdly slow.
    max_error : float or None
        Worst relative error seen by the gate, against a float64 reference.
    """

    kernel: _Name
    backend: _Name
    device: _Name = "cpu"
    dtype: _Name
    threads: _Count
    points: tuple[KernelPoint, ...]
    enabled: bool = True
    reason: str | None = None
    max_error: _NonNegative | None = None

    @property
    def key(self) -> TableKey:
        return (self.kernel, self.backend, self.device, self.dtype, self.threads)

    @model_validator(mode="after")
    def _consistent(self) -> KernelTable:
        if self.enabled and not self.points:
            raise ValueError(f"{'/'.join(map(str, self.key))} is enabled but holds no point")
        if not self.enabled and not self.reason:
            raise ValueError(f"{'/'.join(map(str, self.key))} is disabled without a reason")
        dims = {point.dims for point in self.points}
        if len(dims) < len(self.points) or len({len(d) for d in dims}) > 1:
            raise ValueError(f"{'/'.join(map(str, self.key))} repeats a shape or mixes numbers of dimensions")
        return self


class EnergyModel(_Record):
    """Joules of a run: ``seconds * idle_watts + flops * joules_per_flop + bytes * joules_per_byte``.

    Attributes
    ----------
    source : {"measured", "calibrated", "tdp-model"}
        A counter on this machine; a fit carried over from a machine with a counter; or the rated
        power of the processor times its utilisation.
    idle_watts : float
        Power drawn when nothing runs [W].
    joules_per_flop : dict of str to float
        By dtype, above idle [J].
    joules_per_byte : float
        Of traffic to and from main memory, above idle [J].
    relative_uncertainty : float
        Half width of the interval that covers 90 %, relative to the value.
    """

    source: Literal["measured", "calibrated", "tdp-model"]
    idle_watts: _Share
    joules_per_flop: dict[_Name, _Joules]
    joules_per_byte: _Joules
    relative_uncertainty: _Share


class BlasLibrary(_Record):
    """One BLAS loaded in the process (numpy and scipy wheels each bring their own).

    ``library`` is the stem of its file without the hash that wheels add.
    """

    library: _Name
    internal_api: str
    version: str | None
    architecture: str | None
    threads: _Count


class Device(_Record):
    """One accelerator: its model, and the driver that runs it."""

    name: _Name
    driver: str | None


class Fingerprint(_Record):
    """What decides whether a profile fits: the processor, the libraries, the threads, the environment.

    Attributes
    ----------
    processor, architecture : str
        ``"AMD EPYC (family 26, model 2, stepping 1)"``, ``"x86_64"``.
    logical_cores, physical_cores, usable_cores : int
        Of the machine; usable are those that this process may run on.
    memory_bytes : int
        Main memory [B].
    threads : dict of str to int
        Threads in use by each pool that is loaded ("libscipy_openblas", "torch", ...).
    libraries : dict of str to str or None
        Versions of numpy, scipy, torch, numba and cupy; None where not installed.
    environment : dict of str to str
        The variables that change how kernels run, where set.
    """

    processor: str
    architecture: str
    logical_cores: _Count
    physical_cores: _Count
    usable_cores: _Count
    memory_bytes: _Count
    operating_system: str
    python: str
    threads: dict[str, _Count]
    blas: tuple[BlasLibrary, ...]
    libraries: dict[str, str | None]
    environment: dict[str, str]
    devices: tuple[Device, ...] = ()


class Run(_Record):
    """One run of a candidate: what it was forecast to take and what it took.

    Nothing of a user's data is in it but the shape of the problem.

    Attributes
    ----------
    profile : str
        `records.identity` of the profile that it was forecast with.
    kind, algorithm, backend, dtype, label : str
        Of the problem and the candidate.
    m, n, nrhs, rank, order
        Of the problem, as in its task.
    forecast_run, forecast_certify : float
        What the work is priced at, before any correction [s].
    run, certify : float
        Measured [s].
    forecast_bytes, peak_bytes : float or None
        Memory beyond the operands; None where it was not measured [B].
    first : bool
        Whether its algorithm had not run in its process before, so that loading and compiling may be in it.
    """

    version: Literal[1] = 1
    profile: _Name
    kind: _Name
    algorithm: _Name
    backend: _Name
    dtype: _Name
    label: _Name
    m: _Count
    n: _Count
    nrhs: Annotated[int, Field(ge=0, lt=2**63)]
    rank: _Count | None
    order: Literal["C", "F"]
    forecast_run: _Duration
    forecast_certify: _Duration
    run: _Duration
    certify: _Duration
    forecast_bytes: _NonNegative
    peak_bytes: _NonNegative | None
    first: bool = False


class Term(_Record):
    """What one feature contributes to a correction: slope * (feature - centre), for features from `low` to `high`."""

    feature: _Name
    slope: float
    centre: float
    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Term:
        if self.low > self.high:
            raise ValueError(f"the range of {self.feature} is empty: {self.low} to {self.high}")
        return self


class Correction(_Record):
    """What the forecasts of one algorithm have been off by, as a linear model of log(measured / forecast).

    Attributes
    ----------
    log_bias : float
        Its value where every feature is at its centre.
    log_sigma : float
        Standard deviation about the model.
    count : int
        Runs that it rests on.
    terms : tuple of Term
        Empty for a constant. Far outside their ranges the model has nothing to say.
    """

    log_bias: _Log
    log_sigma: Annotated[_Log, Field(ge=0)]
    count: Annotated[int, Field(ge=0)]
    terms: tuple[Term, ...] = ()


class HardwareProfile(_Record):
    """Everything that pricing needs to know of a machine.

    Attributes
    ----------
    created : str
        ISO 8601, UTC.
    seconds_spent : float
        What the measurement took [s].
    complete : bool
        False when the time limit cut the measurement.
    corrections : dict of str to Correction
        By "algorithm[backend dtype]" or just "algorithm".
    calibration : tuple of Run
        The runs that the corrections were fitted to when the machine was measured.
    tuning : dict of str to float
        Free parameters of algorithms (`primitives/tuning.py`) and "switch_margin", where tuning found better values
        than their defaults.
    python_overhead_seconds : float
        Cost of one thin kernel call from Python [s].
    pool_switch_seconds : dict of str to float
        "scipy>torch": what work in torch loses right after work in scipy, whose idle threads keep spinning [s].
    reduction_seconds : float
        What a synchronization adds to an inner product [s]: next to nothing in one process, what `with_reductions`
        says where operators stand for matrices that are spread over many.
    scale : float
        Uniform factor on every time, from a spot check, where a generic profile serves another
        machine.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    name: _Name
    created: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)$")]
    rigor: Rigor
    seconds_spent: _NonNegative
    complete: bool
    fingerprint: Fingerprint
    kernels: tuple[KernelTable, ...]
    energy: EnergyModel
    corrections: dict[_Name, Correction] = {}
    calibration: tuple[Run, ...] = ()
    tuning: dict[_Name, _Share] = {}
    python_overhead_seconds: _Duration
    pool_switch_seconds: dict[_Name, _Duration] = {}
    reduction_seconds: _Duration = 0.0
    notes: tuple[str, ...] = ()
    scale: Annotated[float, Field(ge=1e-6, le=1e6)] = 1.0

    @model_validator(mode="after")
    def _unique_tables(self) -> HardwareProfile:
        if len(self._by_key) < len(self.kernels):
            keys = [table.key for table in self.kernels]
            twice = next(key for i, key in enumerate(keys) if key in keys[:i])
            raise ValueError(f"two tables for {'/'.join(map(str, twice))}")
        return self

    @cached_property
    def _by_key(self) -> Mapping[TableKey, KernelTable]:
        return {table.key: table for table in self.kernels}

    @cached_property
    def _widest(self) -> Mapping[tuple[str, str, str, str], KernelTable]:
        by_threads = sorted(self.kernels, key=lambda table: table.threads)
        return {table.key[:4]: table for table in by_threads}

    def table(
        self, kernel: str, backend: str, dtype: str, device: str = "cpu", threads: int | None = None
    ) -> KernelTable | None:
        """The table of a kernel, or None where it was not measured.

        ``threads=None`` takes the largest number of threads measured, which is what runs by
        default. A disabled table is returned too: look at ``enabled`` and ``reason``.
        """
        if threads is None:
            return self._widest.get((kernel, backend, device, dtype))
        return self._by_key.get((kernel, backend, device, dtype, threads))

    def with_scale(self, factor: float) -> HardwareProfile:
        """The same profile with every time multiplied by ``factor`` (replaces an earlier scale)."""
        if not (math.isfinite(factor) and factor > 0):
            raise ValueError(f"the scale of a profile is a positive finite number, found {factor!r}")
        return self.model_copy(update={"scale": float(factor)})

    def with_reductions(self, seconds: float) -> HardwareProfile:
        """The same profile where an inner product waits so long for others: what an all-reduce takes, say [s]."""
        if not 0.0 <= seconds <= LONGEST:
            raise ValueError(f"what a reduction takes is from 0 to {LONGEST:g} s, found {seconds!r} s")
        return self.model_copy(update={"reduction_seconds": float(seconds)})
