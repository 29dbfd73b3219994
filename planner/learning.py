"""What planned runs teach: each leaves a record, and the corrections of the forecasts follow from the records.

A profile holds the corrections that its calibration gave. Where no profile is named in a call, the runs recorded since
are added to them when a process makes its first plan, and what comes out holds until the process ends (or the profile
is measured again): within a process the same inputs and seed give the same plan. Records are used by steps, see
`corrections.level`, so that the next process sees other corrections only after every twentieth run or so. A profile
that is named, as `profile=` or by AUTONLA_PROFILE, is used as it is, and AUTONLA_RECORDS=0 makes all of them so.
"""

from __future__ import annotations

import math

from pydantic import ValidationError

from ..cost_models.corrections import fit, key_of, level
from ..cost_models.memory import PeakMemory
from ..primitives.task import Task
from ..profiles import HardwareProfile, Run, records
from .candidates import Entry


def learned(profile: HardwareProfile) -> HardwareProfile:
    """The profile with its corrections fitted anew to its calibration and the records of the runs planned with it."""
    runs = records.runs_of(profile)
    runs = runs[: level(len(runs))]
    if not runs:
        return profile
    concerned = {key_of(run.algorithm, run.backend, run.dtype) for run in runs}
    calibration = (r for r in profile.calibration if key_of(r.algorithm, r.backend, r.dtype) in concerned)
    return profile.model_copy(update={"corrections": {**profile.corrections, **fit(calibration, runs)}})


def remember(
    task: Task, entry: Entry, profile: HardwareProfile, run: float, certify: float, memory: PeakMemory
) -> None:
    """Record a candidate that was run as it was planned, and certified.

    Parameters
    ----------
    profile : HardwareProfile
        That it was forecast with.
    run, certify : float
        Measured [s].
    memory : PeakMemory
        Of the run.
    """
    if not records.recording():
        return
    measured = None if memory.method == "none" else float(memory.bytes)
    first = records.is_first(entry.algorithm.name, entry.options.backend)
    found = run_of(task, entry, records.identity(profile), run, certify, measured, first=first)
    if found is not None:
        records.append(found)


def run_of(
    task: Task,
    entry: Entry,
    profile: str,
    run: float,
    certify: float,
    peak_bytes: float | None,
    *,
    first: bool = False,
) -> Run | None:
    """What is worth knowing of a run; None where nothing was forecast, or where no record can hold it."""
    forecast, options, name = entry.candidate.forecast, entry.options, entry.algorithm.name
    if forecast is None or not math.isfinite(forecast.bytes.median):
        return None
    stages = dict(forecast.stages)
    try:
        return Run(
            profile=profile,
            kind=task.kind,
            algorithm=name,
            backend=options.backend,
            dtype=options.dtype,
            label=entry.candidate.label,
            m=task.m,
            n=task.n,
            nrhs=task.nrhs,
            rank=task.rank,
            order=task.order,  # pyright: ignore[reportArgumentType]
            forecast_run=_short(stages.get("run", 0.0) / forecast.correction),
            forecast_certify=_short(stages.get("certify", 0.0) / forecast.correction),
            run=_short(run),
            certify=_short(certify),
            forecast_bytes=forecast.bytes.median,
            peak_bytes=peak_bytes,
            first=first,
        )
    except ValidationError:  # an algorithm of another package, with a name beyond all bounds
        return None


def _short(seconds: float) -> float:
    """Four significant digits."""
    return float(f"{seconds:.4g}")
