"""Which libraries can run a task where its operands live."""

from __future__ import annotations

from .task import Task


def backends_for(task: Task, allowed: tuple[str, ...] = ("scipy", "numpy", "torch")) -> tuple[str, ...]:
    """Names of the libraries worth pricing for `task`, the operands' own first.

    On a CPU numpy, SciPy and torch share memory, so any of them may compute; on another device only the operands' own
    library reaches the data without a transfer.
    """
    if task.library == "cupy" or task.device != "cpu":
        return (task.library,) if task.library in (*allowed, "cupy") else ()
    if task.library == "torch":
        return tuple(sorted(allowed, key=lambda name: name != "torch"))
    return allowed


def home_backend(task: Task) -> str:
    """The library that a probe computes in where nothing speaks for another one."""
    return backends_for(task, ("scipy", "torch"))[0]
