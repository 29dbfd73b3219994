"""Products that fail, or return NaN or a wrong number, at one call outside of certificates, or from it on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

CALLS = (0, 1, 2, 3, 5, 8, 13, 30)


def no_memory(y: np.ndarray) -> np.ndarray:
    raise MemoryError("planted")


def not_a_number(y: np.ndarray) -> np.ndarray:
    y[7] = np.nan
    return y


def one_number_wrong(y: np.ndarray) -> np.ndarray:
    y[7] = 3.0 * y[7] + 0.1
    return y


FAULTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "no memory": no_memory, "not a number": not_a_number, "one number wrong": one_number_wrong,
}  # fmt: skip


class Planted:
    """The fault at one call of the products that are taken outside of certificates; or at each from there on."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, of: tuple[Any, Any], fault: str, at: int, *, lasting: bool = False
    ) -> None:
        """`of` names the class whose calls are products, and the kind whose certificates are spared."""
        self.count, self.hits, certifying = 0, 0, False
        products, kind = of
        product, certify = products.__call__, kind.certify

        def faulty(this: Any, x: np.ndarray) -> np.ndarray:
            y = product(this, x)
            if certifying:
                return y
            self.count += 1
            if self.count - 1 == at or (lasting and self.count > at):
                self.hits += 1
                return FAULTS[fault](y)
            return y

        def watched(*arguments: Any, **named: Any) -> Any:
            nonlocal certifying
            certifying = True
            try:
                return certify(*arguments, **named)
            finally:
                certifying = False

        monkeypatch.setattr(products, "__call__", faulty)
        monkeypatch.setattr(kind, "certify", watched)
