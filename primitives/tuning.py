"""Free parameters of the algorithms: what theory leaves open, and what is best differs between machines.

The values here serve everywhere; `autonla profile --rigor thorough` looks for better ones and keeps them in the
profile. They reach the algorithms with the task, and so a stored plan runs with those that it was made with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

RANGES: Mapping[str, tuple[float, float]] = {
    "sketch_factor": (3, 10),
    "nonzeros": (4, 12),  # with fewer the distortion that certificates count on is not kept for coherent rows
    "panel_entries": (1 << 15, 1 << 23),
    "oversampling": (4, 40),
    "krylov_width": (0.1, 1.0),
    "krylov_steps": (2, 8),
}
"""The least and the largest value of each."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """Values of the free parameters.

    Attributes
    ----------
    sketch_factor : int
        SPIR: rows of its sketch per column of A (three times as many are offered too).
    nonzeros : int
        Nonzeros per column of a sparse sign sketch with at least 4 n rows; shorter ones have twice as many.
    panel_entries : int
        Randomized Cholesky QR: entries of a block of A R^-1.
    oversampling : int
        Low rank: columns beyond the rank.
    krylov_width : float
        Block Krylov: columns of the narrow block per rank that is asked for.
    krylov_steps : int
        Block Krylov: blocks after the first, with the narrow one.

    Raises
    ------
    ValueError
        If a value is outside its range.
    """

    sketch_factor: int = 4
    nonzeros: int = 4
    panel_entries: int = 1 << 19
    oversampling: int = 10
    krylov_width: float = 1.0 / 3.0
    krylov_steps: int = 4

    def __post_init__(self) -> None:
        for field in fields(self):
            value, (low, high) = getattr(self, field.name), RANGES[field.name]
            if not low <= value <= high or (field.type == "int" and not float(value).is_integer()):
                whole = "a whole number " if field.type == "int" else ""
                raise ValueError(f"{field.name} = {value!r} is not {whole}from {low} to {high}")

    @classmethod
    def of(cls, values: Mapping[str, float]) -> Tuning:
        """From plain numbers by name; what is not named keeps its default.

        Raises
        ------
        ValueError
            If there is no parameter of a name, or a value is outside its range.
        """
        kinds = {field.name: field.type for field in fields(cls)}
        unknown = sorted(set(values) - set(kinds))
        if unknown:
            raise ValueError(f"there is no parameter {unknown[0]!r}; there are {', '.join(kinds)}")
        whole = {name for name, value in values.items() if kinds[name] == "int" and float(value).is_integer()}
        return cls(**{name: int(value) if name in whole else value for name, value in values.items()})  # type: ignore[arg-type]


DEFAULT = Tuning()
