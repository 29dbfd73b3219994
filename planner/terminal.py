"""What the command line and the demo share: consoles, units, and the measurement of a profile with its bar."""

from __future__ import annotations

import math

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..primitives.kernels.catalogue import ITEMSIZE, KERNELS
from ..profiles import HardwareProfile

# What a person compares machines by; the other kernels are in the file.
_SHOWN = (
    "gemm", "syrk", "potrf", "getrf", "geqrf", "gesdd", "syevd", "gelsd", "sparse_sign", "gemv", "stream",
)  # fmt: skip
_WIDTH = 100
_BY_TRAFFIC = ("gemv", "gemv_t", "stream", "copy", "cast", "sparse_sign")
_ELSEWHERE = {("getrf", "numpy")}  # numpy factors when it solves
_SHORT = {"float64": "f64", "float32": "f32", "bfloat16": "bf16"}


def console(*, stderr: bool = False) -> Console:
    """A console that colours what we mark and nothing else; wide enough for tables where there is no terminal."""
    out = Console(stderr=stderr, highlight=False)
    return out if out.is_terminal else Console(stderr=stderr, highlight=False, width=max(out.width, _WIDTH))


def show_energy(joules: float | None) -> str:
    """12 mJ, 3.4 J."""
    if joules is None or not math.isfinite(joules):
        return "-"
    return f"{joules:.3g} J" if joules >= 1.0 else f"{joules * 1e3:.3g} mJ"


def show_error(error: float | None) -> str:
    """2.3e-9; zero is 0."""
    if error is None:
        return "-"
    if math.isinf(error):
        return "unknown"
    return "0" if error == 0 else f"{error:.1e}"


def measure(out: Console, rigor: str) -> HardwareProfile:
    """Measure this machine under a progress bar; nothing is saved."""
    from .api import profile_hardware

    columns = (TextColumn("{task.description:<34}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task("starting", total=1.0)

        def report(fraction: float, text: str) -> None:
            bar.update(task, completed=fraction, description=text[:34])

        return profile_hardware(rigor, save=False, progress=report)


def profile_table(profile: HardwareProfile) -> Table:
    """The best rate that each of the main kernels reaches, by backend and dtype."""
    columns = list(dict.fromkeys((t.backend, t.device, t.dtype) for t in profile.kernels if t.kernel in _SHOWN))
    columns = [c for c in columns if c[2] in _SHORT and c[0] != "numba"]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("kernel")
    table.add_column("")
    for backend, device, dtype in columns:
        where = backend if device == "cpu" else f"{backend} {device}"
        table.add_column(f"{where}\n{_SHORT[dtype]}", justify="right")
    for name in _SHOWN:
        cells = [_rate(profile, name, *column) for column in columns]
        if name == "sparse_sign":  # numba's only: shown in the column of the dtype, whatever its backend
            cells = [_rate(profile, name, "numba", "cpu", c[2]) if c[0] == columns[0][0] else "" for c in columns]
        if any(cells):
            table.add_row(name, "GB/s" if name in _BY_TRAFFIC else "GFLOP/s", *cells)
    return table


def _rate(profile: HardwareProfile, name: str, backend: str, device: str, dtype: str) -> str:
    table = profile.table(name, backend, dtype, device)
    if table is None or (name, backend) in _ELSEWHERE:
        return ""
    if not table.enabled:
        return "off"
    kernel = KERNELS[name]
    amount = (
        (lambda dims: kernel.bytes_moved(*dims, itemsize=ITEMSIZE[dtype]))
        if name in _BY_TRAFFIC
        else (lambda dims: kernel.flops(*dims))
    )
    return f"{max(amount(p.dims) / p.seconds for p in table.points) / 1e9:.3g}"


def disabled(profile: HardwareProfile) -> list[str]:
    """One line per kernel that will not be used on this machine, with the reason."""
    return [f"{t.backend} {t.kernel} {t.dtype}: {t.reason}" for t in profile.kernels if not t.enabled]
