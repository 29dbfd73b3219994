"""Which machine this process runs on, and whether a profile measured elsewhere speaks of it.

Cheap (milliseconds) and without importing torch, numba or cupy: versions come from the metadata of
the installed packages, and the thread pools of torch and numba are listed only where the process has
loaded them already. What one side has not loaded cannot contradict the other.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from .schema import BlasLibrary, Device, Fingerprint

ENVIRONMENT = (
    "ATEN_CPU_CAPABILITY",
    "BLIS_NUM_THREADS",
    "DNNL_MAX_CPU_ISA",
    "GOMP_CPU_AFFINITY",
    "GOTO_NUM_THREADS",
    "KMP_AFFINITY",
    "MKL_CBWR",
    "MKL_DYNAMIC",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_NUM_THREADS",
    "NUMBA_CPU_NAME",
    "NUMBA_NUM_THREADS",
    "NUMBA_THREADING_LAYER",
    "OMP_DYNAMIC",
    "OMP_NUM_THREADS",
    "OMP_PROC_BIND",
    "OMP_WAIT_POLICY",
    "ONEDNN_MAX_CPU_ISA",
    "VECLIB_MAXIMUM_THREADS",
)
"""Variables that change how kernels run, besides every OPENBLAS_*."""

_DISTRIBUTIONS = {
    "numpy": ("numpy",),
    "scipy": ("scipy",),
    "torch": ("torch",),
    "numba": ("numba",),
    "cupy": ("cupy", "cupy-cuda13x", "cupy-cuda12x", "cupy-cuda11x"),
}


def fingerprint() -> Fingerprint:
    """The fingerprint of this process, now: thread limits set at run time show in it."""
    import psutil
    import scipy.linalg  # noqa: F401  the second BLAS of the process: without it the list is short
    from threadpoolctl import threadpool_info

    logical, physical = core_counts()
    pools = threadpool_info()
    return Fingerprint(
        processor=processor(),
        architecture=platform.machine(),
        logical_cores=logical,
        physical_cores=physical,
        usable_cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical,
        memory_bytes=psutil.virtual_memory().total,
        operating_system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        threads=_threads(pools),
        blas=tuple(sorted((_blas(p) for p in pools if p["user_api"] == "blas"), key=lambda b: b.library)),
        libraries=_versions(),
        environment=_environment(),
        devices=_devices(),
    )


@functools.cache
def processor() -> str:
    """The model of the processor, as far as the system tells it."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        cpuinfo = ""
    fallback = _macos_processor() if sys.platform == "darwin" else platform.processor()
    return _processor_of(cpuinfo) or fallback or platform.machine() or "unknown"


def _processor_of(cpuinfo: str) -> str | None:
    """The first processor of a /proc/cpuinfo.

    Family, model and stepping belong to it: virtual machines call five generations "AMD EPYC".
    """
    first = cpuinfo.split("\n\n", 1)[0]
    facts = dict(re.findall(r"^(.+?)\s*:[ \t]*(.*?)\s*$", first, re.MULTILINE))
    if "model name" in facts and "cpu family" in facts:
        numbers = (f"{word} {facts.get(key, '?')}" for word, key in _X86_NUMBERS.items())
        return f"{facts['model name']} ({', '.join(numbers)})"
    if "CPU part" in facts:
        return f"ARM implementer {facts.get('CPU implementer', '?')}, part {facts['CPU part']}"
    return facts.get("model name") or facts.get("cpu")


_X86_NUMBERS = {"family": "cpu family", "model": "model", "stepping": "stepping"}


def _macos_processor() -> str:
    command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=2, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return platform.processor()


@functools.cache
def core_counts() -> tuple[int, int]:
    """Logical and physical cores of the machine."""
    import psutil

    logical = psutil.cpu_count() or 1
    return logical, psutil.cpu_count(logical=False) or logical


def _stem(pool: dict) -> str:
    """Name of a library, without the path (it may name a person) and the hash that wheels add."""
    name = Path(pool["filepath"]).name.split(".", 1)[0]
    return re.sub(r"-[0-9a-f]{8}$", "", name) or pool["prefix"] or "unknown"


def _blas(pool: dict) -> BlasLibrary:
    return BlasLibrary(
        library=_stem(pool),
        internal_api=pool["internal_api"],
        version=pool["version"],
        architecture=pool.get("architecture"),
        threads=max(1, pool["num_threads"] or 1),
    )


def _threads(pools: list[dict]) -> dict[str, int]:
    threads = {_stem(pool): max(1, pool["num_threads"] or 1) for pool in pools}
    if torch := sys.modules.get("torch"):
        threads["torch"] = torch.get_num_threads()
    if numba := sys.modules.get("numba"):
        # Not numba.get_num_threads(): asking it starts the pool.
        threads["numba"] = numba.config.NUMBA_NUM_THREADS
    return threads


@functools.cache
def _version(library: str) -> str | None:
    for distribution in _DISTRIBUTIONS[library]:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def _versions() -> dict[str, str | None]:
    return {library: _version(library) for library in _DISTRIBUTIONS}


def _environment() -> dict[str, str]:
    names = sorted(name for name in os.environ if name in ENVIRONMENT or name.startswith("OPENBLAS_"))
    return {name: os.environ[name] for name in names}


