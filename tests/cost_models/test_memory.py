"""Peak memory of a block."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

from autonla.cost_models import memory
from autonla.cost_models.memory import PeakMemory

MB = 1_000_000


@pytest.fixture(params=["best", "sampling"])
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "sampling":
        monkeypatch.setattr(memory, "_reset_high_water_mark", lambda: False)
    return request.param


def test_sees_a_hundred_megabytes(method: str) -> None:
    import time

    with PeakMemory() as peak:
        x = np.ones(100 * MB // 8)
        time.sleep(0.02)  # a sampler has to see it
        del x
    assert 95 * MB <= peak.bytes <= 130 * MB
    assert peak.result == (peak.bytes, peak.method)


def test_starts_from_what_is_resident(method: str) -> None:
    held = np.ones(50 * MB // 8)
    with PeakMemory() as peak:
        held += 1.0
    assert peak.bytes < 10 * MB


def test_sees_torch() -> None:
    torch = pytest.importorskip("torch")
    with PeakMemory() as peak:
        x = torch.ones(60 * MB // 8, dtype=torch.float64)
    assert x.numel() == 60 * MB // 8
    assert peak.bytes >= 55 * MB


def test_sees_memory_that_python_does_not_know() -> None:
    with PeakMemory() as peak, mmap.mmap(-1, 40 * MB) as block:
        for i in range(0, 40 * MB, 4096):
            block[i] = 1
    assert peak.bytes >= 38 * MB


def test_blocks_after_each_other() -> None:
    """The mark of one block does not show in the next."""
    with PeakMemory() as first:
        x = np.ones(80 * MB // 8)
    del x
    with PeakMemory() as second:
        y = np.ones(10 * MB // 8)
    assert first.bytes >= 75 * MB
    assert second.bytes <= 30 * MB
    assert y.size


def test_an_error_passes(method: str) -> None:
    with pytest.raises(ZeroDivisionError), PeakMemory() as peak:
        raise ZeroDivisionError
    assert peak.bytes < 10 * MB


def test_nothing_to_measure_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_reset_high_water_mark", lambda: False)
    monkeypatch.setattr(memory._Watcher, "started", lambda: None)
    with PeakMemory() as peak:
        pass
    assert peak.result == (0, "none")
