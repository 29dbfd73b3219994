"""What an answer may cost and how good it must be."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from typing import Any

from ..profiles.errors import InvalidBudget

_NUMBER = re.compile(r"^\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-zµ]*)\s*$")
_UNITS: dict[str, dict[str, float]] = {
    "latency": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "min": 60.0, "h": 3600.0},
    "memory": {
        "B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
        "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "TiB": 2.0**40,
    },
    "energy": {"J": 1.0, "mJ": 1e-3, "kJ": 1e3, "Wh": 3600.0, "mWh": 3.6},
}  # fmt: skip
_BASE_UNIT = {"latency": "seconds", "memory": "bytes", "energy": "joules"}
MINIMIZE = ("latency", "memory", "energy", "error")
ON_INFEASIBLE = ("raise", "best_effort")


def _quantity(name: str, value: Any) -> float | None:
    """Seconds, bytes or joules from a number or a string with a unit."""
    if value is None:
        return None
    units = _UNITS[name]
    if isinstance(value, str):
        match = _NUMBER.match(value)
        if match is None or match.group(2) not in units:
            raise InvalidBudget(
                f"{name}: {value!r} is not a quantity of {name}; write a number of {_BASE_UNIT[name]} or a string"
                f" with one of the units {', '.join(units)}, such as {_EXAMPLE[name]!r}"
            )
        try:
            number = float(match.group(1)) * units[match.group(2)]
        except ValueError as error:
            raise InvalidBudget(f"{name}: {value!r} does not start with a number") from error
    else:
        number = _real(name, value)
    if not (number > 0 and math.isfinite(number)):
        raise InvalidBudget(f"{name}: {value!r} must be positive and finite; leave it out for no limit")
    return number


_EXAMPLE = {"latency": "500 ms", "memory": "1 GiB", "energy": "50 J"}


def _real(name: str, value: Any) -> float:
    if isinstance(value, bool):
        raise InvalidBudget(f"{name}: {value!r} is not a number")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidBudget(f"{name}: {value!r} is not a number") from error


@dataclass(frozen=True, slots=True, init=False)
class Budget:
    """Accuracy asked for and the most an answer may cost; every field is optional.

    Parameters
    ----------
    accuracy : float, optional
        Error allowed in the problem's metric, in (0, 1]. None: with a latency, memory or energy limit, the most
        accurate answer that fits; without any, what LAPACK would give.
    latency : float [s] or str, optional
        Wall-clock time for probing, planning, running and certifying: 2.0, "2 s", "500 ms".
    memory : float [B] or str, optional
        Memory beyond the operands, the result included; a hard limit: 1e9, "1 GiB", "200 MB".
    energy : float [J] or str, optional
        Energy: 50.0, "50 J".
    confidence : float, default 0.99
        Probability in (0.5, 1) with which randomized certificates, all attempts together, and the latency and energy
        forecasts must hold.
    minimize : {"latency", "memory", "energy", "error"}, default "latency"
        What to make small among the answers that fit.
    on_infeasible : {"raise", "best_effort"}, default "raise"
        What to do when no algorithm is forecast to fit, none could be certified, or time runs out on the way
        (docs/reliability.md).

    Raises
    ------
    InvalidBudget
        If a value cannot be read, or two of them contradict each other.

    Examples
    --------
    >>> Budget(accuracy=1e-8, latency="500 ms", memory="1 GiB").latency
    0.5
    """

    accuracy: float | None
    latency: float | None
    memory: float | None
    energy: float | None
    confidence: float
    minimize: str
    on_infeasible: str

    def __init__(
        self,
        accuracy: float | None = None,
        latency: float | str | None = None,
        memory: float | str | None = None,
        energy: float | str | None = None,
        confidence: float = 0.99,
        minimize: str = "latency",
        on_infeasible: str = "raise",
    ) -> None:
        put = object.__setattr__
        if accuracy is not None:
            accuracy = _real("accuracy", accuracy)
            if not 0.0 < accuracy <= 1.0:
                raise InvalidBudget(
                    f"accuracy: {accuracy!r} must be a relative error in (0, 1], such as 1e-8;"
                    " leave it out for LAPACK's accuracy"
                )
        put(self, "accuracy", accuracy)
        put(self, "latency", _quantity("latency", latency))
        put(self, "memory", _quantity("memory", memory))
        put(self, "energy", _quantity("energy", energy))
        confidence = _real("confidence", confidence)
        if not 0.5 < confidence < 1.0:
            raise InvalidBudget(f"confidence: {confidence!r} must be a probability in (0.5, 1), such as 0.99")
        put(self, "confidence", confidence)
        if not isinstance(minimize, str) or minimize not in MINIMIZE:
            raise InvalidBudget(f"minimize: {minimize!r} is not one of {', '.join(MINIMIZE)}")
        if minimize == "error" and accuracy is not None and self.latency is None and self.energy is None:
            raise InvalidBudget(
                "minimize: 'error' asks for the most accurate answer, and accuracy says when it is accurate enough;"
                " give a latency or an energy to spend, or leave one of the two out"
            )
        put(self, "minimize", minimize)
        if not isinstance(on_infeasible, str) or on_infeasible not in ON_INFEASIBLE:
            raise InvalidBudget(f"on_infeasible: {on_infeasible!r} is not one of {', '.join(ON_INFEASIBLE)}")
        put(self, "on_infeasible", on_infeasible)

    @property
    def limited(self) -> bool:
        """Whether any of latency, memory and energy is limited."""
        return self.latency is not None or self.memory is not None or self.energy is not None

    @property
    def strict(self) -> bool:
        """Whether an answer that does not keep the budget is an error, and not a best effort."""
        return self.on_infeasible == "raise"

    def to_dict(self) -> dict[str, Any]:
        """The fields, in seconds, bytes and joules; `Budget(**d)` gives it back."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __repr__(self) -> str:
        shown = [f"{k}={v!r}" for k, v in self.to_dict().items() if v is not None and v != _DEFAULTS.get(k)]
        return f"Budget({', '.join(shown)})"


_DEFAULTS = {"confidence": 0.99, "minimize": "latency", "on_infeasible": "raise"}