@functools.cache
def _devices() -> tuple[Device, ...]:
    """NVIDIA devices from /proc: asking CUDA would initialise it (seconds, and memory on the device)."""
    try:
        version = Path("/proc/driver/nvidia/version").read_text(errors="replace")
        found = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        texts = [path.read_text(errors="replace") for path in found]
    except OSError:
        return ()
    return _devices_of(version, texts)


def _devices_of(version: str, texts: list[str]) -> tuple[Device, ...]:
    driver = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)", version)
    models = (re.search(r"^Model:\s*(.+?)\s*$", text, re.MULTILINE) for text in texts)
    return tuple(
        Device(name=model.group(1) if model else "unknown", driver=driver.group(1) if driver else None)
        for model in models
    )


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One way in which a profile does not speak of this machine.

    ``severity`` is "refuse" (its times do not hold here) or "warn" (they may be slightly off).
    """

    field: str
    severity: Literal["refuse", "warn"]
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def compare(measured: Fingerprint, here: Fingerprint) -> list[Mismatch]:
    """Where a profile's fingerprint differs from this machine's, what decides most first.

    Parameters
    ----------
    measured : Fingerprint
        Of the profile.
    here : Fingerprint
        Of this process.

    Returns
    -------
    list of Mismatch
        Empty when the profile fits.
    """
    found: list[Mismatch] = []

    def differ(field: str, severity: Literal["refuse", "warn"], what: str, a: object, b: object) -> None:
        if a != b:
            sentence = f"{what}: {_say(a)} when the profile was measured, {_say(b)} here"
            found.append(Mismatch(field, severity, sentence))

    for field in ("processor", "architecture", "logical_cores", "physical_cores", "usable_cores"):
        differ(field, "refuse", field.replace("_", " "), getattr(measured, field), getattr(here, field))
    _compare_blas(measured, here, differ)
    for pool in sorted(measured.threads.keys() & here.threads.keys()):
        differ("threads", "refuse", f"threads of {pool}", measured.threads[pool], here.threads[pool])
    _compare_environment(measured, here, differ)
    _compare_devices(measured, here, differ)
    for library in sorted(measured.libraries.keys() | here.libraries.keys()):
        a, b = measured.libraries.get(library), here.libraries.get(library)
        # numpy, scipy and numba run BLAS libraries and a processor that are compared above; torch and
        # cupy carry kernels of their own that only their version names.
        own_kernels = library in ("torch", "cupy") and a and b and _minor(a) != _minor(b)
        differ("libraries", "refuse" if own_kernels else "warn", library, a, b)
    differ("python", "warn", "Python", measured.python, here.python)
    differ("operating_system", "warn", "operating system", measured.operating_system, here.operating_system)
    if abs(measured.memory_bytes - here.memory_bytes) > 0.1 * measured.memory_bytes:
        gib = (f"{side.memory_bytes / 2**30:.1f} GiB" for side in (measured, here))
        differ("memory_bytes", "warn", "main memory", *gib)
    return found


def _say(value: object) -> str:
    return "none" if value is None else str(value)


def _minor(version: str) -> list[str]:
    return version.split("+")[0].split(".")[:2]


def _compare_blas(measured: Fingerprint, here: Fingerprint, differ) -> None:
    a = {blas.library: blas for blas in measured.blas}
    b = {blas.library: blas for blas in here.blas}
    for library in sorted(a.keys() & b.keys()):
        for field in ("internal_api", "version", "architecture", "threads"):
            what = f"{field.replace('_', ' ')} of {library}"
            differ("blas", "refuse", what, getattr(a[library], field), getattr(b[library], field))
    # Loading torch may bring one more BLAS: its absence on the side that has not loaded torch is no news.
    torch_on_one_side = ("torch" in measured.threads) != ("torch" in here.threads)
    if a.keys() != b.keys() and not (torch_on_one_side and (a.keys() & b.keys())):
        differ("blas", "refuse", "BLAS libraries", ", ".join(sorted(a)) or None, ", ".join(sorted(b)) or None)


def _compare_environment(measured: Fingerprint, here: Fingerprint, differ) -> None:
    def effective(side: Fingerprint, name: str) -> str:
        # An unset number of threads means every usable core: saying that number changes nothing.
        unset = str(side.usable_cores) if name.endswith("_NUM_THREADS") else "unset"
        return side.environment.get(name) or unset

    for name in sorted(measured.environment.keys() | here.environment.keys()):
        differ("environment", "refuse", name, effective(measured, name), effective(here, name))


def _compare_devices(measured: Fingerprint, here: Fingerprint, differ) -> None:
    a, b = ([device.name for device in side.devices] for side in (measured, here))
    # A device that the profile does not know is only unused; one that it knows and is gone is a lie.
    gone = any(a.count(name) > b.count(name) for name in a)
    differ("devices", "refuse" if gone else "warn", "devices", ", ".join(a) or None, ", ".join(b) or None)
    if a == b:
        drivers = ([device.driver for device in side.devices] for side in (measured, here))
        for name, x, y in zip(a, *drivers, strict=True):
            differ("devices", "warn", f"driver of {name}", x, y)
